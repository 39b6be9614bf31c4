//! Levels as ranks, and the highest one that an instance wants.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use tracing::Level;
use tracing::level_filters::LevelFilter;

/// By rank: a higher one wants more.
const FILTERS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

/// A level that can be changed while other threads compare events with it.
#[derive(Default)]
pub struct Rank(AtomicU8);

impl Rank {
    pub fn wants(&self, level: &Level) -> bool {
        rank(Some(*level)) <= self.0.load(Ordering::Relaxed)
    }

    pub fn filter(&self) -> LevelFilter {
        let rank = self.0.load(Ordering::Relaxed);
        FILTERS.get(usize::from(rank)).copied().unwrap_or(LevelFilter::OFF)
    }

    /// Answers the level before.
    pub fn set(&self, filter: LevelFilter) -> LevelFilter {
        let before = self.0.swap(rank(filter.into_level()), Ordering::Relaxed);
        FILTERS.get(usize::from(before)).copied().unwrap_or(LevelFilter::OFF)
    }
}

fn rank(level: Option<Level>) -> u8 {
    match level {
        None => 0,
        Some(Level::ERROR) => 1,
        Some(Level::WARN) => 2,
        Some(Level::INFO) => 3,
        Some(Level::DEBUG) => 4,
        Some(Level::TRACE) => 5,
    }
}

/// How many instances have each level, and the highest level of them.
#[derive(Default)]
pub struct Levels {
    counts: Mutex<[usize; FILTERS.len()]>,
    highest: Rank,
}

impl Levels {
    pub fn highest(&self) -> &Rank {
        &self.highest
    }

    /// An instance changes its level. When that changes the highest one, `tracing` decides anew
    /// which callsites are on.
    pub fn change(&self, from: LevelFilter, to: LevelFilter) {
        let mut counts = self.counts.lock();
        // Nobody needs the count of `OFF`.
        let of = |filter: LevelFilter| usize::from(rank(filter.into_level()));
        counts.get_mut(of(from)).into_iter().for_each(|count| *count = count.saturating_sub(1));
        counts.get_mut(of(to)).into_iter().for_each(|count| *count = count.saturating_add(1));
        let highest = counts.iter().rposition(|count| *count > 0).and_then(|rank| FILTERS.get(rank).copied());
        let highest = highest.unwrap_or(LevelFilter::OFF);
        let is_new = self.highest.set(highest) != highest;
        drop(counts);
        if is_new {
            tracing::callsite::rebuild_interest_cache();
        }
    }
}
