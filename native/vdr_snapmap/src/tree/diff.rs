//! What differs between two trees, at a cost that follows the difference: a node that both share is stepped over unseen.
//!
//! Two walks go side by side. Where both stand before a node and it is the same one, both step over it; where they differ,
//! the higher is opened, or both. Entries that come to light are merged by key. Nodes that a split or a merge has moved are
//! met again at the next boundary that both trees have in common.

use super::node::{Child, Leaf};
use super::{At, Below, Key, Repr, Tree};
use std::cmp::Ordering;

/// A key whose entry may differ, in key order.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference<'t, K, V> {
    Removed(&'t K),
    Added(&'t K),
    /// In both, by nodes of which one has been copied: the values may be equal all the same.
    Kept {
        key: &'t K,
        old: &'t V,
        new: &'t V,
    },
}

impl<K: Key, V: Clone> Tree<K, V> {
    /// What to do to become `new`. O(difference * log n).
    pub fn diff<'t>(&'t self, new: &'t Self) -> Diff<'t, K, V> {
        Diff { old: Walk::new(self), new: Walk::new(new) }
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
    old: Walk<'t, K, V>,
    new: Walk<'t, K, V>,
}

impl<'t, K: Ord, V> Iterator for Diff<'t, K, V> {
    type Item = Difference<'t, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match (self.old.head(), self.new.head()) {
                (None, None) => return None,
                (Some(Head::Node(a)), Some(Head::Node(b))) => self.nodes(a, b),
                (Some(Head::Node(_)), None) => self.old.open(),
                (None, Some(Head::Node(_))) => self.new.open(),
                (Some(Head::Entry(entry)), Some(Head::Node(node))) if !node.is_behind(&entry.0) => self.new.open(),
                (Some(Head::Node(node)), Some(Head::Entry(entry))) if !node.is_behind(&entry.0) => self.old.open(),
                (Some(Head::Entry(entry)), None | Some(Head::Node(_))) => {
                    self.old.step();
                    return Some(Difference::Removed(&entry.0));
                }
                (None | Some(Head::Node(_)), Some(Head::Entry(entry))) => {
                    self.new.step();
                    return Some(Difference::Added(&entry.0));
                }
                (Some(Head::Entry(a)), Some(Head::Entry(b))) => return Some(self.entries(a, b)),
            }
        }
    }
}

impl<'t, K: Ord, V> Diff<'t, K, V> {
    fn nodes(&mut self, a: Stand<'t, K, V>, b: Stand<'t, K, V>) {
        if a.place == b.place {
            self.old.step();
            self.new.step();
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
            self.old.step();
        }
        if order != Ordering::Less {
            self.new.step();
        }
        match order {
            Ordering::Less => Difference::Removed(&a.0),
            Ordering::Greater => Difference::Added(&b.0),
            Ordering::Equal => Difference::Kept { key: &a.0, old: &a.1, new: &b.1 },
        }
    }
}

/// A way through a tree: what is still to come on each level, the lowest last.
struct Walk<'t, K, V>(Vec<Level<'t, K, V>>);

enum Level<'t, K, V> {
    Root(Stand<'t, K, V>),
    /// Nodes of a height, and their separators.
    Children(&'t [Child<K, V>], &'t [K], usize),
    Entries(&'t [(K, V)]),
}

enum Head<'t, K, V> {
    Node(Stand<'t, K, V>),
    Entry(&'t (K, V)),
}

/// A node that is not opened yet.
struct Stand<'t, K, V> {
    place: Place<'t, K, V>,
    /// A lower bound of its keys, where it is known.
    first: Option<&'t K>,
    /// Leaves have 0.
    height: usize,
}

enum Place<'t, K, V> {
    /// The one leaf of a small tree.
    Small(&'t Leaf<K, V>),
    /// Reached by a tree that is borrowed for `'t`.
    Node(At<K, V>),
}

impl<K, V> Clone for Place<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Place<'_, K, V> {}

/// Whether both are the same in memory.
impl<K, V> PartialEq for Place<'_, K, V> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Place::Small(a), Place::Small(b)) => std::ptr::eq(*a, *b),
            (Place::Node(a), Place::Node(b)) => a == b,
            _ => false,
        }
    }
}

impl<K, V> Clone for Stand<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Stand<'_, K, V> {}

impl<K: Ord, V> Stand<'_, K, V> {
    /// Whether all its keys are certainly greater.
    fn is_behind(&self, key: &K) -> bool {
        self.first.is_some_and(|first| first > key)
    }
}

impl<'t, K, V> Walk<'t, K, V> {
    fn new(tree: &'t Tree<K, V>) -> Self {
        let place = match &tree.0 {
            Repr::Empty => return Walk(Vec::new()),
            Repr::Small(entries) => Place::Small(entries),
            Repr::Large(large) => Place::Node(large.root),
        };
        Walk(vec![Level::Root(Stand { place, first: None, height: place.height() })])
    }

    /// What comes next, if anything does.
    fn head(&mut self) -> Option<Head<'t, K, V>> {
        loop {
            match self.0.last()? {
                Level::Root(stand) => return Some(Head::Node(*stand)),
                Level::Children([child, ..], separators, height) => {
                    let (place, first) = (Place::Node(child.node), separators.first());
                    return Some(Head::Node(Stand { place, first, height: *height }));
                }
                Level::Entries([entry, ..]) => return Some(Head::Entry(entry)),
                Level::Children([], ..) | Level::Entries([]) => self.0.pop(),
            };
        }
    }

    /// Goes past what comes next, unopened.
    fn step(&mut self) {
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

    /// Goes into the node that comes next.
    fn open(&mut self) {
        let Some(Head::Node(stand)) = self.head() else { return };
        self.step();
        self.0.push(match stand.place {
            Place::Small(entries) => Level::Entries(entries),
            // SAFETY: the tree that reaches the node is borrowed for 't.
            Place::Node(at) => match unsafe { &at.read().below } {
                Below::Leaf(entries) => Level::Entries(entries),
                Below::Inner(inner) => Level::Children(inner, inner.separators(), stand.height.saturating_sub(1)),
            },
        });
    }
}

impl<K, V> Place<'_, K, V> {
    /// Leaves have 0.
    fn height(self) -> usize {
        let Place::Node(at) = self else { return 0 };
        // SAFETY: the tree that reaches the node, and so its children, is borrowed.
        match unsafe { &at.read().below } {
            Below::Leaf(_) => 0,
            Below::Inner(children) => 1 + children.first().map_or(0, |child| Place::Node(child.node).height()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use std::collections::BTreeMap;

    /// Compares with what two maps say, and answers how many entries were looked at.
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

    /// Under Miri everything is so many times smaller.
    const SCALE: usize = if cfg!(miri) { 50 } else { 1 };

    #[test]
    fn any_two_versions_differ_by_what_was_done_between_them() {
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
    fn what_is_shared_is_not_looked_at() {
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
