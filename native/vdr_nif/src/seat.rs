//! Who feeds: one link at a time. A link that is told to stop still runs for a moment, while its successor may have
//! begun: so each link gets a number, and what comes from any but the last one falls on deaf ears.

use crate::link::{StaleReads, Standing};
use parking_lot::Mutex;
use rustler::Monitor;
use std::sync::atomic::{AtomicU64, Ordering};
use vdr_link::LinkHandle;

#[derive(Default)]
pub struct Seat {
    pub standing: Standing,
    /// The number of the last link.
    link: AtomicU64,
    handle: Mutex<Option<(LinkHandle, Monitor)>>,
}

impl Seat {
    pub fn new(stale_reads: StaleReads) -> Self {
        Seat { standing: Standing::new(stale_reads), ..Seat::default() }
    }

    pub fn is_current(&self, link: u64) -> bool {
        self.link.load(Ordering::SeqCst) == link
    }

    /// Makes the next link the one that feeds. Whatever one was before no longer does.
    pub fn next_link(&self) -> u64 {
        self.link.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Keeps a link going until its process dies. The one before, if any, is dropped and so told to stop; the answer is the
    /// monitor of its process.
    pub fn keep(&self, handle: LinkHandle, monitor: Monitor) -> Option<Monitor> {
        let before = self.handle.lock().replace((handle, monitor));
        before.map(|(_stops_when_dropped, monitor)| monitor)
    }

    pub fn unlink(&self) -> Option<Monitor> {
        self.link.fetch_add(1, Ordering::SeqCst);
        self.standing.no_link();
        let (_stops_when_dropped, monitor) = self.handle.lock().take()?;
        Some(monitor)
    }

    /// A monitored process is gone: when it kept the link, that ends, and the answer is true.
    pub fn down(&self, monitor: &Monitor) -> bool {
        let keeper = self.handle.lock().as_ref().is_some_and(|(_, of_keeper)| of_keeper == monitor);
        if keeper {
            self.unlink();
        }
        keeper
    }
}
