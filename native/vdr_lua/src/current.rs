//! Deadline and memory limit of the running call.

use crate::call::{Limits, Subject};
use crate::error::{Kind, ScriptError};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One in so many reads of the clock also checks whether the caller still waits.
const CLOCK_READS_PER_CALLER_CHECK: usize = 1024;

/// State of the running call, shared with the interrupt and the reads.
pub(crate) struct Current {
    built: Instant,
    deadline_ns: AtomicU64,
    expired: AtomicBool,
    quick: AtomicBool,
    /// The number of times that the clock was read.
    clock_reads: AtomicUsize,
    pub(crate) memory_bytes: AtomicUsize,
    pub(crate) subject: Mutex<Option<Subject>>,
}

impl Current {
    pub(crate) fn new() -> Self {
        Current {
            built: Instant::now(),
            deadline_ns: AtomicU64::new(u64::MAX),
            expired: AtomicBool::new(false),
            quick: AtomicBool::new(false),
            clock_reads: AtomicUsize::new(0),
            memory_bytes: AtomicUsize::new(0),
            subject: Mutex::new(None),
        }
    }

    pub(crate) fn start(&self, subject: Subject, limits: Limits, quick: bool) {
        self.quick.store(quick, Ordering::Relaxed);
        let deadline = self.built.elapsed().saturating_add(limits.timeout);
        self.deadline_ns.store(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.expired.store(false, Ordering::Relaxed);
        self.memory_bytes.store(limits.memory_bytes, Ordering::Relaxed);
        *self.subject.lock() = Some(subject);
    }

    pub(crate) fn stop(&self) {
        self.deadline_ns.store(u64::MAX, Ordering::Relaxed);
        *self.subject.lock() = None;
    }

    /// Fails once the time is up, and from then on.
    pub(crate) fn check_time(&self) -> mlua::Result<()> {
        let now = u64::try_from(self.built.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let reads = self.clock_reads.fetch_add(1, Ordering::Relaxed);
        if reads.is_multiple_of(CLOCK_READS_PER_CALLER_CHECK) && self.is_abandoned() {
            self.deadline_ns.store(0, Ordering::Relaxed);
        }
        if now < self.deadline_ns.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.expire()
    }

    /// Ends a quick attempt, before work that may be long.
    pub(crate) fn leave_quick(&self) -> mlua::Result<()> {
        if self.quick.load(Ordering::Relaxed) { self.expire() } else { Ok(()) }
    }

    fn expire(&self) -> mlua::Result<()> {
        self.deadline_ns.store(0, Ordering::Relaxed);
        self.expired.store(true, Ordering::Relaxed);
        Err(mlua::Error::runtime("timeout"))
    }

    /// Whether the caller no longer wants the answer. `false` while a read holds the subject.
    fn is_abandoned(&self) -> bool {
        let subject = self.subject.try_lock();
        let abandoned = subject.as_ref().and_then(|subject| subject.as_ref()?.abandoned.as_deref());
        abandoned.is_some_and(|abandoned| abandoned.load(Ordering::Relaxed))
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }

    /// The error of a call: a timeout, if the time is up, whatever error the script made of it.
    pub(crate) fn failure(&self, error: ScriptError, timeout: Duration) -> ScriptError {
        if self.expired.load(Ordering::Relaxed) {
            return ScriptError::new(Kind::Timeout, format!("the script ran for more than {} ms", timeout.as_millis()));
        }
        error
    }
}
