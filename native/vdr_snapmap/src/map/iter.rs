//! Iteration over all entries.

use super::item::{Item, ItemPtr};
use super::node::Node;
use super::trie::Map;
use std::marker::PhantomData;

impl<V, S> Map<V, S> {
    /// Every entry, in no particular order.
    pub fn iter(&self) -> Iter<'_, V> {
        let mut iter = Iter { path: Vec::new(), left: self.len, node_bytes: 0, map: PhantomData };
        if let Some(root) = self.root {
            // SAFETY: this map reaches its root, and is borrowed for as long as the iterator lives.
            unsafe { iter.enter(root) };
        }
        iter
    }
}

/// See [`Map::iter`].
pub struct Iter<'m, V> {
    path: Vec<(Node, usize)>,
    left: usize,
    node_bytes: usize,
    map: PhantomData<&'m V>,
}

impl<V> Iter<'_, V> {
    /// # Safety
    /// The map, which is borrowed for as long as the iterator lives, reaches the node.
    unsafe fn enter(&mut self, node: Node) {
        // SAFETY: what a map reaches is allocated.
        self.node_bytes = self.node_bytes.saturating_add(unsafe { node.allocated_bytes() });
        self.path.push((node, 0));
    }

    /// The bytes of the nodes that the iterator has visited so far.
    pub fn node_bytes(&self) -> usize {
        self.node_bytes
    }
}

impl<'m, V> Iterator for Iter<'m, V> {
    type Item = Item<'m, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (node, at) = self.path.last_mut()?;
            // SAFETY: the map, which is borrowed for 'm, reaches the nodes and items, and nobody
            // writes to them meanwhile.
            unsafe {
                if *at >= node.len() {
                    self.path.pop();
                    continue;
                }
                let raw = node.slot(*at);
                *at += 1;
                if node.is_leaf() {
                    self.left -= 1;
                    return Some(Item::new(ItemPtr::from_raw(raw)));
                }
                self.enter(Node::from_raw(raw));
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<V> ExactSizeIterator for Iter<'_, V> {}
