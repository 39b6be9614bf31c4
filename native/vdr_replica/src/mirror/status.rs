//! Counters and gauges of one mirror, which an operator reads without waiting for the writer.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

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
    /// Guard windows that held a publication back, and that the primary closed.
    pub guard_windows_closed: ClosedWindows,
    pub replication_id: Mutex<Arc<str>>,
    /// Streams of the last full sync that record another number of entries than they have.
    pub miscounted_streams: AtomicU64,
    /// A command since the last full sync was not understood: keys may be in doubt.
    pub incomplete: AtomicBool,
    /// Commands that no row knows, by name, over all links and full syncs.
    pub unknown_commands: Mutex<BTreeMap<String, u64>>,
}

/// Counts closed guard windows until somebody takes the count.
#[derive(Default)]
pub struct ClosedWindows {
    count: AtomicU64,
    total_ns: AtomicU64,
    longest_ns: AtomicU64,
}

/// How many windows have closed, how long they were open in all, and the longest of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowTimes {
    pub count: u64,
    pub total: Duration,
    pub longest: Duration,
}

impl ClosedWindows {
    pub(super) fn note(&self, open: Duration) {
        let ns = u64::try_from(open.as_nanos()).unwrap_or(u64::MAX);
        self.total_ns.fetch_add(ns, Ordering::Relaxed);
        self.longest_ns.fetch_max(ns, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// What was counted since the last call.
    pub fn take(&self) -> WindowTimes {
        let count = self.count.swap(0, Ordering::Relaxed);
        let [total, longest] =
            [&self.total_ns, &self.longest_ns].map(|ns| Duration::from_nanos(ns.swap(0, Ordering::Relaxed)));
        WindowTimes { count, total, longest }
    }
}

impl Status {
    pub(super) fn count_unknown(&self, name: String) {
        let mut counts = self.unknown_commands.lock();
        let is_full = counts.len() >= UNKNOWN_NAMES_MAX && !counts.contains_key(&name);
        *counts.entry(if is_full { OTHER_UNKNOWN.to_owned() } else { name }).or_default() += 1;
    }
}
