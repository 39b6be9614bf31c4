//! One instance: its mirror, who reads it, who watches it, and the link that feeds it.

use crate::link::{StaleReads, steady};
use crate::reaper;
use crate::seat::Seat;
use crate::source::{Held, Holdings};
use crate::watcher::{Processes, Recipient};
use parking_lot::Mutex;
use rustler::{Encoder, Env, LocalPid, Monitor, Term};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vdr_link::Endpoint;
use vdr_replica::filter::Filter;
use vdr_replica::live::Live;
use vdr_replica::mirror::{Mirror, Shared};
use vdr_replica::watch::{WatchError, Watched};

/// What the instance's resource holds.
pub struct Store {
    inner: Arc<Inner>,
}

/// What the instance's links hold, too.
pub struct Inner {
    pub shared: Shared,
    pub mirror: Arc<Mutex<Mirror>>,
    /// To whom the last link was that came as far as asking for data.
    pub followed: Mutex<Option<Endpoint>>,
    pub seat: Arc<Seat>,
    processes: Mutex<Processes>,
    snapshots: Arc<Holdings>,
    closed: AtomicBool,
}

impl Store {
    /// Writers who set and remove the guard key want what lies between to be seen at once. `only`: what is mirrored, if not
    /// everything.
    pub fn new(stale_reads: StaleReads, guard_key: Option<Vec<u8>>, only: Option<Filter>) -> Self {
        let shared = Shared::default();
        let mut mirror = Mirror::new(shared.clone(), guard_key, Box::new(reaper::bury)).with_clock(steady);
        mirror = mirror.with_background(Box::new(run_aside));
        if let Some(only) = only {
            mirror = mirror.with_filter(only);
        }
        let inner = Inner {
            shared,
            mirror: Arc::new(Mutex::new(mirror)),
            followed: Mutex::default(),
            seat: Arc::new(Seat::new(stale_reads)),
            processes: Mutex::default(),
            snapshots: Arc::default(),
            closed: AtomicBool::new(false),
        };
        Store { inner: Arc::new(inner) }
    }

    pub fn live(&self) -> &Live {
        &self.inner.shared.live
    }

    pub fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::SeqCst)
    }

    pub fn has_data(&self) -> bool {
        self.live().load().is_some()
    }

    /// What is there is too old to be read, by what the instance was told.
    pub fn is_stale(&self) -> bool {
        self.inner.seat.standing.refuses()
    }

    pub fn hold(&self) -> Option<Held> {
        if self.is_stale() {
            return None;
        }
        let full_syncs = self.inner.shared.status.full_syncs.load(Ordering::Relaxed);
        let (list, live) = (self.inner.snapshots.clone(), self.inner.shared.live.clone());
        Some(Held::new(live.snapshot()?, full_syncs, list, live))
    }

    pub fn holdings(&self) -> &Holdings {
        &self.inner.snapshots
    }

    /// The end of the instance: nothing can be read from here on, and the link is told to stop.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        self.inner.seat.unlink();
        let inner = self.inner.clone();
        // A link that is just publishing holds the mirror; nobody of the VM shall wait for it.
        reaper::run(move || inner.mirror.lock().close());
        reaper::bury(self.live().clear());
    }

    pub fn watch(
        &self,
        place: (u32, Watched<&[u8]>),
        pid: Term<'_>,
        recipient: Recipient,
        monitor: impl FnOnce() -> Option<Monitor>,
    ) -> Result<(), WatchError> {
        if self.is_closed() {
            return Err(WatchError::NotFound);
        }
        self.inner.processes.lock().watch(&self.inner.shared.watches, place, pid, recipient, monitor)
    }

    pub fn unwatch(&self, place: (u32, Watched<&[u8]>), pid: Term<'_>) -> Result<Option<Monitor>, WatchError> {
        self.inner.processes.lock().unwatch(&self.inner.shared.watches, place, pid)
    }

    /// A monitored process is gone.
    pub fn down(&self, env: Env<'_>, pid: LocalPid, monitor: Monitor) {
        if self.inner.seat.down(&monitor) {
            return;
        }
        if let Some(owner) = self.inner.processes.lock().gone(pid.encode(env), monitor) {
            let inner = self.inner.clone();
            // It may have watched a million keys.
            reaper::run(move || inner.shared.watches.remove_owner(owner));
        }
    }
}

/// Runs a job on a thread of its own. If the system has no thread for it, the job is left undone: readers build the key
/// index when they need it.
fn run_aside(job: Box<dyn FnOnce() + Send>) {
    let _thread = std::thread::Builder::new().name("vdr_index".into()).spawn(job);
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
        reaper::bury(self.inner.clone());
    }
}
