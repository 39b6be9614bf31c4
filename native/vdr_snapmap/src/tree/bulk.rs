//! Bulk load: builds a tree from sorted entries, level by level.

use super::btree::{Repr, Tree};
use super::child::Separated;
use super::fanout::FILL;
use super::inner::Inner;
use super::key::Key;
use super::large::Large;
use super::leaf::Leaf;
use super::node::{Below, NodePtr, new_child};
use crate::version::Version;
use std::sync::Arc;

impl<K: Key, V: Clone> Tree<K, V> {
    /// Builds from entries in strictly ascending key order, in O(n). Entries out of order are
    /// inserted one by one. Of equal keys the last stays.
    pub fn from_sorted(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let entries = entries.into_iter();
        let mut load = Load { expected: entries.size_hint().0, leaf: Vec::new(), leaves: Vec::new(), tree: None };
        entries.for_each(|(key, value)| load.push(key, value));
        load.tree.take().unwrap_or_else(|| load.finish())
    }
}

/// A tree that is being built. It knows nothing of what the entries come from, so that the compiler
/// makes it once for each type of tree.
struct Load<K, V> {
    /// How many more entries there are at least, as far as known.
    expected: usize,
    /// The last leaf, which is not full.
    leaf: Vec<(K, V)>,
    leaves: Vec<Leaf<K, V>>,
    /// Once an entry was out of order.
    tree: Option<Tree<K, V>>,
}

impl<K: Key, V: Clone> Load<K, V> {
    fn push(&mut self, key: K, value: V) {
        if self.tree.is_none() && self.leaf.last().is_some_and(|(last, _)| *last >= key) {
            self.tree = Some(self.finish());
        }
        if let Some(tree) = &mut self.tree {
            tree.insert(key, value);
            return;
        }
        if self.leaf.len() == FILL {
            self.leaves.push(Leaf::new(std::mem::take(&mut self.leaf)));
        }
        if self.leaf.is_empty() {
            self.leaf.reserve_exact(self.expected.clamp(1, FILL));
        }
        self.expected = self.expected.saturating_sub(1);
        self.leaf.push((key, value));
    }

    /// The tree of what has come.
    fn finish(&mut self) -> Tree<K, V> {
        let last = std::mem::take(&mut self.leaf);
        if last.is_empty() {
            return Tree::default();
        }
        let last = Leaf::new(last);
        if self.leaves.is_empty() {
            return Tree(Repr::Small(Arc::new(last)));
        }
        self.leaves.push(last);
        large(std::mem::take(&mut self.leaves))
    }
}

/// A tree of two or more leaves, as the first version of its chain.
pub(super) fn large<K: Key, V: Clone>(leaves: Vec<Leaf<K, V>>) -> Tree<K, V> {
    let version = Version::default();
    let born = version.generation();
    let mut row: Vec<Separated<K>> = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        row.extend(new_child(born, Below::Leaf(leaf)));
    }
    match root_of::<K, V>(born, row) {
        Some((root, len)) => Tree(Repr::Large(Box::new(Large::new(root, len, version)))),
        None => Tree::default(),
    }
}

/// Puts levels of inner nodes above a row of new nodes until one node is left. Answers that one,
/// and the number of entries below it.
fn root_of<K: Key, V>(born: u64, mut row: Vec<Separated<K>>) -> Option<(NodePtr<K, V>, usize)> {
    while row.len() > 1 {
        let mut above = Vec::with_capacity(row.len() / FILL + 1);
        let mut below = row.into_iter();
        while below.len() > 0 {
            let mut children: Vec<_> = below.by_ref().take(FILL).collect();
            // An inner node has at least two children, so a child that would be alone goes along.
            if below.len() == 1 {
                children.extend(below.next());
            }
            above.extend(Inner::new(children).and_then(|inner| new_child::<K, V>(born, Below::Inner(inner))));
        }
        row = above;
    }
    row.pop().map(|(_, root)| (root.node.typed(), root.count))
}
