//! What one version of a map does not share with another.

use super::Map;
use crate::item::{At, Item};
use crate::node::Node;
use std::marker::PhantomData;

impl<V, S> Map<V, S> {
    /// The entries that may not be those of `old`: whatever both reach by the same node or as the same item is left out.
    /// Of two versions of one map that costs what changed between them, times the nodes on the way to it.
    pub fn unshared<'m>(&'m self, old: &'m Self) -> Unshared<'m, V> {
        let mut unshared = Unshared { way: Vec::new(), map: PhantomData };
        if let Some(root) = self.root {
            unshared.enter(root, old.root);
        }
        unshared
    }
}

/// See [`Map::unshared`].
pub struct Unshared<'m, V> {
    way: Vec<Step>,
    map: PhantomData<&'m V>,
}

/// A node on the way, which of its slots is next, and what stands in its place in the other map, if that is known.
struct Step {
    node: Node,
    at: usize,
    other: Option<Node>,
}

impl<V> Unshared<'_, V> {
    fn enter(&mut self, node: Node, other: Option<Node>) {
        if other != Some(node) {
            self.way.push(Step { node, at: 0, other });
        }
    }
}

impl<'m, V> Iterator for Unshared<'m, V> {
    type Item = Item<'m, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Step { node, at, other } = self.way.last_mut()?;
            // SAFETY: the maps, which are borrowed for 'm, reach all nodes and items, and nobody writes to them meanwhile.
            unsafe {
                if *at >= node.len() {
                    self.way.pop();
                    continue;
                }
                let (index, raw, other) = (*at, node.slot(*at), *other);
                *at += 1;
                if node.is_leaf() {
                    let shared = other.is_some_and(|leaf| leaf.is_leaf() && leaf.all_slots().contains(&raw));
                    if !shared {
                        return Some(Item::new(At::from_raw(raw)));
                    }
                } else {
                    let other = other.and_then(|other| counterpart(other, node.digits(index)));
                    self.enter(Node::from_raw(raw), other);
                }
            }
        }
    }
}

/// What stands for a range of digits in a node: the child of that very range, or a leaf that stands for more.
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
