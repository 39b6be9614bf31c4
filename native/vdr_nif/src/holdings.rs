//! Snapshots that callers hold, and the list of them for `info/1`.

use crate::dropper;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use vdr_link::now_ms;
use vdr_replica::live::{Live, Snapshot};

/// A snapshot that a caller holds.
pub struct HeldSnapshot {
    snapshot: Option<Arc<Snapshot>>,
    number: u64,
    list: Arc<Holdings>,
    /// Of the instance that it was taken from.
    live: Arc<Live>,
}

impl HeldSnapshot {
    pub fn new(snapshot: Arc<Snapshot>, full_syncs: u64, list: Arc<Holdings>, live: Arc<Live>) -> Self {
        let number = list.add(Holding { since_ms: now_ms(), offset: snapshot.offset, full_syncs });
        HeldSnapshot { snapshot: Some(snapshot), number, list, live }
    }

    #[inline]
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    pub fn live(&self) -> &Live {
        &self.live
    }
}

impl Drop for HeldSnapshot {
    fn drop(&mut self) {
        self.list.remove(self.number);
        self.snapshot.take().into_iter().for_each(dropper::release);
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
    /// The number of full syncs before it. A later full sync replaced all data, so this snapshot
    /// shares none with it.
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

    /// Their number, and the oldest of them.
    pub fn oldest(&self) -> (usize, Option<Holding>) {
        let list = self.0.lock();
        (list.1.len(), list.1.values().next().copied())
    }
}
