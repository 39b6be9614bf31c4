//! Watch events of writes that are applied but not visible yet. A MULTI or a guard window may hold
//! back any number of them, so they are bounded: beyond the bound the events are dropped, and each
//! watch concerned gets one Init instead.

use crate::watch::{Hit, Watch};
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
    hits: VecDeque<Hit>,
    /// The writes that have hits, with their offsets and lengths: each of their events carries the
    /// whole command.
    writes: VecDeque<(u64, usize)>,
    bytes: usize,
    dropped: Option<Dropped>,
}

/// Who was concerned by events that were dropped.
struct Dropped {
    /// Of the last of these events.
    offset: u64,
    /// By address: one Init for each, however many events it missed.
    watches: HashMap<usize, Arc<Watch>, foldhash::fast::RandomState>,
}

/// What became visible.
#[derive(Default)]
pub(super) struct Due {
    /// Who gets an Init.
    pub(super) inits: Vec<Arc<Watch>>,
    pub(super) hits: Vec<Hit>,
}

impl Pending {
    /// Takes over the hits of one write, which ends at `offset` and is `bytes` long.
    pub(super) fn push(&mut self, offset: u64, bytes: usize, hits: &mut Vec<Hit>) {
        if hits.is_empty() {
            return;
        }
        if let Some(dropped) = &mut self.dropped {
            return hits.drain(..).for_each(|hit| dropped.add(hit));
        }
        self.bytes += bytes;
        self.writes.push_back((offset, bytes));
        self.hits.extend(hits.drain(..));
    }

    /// Takes out what is visible at `offset`.
    pub(super) fn take_visible(&mut self, offset: u64) -> Due {
        let mut visible = Due::default();
        if let Some(dropped) = &self.dropped {
            visible.inits.extend(dropped.watches.values().cloned());
            if dropped.offset <= offset {
                self.dropped = None;
            }
        }
        let count = self.writes.partition_point(|(end, _)| *end <= offset);
        self.bytes -= self.writes.drain(..count).map(|(_, bytes)| bytes).sum::<usize>();
        let count = self.hits.partition_point(|hit| hit.offset <= offset);
        visible.hits.extend(self.hits.drain(..count));
        visible
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.writes.len()
    }

    /// Drops the events if they are more than may be held back.
    pub(super) fn bound(&mut self) {
        if self.hits.len() <= PENDING_EVENTS_MAX && self.bytes <= PENDING_BYTES_MAX {
            return;
        }
        let mut dropped = Dropped { offset: 0, watches: HashMap::default() };
        std::mem::take(self).hits.into_iter().for_each(|hit| dropped.add(hit));
        self.dropped = Some(dropped);
    }

    /// The writes behind `offset` are undone: the primary will send them again.
    pub(super) fn rewind(&mut self, offset: u64) {
        let count = self.writes.partition_point(|(end, _)| *end <= offset);
        self.bytes -= self.writes.drain(count..).map(|(_, bytes)| bytes).sum::<usize>();
        self.hits.truncate(self.hits.partition_point(|hit| hit.offset <= offset));
        // Its watches still get their Init: which of them heard of a write before `offset` is not
        // known.
        if let Some(dropped) = &mut self.dropped {
            dropped.offset = dropped.offset.min(offset);
        }
    }
}

impl Dropped {
    fn add(&mut self, hit: Hit) {
        self.offset = hit.offset;
        self.watches.insert(hit.watch.address(), hit.watch);
    }
}
