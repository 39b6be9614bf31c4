//! How leaves split when they are full, and join when they are nearly empty.

use super::digits::{Place, digit, tag};
use super::item::ItemPtr;
use super::leaf::{Hashed, leaf_of};
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
            let bottom = above.is_some_and(|above| above.place.is_last() && above.is_single());
            if leaf.len() < LEAF_MAX || bottom {
                // A leaf at the bottom would have no limit, so it would grow by halves. No two keys
                // get there unless they agree in all digits of both hashes.
                let larger = leaf.copy(generation, 1 + if bottom { leaf.len() / 2 } else { 0 });
                larger.push(tag(hash), item);
                self.relink(&path, path.depth, larger);
                return self.version.discard(TriePart::Node(leaf));
            }
            // The digit that divides the items.
            let place = match above {
                None => Place::ROOT,
                Some(above) if above.is_single() => above.place.next().unwrap_or(Place::SECOND),
                Some(above) => above.place,
            };
            let items: Vec<Hashed> = leaf.all_slots().iter().map(|slot| self.hashed(*slot)).collect();
            let mut items = [items, vec![Hashed::new(hash, item)]].concat();
            if place.is_second {
                items = second::<V>(&items);
            }
            match above {
                Some(above) if !above.is_single() => {
                    let (from, to) = above.node.digits(above.at);
                    let mut children = Vec::new();
                    spread::<V>(generation, &items, (from, to), place, &mut children);
                    let wider = above.node.copy(generation, children.len() - 1);
                    wider.replace_child(above.at, &children);
                    self.relink(&path, path.depth - 1, wider);
                    self.version.discard(TriePart::Node(above.node));
                }
                _ => self.relink(&path, path.depth, branch::<V>(generation, &items, place)),
            }
            self.version.discard(TriePart::Node(leaf));
        }
    }

    /// # Safety
    /// This map reaches the item.
    unsafe fn hashed(&self, raw: Raw) -> Hashed {
        // SAFETY: as asked of the caller.
        Hashed::new(self.hash(unsafe { ItemPtr::<V>::from_raw(raw).key() }), raw)
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

/// The items by their second hash.
///
/// # Safety
/// As [`Hashed::second`], of each item.
unsafe fn second<V>(items: &[Hashed]) -> Vec<Hashed> {
    // SAFETY: as asked of the caller.
    items.iter().map(|item| unsafe { item.second::<V>() }).collect()
}

/// An inner node for items that are too many for a leaf, by their digit at a place.
///
/// # Safety
/// As [`Hashed::second`], of each item.
unsafe fn branch<V>(born: u64, items: &[Hashed], place: Place) -> Node {
    let mut children = Vec::new();
    // SAFETY: as asked of the caller. Made with room for all children, and not linked anywhere yet.
    // The node begins with one child, which is written before it is replaced.
    unsafe {
        spread::<V>(born, items, (0, 64), place, &mut children);
        let node = Node::new(born, 1, children.len());
        if let Some((_, first)) = children.first() {
            node.begin(*first);
        }
        node.replace_child(0, &children);
        node
    }
}

/// Children for a range of digits: halves, until each is small enough for a leaf.
///
/// # Safety
/// As [`Hashed::second`], of each item.
unsafe fn spread<V>(born: u64, items: &[Hashed], range: (u32, u32), place: Place, children: &mut Vec<(u32, Raw)>) {
    let (from, to) = range;
    if items.len() <= LEAF_MAX || (to - from == 1 && place.is_last()) {
        return children.push((from, leaf_of(born, items).raw()));
    }
    // SAFETY: as asked of the caller.
    unsafe {
        if to - from == 1 {
            let child = match place.next() {
                Some(next) => branch::<V>(born, items, next),
                None => branch::<V>(born, &second::<V>(items), Place::SECOND),
            };
            return children.push((from, child.raw()));
        }
        let middle = from.midpoint(to);
        let (left, right): (Vec<_>, Vec<_>) = items.iter().partition(|item| digit(item.hash, place.shift) < middle);
        spread::<V>(born, &left, (from, middle), place, children);
        spread::<V>(born, &right, (middle, to), place, children);
    }
}
