//! What a read can read: the resource behind an instance and behind a `Vdr.Snapshot`.

use crate::handler::Handler;
use crate::reaper;
use crate::seat::Seat;
use crate::store::Store;
use rustler::{Env, LocalPid, Monitor, Resource, ResourceArc};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use vdr_core::live::Snapshot;

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
    /// Reads the state of now; `None` when there is none yet.
    pub fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        match self {
            Source::Live(store) => store.live().load().as_deref().map(read),
            Source::Fixed(held) => held.snapshot.as_deref().map(read),
            Source::Handler(_) => None,
        }
    }

    /// As [`Source::read`], for what takes its time: the state may be replaced meanwhile, and is freed by the reaper then.
    pub fn read_long<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        let Source::Live(store) = self else { return self.read(read) };
        let snapshot = store.live().snapshot()?;
        let answer = read(&snapshot);
        reaper::bury(snapshot);
        Some(answer)
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

/// A snapshot that someone holds, and the count of such.
pub struct Held {
    snapshot: Option<Arc<Snapshot>>,
    count: Arc<AtomicUsize>,
}

impl Held {
    pub fn new(snapshot: Arc<Snapshot>, count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Held { snapshot: Some(snapshot), count }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        reaper::bury(self.snapshot.take());
    }
}

/// The clock that expiry is judged by.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
