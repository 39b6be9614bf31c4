//! One instance: its mirror, who reads it, who watches it, and the link that feeds it.
//!
//! The mirror belongs to one link at a time. A link that is told to stop still runs for a moment, while its successor
//! may have begun: so each link gets a number, and what comes from any but the last one falls on deaf ears.

use crate::link::{Reporter, StaleReads, Standing};
use crate::reaper;
use crate::source::{Held, Holdings};
use crate::watcher::{Processes, Recipient};
use parking_lot::Mutex;
use rustler::{Encoder, Env, LocalPid, Monitor, Term};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use vdr_core::live::Live;
use vdr_core::mirror::{Mirror, Shared};
use vdr_core::watch::WatchError;
use vdr_link::LinkHandle;

/// What the instance's resource holds.
pub struct Store {
    inner: Arc<Inner>,
}

/// What the instance's links hold, too.
pub struct Inner {
    pub shared: Shared,
    pub mirror: Mutex<Mirror>,
    pub standing: Standing,
    /// The number of the last link.
    link: AtomicU64,
    handle: Mutex<Option<(LinkHandle, Monitor)>>,
    processes: Mutex<Processes>,
    snapshots: Arc<Holdings>,
    closed: AtomicBool,
}

impl Inner {
    pub fn is_current(&self, link: u64) -> bool {
        self.link.load(Ordering::SeqCst) == link
    }
}

impl Store {
    /// Writers who set and remove the guard key want what lies between to be seen at once.
    pub fn new(stale_reads: StaleReads, guard_key: Option<Vec<u8>>) -> Self {
        let shared = Shared::default();
        let mirror = Mirror::new(shared.clone(), guard_key, Box::new(reaper::bury));
        let inner = Inner {
            shared,
            mirror: Mutex::new(mirror),
            standing: Standing::new(stale_reads),
            link: AtomicU64::new(0),
            handle: Mutex::new(None),
            processes: Mutex::default(),
            snapshots: Arc::default(),
            closed: AtomicBool::new(false),
        };
        Store { inner: Arc::new(inner) }
    }

    pub fn live(&self) -> &Live {
        &self.inner.shared.live
    }

    pub fn inner(&self) -> &Inner {
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
        self.inner.standing.refuses()
    }

    pub fn hold(&self) -> Option<Held> {
        if self.is_stale() {
            return None;
        }
        let full_syncs = self.inner.shared.status.full_syncs.load(Ordering::Relaxed);
        Some(Held::new(self.live().snapshot()?, full_syncs, self.inner.snapshots.clone()))
    }

    pub fn holdings(&self) -> &Holdings {
        &self.inner.snapshots
    }

    /// The end of the instance: nothing can be read from here on, and the link is told to stop.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        self.unlink();
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

    /// Makes the next link the one that feeds the mirror. Whatever one was before no longer does.
    pub fn next_link(&self, recipient: Recipient) -> Reporter {
        let link = self.inner.link.fetch_add(1, Ordering::SeqCst) + 1;
        Reporter::new(self.inner.clone(), link, Arc::new(recipient))
    }

    /// Keeps a link going until its process dies. The one before, if any, is dropped and so told to stop; the answer is the
    /// monitor of its process.
    pub fn keep_link(&self, handle: LinkHandle, monitor: Monitor) -> Option<Monitor> {
        let before = self.inner.handle.lock().replace((handle, monitor));
        if self.is_closed() {
            self.unlink();
        }
        before.map(|(_stops_when_dropped, monitor)| monitor)
    }

    pub fn unlink(&self) -> Option<Monitor> {
        self.inner.link.fetch_add(1, Ordering::SeqCst);
        self.inner.standing.no_link();
        let (_stops_when_dropped, monitor) = self.inner.handle.lock().take()?;
        Some(monitor)
    }

    /// A monitored process is gone.
    pub fn down(&self, env: Env<'_>, pid: LocalPid, monitor: Monitor) {
        let keeper = self.inner.handle.lock().as_ref().is_some_and(|(_, of_keeper)| *of_keeper == monitor);
        if keeper {
            self.unlink();
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
