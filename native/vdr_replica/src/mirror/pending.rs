//! Watch events of writes that are applied but not visible yet. A MULTI or a guard window may hold
//! back any number of them, so they are bounded: beyond the bound the events are dropped, and each
//! watcher concerned gets one Init instead.

use crate::watch::{Delivery, Event, Watcher, address};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Most events that are held back.
pub const PENDING_EVENTS_MAX: usize = 100_000;
/// Most bytes of commands whose events are held back.
pub const PENDING_BYTES_MAX: usize = 64 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct Pending {
    /// In ascending order of their offsets.
    writes: VecDeque<PendingWrite>,
    events: usize,
    bytes: usize,
    dropped: Option<Dropped>,
}

struct PendingWrite {
    offset: u64,
    /// The length of the command, which each of the events carries.
    bytes: usize,
    deliveries: Vec<Delivery>,
}

/// Who was concerned by events that were dropped.
struct Dropped {
    /// Of the last of these events.
    offset: u64,
    /// By address: one Init for each, however many events it missed.
    watchers: HashMap<usize, Arc<dyn Watcher>, foldhash::fast::RandomState>,
}

impl Pending {
    /// Adds the events of one write, which ends at `offset` and is `bytes` long.
    pub(super) fn push(&mut self, offset: u64, bytes: usize, deliveries: Vec<Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        if let Some(dropped) = &mut self.dropped {
            return dropped.add(offset, deliveries);
        }
        self.events += deliveries.len();
        self.bytes += bytes;
        self.writes.push_back(PendingWrite { offset, bytes, deliveries });
    }

    /// Takes out the events that are visible at `offset`.
    pub(super) fn take_visible(&mut self, offset: u64) -> Vec<Delivery> {
        let mut out = Vec::new();
        if let Some(dropped) = &self.dropped {
            let init = |watcher: &Arc<dyn Watcher>| (watcher.clone(), Event::Init { offset });
            out.extend(dropped.watchers.values().map(init));
            if dropped.offset <= offset {
                self.dropped = None;
            }
        }
        while self.writes.front().is_some_and(|write| write.offset <= offset) {
            let Some(write) = self.writes.pop_front() else { break };
            self.events -= write.deliveries.len();
            self.bytes -= write.bytes;
            out.extend(write.deliveries);
        }
        out
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.writes.len()
    }

    /// Drops the events if they are more than may be held back.
    pub(super) fn bound(&mut self) {
        if self.events <= PENDING_EVENTS_MAX && self.bytes <= PENDING_BYTES_MAX {
            return;
        }
        let mut dropped = Dropped { offset: 0, watchers: HashMap::default() };
        for write in std::mem::take(self).writes {
            dropped.add(write.offset, write.deliveries);
        }
        self.dropped = Some(dropped);
    }

    /// The writes behind `offset` are undone: the primary will send them again.
    pub(super) fn rewind(&mut self, offset: u64) {
        while self.writes.back().is_some_and(|write| write.offset > offset) {
            let Some(write) = self.writes.pop_back() else { break };
            self.events -= write.deliveries.len();
            self.bytes -= write.bytes;
        }
        // Its watchers still get their Init: which of them got the message of a write before
        // `offset` is not known.
        if let Some(dropped) = &mut self.dropped {
            dropped.offset = dropped.offset.min(offset);
        }
    }
}

impl Dropped {
    fn add(&mut self, offset: u64, deliveries: Vec<Delivery>) {
        self.offset = offset;
        for (watcher, _) in deliveries {
            self.watchers.insert(address(&watcher), watcher);
        }
    }
}
