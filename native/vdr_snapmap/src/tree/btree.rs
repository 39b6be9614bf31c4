//! The tree's type, and what reads it by key or by rank.

use super::key::{Key, Probe};
use super::large::Large;
use super::leaf::Leaf;
use super::node::{Below, child_at};
use std::fmt;
use std::sync::Arc;

/// Entries in key order, addressed by key or by rank. A clone is O(1) for the newest of several
/// clones. For another one of more than one leaf it is a full copy.
///
/// ```
/// fn is_send_and_sync<T: Send + Sync>() {}
/// is_send_and_sync::<vdr_snapmap::tree::Tree<u32, u32>>();
/// ```
///
/// It is what its keys and values are:
///
/// ```compile_fail
/// fn is_send_and_sync<T: Send + Sync>() {}
/// is_send_and_sync::<vdr_snapmap::tree::Tree<u32, std::rc::Rc<u32>>>();
/// ```
pub struct Tree<K, V>(pub(super) Repr<K, V>);

pub(super) enum Repr<K, V> {
    Empty,
    Small(Arc<Leaf<K, V>>),
    Large(Box<Large<K, V>>),
}

impl<K: Key, V: Clone> Clone for Tree<K, V> {
    fn clone(&self) -> Self {
        match &self.0 {
            Repr::Empty => Tree(Repr::Empty),
            Repr::Small(leaf) => Tree(Repr::Small(leaf.clone())),
            Repr::Large(large) => match large.fork() {
                Some(fork) => Tree(Repr::Large(Box::new(fork))),
                None => self.copied(),
            },
        }
    }
}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        Tree(Repr::Empty)
    }
}

impl<K: Key + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for Tree<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Key, V: Clone> Tree<K, V> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Empty => 0,
            Repr::Small(leaf) => leaf.len(),
            Repr::Large(large) => large.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both are the same structure in memory: then they are equal.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Small(a), Repr::Small(b)) => Arc::ptr_eq(a, b),
            (Repr::Large(a), Repr::Large(b)) => a.root == b.root,
            (Repr::Empty, Repr::Empty) => true,
            _ => false,
        }
    }

    /// The rank of a key, or the rank where it would be inserted. The probe is `&key`,
    /// [`Bytes`](super::Bytes), or what [`by`](super::by) makes. O(log n).
    pub fn find(&self, probe: impl Probe<K>) -> Result<usize, usize> {
        let mut before = 0;
        let leaf = match &self.0 {
            Repr::Empty => return Err(0),
            Repr::Small(leaf) => leaf,
            Repr::Large(large) => large.leaf(&probe, |inner, at| {
                before += inner.iter().take(at).map(|child| child.count).sum::<usize>();
            }),
        };
        leaf.rank(&probe).map(|at| before + at).map_err(|at| before + at)
    }

    /// The entry of a key. O(log n).
    pub fn get(&self, probe: impl Probe<K>) -> Option<(&K, &V)> {
        self.seek(&probe)
    }

    pub(super) fn seek(&self, probe: &impl Probe<K>) -> Option<(&K, &V)> {
        let leaf = match &self.0 {
            Repr::Empty => return None,
            Repr::Small(leaf) => leaf,
            Repr::Large(large) => large.leaf(probe, |_, _| {}),
        };
        leaf.find(probe).map(|(key, value)| (key, value))
    }

    /// The entry at a rank. O(log n).
    pub fn at(&self, rank: usize) -> Option<(&K, &V)> {
        let (entries, at) = self.locate(rank)?;
        entries.get(at).map(|(key, value)| (key, value))
    }

    /// The entries of the leaf with the entry at a rank, and the index of that entry.
    pub(super) fn locate(&self, rank: usize) -> Option<(&[(K, V)], usize)> {
        let mut at = rank;
        let mut node = match &self.0 {
            Repr::Empty => return None,
            Repr::Small(leaf) => return (at < leaf.len()).then_some((leaf, at)),
            // SAFETY: this tree, which is borrowed, reaches its root.
            Repr::Large(large) => unsafe { large.root().read() },
        };
        loop {
            match &node.below {
                Below::Leaf(leaf) => return (at < leaf.len()).then_some((leaf, at)),
                Below::Inner(inner) => {
                    let child = child_at(inner, &mut at)?;
                    // SAFETY: this tree reaches the children of what it reaches.
                    node = unsafe { child.node.typed().read() };
                }
            }
        }
    }

    /// A tree that shares nothing with this one.
    fn copied(&self) -> Self {
        Self::from_sorted(self.iter().map(|(key, value)| (key.clone(), value.clone())))
    }

    /// Makes the tree the newest of its chain. Every change begins with it.
    pub(super) fn become_newest(&mut self) {
        if let Repr::Large(large) = &self.0
            && !large.version.is_newest()
        {
            *self = self.copied();
        }
    }
}
