//! An inner node: children in key order, and an index of their separators that a search reads in
//! few cache lines.

use super::child::{Child, Separated};
use super::fanout::{ROOM, make_room, split_at, split_off};
use super::key::{Head, Key, Probe};
use crate::host_alloc::{COUNTS, allocated};
use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

/// Children behind separators. A copy costs little more than the children: it shares the index,
/// which changes only when children come and go, or when a new key is the least of all.
#[derive(Clone)]
pub struct Inner<K> {
    index: Arc<Index<K>>,
    children: Vec<Child>,
}

/// Finds the child that leads to a key.
#[derive(Clone)]
struct Index<K> {
    /// The first separator.
    like: K,
    /// The length of the prefix that all separators share.
    skip: usize,
    /// [`Key::head`] of each separator.
    heads: [u64; ROOM],
    /// A lower bound of each child's keys, greater than every key before the child.
    separators: Vec<K>,
}

impl<K> Deref for Inner<K> {
    type Target = [Child];
    fn deref(&self) -> &[Child] {
        &self.children
    }
}

impl<K> Inner<K> {
    pub fn separators(&self) -> &[K] {
        &self.index.separators
    }

    /// The bytes that its children and its index take of the allocator. Copies share the index;
    /// this counts it in full.
    pub fn allocated_bytes(&self) -> usize {
        let separators = self.index.separators.capacity() * size_of::<K>();
        let index = size_of::<Index<K>>() + COUNTS;
        allocated(self.children.capacity() * size_of::<Child>()) + allocated(index) + allocated(separators)
    }

    pub fn child_mut(&mut self, at: usize) -> Option<&mut Child> {
        self.children.get_mut(at)
    }

    #[cfg(test)]
    pub fn spare(&self) -> usize {
        let of_separators = self.index.separators.capacity() - self.index.separators.len();
        of_separators.max(self.children.capacity() - self.children.len())
    }
}

impl<K: Key> Inner<K> {
    /// From children in key order, each behind its separator; `None` when there are none.
    pub fn new(children: Vec<Separated<K>>) -> Option<Self> {
        let (separators, children) = children.into_iter().unzip();
        Some(Inner { index: Arc::new(Index::new(separators)?), children })
    }

    /// The index of the child below which a key is, if it is anywhere.
    pub fn position(&self, probe: &impl Probe<K>) -> usize {
        self.index.position(probe)
    }

    /// Lowers the bound of the first child to a key that is about to be inserted.
    pub fn lower(&mut self, key: &K) {
        if *key < self.index.like {
            self.reindex(|separators| separators.iter_mut().take(1).for_each(|lowest| *lowest = key.clone()));
        }
    }

    /// Inserts a child. Answers the right half if the node had to split.
    pub fn insert(&mut self, at: usize, (separator, child): Separated<K>) -> Option<Self> {
        make_room(&mut self.children);
        self.children.insert(at, child);
        let split = split_at(self.children.len(), at);
        let mut right = Vec::new();
        self.reindex(|separators| {
            make_room(separators);
            separators.insert(at, separator);
            right = split.map(|at| split_off(separators, at)).unwrap_or_default();
        });
        let children = split.map(|at| split_off(&mut self.children, at))?;
        Some(Inner { index: Arc::new(Index::new(right)?), children })
    }

    pub fn remove(&mut self, at: usize) -> Child {
        self.reindex(|separators| drop(separators.remove(at)));
        self.children.remove(at)
    }

    /// Appends the children of the node behind this one.
    pub fn append(&mut self, right: &Self) {
        self.children.extend_from_slice(&right.children);
        self.reindex(|separators| separators.extend_from_slice(right.separators()));
    }

    fn reindex(&mut self, change: impl FnOnce(&mut Vec<K>)) {
        let index = Arc::make_mut(&mut self.index);
        change(&mut index.separators);
        index.compute_heads();
    }
}

impl<K: Key> Index<K> {
    fn new(separators: Vec<K>) -> Option<Self> {
        let mut index = Index { like: separators.first()?.clone(), skip: 0, heads: [0; ROOM], separators };
        index.compute_heads();
        Some(index)
    }

    /// Computes the heads. Every change of the separators ends with it.
    fn compute_heads(&mut self) {
        if let (Some(first), Some(last)) = (self.separators.first(), self.separators.last()) {
            self.skip = first.shared(last);
            self.like = first.clone();
        }
        for (head, separator) in self.heads.iter_mut().zip(&self.separators) {
            *head = separator.head(self.skip);
        }
    }

    /// The index of the last child whose lower bound is not greater than the key.
    fn position(&self, probe: &impl Probe<K>) -> usize {
        let is_not_above = |separator: &K| probe.order(separator).is_le();
        let not_above = match probe.head(&self.like, self.skip) {
            Head::Unknown => self.separators.partition_point(is_not_above),
            Head::Beside(Ordering::Less) => self.separators.len(),
            Head::Beside(_) => 0,
            Head::At(sought) => {
                let heads = self.heads.get(..self.separators.len()).unwrap_or(self.heads.as_slice());
                let less = heads.iter().filter(|head| **head < sought).count();
                let alike = heads.iter().filter(|head| **head == sought).count();
                let alike = self.separators.get(less..less + alike).unwrap_or_default();
                less + alike.partition_point(is_not_above)
            }
        };
        not_above.saturating_sub(1)
    }
}
