//! One instance: its mirror, who reads it, who watches it, and the link that feeds it.

use crate::reaper;
use crate::seat::Seat;
use crate::source::Held;
use crate::watcher::{Processes, Recipient};
use parking_lot::Mutex;
use rustler::{Encoder, Env, LocalPid, Monitor, Term};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use vdr_core::live::Live;
use vdr_core::mirror::{Mirror, Shared};
use vdr_core::only::Only;
use vdr_core::watch::WatchError;

/// Writers who set and remove this key want what lies between to be seen at once.
const GUARD_KEY: &[u8] = b"__vdr_tx";

/// What the instance's resource holds.
pub struct Store {
    inner: Arc<Inner>,
}

/// What the instance's links hold, too.
pub struct Inner {
    pub shared: Shared,
    pub mirror: Mutex<Mirror>,
    pub seat: Arc<Seat>,
    processes: Mutex<Processes>,
    snapshots: Arc<AtomicUsize>,
    closed: AtomicBool,
}

impl Store {
    /// `only`: what is mirrored, if not everything.
    pub fn new(only: Option<Only>) -> Self {
        let shared = Shared::default();
        let mut mirror = Mirror::new(shared.clone(), Some(GUARD_KEY.to_vec()), Box::new(reaper::bury));
        if let Some(only) = only {
            mirror = mirror.only(only);
        }
        let inner = Inner {
            shared,
            mirror: Mutex::new(mirror),
            seat: Arc::default(),
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

    pub fn hold(&self) -> Option<Held> {
        Some(Held::new(self.live().snapshot()?, self.inner.snapshots.clone()))
    }

    pub fn snapshots_held(&self) -> usize {
        self.inner.snapshots.load(Ordering::Relaxed)
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
        place: (u32, &[u8]),
        pid: Term<'_>,
        recipient: Recipient,
        monitor: impl FnOnce() -> Option<Monitor>,
    ) -> Result<(), WatchError> {
        if self.is_closed() {
            return Err(WatchError::NotFound);
        }
        self.inner.processes.lock().watch(&self.inner.shared.watches, place, pid, recipient, monitor)
    }

    pub fn unwatch(&self, place: (u32, &[u8]), pid: Term<'_>) -> Result<Option<Monitor>, WatchError> {
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

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
        reaper::bury(self.inner.clone());
    }
}
