//! What a read can read: the resource behind `Vdr.Snapshot` and behind an instance.

use crate::reaper;
use rustler::{Resource, ResourceArc};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use vdr_core::keyspace::Keyspace;

/// A view that never changes.
pub struct Source {
    keyspace: Option<Arc<Keyspace>>,
}

#[rustler::resource_impl]
impl Resource for Source {}

pub type SourceRef = ResourceArc<Source>;

impl Source {
    pub fn of(keyspace: Keyspace) -> Self {
        Source { keyspace: Some(Arc::new(keyspace)) }
    }

    /// The keyspace to read, `None` when there is none yet.
    pub fn keyspace(&self) -> Option<Arc<Keyspace>> {
        self.keyspace.clone()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        reaper::bury(self.keyspace.take());
    }
}

/// The clock that expiry is judged by.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
