//! The caller of a job on a thread pool.

use crate::recipient::Recipient;
use rustler::{Env, LocalPid, Term};
use std::sync::atomic::{AtomicBool, Ordering};

mod atoms {
    rustler::atoms! { panicked }
}

/// The caller gets an answer whatever happens: dropped without one, this reports a panic.
pub struct Caller {
    recipient: Recipient,
    answered: AtomicBool,
}

impl Caller {
    pub fn new(pid: LocalPid, tag: Term<'_>) -> Self {
        Caller { recipient: Recipient::new(pid, tag), answered: AtomicBool::new(false) }
    }

    pub fn answer(&self, answer: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        self.recipient.send(answer);
        self.forget();
    }

    /// It wants no answer any more.
    pub fn forget(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.recipient.send(|env| env.error_tuple(atoms::panicked()));
        }
    }
}
