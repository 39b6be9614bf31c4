//! One call of a script: its limits and the data that it reads.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use vdr_replica::live::Snapshot;

/// The limits of one call.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub timeout: Duration,
    /// The memory that the script may allocate on top of the interpreter's own, garbage included.
    /// Also the memory that its result may take.
    pub memory_bytes: usize,
}

/// The limits of an attempt on a scheduler thread. Interrupts are at most some tens of microseconds
/// apart, so an attempt ends well under a millisecond.
pub(crate) const QUICK: Limits = Limits { timeout: Duration::from_micros(100), memory_bytes: 64 << 10 };

/// A read in a quick attempt touches at most this many elements.
pub(crate) const QUICK_ELEMENTS_MAX: usize = 200;

impl Default for Limits {
    fn default() -> Self {
        Limits { timeout: Duration::from_millis(5000), memory_bytes: 64 << 20 }
    }
}

/// The data that a script reads: one database of one snapshot at one time. The script drops the
/// snapshot before the call returns. The caller should hold it too, or the script pays for the drop
/// of a large one.
#[derive(Clone)]
pub struct Subject {
    pub snapshot: Arc<Snapshot>,
    pub db: u32,
    pub now_ms: i64,
    /// Set by a caller that no longer wants the answer: the script then ends soon.
    pub abandoned: Option<Arc<AtomicBool>>,
}
