//! What an instance counts for its link's process, which reports it: events of watches that were
//! not sent, and guard windows that have closed. One message at most is on its way. A process that
//! is slow, or busy with a handler of telemetry, takes larger counts later.

use crate::recipient::Recipient;
use crate::terms;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// See the module.
#[derive(Default)]
pub struct Notices {
    process: Mutex<Option<Recipient>>,
    /// The process was sent a message and has not taken the counts yet.
    told: AtomicBool,
    missed: AtomicU64,
    lagged: AtomicU64,
}

/// Events that were not sent, and how many times a watch was told so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissedCounts {
    pub events: u64,
    pub watches: u64,
}

impl Notices {
    /// This process is told from now on. What its predecessor has not taken is told to it.
    pub fn tell(&self, process: Recipient) {
        *self.process.lock() = Some(process);
        self.told.store(false, Ordering::SeqCst);
    }

    /// A watch is told that it missed so many events. Not for threads of the VM.
    pub fn note_missed(&self, events: u64) {
        self.missed.fetch_add(events, Ordering::SeqCst);
        self.lagged.fetch_add(1, Ordering::SeqCst);
        self.note();
    }

    /// There is something to take. Not for threads of the VM.
    pub fn note(&self) {
        if !self.told.swap(true, Ordering::SeqCst) {
            self.process.lock().iter().for_each(|process| process.send(terms::notices));
        }
    }

    /// What was counted since the last call. What is counted from now on is told anew.
    pub fn take_missed(&self) -> MissedCounts {
        self.told.store(false, Ordering::SeqCst);
        let [events, watches] = [&self.missed, &self.lagged].map(|count| count.swap(0, Ordering::SeqCst));
        MissedCounts { events, watches }
    }
}
