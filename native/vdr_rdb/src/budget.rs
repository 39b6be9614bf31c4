//! How much a file may grow in memory beyond what has come of it.
//!
//! Compression makes 88 bytes of one, and a compact encoding holds an element in two bytes that takes twenty and more
//! outside of it: together a few megabytes become many gigabytes. What a server writes does this too, within bounds: a
//! file may take [`FREE_BYTES`] whatever has come, and [`BYTES_PER_BYTE`] for each byte that has.

use crate::error::Fault;

/// What the elements of a file may take before anything is asked of its size.
pub const FREE_BYTES: u64 = 2 << 30;
/// What they may take for each byte that has come. Strings compress to one byte in 88 at most, so they always pass; what
/// does not pass is gigabytes of nothing but the same few numbers in lists.
pub const BYTES_PER_BYTE: u64 = 256;
/// What an element takes beside its bytes, at least.
const ELEMENT_BYTES: u64 = 24;

/// What the elements to come may still take.
pub(super) struct Budget {
    left: u64,
    total: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget::of(FREE_BYTES)
    }
}

impl Budget {
    pub fn of(bytes: u64) -> Self {
        Budget { left: bytes, total: bytes }
    }

    /// So much more of the file has come.
    pub fn received(&mut self, bytes: usize) {
        let more = (bytes as u64).saturating_mul(BYTES_PER_BYTE);
        self.left = self.left.saturating_add(more);
        self.total = self.total.saturating_add(more);
    }

    /// An element of so many bytes is about to be told.
    pub fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        let cost = (bytes as u64).saturating_add(ELEMENT_BYTES);
        let spent = self.total.saturating_sub(self.left).saturating_add(cost);
        let short = Fault::TooLarge { what: "contents", length: spent, limit: self.total };
        self.left = self.left.checked_sub(cost).ok_or(short)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_may_be_spent_many_times_over_and_no_more() {
        let mut budget = Budget::of(100);
        assert_eq!(budget.spend(76), Ok(()));
        let fault = budget.spend(0).unwrap_err();
        assert_eq!(fault, Fault::TooLarge { what: "contents", length: 124, limit: 100 });
        budget.received(1);
        assert_eq!(budget.spend(BYTES_PER_BYTE as usize - 24), Ok(()));
        assert!(budget.spend(0).is_err());
    }

    #[test]
    fn the_longest_files_do_not_overflow_it() {
        let mut budget = Budget::of(u64::MAX - 1);
        budget.received(usize::MAX);
        assert_eq!(budget.spend(usize::MAX - 24), Ok(()));
        assert!(budget.spend(usize::MAX).is_err());
    }
}
