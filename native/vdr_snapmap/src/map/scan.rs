//! Scans: a walk over a map in portions, which needs no state between them.
//!
//! The leaves of a trie stand in the order of the hashes of their items, so a hash is a position.
//! The positions of keys are the same in every map with the same hasher, whatever else the maps
//! hold. So a scan may continue in a later version, or in another map. It visits each key that is
//! there from its beginning to its end, and visits no key twice if the maps do not change.

use super::digits::{DIGIT_BITS, ROOT_SHIFT, digit};
use super::item::{Item, ItemPtr};
use super::node::Node;
use super::trie::Map;
use std::hash::BuildHasher;

/// A leaf, and the range of hashes that belong in it. Without an end it is the last leaf.
struct LeafRange {
    leaf: Node,
    start: u64,
    end: Option<u64>,
}

impl<V, S: BuildHasher> Map<V, S> {
    /// Visits the entries from a position on, until `count` or a few more were visited. Returns the
    /// position at which the next call continues, a multiple of 16; `None` at the end.
    /// O(count + log n).
    pub fn scan<'m>(&'m self, from: u64, count: usize, mut visit: impl FnMut(Item<'m, V>)) -> Option<u64> {
        let (mut position, mut visited) = (from, 0);
        loop {
            let LeafRange { leaf, start, end } = self.leaf_range(position)?;
            // SAFETY: this map reaches the leaf and its items, and nobody writes to them while it is
            // borrowed.
            for raw in unsafe { leaf.all_slots() } {
                // SAFETY: as above.
                let item = unsafe { Item::new(ItemPtr::<V>::from_raw(*raw)) };
                // The leaf may begin before the position, after entries were removed.
                if position == start || self.hash(item.key()) >= position {
                    visited += 1;
                    visit(item);
                }
            }
            position = end?;
            if visited >= count {
                return Some(position);
            }
        }
    }

    /// The leaf in which a hash belongs.
    fn leaf_range(&self, hash: u64) -> Option<LeafRange> {
        let (mut leaf, mut start, mut end) = (self.root?, 0, None);
        let mut shift = ROOT_SHIFT;
        // SAFETY: this map reaches the nodes, so they are allocated and nobody writes to them while
        // it is borrowed.
        unsafe {
            while !leaf.is_leaf() {
                let at = leaf.child_of(digit(hash, shift));
                let (from, to) = leaf.digits(at);
                // The last child ends where its parent does.
                if to < 1 << DIGIT_BITS {
                    end = Some(start + (u64::from(to) << shift));
                }
                start += u64::from(from) << shift;
                leaf = Node::from_raw(leaf.slot(at));
                shift = shift.wrapping_sub(DIGIT_BITS);
            }
        }
        Some(LeafRange { leaf, start, end })
    }
}
