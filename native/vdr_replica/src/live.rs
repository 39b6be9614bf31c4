//! The published snapshot behind an atomic pointer. There is one publisher and any number of
//! readers, and neither waits for the other.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use vdr_data::keyspace::{Keyspace, Now, View};
use vdr_rdb::Server;
use vdr_snapmap::published::{Loaded, Published, Replaced};

/// The whole keyspace at one replication offset, immutable.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub keyspace: Keyspace,
    /// The snapshot has every byte of the stream up to this offset, and none after it.
    pub offset: u64,
    pub replication_id: Arc<str>,
    /// The server that wrote the snapshot file of the last full sync.
    pub server: Option<Arc<Server>>,
    /// The time at which readers see it, if that is not the clock's: tests set it by hand.
    pub time_ms: Option<i64>,
}

impl Snapshot {
    pub fn view(&self, db: u32, now: impl Into<Now>) -> View<'_> {
        self.keyspace.view(db, self.time_ms.map_or_else(|| now.into(), Now::At))
    }

    /// The time at which readers see it, at this time of the clock.
    pub fn now_ms(&self, clock_ms: i64) -> i64 {
        self.time_ms.unwrap_or(clock_ms)
    }
}

/// The published snapshot; `None` before the first full sync.
#[derive(Default)]
pub struct Live {
    current: Published<Snapshot>,
    /// A snapshot with a key index that a reader has built, until the publisher adopts the index.
    ordered: Mutex<Option<Arc<Snapshot>>>,
    has_ordered: AtomicBool,
}

/// How often a reader that offers a key index catches up with the publisher. Each time there is
/// less to catch up with.
const CATCH_UPS: usize = 4;
/// Most changed entries that a reader catches up with. Beyond them a new index is as cheap.
const READER_CHANGES_MAX: usize = 2_000_000;

impl Live {
    pub fn new() -> Self {
        Self::default()
    }

    /// The snapshot for one quick read, without touching its reference count. Hold it only as long
    /// as the read takes.
    pub fn load(&self) -> Loaded<'_, Snapshot> {
        self.current.load()
    }

    /// The snapshot to keep, counted as a reference.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// Offers a snapshot whose key index a reader has built, so that the publisher keeps the index
    /// up to date from now on. Nearly all of what was written meanwhile is caught up with here, on
    /// the reader's time.
    pub fn offer_key_index(&self, snapshot: Arc<Snapshot>) {
        // If several readers offer one, any of them will do.
        let Some(mut ordered) = self.ordered.try_lock() else { return };
        let mut latest = snapshot;
        for _ in 0..CATCH_UPS {
            let Some(now) = self.snapshot() else {
                // The instance has ended. Its end could not take what was offered before while we
                // held the lock.
                let before = ordered.take();
                drop(ordered);
                return drop(before);
            };
            if Arc::ptr_eq(&now, &latest) {
                break;
            }
            now.keyspace.adopt_index(&latest.keyspace, READER_CHANGES_MAX);
            latest = now;
        }
        *ordered = Some(latest);
        drop(ordered);
        self.has_ordered.store(true, Ordering::SeqCst);
        // The instance may have ended meanwhile: it clears `current` first and takes the offer
        // then.
        fence(Ordering::SeqCst);
        if self.current.load().get().is_none() {
            drop(self.take_key_index());
        }
    }

    /// Builds the key index of these databases of the published snapshot, and offers it.
    pub fn build_key_index(&self, dbs: &[u32]) {
        if let Some(snapshot) = self.snapshot() {
            snapshot.keyspace.build_indexes(dbs);
            self.offer_key_index(snapshot);
        }
    }

    /// For the publisher: the snapshot whose key index is to be adopted, if a new one was offered.
    #[must_use = "it may be large: it is for the dropper to free"]
    pub fn take_key_index(&self) -> Option<Arc<Snapshot>> {
        if !self.has_ordered.load(Ordering::Acquire) {
            return None;
        }
        // The reader that holds the lock is about to offer another.
        let mut ordered = self.ordered.try_lock()?;
        self.has_ordered.store(false, Ordering::SeqCst);
        ordered.take()
    }

    /// Publishes a snapshot. Answers the one before, which readers may still hold.
    #[must_use = "the old snapshot may be large: it is for the dropper to free"]
    pub fn publish(&self, snapshot: Snapshot) -> Option<Replaced<Snapshot>> {
        self.current.swap(Some(Arc::new(snapshot)))
    }

    /// Ends the instance: nothing is published any more. Answers the last snapshot.
    #[must_use = "the old snapshot may be large: it is for the dropper to free"]
    pub fn clear(&self) -> Option<Replaced<Snapshot>> {
        let last = self.current.swap(None);
        // See `offer_key_index`.
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
        live.offer_key_index(first.clone());
        assert_eq!(Arc::strong_count(&first), 3, "the published one, the offered one, ours");
        // The end, which finds the slot held by the second.
        drop(live.clear());
        live.offer_key_index(Arc::default());
        assert_eq!(Arc::strong_count(&first), 1);
        assert!(live.take_key_index().is_none());
    }
}
