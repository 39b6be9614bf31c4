//! A budget against decompression bombs: how much a file may grow in memory relative to its bytes.
//!
//! Compression expands one byte to 88, and a compact encoding stores an element in two bytes that
//! takes more than twenty in memory. Together they expand a few megabytes to many gigabytes. Files
//! of real servers expand, too, but within bounds: any file may take [`FREE_BYTES`], and
//! [`BYTES_PER_BYTE`] for each byte received.

use crate::error::Fault;

/// The memory that any file may take, whatever its size.
pub const FREE_BYTES: u64 = 2 << 30;
/// The memory that a file may take for each byte received. A string expands to 88 times its bytes
/// at most, so strings always pass. What does not pass is gigabytes of the same few numbers in
/// lists.
pub const BYTES_PER_BYTE: u64 = 256;
/// The least that an element takes beside its bytes.
const ELEMENT_BYTES: u64 = 24;

/// The memory that the following elements may still take.
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

    /// Adds the allowance of bytes that were received.
    pub fn received(&mut self, bytes: usize) {
        let more = (bytes as u64).saturating_mul(BYTES_PER_BYTE);
        self.left = self.left.saturating_add(more);
        self.total = self.total.saturating_add(more);
    }

    /// Takes an element of so many bytes from the budget, before it is reported.
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
