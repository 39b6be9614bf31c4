//! The current link of an instance. A cancelled link may run on briefly while its successor starts,
//! so links are numbered and input from any but the latest is ignored.

use crate::freshness::StaleReads;
use crate::link_status::LinkStatus;
use crate::log::Log;
use parking_lot::Mutex;
use rustler::Monitor;
use std::sync::atomic::{AtomicU64, Ordering};
use vdr_link::{LinkHandle, LinkState};

#[derive(Default)]
pub struct LinkSlot {
    pub status: LinkStatus,
    /// What the links, and what else works for the instance, have to say.
    pub log: Log,
    /// The number of the latest link.
    link: AtomicU64,
    handle: Mutex<Option<(LinkHandle, Monitor)>>,
}

impl LinkSlot {
    pub fn new(stale_reads: StaleReads) -> Self {
        LinkSlot { status: LinkStatus::new(stale_reads), ..LinkSlot::default() }
    }

    pub fn is_current(&self, link: u64) -> bool {
        self.link.load(Ordering::SeqCst) == link
    }

    /// Sets the state of a link, unless it is no longer the current one.
    pub fn set_state(&self, link: u64, state: Option<LinkState>) {
        self.status.set_state_if(state, || self.is_current(link));
    }

    /// A new link begins. Answers its number. Input from earlier links is ignored from now on.
    pub fn begin(&self) -> u64 {
        let _not_while_one_ends = self.handle.lock();
        self.status.set_state(Some(LinkState::Init));
        self.status.set_role(None);
        self.link.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Keeps a link running until its process dies. Drops the previous link, if any, which stops
    /// it, and answers the monitor of that link's process.
    pub fn keep(&self, handle: LinkHandle, monitor: Monitor) -> Option<Monitor> {
        let before = self.handle.lock().replace((handle, monitor));
        before.map(|(_stops_when_dropped, monitor)| monitor)
    }

    /// Stops the link. Answers the monitor of its process.
    pub fn unlink(&self) -> Option<Monitor> {
        self.end(&mut self.handle.lock())
    }

    /// A monitored process is gone. If it kept the link, stops the link and answers `true`.
    pub fn down(&self, monitor: &Monitor) -> bool {
        let mut handle = self.handle.lock();
        let keeper = handle.as_ref().is_some_and(|(_, of_keeper)| of_keeper == monitor);
        if keeper {
            self.end(&mut handle);
        }
        keeper
    }

    /// All under one lock: otherwise the end of a link could hit its successor, which another
    /// thread begins meanwhile.
    fn end(&self, handle: &mut Option<(LinkHandle, Monitor)>) -> Option<Monitor> {
        self.link.fetch_add(1, Ordering::SeqCst);
        self.status.set_state(None);
        let (_stops_when_dropped, monitor) = handle.take()?;
        Some(monitor)
    }
}
