//! Scripts as NIFs: a quick attempt on the caller's scheduler, and the whole of it on a thread of the pool.

use crate::pool;
use crate::source::{SourceRef, now_ms};
use crate::store::Store;
use crate::terms::{self, ArgList};
use crate::watcher::Recipient;
use rustler::types::atom;
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use vdr_core::commands::ReadError;
use vdr_lua::{Engine, Limits, Script, Subject};

/// More keys and arguments than this are work of their own, and no quick attempt.
const QUICK_ARGUMENTS_MAX: usize = 100;

mod atoms {
    rustler::atoms! { long, not_found, not_ready, no_thread, panicked }
}

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::new);

/// A compiled script. Nothing but [`lua_load`] makes one, so no bytecode comes from outside.
struct Loaded(Arc<Script>);

#[rustler::resource_impl]
impl Resource for Loaded {}

/// What the caller holds while its script runs: without it nobody waits for the answer.
struct Ticket(Arc<AtomicBool>);

#[rustler::resource_impl]
impl Resource for Ticket {}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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

/// What [`lua_attempt`] answers when there is nothing to read.
fn nothing<'a>(env: Env<'a>, source: &SourceRef) -> Term<'a> {
    let closed = source.store().is_some_and(Store::is_closed);
    env.error_tuple(if closed { atoms::not_found() } else { atoms::not_ready() })
}

/// `{:ok, value}`, `{:error, reason}`, or `:long`: too long for here, ask [`lua_start`]. A script is what [`lua_load`] made
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
    let Some(snapshot) = source.keep() else { return Ok(nothing(env, &source)) };
    let subject = Subject { snapshot, db, now_ms: now_ms(), abandoned: None };
    Ok(match ENGINE.attempt(&script, subject, &call.keys, &call.args, call.limits) {
        Some(answer) => terms::script_answer(env, &answer),
        None => atoms::long().to_term(env),
    })
}

/// Runs a script to its end elsewhere; `pid`, which is the caller's, receives `{tag, answer}`. Answers `{:ok, ticket}`, to be
/// held until then (see [`lua_done`]), or `{:error, reason}`. `arguments` is `{keys, args}`, those that [`lua_attempt`] has taken.
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
    let Some(snapshot) = source.keep() else { return Ok(nothing(env, &source)) };
    let abandoned = Arc::new(AtomicBool::new(false));
    let subject = Subject { snapshot, db, now_ms: now_ms(), abandoned: Some(abandoned.clone()) };
    let home = OwnedEnv::new();
    let saved = home.save((script, arguments).encode(env));
    let caller = Caller::new(pid, tag);
    let started = pool::run(move || {
        if subject.abandoned.as_ref().is_some_and(|abandoned| abandoned.load(Ordering::Relaxed)) {
            return caller.forget();
        }
        home.run(|env| run(&caller, saved.load(env), subject, limits));
    });
    Ok(match started {
        Ok(()) => (atom::ok(), ResourceArc::new(Ticket(abandoned))).encode(env),
        Err(pool::NoThread) => env.error_tuple(atoms::no_thread()),
    })
}

fn run(caller: &Caller, terms: Term<'_>, subject: Subject, limits: (u64, usize)) {
    let decoded = terms.decode::<(Term<'_>, (Term<'_>, Term<'_>))>().map_err(|_| ReadError::BadArgument);
    let call = decoded.and_then(|(script, (keys, args))| Ok((script, Call::new(keys, args, limits)?)));
    let (script, call) = match call {
        Ok(call) => call,
        Err(error) => return caller.answer(|env| terms::answer(env, Err(error))),
    };
    let script = match (script.decode::<ResourceArc<Loaded>>(), script.decode::<Binary<'_>>()) {
        (Ok(loaded), _) => Ok(loaded.0.clone()),
        (_, Ok(source)) => ENGINE.script(source.as_slice()),
        (Err(_), Err(_)) => return caller.answer(|env| terms::answer(env, Err(ReadError::BadArgument))),
    };
    let answer = script.and_then(|script| ENGINE.run(&script, subject, &call.keys, &call.args, call.limits));
    caller.answer(|env| terms::script_answer(env, &answer));
}

/// Called with a ticket once the answer is there, so that the VM takes it for needed until then.
#[rustler::nif]
fn lua_done(_ticket: ResourceArc<Ticket>) -> rustler::Atom {
    atom::ok()
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
