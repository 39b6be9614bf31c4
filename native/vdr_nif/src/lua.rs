//! Scripts as NIFs: first a quick attempt on the caller's scheduler, then a full run on a thread of
//! the pool.

use crate::caller::Caller;
use crate::dropper;
use crate::entry::entries;
use crate::pool;
use crate::read::ELEMENTS_MAX;
use crate::source::{Source, SourceRef};
use crate::terms::{self, ArgList};
use parking_lot::Mutex;
use rustler::types::atom;
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use vdr_commands::ReadError;
use vdr_link::now_ms;
use vdr_lua::{Engine, Limits, LuaValue, Script, ScriptError, Subject};

/// With more keys and arguments than this there is no quick attempt, since decoding them is work
/// too.
const QUICK_ARGUMENTS_MAX: usize = 100;

mod atoms {
    rustler::atoms! { dirty, done, long, not_found, no_thread }
}

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::new);

/// A compiled script. Only `lua_load` makes one, so no bytecode comes from outside.
struct Loaded(Arc<Script>);

#[rustler::resource_impl]
impl Resource for Loaded {}

/// Held by the caller until it has taken the answer. Its drop abandons the script.
struct Ticket(Arc<Run>);

#[rustler::resource_impl]
impl Resource for Ticket {}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
        if let Some(answer) = self.0.answer.lock().take() {
            dropper::defer_drop(answer);
        }
    }
}

/// A script on a thread of the pool. Its answer is encoded on a scheduler of the VM only: to build
/// a map of more than 32 keys, ERTS uses data of the scheduler, which is a null pointer on other
/// threads.
#[derive(Default)]
struct Run {
    abandoned: Arc<AtomicBool>,
    answer: Mutex<Option<Answer>>,
}

enum Answer {
    Script(Result<LuaValue, ScriptError>),
    Refused(ReadError),
}

/// The arguments of a script, borrowed from terms.
struct Call<'a> {
    keys: Vec<&'a [u8]>,
    args: ArgList<'a>,
    limits: Limits,
}

impl<'a> Call<'a> {
    fn new(keys: Term<'a>, args: Term<'a>, (timeout_ms, memory_bytes): (u64, usize)) -> Result<Self, ReadError> {
        let limits = Limits { timeout: Duration::from_millis(timeout_ms), memory_bytes };
        Ok(Call { keys: terms::strings(keys)?, args: terms::args(args)?, limits })
    }
}

entries! {
    /// `{:ok, value}`, `{:error, reason}`, or `:long`: too long for a scheduler, call
    /// [`lua_start`]. A script is the result of [`lua_load`], or a source.
    fn lua_attempt(env, source, db, script, keys, argv, limits) {
        attempt(env, source.decode()?, db, script, (keys, argv), limits.decode()?)
    }
}

fn attempt<'a>(
    env: Env<'a>,
    source: &Source,
    db: Term<'a>,
    script: Term<'a>,
    (keys, argv): (Term<'a>, Term<'a>),
    limits: (u64, usize),
) -> NifResult<Term<'a>> {
    let Ok(db) = terms::db(db) else { return Ok(terms::answer(env, &Err(ReadError::BadArgument))) };
    let arguments = keys.list_length()?.saturating_add(argv.list_length()?);
    let script = match script.decode::<&Loaded>() {
        Ok(loaded) => Some(loaded.0.clone()),
        Err(_) => ENGINE.cached(script.decode::<Binary<'a>>()?.as_slice()),
    };
    let Ok(call) = Call::new(keys, argv, limits) else { return Ok(terms::answer(env, &Err(ReadError::BadArgument))) };
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

/// Runs a script to its end on the pool. `pid`, the caller's, receives `{tag, :done}`, or `{tag,
/// error}` after a panic. Answers `{:ok, ticket}`, with which it then asks [`lua_answer`], or
/// `{:error, reason}`. `arguments` is `{keys, args}`, those that [`lua_attempt`] has taken.
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
    let Ok(db) = terms::db(db) else { return Ok(terms::answer(env, &Err(ReadError::BadArgument))) };
    let Some(snapshot) = source.keep() else { return Ok(env.error_tuple(source.unreadable())) };
    let done = Arc::new(Run::default());
    let subject = Subject { snapshot: snapshot.clone(), db, now_ms: now_ms(), abandoned: Some(done.abandoned.clone()) };
    let owned_env = OwnedEnv::new();
    let saved = owned_env.save((script, arguments).encode(env));
    let ticket = ResourceArc::new(Ticket(done.clone()));
    let caller = Caller::new(pid, tag);
    let started = pool::SCRIPTS.run(move || {
        if done.abandoned.load(Ordering::Relaxed) {
            return caller.forget();
        }
        let answer = source.sharing_key_index(&snapshot, || owned_env.run(|env| run(saved.load(env), subject, limits)));
        dropper::release(snapshot);
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

/// The answer of a script, after the message `:done`: `{:ok, value}`, `{:error, reason}`, or
/// `:dirty`: too large for a normal scheduler, call [`lua_answer_dirty`].
#[rustler::nif]
fn lua_answer(env: Env<'_>, ticket: ResourceArc<Ticket>) -> Term<'_> {
    let mut answer = ticket.0.answer.lock();
    match &*answer {
        Some(Answer::Script(Ok(value))) if !fits(value, &mut { ELEMENTS_MAX }) => atoms::dirty().to_term(env),
        _ => encode(env, answer.take()),
    }
}

#[rustler::nif(schedule = "DirtyCpu")]
fn lua_answer_dirty(env: Env<'_>, ticket: ResourceArc<Ticket>) -> Term<'_> {
    let answer = ticket.0.answer.lock().take();
    encode(env, answer)
}

fn encode(env: Env<'_>, answer: Option<Answer>) -> Term<'_> {
    match answer {
        Some(Answer::Script(answer)) => terms::script_answer(env, &answer),
        Some(Answer::Refused(error)) => terms::answer(env, &Err(error)),
        // It was taken before.
        None => env.error_tuple(atoms::not_found()),
    }
}

/// Whether a value consists of at most `left` values. Each KB of bytes counts as one.
fn fits(value: &LuaValue, left: &mut usize) -> bool {
    match value {
        LuaValue::Bytes(bytes) => count(bytes.len(), left),
        LuaValue::List(items) => count(0, left) && items.iter().all(|item| fits(item, left)),
        LuaValue::Map(entries) => {
            count(0, left) && entries.iter().all(|(key, value)| count(key.len(), left) && fits(value, left))
        }
        _ => count(0, left),
    }
}

/// Counts one value of so many bytes; `false` when that exceeds what is left.
fn count(bytes: usize, left: &mut usize) -> bool {
    let less = left.checked_sub(1 + bytes / 1024);
    *left = less.unwrap_or(0);
    less.is_some()
}

/// Compiles a source on the pool. `pid` receives `{tag, {:ok, script}}` or `{tag, {:error, {:lua,
/// kind, message}}}`.
#[rustler::nif]
fn lua_load<'a>(env: Env<'a>, source: Binary<'a>, pid: LocalPid, tag: Term<'a>) -> Term<'a> {
    let (owned_env, caller) = (OwnedEnv::new(), Caller::new(pid, tag));
    let source = owned_env.save(source.to_term(env));
    let started = pool::SCRIPTS.run(move || {
        let script = owned_env
            .run(|env| source.load(env).decode::<Binary<'_>>().map(|source| Script::compile(source.as_slice())));
        match script {
            Ok(Ok(script)) => {
                let loaded = ResourceArc::new(Loaded(Arc::new(script)));
                caller.answer(|env| (atom::ok(), loaded).encode(env));
            }
            Ok(Err(error)) => caller.answer(|env| terms::script_error(env, &error)),
            Err(_) => caller.answer(|env| terms::answer(env, &Err(ReadError::BadArgument))),
        }
    });
    match started {
        Ok(()) => atom::ok().to_term(env),
        Err(pool::NoThread) => env.error_tuple(atoms::no_thread()),
    }
}
