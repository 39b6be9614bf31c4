//! Path copying: a write makes every node from the root to a leaf unique to its version.

use super::digits::{DEPTH_MAX, Place, digit, second_hash};
use super::node::Node;
use super::trie::{DropCost, Map, TriePart};
use std::hash::BuildHasher;

/// The inner nodes from the root to a leaf. All of them, and the leaf, are of the newest
/// generation.
pub struct Path {
    entries: [Option<PathEntry>; DEPTH_MAX],
    /// Those behind the first ones, if keys agree in all digits of their hash.
    deeper: Vec<PathEntry>,
    pub depth: usize,
    pub leaf: Node,
}

#[derive(Clone, Copy)]
pub struct PathEntry {
    pub node: Node,
    /// The index of the child that the path goes on with.
    pub at: usize,
    /// The digit that chose the child.
    pub place: Place,
}

impl Path {
    pub fn entry(&self, depth: usize) -> Option<PathEntry> {
        match depth.checked_sub(DEPTH_MAX) {
            Some(depth) => self.deeper.get(depth).copied(),
            None => self.entries.get(depth).copied().flatten(),
        }
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
    /// Makes every node on the path of a key with this hash unique to this map, which is the
    /// newest.
    pub(super) fn make_path_unique(&mut self, hash: u64, key: &[u8]) -> Option<Path> {
        let (mut entries, mut deeper) = ([None; DEPTH_MAX], Vec::new());
        let root = self.root?;
        let (mut node, mut depth) = (self.make_unique(root), 0);
        let (mut hash, mut place) = (hash, Place::ROOT);
        self.root = Some(node);
        if node != root {
            // The first change since a fork copies every node on the path, which gives the item's
            // memory time to arrive.
            self.prefetch_item(hash, key);
        }
        // SAFETY: each node in turn is of this generation, so only this map reaches it and may
        // write to it.
        unsafe {
            while !node.is_leaf() {
                let at = node.child_of(digit(hash, place.shift));
                let child = self.make_unique(Node::from_raw(node.slot(at)));
                *node.slot_at(at) = child.raw();
                match entries.get_mut(depth) {
                    Some(entry) => *entry = Some(PathEntry { node, at, place }),
                    None => deeper.push(PathEntry { node, at, place }),
                }
                (node, depth) = (child, depth + 1);
                place = place.next().unwrap_or_else(|| {
                    hash = second_hash(key);
                    Place::SECOND
                });
            }
        }
        Some(Path { entries, deeper, depth, leaf: node })
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
