//! Random ranks for `SRANDMEMBER` and `HRANDFIELD`.
//!
//! The core has no clock and no source of randomness. A process-wide counter of calls makes calls
//! differ. Together with the time and the key it is hashed to the seed of a small generator
//! (SplitMix64). The result is fair but predictable: do not use it for secrets.

use crate::error::ReadError;
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most elements that a call with repetition returns: the caller chooses the count, and the
/// data does not bound it.
pub const REPEATS_MAX: u64 = 1 << 20;

/// Ranks below `len`, by the server's rules. A positive `count` asks for that many distinct ranks
/// in ascending order (all of them, if there are no more). A negative one asks for exactly that
/// many, with repetition.
pub fn ranks(count: i64, len: usize, now_ms: i64, key: &[u8]) -> Result<Vec<usize>, ReadError> {
    if count < 0 && count.unsigned_abs() > REPEATS_MAX {
        return Err(ReadError::BadArgument);
    }
    let mut dice = Dice::new(now_ms, key);
    Ok(match usize::try_from(count) {
        _ if len == 0 => Vec::new(),
        Ok(count) if count >= len => (0..len).collect(),
        Ok(count) => dice.distinct(count, len),
        Err(_) => (0..count.unsigned_abs()).map(|_| dice.below(len)).collect(),
    })
}

/// How many ranks [`ranks`] will return.
pub fn amount(count: i64, len: usize) -> usize {
    usize::try_from(count).map_or(count.unsigned_abs().min(REPEATS_MAX) as usize, |count| count.min(len))
}

struct Dice(u64);

impl Dice {
    fn new(now_ms: i64, key: &[u8]) -> Self {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        Dice(foldhash::quality::RandomState::default().hash_one((call, now_ms, key)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform below `limit`, except for a bias of `limit` in 2^64.
    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    /// Floyd's sampling: every subset is equally likely, and the work grows with `count` alone.
    fn distinct(&mut self, count: usize, len: usize) -> Vec<usize> {
        let mut chosen: HashSet<usize, foldhash::fast::RandomState> = HashSet::default();
        for last in len.saturating_sub(count)..len {
            let rank = self.below(last + 1);
            if !chosen.insert(rank) {
                chosen.insert(last);
            }
        }
        let mut chosen: Vec<usize> = chosen.into_iter().collect();
        chosen.sort_unstable();
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_positive_count_gives_distinct_ranks_and_never_more_than_there_are() {
        for (count, len) in [(0, 5), (1, 5), (4, 5), (5, 5), (9, 5), (3, 0), (i64::MAX, 2)] {
            let got = ranks(count, len, 0, b"k").unwrap();
            assert_eq!(got.len(), amount(count, len));
            assert!(got.is_sorted_by(|a, b| a < b) && got.iter().all(|rank| *rank < len));
        }
    }

    #[test]
    fn a_negative_count_gives_exactly_so_many_up_to_a_limit() {
        assert_eq!(ranks(-7, 2, 0, b"k").unwrap().len(), 7);
        assert_eq!(ranks(-7, 0, 0, b"k").unwrap(), []);
        assert_eq!(ranks(i64::MIN, 2, 0, b"k"), Err(ReadError::BadArgument));
    }

    /// 60 000 draws of 2 out of 6: each of the 15 pairs is expected 4 000 times, with a deviation
    /// of 61.
    #[test]
    fn every_subset_is_equally_likely() {
        let mut seen = std::collections::HashMap::new();
        for _ in 0..60_000 {
            *seen.entry(ranks(2, 6, 0, b"k").unwrap()).or_insert(0u32) += 1;
        }
        assert_eq!(seen.len(), 15);
        assert!(seen.values().all(|times| (3_600..4_400).contains(times)), "{seen:?}");
    }

    #[test]
    fn every_rank_is_equally_likely_with_repetition() {
        let mut seen = [0u32; 5];
        for rank in ranks(-50_000, 5, 0, b"k").unwrap() {
            seen[rank] += 1;
        }
        assert!(seen.iter().all(|times| (9_400..10_600).contains(times)), "{seen:?}");
    }
}
