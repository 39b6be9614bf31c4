//! Scans: a walk over a map in portions, which needs no state between them.
//!
//! The leaves of a trie stand in the order of the hashes of their items, so a hash is a position.
//! The positions of keys are the same in every map with the same hasher, whatever else the maps
//! hold. So a scan may continue in a later version, or in another map. It visits each key that is
//! there from its beginning to its end, and visits no key twice if the maps do not change.

use super::digits::{DIGIT_BITS, Place, digit};
use super::item::{Item, ItemPtr};
use super::node::Node;
use super::trie::Map;
use std::hash::BuildHasher;

/// A leaf, or all leaves of keys that agree in all digits of their hash; and the range of hashes
/// that belong there. Without an end it is the last range.
struct LeafRange {
    node: Node,
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
            let LeafRange { node, start, end } = self.leaf_range(position)?;
            let mut visit_behind = |item: Item<'m, V>| {
                // The leaf may begin before the position, after entries were removed.
                if position == start || self.hash(item.key()) >= position {
                    visited += 1;
                    visit(item);
                }
            };
            // SAFETY: this map reaches the node, and is borrowed for 'm.
            unsafe { visit_below(node, &mut visit_behind) };
            position = end?;
            if visited >= count {
                return Some(position);
            }
        }
    }

    /// The leaf in which a hash belongs.
    fn leaf_range(&self, hash: u64) -> Option<LeafRange> {
        let (mut node, mut start, mut end) = (self.root?, 0, None);
        let mut place = Some(Place::ROOT);
        // SAFETY: this map reaches the nodes, so they are allocated and nobody writes to them while
        // it is borrowed.
        unsafe {
            while !node.is_leaf()
                && let Some(Place { shift, .. }) = place
            {
                let at = node.child_of(digit(hash, shift));
                let (from, to) = node.digits(at);
                // The last child ends where its parent does.
                if to < 1 << DIGIT_BITS {
                    end = Some(start + (u64::from(to) << shift));
                }
                start += u64::from(from) << shift;
                node = Node::from_raw(node.slot(at));
                place = place.and_then(Place::next);
            }
        }
        Some(LeafRange { node, start, end })
    }
}

/// # Safety
/// A map that is borrowed for 'm reaches the node.
unsafe fn visit_below<'m, V: 'm>(node: Node, visit: &mut impl FnMut(Item<'m, V>)) {
    // SAFETY: as asked of the caller. What a map reaches is allocated, and nobody writes to it
    // while the map is borrowed.
    unsafe {
        for raw in node.all_slots() {
            if node.is_leaf() {
                visit(Item::new(ItemPtr::from_raw(*raw)));
            } else {
                visit_below(Node::from_raw(*raw), visit);
            }
        }
    }
}
