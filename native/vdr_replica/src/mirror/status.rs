//! Counters and gauges of one mirror, which an operator reads without waiting for the writer.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

/// Most names of unknown commands that are counted one by one; further names are counted together.
pub const UNKNOWN_NAMES_MAX: usize = 128;
/// The name under which unknown commands beyond [`UNKNOWN_NAMES_MAX`] are counted.
const OTHER_UNKNOWN: &str = "...";

/// See the module.
#[derive(Default)]
pub struct Status {
    /// The last byte of the stream that is applied.
    pub offset: AtomicU64,
    /// The last byte of the stream that was received, applied or not.
    pub received: AtomicU64,
    pub commands_applied: AtomicU64,
    pub full_syncs: AtomicU64,
    pub partial_syncs: AtomicU64,
    /// Progress of the full sync under way: bytes of the file, and keys.
    pub loading_bytes: AtomicU64,
    pub loading_keys: AtomicU64,
    /// When the open guard window opened, in Unix ms; 0 when none is open.
    pub guard_window_since_ms: AtomicI64,
    /// Commands that contradicted the data. Each ended its link and led to a full sync.
    pub divergences: AtomicU64,
    /// Guard windows that reached a limit and were shown anyway.
    pub guard_windows_given_up: AtomicU64,
    pub replication_id: Mutex<Arc<str>>,
    /// Streams of the last full sync that record another number of entries than they have.
    pub miscounted_streams: AtomicU64,
    /// A command since the last full sync was not understood: keys may be in doubt.
    pub incomplete: AtomicBool,
    /// Commands that no row knows, by name, over all links and full syncs.
    pub unknown_commands: Mutex<BTreeMap<String, u64>>,
}

impl Status {
    pub(super) fn count_unknown(&self, name: String) {
        let mut counts = self.unknown_commands.lock();
        let is_full = counts.len() >= UNKNOWN_NAMES_MAX && !counts.contains_key(&name);
        *counts.entry(if is_full { OTHER_UNKNOWN.to_owned() } else { name }).or_default() += 1;
    }
}
