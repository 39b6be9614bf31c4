//! How leaves split when they are full, and join when they are nearly empty.

use super::digits::{DIGIT_BITS, ROOT_SHIFT, digit, tag};
use super::item::ItemPtr;
use super::leaf::leaf_of;
use super::node::{LEAF_MAX, Node, Raw};
use super::path::{Path, PathEntry};
use super::trie::{DropCost, Map, TriePart};
use std::hash::BuildHasher;

/// A leaf with at most this many items is joined with its neighbour when together they have at most
/// [`JOINED_MAX`].
const SMALL: usize = LEAF_MAX / 4;
const JOINED_MAX: usize = LEAF_MAX * 3 / 4;

impl<V: Clone + DropCost, S: BuildHasher + Clone> Map<V, S> {
    /// Adds a new item at the end of a unique path.
    pub(super) fn add(&mut self, path: Path, hash: u64, item: Raw) {
        let leaf = path.leaf;
        let generation = self.version.generation();
        // SAFETY: the nodes of a path are of this generation. A replaced node is unlinked before it
        // is discarded.
        unsafe {
            if !leaf.is_full() {
                return leaf.push(tag(hash), item);
            }
            let above = path.depth.checked_sub(1).and_then(|above| path.entry(above));
            let bottom = above.is_some_and(|above| above.shift < DIGIT_BITS && above.is_single());
            if leaf.len() < LEAF_MAX || bottom {
                // A leaf at the bottom has no limit, so it grows by halves.
                let larger = leaf.copy(generation, 1 + if bottom { leaf.len() / 2 } else { 0 });
                larger.push(tag(hash), item);
                self.relink(&path, path.depth, larger);
                return self.version.discard(TriePart::Node(leaf));
            }
            let mut items: Vec<(u64, Raw)> = (0..leaf.len()).map(|at| self.hashed(leaf.slot(at))).collect();
            items.push((hash, item));
            match above {
                Some(above) if !above.is_single() => {
                    let (from, to) = above.node.digits(above.at);
                    let mut children = Vec::new();
                    spread(generation, &items, (from, to), above.shift, &mut children);
                    let wider = above.node.copy(generation, children.len() - 1);
                    wider.replace_child(above.at, &children);
                    self.relink(&path, path.depth - 1, wider);
                    self.version.discard(TriePart::Node(above.node));
                }
                above => {
                    let shift = above.map_or(ROOT_SHIFT, |above| above.shift - DIGIT_BITS);
                    self.relink(&path, path.depth, branch(generation, &items, shift));
                }
            }
            self.version.discard(TriePart::Node(leaf));
        }
    }

    /// # Safety
    /// This map reaches the item.
    unsafe fn hashed(&self, raw: Raw) -> (u64, Raw) {
        // SAFETY: as asked of the caller.
        (self.hash(unsafe { ItemPtr::<V>::from_raw(raw).key() }), raw)
    }

    /// Joins the leaf of a unique path with its neighbours, as far up as they are small enough
    /// together.
    pub(super) fn shrink(&mut self, path: Path) {
        let (mut leaf, mut depth) = (path.leaf, path.depth);
        let generation = self.version.generation();
        // SAFETY: the nodes of a path are of this generation; neighbours are only read. A node that
        // is joined into `leaf` is unlinked before it is discarded.
        unsafe {
            while leaf.len() <= SMALL {
                let Some(PathEntry { node, at, .. }) = depth.checked_sub(1).and_then(|above| path.entry(above)) else {
                    break;
                };
                if node.len() == 1 {
                    depth -= 1;
                    self.relink(&path, depth, leaf);
                    self.version.discard(TriePart::Node(node));
                    continue;
                }
                // Joins may have moved the leaf from the index in the path.
                let at = (0..node.len()).find(|index| node.slot(*index) == leaf.raw()).unwrap_or(at);
                let Some((left, other)) = twin(node, at) else { break };
                if !other.is_leaf() || other.len() + leaf.len() > JOINED_MAX {
                    break;
                }
                let joined = leaf.copy(generation, other.len());
                for at in 0..other.len() {
                    joined.push(other.tag(at), other.slot(at));
                }
                *node.slot_at(left) = joined.raw();
                node.remove_child_behind(left);
                self.version.discard(TriePart::Node(other));
                self.version.discard(TriePart::Node(leaf));
                leaf = joined;
            }
            if leaf.len() == 0 && depth == 0 {
                self.root = None;
                self.version.discard(TriePart::Node(leaf));
            }
        }
    }
}

/// The sibling that stands for the other half of a child's range, when one child stands for that
/// half: the index of the left one of the two, and the sibling.
///
/// # Safety
/// The node is an allocated inner node, `at` below its length.
unsafe fn twin(node: Node, at: usize) -> Option<(usize, Node)> {
    // SAFETY: indices below the length.
    unsafe {
        let (from, to) = node.digits(at);
        let size = to - from;
        let other = if from & size == 0 { at + 1 } else { at.checked_sub(1)? };
        if other >= node.len() {
            return None;
        }
        let (other_from, other_to) = node.digits(other);
        (other_to - other_from == size).then(|| (at.min(other), Node::from_raw(node.slot(other))))
    }
}

/// An inner node for items that are too many for a leaf, by their digit at `shift`.
fn branch(born: u64, items: &[(u64, Raw)], shift: u32) -> Node {
    let mut children = Vec::new();
    spread(born, items, (0, 64), shift, &mut children);
    let node = Node::new(born, 1, children.len());
    // SAFETY: made with room for all children, and not linked anywhere yet. The node begins with
    // one child, which is written before it is replaced.
    unsafe {
        if let Some((_, first)) = children.first() {
            node.begin(*first);
        }
        node.replace_child(0, &children);
    }
    node
}

/// Children for a range of digits: halves, until each is small enough for a leaf.
fn spread(born: u64, items: &[(u64, Raw)], range: (u32, u32), shift: u32, children: &mut Vec<(u32, Raw)>) {
    let (from, to) = range;
    if items.len() <= LEAF_MAX || (to - from == 1 && shift < DIGIT_BITS) {
        return children.push((from, leaf_of(born, items).raw()));
    }
    if to - from == 1 {
        return children.push((from, branch(born, items, shift - DIGIT_BITS).raw()));
    }
    let middle = from.midpoint(to);
    let (left, right): (Vec<_>, Vec<_>) = items.iter().partition(|(hash, _)| digit(*hash, shift) < middle);
    spread(born, &left, (from, middle), shift, children);
    spread(born, &right, (middle, to), shift, children);
}
