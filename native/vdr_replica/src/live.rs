//! What readers see: one immutable snapshot at a time, behind an atomic pointer. One publisher, any number of readers;
//! neither ever waits for the other.

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use vdr_data::keyspace::{Keyspace, Now, View};
use vdr_rdb::Server;

/// The whole keyspace at one replication offset. Nothing changes it.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub keyspace: Keyspace,
    /// Every byte of the stream up to this offset is in it, and none after.
    pub offset: u64,
    pub replication_id: Arc<str>,
    /// Who wrote the snapshot file that this began with.
    pub server: Option<Arc<Server>>,
}

impl Snapshot {
    pub fn view(&self, db: u32, now: impl Into<Now>) -> View<'_> {
        self.keyspace.view(db, now)
    }
}

/// The published snapshot; none before the first full sync.
#[derive(Default)]
pub struct Live {
    current: ArcSwapOption<Snapshot>,
    /// One whose keys a reader has put in order, until the publisher takes the order over.
    ordered: Mutex<Option<Arc<Snapshot>>>,
    has_ordered: AtomicBool,
}

/// How often a reader catches up with the publisher: each time there is less to catch up with.
const CATCH_UPS: usize = 4;
/// With no more than so many entries: beyond them it is as good to begin anew.
const READER_CHANGES_MAX: usize = 2_000_000;

impl Live {
    pub fn new() -> Self {
        Self::default()
    }

    /// The snapshot for one quick read. No counter is written; hold it only as long as the read takes.
    pub fn load(&self) -> Guard<Option<Arc<Snapshot>>> {
        self.current.load()
    }

    /// The snapshot to keep.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// For the reader that has put the keys of a snapshot in order: from now on the publisher keeps that order. What was written
    /// meanwhile is made up for here, in the reader's time, all but the last of it.
    pub fn offer_order(&self, snapshot: Arc<Snapshot>) {
        // One of several will do.
        let Some(mut ordered) = self.ordered.try_lock() else { return };
        let mut latest = snapshot;
        for _ in 0..CATCH_UPS {
            let Some(now) = self.snapshot() else {
                // The end of the instance: what was offered before could not be taken while we were here.
                let before = ordered.take();
                drop(ordered);
                return drop(before);
            };
            if Arc::ptr_eq(&now, &latest) {
                break;
            }
            now.keyspace.take_order(&latest.keyspace, READER_CHANGES_MAX);
            latest = now;
        }
        *ordered = Some(latest);
        drop(ordered);
        self.has_ordered.store(true, Ordering::SeqCst);
        // The end of the instance, which clears first and looks for this then, may have come between.
        fence(Ordering::SeqCst);
        if self.current.load().is_none() {
            drop(self.take_ordered());
        }
    }

    /// For the publisher: a snapshot whose order is to be kept, if there is a new one.
    #[must_use = "it may be large: it is for the reaper to drop"]
    pub fn take_ordered(&self) -> Option<Arc<Snapshot>> {
        if !self.has_ordered.load(Ordering::Acquire) {
            return None;
        }
        // Whoever holds it is about to offer another.
        let mut ordered = self.ordered.try_lock()?;
        self.has_ordered.store(false, Ordering::SeqCst);
        ordered.take()
    }

    /// Makes a snapshot the one that is read from now on; answers the one before, which readers may still hold.
    #[must_use = "the old snapshot may be large: it is for the reaper to drop"]
    pub fn publish(&self, snapshot: Snapshot) -> Option<Arc<Snapshot>> {
        self.current.swap(Some(Arc::new(snapshot)))
    }

    /// Takes away what is published: the end of an instance.
    #[must_use = "the old snapshot may be large: it is for the reaper to drop"]
    pub fn clear(&self) -> Option<Arc<Snapshot>> {
        let last = self.current.swap(None);
        // See `offer_order`.
        fence(Ordering::SeqCst);
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_instance_that_has_ended_is_kept_by_who_offers_its_order() {
        let live = Live::new();
        drop(live.publish(Snapshot::default()));
        let first = live.snapshot().unwrap();
        live.offer_order(first.clone());
        assert_eq!(Arc::strong_count(&first), 3, "the published one, the offered one, ours");
        // The end, which finds the slot held by the second.
        drop(live.clear());
        live.offer_order(Arc::default());
        assert_eq!(Arc::strong_count(&first), 1);
        assert!(live.take_ordered().is_none());
    }
}
