//! What readers see: one immutable snapshot at a time, behind an atomic pointer. One publisher, any number of readers;
//! neither ever waits for the other.

use crate::keyspace::{Keyspace, Now, View};
use crate::rdb::Server;
use arc_swap::{ArcSwapOption, Guard};
use std::sync::Arc;

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
}

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

    /// Makes a snapshot the one that is read from now on; answers the one before, which readers may still hold.
    #[must_use = "the old snapshot may be large: it is for the reaper to drop"]
    pub fn publish(&self, snapshot: Snapshot) -> Option<Arc<Snapshot>> {
        self.current.swap(Some(Arc::new(snapshot)))
    }

    /// Takes away what is published: the end of an instance.
    #[must_use = "the old snapshot may be large: it is for the reaper to drop"]
    pub fn clear(&self) -> Option<Arc<Snapshot>> {
        self.current.swap(None)
    }
}
