//! Which bits of a hash choose the path of a key through the trie.

/// Hash bits that choose a child.
pub const DIGIT_BITS: u32 = 6;
/// The first digit is the uppermost.
pub const ROOT_SHIFT: u32 = u64::BITS - DIGIT_BITS;
/// The number of nodes on the longest path.
pub const DEPTH_MAX: usize = (u64::BITS / DIGIT_BITS) as usize + 1;

pub fn digit(hash: u64, shift: u32) -> u32 {
    // The remainder only shows the compiler that the shift is in range: no node is deeper than the
    // hash has digits.
    ((hash >> (shift % u64::BITS)) & 63) as u32
}

/// The bits that stand beside an item in its leaf.
pub fn tag(hash: u64) -> u8 {
    hash as u8
}
