//! The bounded queue of an instance's lines. When it is full, new lines are dropped and counted
//! until it is half empty again; then one entry says how many.

use std::collections::VecDeque;
use std::time::SystemTime;
use tracing::Level;

/// So many lines wait at most.
pub const LINES_MAX: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub level: Level,
    /// When the event happened; the Logger may see it much later.
    pub time: SystemTime,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Line(Line),
    /// So many lines came here that were dropped.
    Dropped(u64),
}

#[derive(Default)]
pub struct Queue {
    entries: VecDeque<Entry>,
    /// Since the queue was full.
    dropped: u64,
}

impl Queue {
    pub fn push(&mut self, line: Line) {
        if self.dropped > 0 || self.entries.len() >= LINES_MAX {
            self.dropped = self.dropped.saturating_add(1);
        } else {
            self.entries.push_back(Entry::Line(line));
        }
    }

    /// Takes at most `max` entries, the oldest first.
    pub fn take(&mut self, max: usize) -> Vec<Entry> {
        let count = self.entries.len().min(max);
        let taken = self.entries.drain(..count).collect();
        if self.dropped > 0 && self.entries.len() <= LINES_MAX / 2 {
            self.entries.push_back(Entry::Dropped(std::mem::take(&mut self.dropped)));
        }
        taken
    }
}
