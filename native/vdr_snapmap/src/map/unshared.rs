//! Diff of two versions of a map: the entries that they do not share.

use super::item::{Item, ItemPtr};
use super::node::Node;
use super::trie::Map;
use std::marker::PhantomData;

impl<V, S> Map<V, S> {
    /// The entries that may differ from those of `old`: all except those that both reach through
    /// the same node or as the same item. For two versions of one map the cost is the changes
    /// between them times the length of a path.
    pub fn unshared<'m>(&'m self, old: &'m Self) -> Unshared<'m, V> {
        let mut unshared = Unshared { path: Vec::new(), map: PhantomData };
        if let Some(root) = self.root {
            unshared.enter(root, old.root);
        }
        unshared
    }
}

/// See [`Map::unshared`].
pub struct Unshared<'m, V> {
    path: Vec<Visit>,
    map: PhantomData<&'m V>,
}

/// A node on the path, the index of its next slot, and the node in its place in the other map, if
/// known.
struct Visit {
    node: Node,
    at: usize,
    other: Option<Node>,
}

impl<V> Unshared<'_, V> {
    fn enter(&mut self, node: Node, other: Option<Node>) {
        if other != Some(node) {
            self.path.push(Visit { node, at: 0, other });
        }
    }
}

impl<'m, V> Iterator for Unshared<'m, V> {
    type Item = Item<'m, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Visit { node, at, other } = self.path.last_mut()?;
            // SAFETY: the maps, which are borrowed for 'm, reach all nodes and items, and nobody
            // writes to them meanwhile.
            unsafe {
                if *at >= node.len() {
                    self.path.pop();
                    continue;
                }
                let (index, raw, other) = (*at, node.slot(*at), *other);
                *at += 1;
                if node.is_leaf() {
                    let shared = other.is_some_and(|leaf| leaf.is_leaf() && leaf.all_slots().contains(&raw));
                    if !shared {
                        return Some(Item::new(ItemPtr::from_raw(raw)));
                    }
                } else {
                    let other = other.and_then(|other| counterpart(other, node.digits(index)));
                    self.enter(Node::from_raw(raw), other);
                }
            }
        }
    }
}

/// The child of a node that stands for this very range of digits, or a leaf that stands for more.
///
/// # Safety
/// The node is allocated and nobody writes to it.
unsafe fn counterpart(node: Node, range: (u32, u32)) -> Option<Node> {
    // SAFETY: as asked of the caller; the index is one of a child.
    unsafe {
        if node.is_leaf() {
            return Some(node);
        }
        let index = node.child_of(range.0);
        let child = Node::from_raw(node.slot(index));
        (child.is_leaf() || node.digits(index) == range).then_some(child)
    }
}
