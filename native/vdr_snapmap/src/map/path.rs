//! Path copying: a write makes every node from the root to a leaf unique to its version.

use super::digits::{DEPTH_MAX, DIGIT_BITS, ROOT_SHIFT, digit};
use super::node::Node;
use super::trie::{DropCost, Map, TriePart};
use std::hash::BuildHasher;

/// The inner nodes from the root to a leaf. All of them, and the leaf, are of the newest
/// generation.
pub struct Path {
    entries: [Option<PathEntry>; DEPTH_MAX],
    pub depth: usize,
    pub leaf: Node,
}

#[derive(Clone, Copy)]
pub struct PathEntry {
    pub node: Node,
    /// The index of the child that the path goes on with.
    pub at: usize,
    /// The shift of the digit that chose the child.
    pub shift: u32,
}

impl Path {
    pub fn entry(&self, depth: usize) -> Option<PathEntry> {
        self.entries.get(depth).copied().flatten()
    }
}

impl PathEntry {
    /// Whether the child stands for one digit.
    ///
    /// # Safety
    /// The node is an allocated inner node and `at` below its length.
    pub unsafe fn is_single(self) -> bool {
        // SAFETY: as asked of the caller.
        let (from, to) = unsafe { self.node.digits(self.at) };
        to - from == 1
    }
}

impl<V: Clone + DropCost, S: BuildHasher + Clone> Map<V, S> {
    /// Makes every node on the path of a hash unique to this map, which is the newest.
    pub(super) fn make_path_unique(&mut self, hash: u64) -> Option<Path> {
        let mut entries = [None; DEPTH_MAX];
        let root = self.root?;
        let (mut node, mut depth, mut shift) = (self.make_unique(root), 0, ROOT_SHIFT);
        self.root = Some(node);
        if node != root {
            // The first change since a fork copies every node on the path, which gives the item's
            // memory time to arrive.
            self.prefetch_items(hash);
        }
        // SAFETY: each node in turn is of this generation, so only this map reaches it and may
        // write to it.
        unsafe {
            while !node.is_leaf() {
                let at = node.child_of(digit(hash, shift));
                let child = self.make_unique(Node::from_raw(node.slot(at)));
                *node.slot_at(at) = child.raw();
                if let Some(entry) = entries.get_mut(depth) {
                    *entry = Some(PathEntry { node, at, shift });
                }
                (node, depth, shift) = (child, depth + 1, shift.wrapping_sub(DIGIT_BITS));
            }
        }
        Some(Path { entries, depth, leaf: node })
    }

    /// The node, or a copy of it, that only this map reaches. The caller links it in the node's
    /// place.
    fn make_unique(&mut self, node: Node) -> Node {
        // SAFETY: the newest map reaches the node, and its only reference is replaced by the
        // caller.
        unsafe {
            if node.born() == self.version.generation() {
                return node;
            }
            let copy = node.copy(self.version.generation(), 0);
            self.version.discard(TriePart::Node(node));
            copy
        }
    }

    /// Links a node, of this generation, in the place of the one at a depth of the path.
    pub(super) fn relink(&mut self, path: &Path, depth: usize, node: Node) {
        match depth.checked_sub(1).and_then(|above| path.entry(above)) {
            // SAFETY: the nodes of a path are of this generation.
            Some(above) => unsafe { *above.node.slot_at(above.at) = node.raw() },
            None => self.root = Some(node),
        }
    }
}
