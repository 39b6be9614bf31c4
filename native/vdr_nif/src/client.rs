//! Commands of the user and positions, as NIFs. A call is answered by a message `{tag, answer}`;
//! the caller holds its ticket until then.

use crate::questions::LinkProcess;
use crate::recipient::Recipient;
use crate::source::SourceRef;
use crate::store::{Client, Inner, Store};
use crate::terms;
use rustler::types::atom;
use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use std::sync::Arc;
use vdr_link::{Answer, Busy, Call, Caller, ClientPool, Kind, Refused, Request, Stage};
use vdr_replica::position::Position;

/// Calls of more bytes, or of more terms, are encoded on a dirty scheduler.
const BYTES_MAX: usize = 64 << 10;
const TERMS_MAX: usize = 2000;

mod atoms {
    rustler::atoms! {
        dirty, overloaded, no_thread, no_instance, not_connected, not_allowed, request_too_large, bad_argument,
        queued, sent, written, done
    }
}

/// Held by the caller until it has the answer. Its drop abandons the call.
struct Ticket(Arc<Call>);

#[rustler::resource_impl]
impl Resource for Ticket {}

impl Drop for Ticket {
    fn drop(&mut self) {
        abandon(&self.0);
    }
}

/// The caller has given up, or has died. Answers how far the call had come.
fn abandon(call: &Arc<Call>) -> Stage {
    let stage = call.cancel();
    if !matches!(stage, Stage::Done | Stage::Cancelled) && call.has_ticket() {
        let call = call.clone();
        let _no_thread = vdr_link::run_soon(move || call.stop_waiting());
    }
    stage
}

impl Caller for Recipient {
    fn answer(&self, answer: Answer) {
        self.send(|env| terms::call_answer(env, &answer));
    }
}

/// Says how the store's commands reach the primary. `pid`, the process of the link, is asked for
/// passwords and hosts by messages `{tag, {:ask, number, question}}`. No connection is opened yet.
#[rustler::nif]
fn client_start<'a>(source: SourceRef, config: Term<'a>, pid: LocalPid, tag: Term<'a>) -> NifResult<Atom> {
    let inner = store(&source)?.inner();
    let process = Arc::new(LinkProcess::new(Recipient::new(pid, tag)));
    let config = terms::pool_config(config, inner.slot.log.number())?;
    let pool = ClientPool::new(config, process.clone(), inner.waiters.clone());
    let _before = inner.client.lock().replace(Arc::new(Client { pool, process }));
    if store(&source)?.is_closed() {
        let _after_the_end = inner.client.lock().take();
    }
    Ok(atom::ok())
}

/// The link follows this server now: `{host, port}`, or `{path, 0}` for a Unix socket.
#[rustler::nif]
fn client_follow(source: SourceRef, server: Term<'_>) -> NifResult<Atom> {
    let server = terms::endpoint(server)?;
    if let Some(client) = store(&source)?.inner().client() {
        client.pool.follow(server);
    }
    Ok(atom::ok())
}

/// Answers a question. nil: the user's function failed.
#[rustler::nif]
fn client_answer(source: SourceRef, number: u64, answer: Option<Binary<'_>>) -> NifResult<Atom> {
    if let Some(client) = store(&source)?.inner().client() {
        client.process.answer(number, answer.map(|answer| answer.as_slice().to_vec()));
    }
    Ok(atom::ok())
}

/// Whether commands can be sent, as `info/1` says it.
#[rustler::nif]
fn client_state(env: Env<'_>, source: SourceRef) -> NifResult<Term<'_>> {
    Ok(terms::word(env, store(&source)?.writes().as_str()))
}

/// Sends commands: `kind` is `:command`, `:pipeline` or `:transaction`, `awaits` is whether the
/// answer comes when the effect is visible. `{:ok, ticket}`, `{:error, reason}`, or `:dirty`: too
/// large for a normal scheduler, call [`client_call_dirty`].
#[rustler::nif]
fn client_call<'a>(
    env: Env<'a>,
    source: SourceRef,
    kind: Term<'a>,
    db: u32,
    commands: Term<'a>,
    awaits: bool,
    caller: (LocalPid, Term<'a>),
) -> NifResult<Term<'a>> {
    if !terms::fits(commands, TERMS_MAX) {
        return Ok(atoms::dirty().to_term(env));
    }
    call(env, &source, kind, (db, commands, awaits), caller, Some(BYTES_MAX))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn client_call_dirty<'a>(
    env: Env<'a>,
    source: SourceRef,
    kind: Term<'a>,
    db: u32,
    commands: Term<'a>,
    awaits: bool,
    caller: (LocalPid, Term<'a>),
) -> NifResult<Term<'a>> {
    call(env, &source, kind, (db, commands, awaits), caller, None)
}

fn call<'a>(
    env: Env<'a>,
    source: &SourceRef,
    kind: Term<'a>,
    (db, commands, awaits): (u32, Term<'a>, bool),
    (pid, tag): (LocalPid, Term<'a>),
    bytes_max: Option<usize>,
) -> NifResult<Term<'a>> {
    let inner = store(source)?.inner();
    let kind = terms::call_kind(kind)?;
    let Ok(commands) = terms::commands(commands) else { return Ok(env.error_tuple(atoms::bad_argument())) };
    let bytes = || commands.iter().flatten().map(|word| word.len()).fold(0, usize::saturating_add);
    if bytes_max.is_some_and(|max| bytes() > max) {
        return Ok(atoms::dirty().to_term(env));
    }
    let call = Call::new(Recipient::new(pid, tag), inner.waiters.clone());
    Ok(match Request::new(kind, db, &commands, awaits, call.clone()) {
        Ok(request) => submit(env, source, request, call),
        Err(Refused::NotAllowed(name)) => env.error_tuple((atoms::not_allowed(), name)),
        Err(Refused::TooLarge) => env.error_tuple(atoms::request_too_large()),
    })
}

/// Waits until all that the primary has done so far is visible: `{:ok, ticket}` or `{:error,
/// reason}`.
#[rustler::nif]
fn client_sync<'a>(env: Env<'a>, source: SourceRef, pid: LocalPid, tag: Term<'a>) -> NifResult<Term<'a>> {
    let call = Call::new(Recipient::new(pid, tag), store(&source)?.inner().waiters.clone());
    Ok(submit(env, &source, Request::sync(Kind::Sync, call.clone()), call))
}

fn submit<'a>(env: Env<'a>, source: &SourceRef, mut request: Request, call: Arc<Call>) -> Term<'a> {
    let Some(client) = source.store().and_then(|store| store.inner().client()) else {
        // Nobody takes it, so nobody answers it.
        request.hand_over();
        let closed = source.store().is_none_or(Store::is_closed);
        return env.error_tuple(if closed { atoms::no_instance() } else { atoms::not_connected() });
    };
    match client.pool.submit(request) {
        Ok(()) => (atom::ok(), ResourceArc::new(Ticket(call))).encode(env),
        Err(Busy::Overloaded) => env.error_tuple(atoms::overloaded()),
        Err(Busy::NoThread) => env.error_tuple(atoms::no_thread()),
    }
}

/// Gives a call up. `{stage, error}`: how far it had come, `:queued`, `:sent` or `:written`, and
/// why there is no connection, or nil. `:done`: the answer is in the mailbox, or will be in a
/// moment.
#[rustler::nif]
fn client_cancel<'a>(env: Env<'a>, source: SourceRef, ticket: ResourceArc<Ticket>) -> NifResult<Term<'a>> {
    let stage = match abandon(&ticket.0) {
        Stage::Queued => atoms::queued(),
        Stage::Sent => atoms::sent(),
        Stage::Written => atoms::written(),
        Stage::Done | Stage::Cancelled => return Ok(atoms::done().to_term(env)),
    };
    let error = store(&source)?.inner().client().and_then(|client| client.pool.last_error());
    Ok((stage, error.map(|code| terms::word(env, code))).encode(env))
}

/// The position of what can be read now: `{:ok, {replication_id, offset}}`.
#[rustler::nif]
fn position(env: Env<'_>, source: SourceRef) -> Term<'_> {
    // A watch may be set since this position.
    source.store().iter().for_each(|store| store.inner().shared.recent.want());
    let position = source.read(|snapshot| {
        let id = terms::binary(env, snapshot.replication_id.as_bytes());
        (atom::ok(), (id, snapshot.offset)).encode(env)
    });
    position.unwrap_or_else(|| env.error_tuple(source.unreadable()))
}

/// `:ok` when the position is visible now, otherwise `{:ok, ticket}` or `{:error, reason}`.
#[rustler::nif]
fn position_await<'a>(
    env: Env<'a>,
    source: SourceRef,
    replication_id: &str,
    offset: u64,
    (pid, tag): (LocalPid, Term<'a>),
) -> NifResult<Term<'a>> {
    let store = store(&source)?;
    let loaded = store.live().load();
    if loaded.get().is_some_and(|now| &*now.replication_id == replication_id && now.offset >= offset) {
        return Ok(atom::ok().to_term(env));
    }
    drop(loaded);
    if store.is_closed() {
        return Ok(env.error_tuple(atoms::no_instance()));
    }
    let call = Call::new(Recipient::new(pid, tag), store.inner().waiters.clone());
    let position = Position { replication_id: Arc::from(replication_id), offset };
    let (inner, waiting) = (store.inner().clone(), call.clone());
    // The list of those who wait is for threads of the library only, so that the publisher never
    // waits for a thread of the VM.
    let started = vdr_link::run_soon(move || await_position(&inner, position, waiting));
    Ok(match started {
        Ok(()) => (atom::ok(), ResourceArc::new(Ticket(call))).encode(env),
        Err(_) => env.error_tuple(atoms::no_thread()),
    })
}

fn await_position(inner: &Inner, position: Position, call: Arc<Call>) {
    let is_unknown = vdr_link::answer_at(&inner.waiters, position, call, Answer::Visible);
    // Does the id belong to another primary, or to the next one of this? The primary says what its
    // ids are.
    if is_unknown {
        inner.identify();
    }
}

fn store(source: &SourceRef) -> NifResult<&Store> {
    source.store().ok_or(rustler::Error::BadArg)
}
