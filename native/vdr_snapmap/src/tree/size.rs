//! The memory of a tree, for estimates.

use super::btree::{Repr, Tree};
use super::key::Key;
use super::leaf::Leaf;
use super::node::{Below, Node, child_at};
use crate::host_alloc::{COUNTS, allocated};

impl<K: Key, V: Clone> Tree<K, V> {
    /// The tree's own bytes, separators included, amortized over its entries, for the entry at a
    /// rank: of each node on the path an equal share for each entry below the node. O(log n).
    pub fn amortized_entry_bytes(&self, rank: usize) -> Option<f64> {
        let mut node = match &self.0 {
            Repr::Empty => return None,
            // The reference counts stand in front of the leaf.
            Repr::Small(leaf) => {
                return (rank < leaf.len()).then(|| leaf_share(leaf, size_of::<Leaf<K, V>>() + COUNTS));
            }
            // SAFETY: this tree, which is borrowed, reaches its root.
            Repr::Large(large) => unsafe { large.root().read() },
        };
        let (mut at, mut below, mut share) = (rank, self.len(), 0.0);
        loop {
            match &node.below {
                Below::Leaf(leaf) => {
                    return (at < leaf.len()).then(|| share + leaf_share(leaf, size_of::<Node<K, V>>()));
                }
                Below::Inner(inner) => {
                    let bytes = allocated(size_of::<Node<K, V>>()) + inner.allocated_bytes();
                    share += bytes as f64 / below.max(1) as f64;
                    let child = child_at(inner, &mut at)?;
                    below = child.count;
                    // SAFETY: this tree reaches the children of what it reaches.
                    node = unsafe { child.node.typed().read() };
                }
            }
        }
    }
}

/// The share of one entry in a leaf's own allocation, of so many bytes, and in its entries.
fn leaf_share<K: Key, V>(leaf: &Leaf<K, V>, own_bytes: usize) -> f64 {
    (allocated(own_bytes) + leaf.allocated_bytes()) as f64 / leaf.len().max(1) as f64
}
