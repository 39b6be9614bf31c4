//! What a read can read: the resource behind an instance and behind a `Vdr.Snapshot`.

use crate::handler::Handler;
use crate::reaper;
use crate::seat::Seat;
use crate::store::Store;
use parking_lot::Mutex;
use rustler::{Atom, Env, LocalPid, Monitor, Resource, ResourceArc};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use vdr_replica::live::{Live, Snapshot};

mod atoms {
    rustler::atoms! { no_instance, not_ready, stale }
}

pub enum Source {
    /// An instance: whatever is published at the time of the read.
    Live(Store),
    /// One state that never changes.
    Fixed(Held),
    /// Nothing: a process takes what the link brings.
    Handler(Handler),
}

pub type SourceRef = ResourceArc<Source>;

#[rustler::resource_impl]
impl Resource for Source {
    /// A process that watched, or that kept the link, is gone.
    fn down<'a>(&'a self, env: Env<'a>, pid: LocalPid, monitor: Monitor) {
        match self {
            Source::Live(store) => store.down(env, pid, monitor),
            Source::Handler(handler) => drop(handler.inner().seat.down(&monitor)),
            Source::Fixed(_) => {}
        }
    }
}

impl Source {
    /// Reads the state of now; `None` when there is none that may be read, see [`Source::unreadable`].
    pub fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        match self {
            Source::Live(store) if store.is_stale() => None,
            Source::Live(store) => store.live().load().as_deref().map(read),
            Source::Fixed(held) => held.snapshot.as_deref().map(read),
            Source::Handler(_) => None,
        }
    }

    /// As [`Source::read`], for what takes its time: the state may be replaced meanwhile, and is freed by the reaper then.
    pub fn read_long<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        let snapshot = self.keep()?;
        let answer = self.keeping_order(&snapshot, || read(&snapshot));
        reaper::release(snapshot);
        Some(answer)
    }

    /// Reads a snapshot of this source. When that puts its keys in order, the instance keeps them so from then on.
    pub fn keeping_order<T>(&self, snapshot: &Arc<Snapshot>, read: impl FnOnce() -> T) -> T {
        let ordered = snapshot.keyspace.ordered();
        let answer = read();
        if snapshot.keyspace.ordered() > ordered {
            match self {
                Source::Live(store) => store.live().offer_key_index(snapshot.clone()),
                Source::Fixed(held) => held.live.offer_key_index(snapshot.clone()),
                Source::Handler(_) => {}
            }
        }
        answer
    }

    /// Why a read had no answer.
    pub fn unreadable(&self) -> Atom {
        match self {
            // The reader looked the store up a moment before the instance ended.
            Source::Live(store) if store.is_closed() => atoms::no_instance(),
            Source::Live(store) if store.inner().seat.standing.may_refuse() && store.has_data() => atoms::stale(),
            _ => atoms::not_ready(),
        }
    }

    /// As [`Source::read`], to keep for a while. Whoever drops it on a scheduler does so at once, or by [`reaper::release`].
    pub fn keep(&self) -> Option<Arc<Snapshot>> {
        match self {
            Source::Live(store) if store.is_stale() => None,
            Source::Live(store) => store.live().snapshot(),
            Source::Fixed(held) => held.snapshot.clone(),
            Source::Handler(_) => None,
        }
    }

    /// One state that nobody else counts.
    pub fn fixed(snapshot: Snapshot) -> SourceRef {
        SourceRef::new(Source::Fixed(Held::new(Arc::new(snapshot), 0, Arc::default(), Arc::default())))
    }

    pub fn store(&self) -> Option<&Store> {
        match self {
            Source::Live(store) => Some(store),
            Source::Fixed(_) | Source::Handler(_) => None,
        }
    }

    pub fn handler(&self) -> Option<&Handler> {
        match self {
            Source::Handler(handler) => Some(handler),
            Source::Live(_) | Source::Fixed(_) => None,
        }
    }

    /// Where a link that feeds it sits.
    pub fn seat(&self) -> Option<&Arc<Seat>> {
        match self {
            Source::Live(store) => Some(&store.inner().seat),
            Source::Handler(handler) => Some(&handler.inner().seat),
            Source::Fixed(_) => None,
        }
    }
}

/// A snapshot that someone holds, and the list of such.
pub struct Held {
    snapshot: Option<Arc<Snapshot>>,
    number: u64,
    list: Arc<Holdings>,
    /// Of the instance that it was taken of.
    live: Arc<Live>,
}

impl Held {
    pub fn new(snapshot: Arc<Snapshot>, full_syncs: u64, list: Arc<Holdings>, live: Arc<Live>) -> Self {
        let number = list.add(Holding { since_ms: now_ms(), offset: snapshot.offset, full_syncs });
        Held { snapshot: Some(snapshot), number, list, live }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.list.remove(self.number);
        self.snapshot.take().into_iter().for_each(reaper::release);
    }
}

/// The held snapshots of one instance, oldest first.
#[derive(Default)]
pub struct Holdings(Mutex<(u64, BTreeMap<u64, Holding>)>);

/// What is known of a held snapshot.
#[derive(Clone, Copy)]
pub struct Holding {
    pub since_ms: i64,
    pub offset: u64,
    /// How many full syncs there had been: a later one replaced everything that this one shares with nobody now.
    pub full_syncs: u64,
}

impl Holdings {
    fn add(&self, holding: Holding) -> u64 {
        let mut list = self.0.lock();
        list.0 += 1;
        let number = list.0;
        list.1.insert(number, holding);
        number
    }

    fn remove(&self, number: u64) {
        self.0.lock().1.remove(&number);
    }

    /// How many there are, and the oldest of them.
    pub fn oldest(&self) -> (usize, Option<Holding>) {
        let list = self.0.lock();
        (list.1.len(), list.1.values().next().copied())
    }
}

/// The clock that expiry is judged by.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
