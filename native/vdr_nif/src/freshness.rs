//! Whether reads are refused because the data may be stale.

use crate::clock::steady_ms;
use std::sync::atomic::{AtomicI64, Ordering};

/// How old data may be and still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReads {
    Allow,
    /// Until nothing has come from the primary for this long.
    MaxMs(i64),
    /// Only while a link streams.
    Deny,
}

const NEVER: i64 = i64::MAX;
const ALWAYS: i64 = i64::MIN;

/// The time from which on reads are refused. A read looks at nothing else.
pub struct Freshness {
    stale_reads: StaleReads,
    /// By the steady clock.
    refuse_at_ms: AtomicI64,
}

impl Freshness {
    pub fn new(stale_reads: StaleReads) -> Self {
        let refuse_at_ms = if stale_reads == StaleReads::Allow { NEVER } else { ALWAYS };
        Freshness { stale_reads, refuse_at_ms: AtomicI64::new(refuse_at_ms) }
    }

    /// Whether reads are refused now.
    pub fn refuses(&self) -> bool {
        let refuse_at_ms = self.refuse_at_ms.load(Ordering::Relaxed);
        refuse_at_ms != NEVER && steady_ms() >= refuse_at_ms
    }

    /// Whether reads are ever refused.
    pub fn may_refuse(&self) -> bool {
        self.stale_reads != StaleReads::Allow
    }

    /// The data is the primary's current data.
    pub fn renew(&self) {
        let refuse_at_ms = match self.stale_reads {
            StaleReads::Allow | StaleReads::Deny => NEVER,
            StaleReads::MaxMs(bound) => steady_ms().saturating_add(bound),
        };
        self.refuse_at_ms.store(refuse_at_ms, Ordering::Relaxed);
    }

    /// No link streams any more.
    pub fn stop_streaming(&self) {
        if self.stale_reads == StaleReads::Deny {
            self.refuse_at_ms.store(ALWAYS, Ordering::Relaxed);
        }
    }
}
