//! Bulk load: builds a tree from sorted entries, level by level.

use super::btree::{Repr, Tree};
use super::fanout::FILL;
use super::inner::Inner;
use super::key::Key;
use super::large::Large;
use super::leaf::Leaf;
use super::node::{Below, Child, Separated, new_child};
use crate::version::Version;
use std::sync::Arc;

impl<K: Key, V: Clone> Tree<K, V> {
    /// Builds from entries in strictly ascending key order, in O(n). Entries out of order are
    /// inserted one by one. Of equal keys the last stays.
    pub fn from_sorted(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut entries = entries.into_iter().peekable();
        let mut leaves: Vec<Vec<(K, V)>> = Vec::new();
        let mut stray = None;
        while stray.is_none() {
            let mut leaf: Vec<(K, V)> = Vec::with_capacity(FILL.min(entries.size_hint().0.max(1)));
            while leaf.len() < FILL
                && let Some(entry) = entries.next()
            {
                let last = leaf.last().or(leaves.last().and_then(|leaf| leaf.last()));
                if last.is_some_and(|(last, _)| *last >= entry.0) {
                    stray = Some(entry);
                    break;
                }
                leaf.push(entry);
            }
            if leaf.is_empty() {
                break;
            }
            leaves.push(leaf);
        }
        let mut tree = if leaves.len() > 1 {
            large(leaves.into_iter().map(Leaf::new))
        } else {
            Tree(leaves.pop().map_or(Repr::Empty, |leaf| Repr::Small(Arc::new(Leaf::new(leaf)))))
        };
        for (key, value) in stray.into_iter().chain(entries) {
            tree.insert(key, value);
        }
        tree
    }
}

/// A tree of two or more leaves, as the first version of its chain.
pub(super) fn large<K: Key, V: Clone>(leaves: impl IntoIterator<Item = Leaf<K, V>>) -> Tree<K, V> {
    let version = Version::default();
    let born = version.generation();
    let row = leaves.into_iter().filter_map(|leaf| new_child(born, Below::Leaf(leaf))).collect();
    let Some(Child { count: len, node: root }) = root_of(born, row) else { return Tree::default() };
    Tree(Repr::Large(Box::new(Large { root, len, version })))
}

/// Puts levels of inner nodes above a row of new nodes until one node is left.
fn root_of<K: Key, V>(born: u64, mut row: Vec<Separated<K, V>>) -> Option<Child<K, V>> {
    while row.len() > 1 {
        let mut above = Vec::with_capacity(row.len() / FILL + 1);
        let mut below = row.into_iter().peekable();
        while below.peek().is_some() {
            let mut children: Vec<_> = below.by_ref().take(FILL).collect();
            // An inner node has at least two children, so a child that would be alone goes along.
            if below.len() == 1 {
                children.extend(below.next());
            }
            above.extend(Inner::new(children).and_then(|inner| new_child(born, Below::Inner(inner))));
        }
        row = above;
    }
    row.pop().map(|(_, root)| root)
}
