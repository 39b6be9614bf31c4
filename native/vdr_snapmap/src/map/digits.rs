//! Which bits of which hash choose the path of a key through the trie.
//!
//! The first ten digits of a path come from the map's hasher, which is fast, and which somebody who
//! chooses the keys may defeat. Keys that agree in all of these digits go on by the digits of a
//! second hash, SipHash with a random secret, which nobody defeats. So no leaf is larger than
//! another one.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// Hash bits that choose a child.
pub const DIGIT_BITS: u32 = 6;
/// The first digit of a hash is the uppermost.
const FIRST_SHIFT: u32 = u64::BITS - DIGIT_BITS;
/// The number of nodes on the longest path by the first hash.
pub const DEPTH_MAX: usize = (u64::BITS / DIGIT_BITS) as usize + 1;

/// The place of a digit on a path.
#[derive(Clone, Copy)]
pub struct Place {
    /// The shift of the digit in its hash.
    pub shift: u32,
    /// Whether its hash is the second one.
    pub is_second: bool,
}

impl Place {
    /// The digit that chooses a child of the root.
    pub const ROOT: Place = Place { shift: FIRST_SHIFT, is_second: false };
    /// The first digit of the second hash.
    pub const SECOND: Place = Place { shift: FIRST_SHIFT, is_second: true };

    /// The next digit of the same hash.
    #[inline]
    pub fn next(self) -> Option<Place> {
        Some(Place { shift: self.shift.checked_sub(DIGIT_BITS)?, ..self })
    }

    /// Whether no digit follows.
    pub fn is_last(self) -> bool {
        self.is_second && self.shift < DIGIT_BITS
    }
}

#[inline]
pub fn digit(hash: u64, shift: u32) -> u32 {
    // The remainder only shows the compiler that the shift is in range.
    ((hash >> (shift % u64::BITS)) & 63) as u32
}

/// The second hash of a key.
#[cold]
pub fn second_hash(key: &[u8]) -> u64 {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    SECRET.hash_one(key)
}

/// The bits of the first hash that stand beside an item in its leaf.
#[inline]
pub fn tag(hash: u64) -> u8 {
    hash as u8
}
