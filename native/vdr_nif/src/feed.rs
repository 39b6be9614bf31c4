//! A link without a network, as NIFs. `Vdr.Testing.Primary` plays the primary: what it sends goes
//! to the sink of a mirror as a link's bytes do. Each step runs on a thread of a pool, and its
//! caller receives `{tag, answer}`: `{:ok, position}`, `{:ended, code, detail}` when the sink
//! refused its input, or `{:error, reason}`.

use crate::caller::Caller;
use crate::dropper;
use crate::link_observer::LinkObserver;
use crate::pool;
use crate::recipient::Recipient;
use crate::source::{Source, SourceRef};
use crate::store::{Inner, Store};
use crate::terms;
use bytes::BytesMut;
use parking_lot::Mutex;
use rustler::types::atom;
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use std::sync::Arc;
use vdr_link::{
    Cause, Endpoint, LinkEnd, LinkState, MirrorSink, Observer, Position, RdbStep, Role, Sink, SinkError, now_ms,
};
use vdr_replica::live::Snapshot;

mod atoms {
    rustler::atoms! { closed, ended, no_thread }
}

/// The content of a feed's resource; `None` when the link has ended.
pub struct Feed {
    link: Arc<Mutex<Option<FedLink>>>,
}

#[rustler::resource_impl]
impl Resource for Feed {}

impl Drop for Feed {
    fn drop(&mut self) {
        dropper::defer_drop(self.link.clone());
    }
}

struct FedLink {
    inner: Arc<Inner>,
    sink: MirrorSink,
    observer: LinkObserver,
    endpoint: Endpoint,
    state: LinkState,
    /// What the sink has left: the beginning of a command.
    input: BytesMut,
}

impl FedLink {
    fn enter(&mut self, state: LinkState) {
        self.state = state;
        self.observer.state(state);
        if state == LinkState::Psync {
            self.observer.role(Role::Primary);
        }
    }

    /// The link streams: the primary's id is that of the data.
    fn identify(&self, replication_id: &str) {
        *self.inner.played_id.lock() = Some(replication_id.to_owned());
        self.inner.identify();
    }

    fn end(self, cause: Cause) {
        let FedLink { inner, mut sink, observer, endpoint, state, .. } = self;
        *inner.played_id.lock() = None;
        sink.ended();
        drop(sink);
        observer.ended(&LinkEnd { endpoint, state, cause });
    }

    fn stream(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.observer.received(bytes.len());
        self.input.extend_from_slice(bytes);
        while self.sink.stream(&mut self.input)?.left {}
        Ok(())
    }

    fn file(&mut self, replication_id: &str, offset: u64, file: &[u8]) -> Result<(), SinkError> {
        self.enter(LinkState::RdbTransfer);
        self.sink.sync_started(Some(&Position { replication_id: replication_id.to_owned(), offset }));
        match self.sink.rdb(file)? {
            RdbStep::Done { .. } => self.sink.sync_finished()?,
            RdbStep::More | RdbStep::Part { .. } => return Err(SinkError::soon("rdb_truncated", "")),
        }
        self.enter(LinkState::Streaming);
        self.identify(replication_id);
        Ok(())
    }

    fn data(&mut self, replication_id: &str, offset: u64, data: &Snapshot) -> Result<(), SinkError> {
        self.enter(LinkState::RdbTransfer);
        self.sink.sync_data(replication_id, offset, data)?;
        self.enter(LinkState::Streaming);
        self.identify(replication_id);
        Ok(())
    }
}

/// Starts a link of a store that a test feeds, and replaces the previous link. `pid` receives what
/// a link's process receives, see `link_start`.
#[rustler::nif]
fn feed_start<'a>(
    env: Env<'a>,
    source: SourceRef,
    config: Term<'a>,
    pid: LocalPid,
    tag: Term<'a>,
) -> NifResult<Term<'a>> {
    let (feed_config, endpoint) =
        (terms::feed_config(config)?, terms::link_config(config, source.slot()?.log.number())?.endpoint);
    let Source::Live(store) = &*source else { return Err(rustler::Error::BadArg) };
    let inner = store.inner().clone();
    let observer = LinkObserver::new(inner.slot.clone(), Recipient::new(pid, tag), Some(inner.shared.watches.clone()));
    let sink = observer.feed(inner.clone(), endpoint.clone(), feed_config);
    let input = BytesMut::new();
    let link = FedLink { inner, sink, observer, endpoint, state: LinkState::Init, input };
    if store.is_closed() {
        store.inner().slot.unlink();
    }
    Ok(ResourceArc::new(Feed { link: Arc::new(Mutex::new(Some(link))) }).encode(env))
}

/// The position at which the mirror can resume: `{:ok, {replication_id, offset}}`, or `{:ok, nil}`.
#[rustler::nif]
fn feed_attach<'a>(env: Env<'a>, feed: ResourceArc<Feed>, caller: (LocalPid, Term<'a>)) -> Term<'a> {
    submit(env, &feed, caller, |link| {
        link.enter(LinkState::Psync);
        Ok(link.sink.position())
    })
}

/// The stream is resumed.
#[rustler::nif]
fn feed_continue<'a>(env: Env<'a>, feed: ResourceArc<Feed>, id: String, caller: (LocalPid, Term<'a>)) -> Term<'a> {
    submit(env, &feed, caller, move |link| {
        link.sink.continued(&id);
        link.enter(LinkState::Streaming);
        link.identify(&id);
        Ok(None)
    })
}

/// A full sync from a snapshot file.
#[rustler::nif]
fn feed_file<'a>(
    env: Env<'a>,
    feed: ResourceArc<Feed>,
    (id, offset): (String, u64),
    file: Binary<'a>,
    caller: (LocalPid, Term<'a>),
) -> Term<'a> {
    let file = file.as_slice().to_vec();
    submit(env, &feed, caller, move |link| link.file(&id, offset, &file).map(|()| None))
}

/// A full sync from the data of a source.
#[rustler::nif]
fn feed_data<'a>(
    env: Env<'a>,
    feed: ResourceArc<Feed>,
    (id, offset): (String, u64),
    data: SourceRef,
    caller: (LocalPid, Term<'a>),
) -> NifResult<Term<'a>> {
    let data = data.keep().ok_or(rustler::Error::BadArg)?;
    Ok(submit(env, &feed, caller, move |link| {
        let synced = link.data(&id, offset, &data);
        dropper::release(data);
        synced.map(|()| None)
    }))
}

/// Bytes of the stream.
#[rustler::nif]
fn feed_stream<'a>(env: Env<'a>, feed: ResourceArc<Feed>, bytes: Binary<'a>, caller: (LocalPid, Term<'a>)) -> Term<'a> {
    let bytes = bytes.as_slice().to_vec();
    submit(env, &feed, caller, move |link| link.stream(&bytes).map(|()| None))
}

/// The primary closes the connection.
#[rustler::nif]
fn feed_end<'a>(env: Env<'a>, feed: ResourceArc<Feed>, caller: (LocalPid, Term<'a>)) -> Term<'a> {
    let link = feed.link.clone();
    on_pool(env, caller, move |caller| {
        let fed = link.lock().take();
        fed.into_iter().for_each(|fed| fed.end(Cause::Closed));
        caller.answer(|env| (atom::ok(), atom::nil()).encode(env));
    })
}

/// Readers of the store see this time from now on, in Unix milliseconds; with nil, the clock's.
#[rustler::nif]
fn feed_time<'a>(
    env: Env<'a>,
    source: SourceRef,
    time_ms: Option<i64>,
    caller: (LocalPid, Term<'a>),
) -> NifResult<Term<'a>> {
    let inner = source.store().map(Store::inner).ok_or(rustler::Error::BadArg)?.clone();
    Ok(on_pool(env, caller, move |caller| {
        inner.mirror.lock().set_time(time_ms, now_ms());
        caller.answer(|env| (atom::ok(), atom::nil()).encode(env));
    }))
}

/// Runs one step of a link.
fn submit<'a>(
    env: Env<'a>,
    feed: &Feed,
    caller: (LocalPid, Term<'a>),
    step: impl FnOnce(&mut FedLink) -> Result<Option<Position>, SinkError> + Send + 'static,
) -> Term<'a> {
    let link = feed.link.clone();
    on_pool(env, caller, move |caller| {
        let mut place = link.lock();
        // After a panic there is no link any more.
        let Some(mut fed) = place.take() else { return caller.answer(|env| env.error_tuple(atoms::closed())) };
        match step(&mut fed) {
            Ok(position) => {
                *place = Some(fed);
                drop(place);
                let position = position.map(|position| (position.replication_id, position.offset));
                caller.answer(|env| (atom::ok(), position).encode(env));
            }
            Err(error) => {
                drop(place);
                let (code, detail) = (error.code, error.detail.clone());
                fed.end(Cause::Sink(error));
                caller.answer(|env| (atoms::ended(), terms::word(env, code), detail).encode(env));
            }
        }
    })
}

fn on_pool<'a>(env: Env<'a>, (pid, tag): (LocalPid, Term<'a>), job: impl FnOnce(Caller) + Send + 'static) -> Term<'a> {
    let caller = Caller::new(pid, tag);
    match pool::FEEDS.run(move || job(caller)) {
        Ok(()) => atom::ok().to_term(env),
        Err(pool::NoThread) => env.error_tuple(atoms::no_thread()),
    }
}
