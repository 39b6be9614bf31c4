//! Scripts as NIFs: a quick attempt on the caller's scheduler, and the whole of it on a thread of the pool.

use crate::pool;
use crate::read::ELEMENTS_MAX;
use crate::reaper;
use crate::source::{SourceRef, now_ms};
use crate::terms::{self, ArgList};
use crate::watcher::Recipient;
use parking_lot::Mutex;
use rustler::types::atom;
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use vdr_commands::ReadError;
use vdr_lua::{Engine, Limits, LuaValue, Script, ScriptError, Subject};

/// More keys and arguments than this are work of their own, and no quick attempt.
const QUICK_ARGUMENTS_MAX: usize = 100;

mod atoms {
    rustler::atoms! { dirty, done, long, not_found, no_thread, panicked }
}

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::new);

/// A compiled script. Nothing but `lua_load` makes one, so no bytecode comes from outside.
struct Loaded(Arc<Script>);

#[rustler::resource_impl]
impl Resource for Loaded {}

/// What the caller holds until it has taken the answer: without it nobody waits for one.
struct Ticket(Arc<Run>);

#[rustler::resource_impl]
impl Resource for Ticket {}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
        if let Some(answer) = self.0.answer.lock().take() {
            reaper::bury(answer);
        }
    }
}

/// A script that runs elsewhere. Its answer becomes terms on a scheduler of the VM only: ERTS sorts the keys of a map of more than 32
/// with what belongs to the scheduler, and on any other thread that is a null pointer.
#[derive(Default)]
struct Run {
    abandoned: Arc<AtomicBool>,
    answer: Mutex<Option<Answer>>,
}

enum Answer {
    Script(Result<LuaValue, ScriptError>),
    Refused(ReadError),
}

/// What a script is given, its terms living where the caller says.
struct Call<'a> {
    keys: Vec<&'a [u8]>,
    args: ArgList<'a>,
    limits: Limits,
}

impl<'a> Call<'a> {
    fn new(keys: Term<'a>, args: Term<'a>, (timeout_ms, memory_bytes): (u64, usize)) -> Result<Self, ReadError> {
        let keys: Vec<Binary<'a>> = keys.decode().map_err(|_| ReadError::BadArgument)?;
        let limits = Limits { timeout: Duration::from_millis(timeout_ms), memory_bytes };
        Ok(Call { keys: keys.iter().map(Binary::as_slice).collect(), args: terms::args(args)?, limits })
    }
}

/// `{:ok, value}`, `{:error, reason}`, or `:long`: too long for here, ask `lua_start`. A script is what `lua_load` made
/// or its source.
#[rustler::nif]
fn lua_attempt<'a>(
    env: Env<'a>,
    source: SourceRef,
    db: Term<'a>,
    script: Term<'a>,
    keys: Term<'a>,
    argv: Term<'a>,
    limits: (u64, usize),
) -> NifResult<Term<'a>> {
    let Ok(db) = terms::db(db) else { return Ok(terms::answer(env, Err(ReadError::BadArgument))) };
    let arguments = keys.list_length()?.saturating_add(argv.list_length()?);
    let script = match script.decode::<ResourceArc<Loaded>>() {
        Ok(loaded) => Some(loaded.0.clone()),
        Err(_) => ENGINE.known(script.decode::<Binary<'a>>()?.as_slice()),
    };
    let Ok(call) = Call::new(keys, argv, limits) else { return Ok(terms::answer(env, Err(ReadError::BadArgument))) };
    let Some(script) = script.filter(|_| arguments <= QUICK_ARGUMENTS_MAX) else {
        return Ok(atoms::long().to_term(env));
    };
    let Some(snapshot) = source.keep() else { return Ok(env.error_tuple(source.unreadable())) };
    let subject = Subject { snapshot, db, now_ms: now_ms(), abandoned: None };
    Ok(match ENGINE.attempt(&script, subject, &call.keys, &call.args, call.limits) {
        Some(answer) => terms::script_answer(env, &answer),
        None => atoms::long().to_term(env),
    })
}

/// Runs a script to its end elsewhere; `pid`, which is the caller's, receives `{tag, :done}`, or `{tag, error}` after a panic. Answers
/// `{:ok, ticket}`, with which it then asks [`lua_answer`], or `{:error, reason}`. `arguments` is `{keys, args}`, those that
/// [`lua_attempt`] has taken.
#[rustler::nif]
fn lua_start<'a>(
    env: Env<'a>,
    source: SourceRef,
    db: Term<'a>,
    script: Term<'a>,
    arguments: Term<'a>,
    limits: (u64, usize),
    (pid, tag): (LocalPid, Term<'a>),
) -> NifResult<Term<'a>> {
    let Ok(db) = terms::db(db) else { return Ok(terms::answer(env, Err(ReadError::BadArgument))) };
    let Some(snapshot) = source.keep() else { return Ok(env.error_tuple(source.unreadable())) };
    let done = Arc::new(Run::default());
    let subject = Subject { snapshot: snapshot.clone(), db, now_ms: now_ms(), abandoned: Some(done.abandoned.clone()) };
    let home = OwnedEnv::new();
    let saved = home.save((script, arguments).encode(env));
    let ticket = ResourceArc::new(Ticket(done.clone()));
    let caller = Caller::new(pid, tag);
    let started = pool::run(move || {
        if done.abandoned.load(Ordering::Relaxed) {
            return caller.forget();
        }
        let answer = source.keeping_order(&snapshot, || home.run(|env| run(saved.load(env), subject, limits)));
        reaper::release(snapshot);
        *done.answer.lock() = Some(answer);
        caller.answer(|env| atoms::done().to_term(env));
    });
    Ok(match started {
        Ok(()) => (atom::ok(), ticket).encode(env),
        Err(pool::NoThread) => env.error_tuple(atoms::no_thread()),
    })
}

fn run(terms: Term<'_>, subject: Subject, limits: (u64, usize)) -> Answer {
    let decoded = terms.decode::<(Term<'_>, (Term<'_>, Term<'_>))>().map_err(|_| ReadError::BadArgument);
    let call = decoded.and_then(|(script, (keys, args))| Ok((script, Call::new(keys, args, limits)?)));
    let (script, call) = match call {
        Ok(call) => call,
        Err(error) => return Answer::Refused(error),
    };
    let script = match (script.decode::<ResourceArc<Loaded>>(), script.decode::<Binary<'_>>()) {
        (Ok(loaded), _) => Ok(loaded.0.clone()),
        (_, Ok(source)) => ENGINE.script(source.as_slice()),
        (Err(_), Err(_)) => return Answer::Refused(ReadError::BadArgument),
    };
    Answer::Script(script.and_then(|script| ENGINE.run(&script, subject, &call.keys, &call.args, call.limits)))
}

/// What became of a script, once its caller has been told `:done`: `{:ok, value}`, `{:error, reason}`, or `:dirty`: too large for here,
/// ask [`lua_answer_dirty`].
#[rustler::nif]
fn lua_answer(env: Env<'_>, ticket: ResourceArc<Ticket>) -> Term<'_> {
    let mut answer = ticket.0.answer.lock();
    match &*answer {
        Some(Answer::Script(Ok(value))) if !fits(value, &mut { ELEMENTS_MAX }) => atoms::dirty().to_term(env),
        _ => told(env, answer.take()),
    }
}

#[rustler::nif(schedule = "DirtyCpu")]
fn lua_answer_dirty(env: Env<'_>, ticket: ResourceArc<Ticket>) -> Term<'_> {
    let answer = ticket.0.answer.lock().take();
    told(env, answer)
}

fn told(env: Env<'_>, answer: Option<Answer>) -> Term<'_> {
    match answer {
        Some(Answer::Script(answer)) => terms::script_answer(env, &answer),
        Some(Answer::Refused(error)) => terms::answer(env, Err(error)),
        // Asked for twice.
        None => env.error_tuple(atoms::not_found()),
    }
}

/// Whether a value holds no more than `left` values, as one of which each KB of bytes counts.
fn fits(value: &LuaValue, left: &mut usize) -> bool {
    match value {
        LuaValue::Bytes(bytes) => takes(bytes.len(), left),
        LuaValue::List(items) => takes(0, left) && items.iter().all(|item| fits(item, left)),
        LuaValue::Map(entries) => {
            takes(0, left) && entries.iter().all(|(key, value)| takes(key.len(), left) && fits(value, left))
        }
        _ => takes(0, left),
    }
}

/// Takes one of so many bytes off what is left; `false` when that is not enough.
fn takes(bytes: usize, left: &mut usize) -> bool {
    let less = left.checked_sub(1 + bytes / 1024);
    *left = less.unwrap_or(0);
    less.is_some()
}

/// Compiles a source elsewhere; `pid` receives `{tag, {:ok, script}}` or `{tag, {:error, {:lua, kind, message}}}`.
#[rustler::nif]
fn lua_load<'a>(env: Env<'a>, source: Binary<'a>, pid: LocalPid, tag: Term<'a>) -> Term<'a> {
    let (home, caller) = (OwnedEnv::new(), Caller::new(pid, tag));
    let source = home.save(source.to_term(env));
    let started = pool::run(move || {
        let script =
            home.run(|env| source.load(env).decode::<Binary<'_>>().map(|source| Script::compile(source.as_slice())));
        match script {
            Ok(Ok(script)) => {
                let loaded = ResourceArc::new(Loaded(Arc::new(script)));
                caller.answer(|env| (atom::ok(), loaded).encode(env));
            }
            Ok(Err(error)) => caller.answer(|env| terms::script_error(env, &error)),
            Err(_) => caller.answer(|env| terms::answer(env, Err(ReadError::BadArgument))),
        }
    });
    match started {
        Ok(()) => atom::ok().to_term(env),
        Err(pool::NoThread) => env.error_tuple(atoms::no_thread()),
    }
}

/// Who waits for an answer, and gets one whatever happens.
struct Caller {
    recipient: Recipient,
    answered: AtomicBool,
}

impl Caller {
    fn new(pid: LocalPid, tag: Term<'_>) -> Self {
        Caller { recipient: Recipient::new(pid, tag), answered: AtomicBool::new(false) }
    }

    fn answer(&self, answer: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        self.recipient.send(answer);
        self.forget();
    }

    fn forget(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.recipient.send(|env| env.error_tuple(atoms::panicked()));
        }
    }
}
