//! Diff of two trees, at a cost in proportion to the difference: nodes that both share are skipped
//! unread.
//!
//! Two cursors walk side by side. Where both are at the same node, both skip it. Where they are at
//! different nodes, the higher node is opened, or both. Entries that come up are merged by key.
//! After a split or a merge has moved nodes, the cursors meet again at the next boundary that both
//! trees share.

use super::btree::{Repr, Tree};
use super::child::Child;
use super::key::Key;
use super::leaf::Leaf;
use super::node::{Below, NodePtr};
use std::cmp::Ordering;

/// A key whose entry may differ, in key order.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference<'t, K, V> {
    Removed(&'t K),
    Added(&'t K),
    /// In both trees, in different nodes: the values may be equal all the same.
    Kept {
        key: &'t K,
        old: &'t V,
        new: &'t V,
    },
}

impl<K: Key, V: Clone> Tree<K, V> {
    /// The changes that lead from this tree to `new`. O(difference * log n).
    pub fn diff<'t>(&'t self, new: &'t Self) -> Diff<'t, K, V> {
        Diff { old: Cursor::new(self), new: Cursor::new(new) }
    }

    /// Whether both hold the same entries. Costs as much as [`Tree::diff`].
    pub fn equals(&self, other: &Self) -> bool
    where
        V: PartialEq,
    {
        let equal = |difference| matches!(difference, Difference::Kept { old, new, .. } if old == new);
        self.len() == other.len() && self.diff(other).all(equal)
    }
}

/// See [`Tree::diff`].
pub struct Diff<'t, K, V> {
    old: Cursor<'t, K, V>,
    new: Cursor<'t, K, V>,
}

impl<'t, K: Ord, V> Iterator for Diff<'t, K, V> {
    type Item = Difference<'t, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match (self.old.next(), self.new.next()) {
                (None, None) => return None,
                (Some(Next::Node(a)), Some(Next::Node(b))) => self.nodes(a, b),
                (Some(Next::Node(_)), None) => self.old.open(),
                (None, Some(Next::Node(_))) => self.new.open(),
                (Some(Next::Entry(entry)), Some(Next::Node(node))) if !node.is_behind(&entry.0) => self.new.open(),
                (Some(Next::Node(node)), Some(Next::Entry(entry))) if !node.is_behind(&entry.0) => self.old.open(),
                (Some(Next::Entry(entry)), None | Some(Next::Node(_))) => {
                    self.old.skip();
                    return Some(Difference::Removed(&entry.0));
                }
                (None | Some(Next::Node(_)), Some(Next::Entry(entry))) => {
                    self.new.skip();
                    return Some(Difference::Added(&entry.0));
                }
                (Some(Next::Entry(a)), Some(Next::Entry(b))) => return Some(self.entries(a, b)),
            }
        }
    }
}

impl<'t, K: Ord, V> Diff<'t, K, V> {
    fn nodes(&mut self, a: Unopened<'t, K, V>, b: Unopened<'t, K, V>) {
        if a.node == b.node {
            self.old.skip();
            self.new.skip();
            return;
        }
        if a.height >= b.height {
            self.old.open();
        }
        if b.height >= a.height {
            self.new.open();
        }
    }

    fn entries(&mut self, a: &'t (K, V), b: &'t (K, V)) -> Difference<'t, K, V> {
        let order = a.0.cmp(&b.0);
        if order != Ordering::Greater {
            self.old.skip();
        }
        if order != Ordering::Less {
            self.new.skip();
        }
        match order {
            Ordering::Less => Difference::Removed(&a.0),
            Ordering::Greater => Difference::Added(&b.0),
            Ordering::Equal => Difference::Kept { key: &a.0, old: &a.1, new: &b.1 },
        }
    }
}

/// A position in a tree: what is still to come on each level, the lowest last.
struct Cursor<'t, K, V>(Vec<Level<'t, K, V>>);

enum Level<'t, K, V> {
    Root(Unopened<'t, K, V>),
    /// Nodes, their separators and their height.
    Children(&'t [Child], &'t [K], usize),
    Entries(&'t [(K, V)]),
}

enum Next<'t, K, V> {
    Node(Unopened<'t, K, V>),
    Entry(&'t (K, V)),
}

/// A node that is not opened yet.
struct Unopened<'t, K, V> {
    node: NodeRef<'t, K, V>,
    /// A lower bound of its keys, if known.
    first: Option<&'t K>,
    /// Leaves have 0.
    height: usize,
}

enum NodeRef<'t, K, V> {
    /// The only leaf of a small tree.
    Small(&'t Leaf<K, V>),
    /// A tree that is borrowed for `'t` reaches it.
    Node(NodePtr<K, V>),
}

impl<K, V> Clone for NodeRef<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for NodeRef<'_, K, V> {}

/// Whether both are the same node in memory.
impl<K, V> PartialEq for NodeRef<'_, K, V> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (NodeRef::Small(a), NodeRef::Small(b)) => std::ptr::eq(*a, *b),
            (NodeRef::Node(a), NodeRef::Node(b)) => a == b,
            _ => false,
        }
    }
}

impl<K, V> Clone for Unopened<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Unopened<'_, K, V> {}

impl<K: Ord, V> Unopened<'_, K, V> {
    /// Whether all its keys are certainly greater.
    fn is_behind(&self, key: &K) -> bool {
        self.first.is_some_and(|first| first > key)
    }
}

impl<'t, K, V> Cursor<'t, K, V> {
    fn new(tree: &'t Tree<K, V>) -> Self {
        let node = match &tree.0 {
            Repr::Empty => return Cursor(Vec::new()),
            Repr::Small(entries) => NodeRef::Small(entries),
            Repr::Large(large) => NodeRef::Node(large.root()),
        };
        Cursor(vec![Level::Root(Unopened { node, first: None, height: node.height() })])
    }

    /// The next node or entry, if there is one.
    fn next(&mut self) -> Option<Next<'t, K, V>> {
        loop {
            match self.0.last()? {
                Level::Root(root) => return Some(Next::Node(*root)),
                Level::Children([child, ..], separators, height) => {
                    let (node, first) = (NodeRef::Node(child.node.typed()), separators.first());
                    return Some(Next::Node(Unopened { node, first, height: *height }));
                }
                Level::Entries([entry, ..]) => return Some(Next::Entry(entry)),
                Level::Children([], ..) | Level::Entries([]) => self.0.pop(),
            };
        }
    }

    /// Skips the next node, unopened, or the next entry.
    fn skip(&mut self) {
        match self.0.last_mut() {
            Some(Level::Children(children, separators, _)) => {
                *children = children.get(1..).unwrap_or_default();
                *separators = separators.get(1..).unwrap_or_default();
            }
            Some(Level::Entries(entries)) => *entries = entries.get(1..).unwrap_or_default(),
            Some(Level::Root(_)) => {
                self.0.pop();
            }
            None => {}
        }
    }

    /// Enters the next node.
    fn open(&mut self) {
        let Some(Next::Node(unopened)) = self.next() else { return };
        self.skip();
        self.0.push(match unopened.node {
            NodeRef::Small(entries) => Level::Entries(entries),
            // SAFETY: the tree that reaches the node is borrowed for 't.
            NodeRef::Node(ptr) => match unsafe { &ptr.read().below } {
                Below::Leaf(entries) => Level::Entries(entries),
                Below::Inner(inner) => Level::Children(inner, inner.separators(), unopened.height.saturating_sub(1)),
            },
        });
    }
}

impl<K, V> NodeRef<'_, K, V> {
    /// Leaves have 0.
    fn height(self) -> usize {
        let NodeRef::Node(ptr) = self else { return 0 };
        // SAFETY: the tree that reaches the node, and so its children, is borrowed.
        match unsafe { &ptr.read().below } {
            Below::Leaf(_) => 0,
            Below::Inner(children) => {
                1 + children.first().map_or(0, |child| NodeRef::<K, V>::Node(child.node.typed()).height())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use std::collections::BTreeMap;

    /// Compares the diff with two standard maps. Answers the number of entries that were read.
    fn check(old: &Tree<usize, usize>, new: &Tree<usize, usize>) -> usize {
        let (a, b): (BTreeMap<_, _>, BTreeMap<_, _>) = (old.iter().collect(), new.iter().collect());
        let (mut removed, mut added, mut changed, mut seen) = (vec![], vec![], vec![], 0);
        for difference in old.diff(new) {
            seen += 1;
            match difference {
                Difference::Removed(key) => removed.push(*key),
                Difference::Added(key) => added.push(*key),
                Difference::Kept { key, old, new } if old != new => changed.push(*key),
                Difference::Kept { .. } => {}
            }
        }
        assert_eq!(removed, a.keys().filter(|key| !b.contains_key(*key)).map(|key| **key).collect::<Vec<_>>());
        assert_eq!(added, b.keys().filter(|key| !a.contains_key(*key)).map(|key| **key).collect::<Vec<_>>());
        let differing = a.iter().filter(|(key, value)| b.get(*key).is_some_and(|new| new != *value));
        assert_eq!(changed, differing.map(|(key, _)| **key).collect::<Vec<_>>());
        assert_eq!(old.equals(new), a == b);
        seen
    }

    /// By how much everything is smaller under Miri.
    const SCALE: usize = if cfg!(miri) { 50 } else { 1 };

    #[test]
    fn any_two_versions_differ_by_the_changes_between_them() {
        for seed in 0..300 / SCALE as u64 {
            let mut rng = Rng(seed);
            let keys = 1 + rng.below(5000 / SCALE);
            let mut old: Tree<usize, usize> = Tree::from_sorted((0..keys).map(|key| (key * 2, 0)));
            for round in 0..4 {
                let mut new = old.clone();
                let ops = rng.below(if round % 2 == 0 { 20 } else { 2000 / SCALE });
                let (base, width) = (rng.below(keys * 2), 1 + rng.below(keys * 2));
                for _ in 0..ops {
                    let key = base + rng.below(width);
                    if rng.below(2) == 0 {
                        new.insert(key, rng.below(3));
                    } else {
                        new.remove(&key);
                    }
                }
                check(&old, &new);
                check(&new, &old);
                old = new;
            }
        }
        check(&Tree::new(), &Tree::from_sorted((0..100).map(|key| (key, 0))));
        check(&Tree::new(), &Tree::new());
    }

    #[test]
    fn shared_nodes_are_not_read() {
        let many = 100_000 / SCALE;
        let old: Tree<usize, usize> = Tree::from_sorted((0..many).map(|key| (key * 2, 0)));
        let mut new = old.clone();
        assert_eq!(check(&old, &new), 0);
        for key in [7, many / 5 * 2, many / 5 * 2 + 1, many / 2 * 3 + 1] {
            new.insert(key, 1);
        }
        new.remove(&many);
        assert!(check(&old, &new) < 5 * 4 * 32, "{}", check(&old, &new));
        let other: Tree<usize, usize> = Tree::from_sorted((0..many).map(|key| (key * 2, 0)));
        assert!(old.equals(&other));
    }
}
