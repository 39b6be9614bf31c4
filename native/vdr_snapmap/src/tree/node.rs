//! What stands in a node, in order, and what it keeps beside that to be searched in few cache lines: a leaf the tags of its keys,
//! an inner node the heads of its separators.

use super::At;
use super::key::{Head, Key, Probe};
use crate::home::{COUNTS, allocated};
use crate::prefetch::prefetch;
use std::cmp::Ordering;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

/// Most entries of a leaf, and most children of an inner node.
pub(super) const MAX: usize = 32;
/// A node with fewer is merged with a neighbour when both fit into one.
pub(super) const MIN: usize = MAX / 4;
/// How full the bulk load makes its nodes: nearly, since what is loaded is mostly overwritten and not added to.
pub(super) const FILL: usize = MAX - 2;
/// One more than the most, for as long as it takes to split.
const ROOM: usize = MAX + 1;
/// By how much the room of a node grows at a time.
const STEP: usize = 8;

#[derive(Clone)]
pub(super) struct Leaf<K, V> {
    /// Of the entry at the same place.
    tags: [u8; ROOM],
    entries: Vec<(K, V)>,
}

impl<K, V> Deref for Leaf<K, V> {
    type Target = [(K, V)];
    fn deref(&self) -> &[(K, V)] {
        &self.entries
    }
}

impl<K: Key, V> Leaf<K, V> {
    /// From at most [`MAX`] entries in key order.
    pub fn new(entries: Vec<(K, V)>) -> Self {
        let mut leaf = Leaf { tags: [0; ROOM], entries };
        leaf.tag_from(0);
        leaf
    }

    fn tag_from(&mut self, at: usize) {
        for (tag, (key, _)) in self.tags.iter_mut().zip(&self.entries).skip(at) {
            *tag = key.tag();
        }
    }

    /// What its entries take of the allocator.
    pub fn taken(&self) -> usize {
        allocated(self.entries.capacity() * size_of::<(K, V)>())
    }

    /// Where the entry is that is sought.
    fn place(&self, probe: &impl Probe<K>) -> Option<usize> {
        let Some(sought) = probe.tag() else { return self.search(probe).ok() };
        let alike = self.tags.iter().zip(&self.entries).enumerate().filter(|(_, (tag, _))| **tag == sought);
        let mut alike = alike.map(|(at, (_, entry))| (at, entry));
        let found = alike.find(|(_, entry)| {
            prefetch(NonNull::from(*entry), size_of::<(K, V)>());
            probe.order(&entry.0).is_eq()
        });
        found.map(|(at, _)| at)
    }

    fn search(&self, probe: &impl Probe<K>) -> Result<usize, usize> {
        self.entries.binary_search_by(|(key, _)| probe.order(key))
    }

    pub fn find(&self, probe: &impl Probe<K>) -> Option<&(K, V)> {
        self.entries.get(self.place(probe)?)
    }

    pub fn find_mut(&mut self, probe: &impl Probe<K>) -> Option<&mut V> {
        let at = self.place(probe)?;
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    /// Where the entry is, or would stand.
    pub fn rank(&self, probe: &impl Probe<K>) -> Result<usize, usize> {
        self.place(probe).map_or_else(|| self.search(probe), Ok)
    }

    /// Puts an entry: what it replaced, and the right half when there were too many.
    pub fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<Self>) {
        let at = match self.rank(&&key) {
            Ok(at) => return (self.entries.get_mut(at).map(|(_, old)| std::mem::replace(old, value)), None),
            Err(at) => at,
        };
        let tag = key.tag();
        make_room(&mut self.entries);
        self.entries.insert(at, (key, value));
        if let Some(moved) = self.tags.get_mut(at..self.entries.len()) {
            moved.rotate_right(1);
            moved.iter_mut().take(1).for_each(|place| *place = tag);
        }
        let right = split_at(self.entries.len(), at).map(|at| Leaf::new(split_off(&mut self.entries, at)));
        (None, right)
    }

    pub fn remove(&mut self, probe: &impl Probe<K>) -> Option<(K, V)> {
        let at = self.place(probe)?;
        if let Some(moved) = self.tags.get_mut(at..self.entries.len()) {
            moved.rotate_left(1);
        }
        Some(self.entries.remove(at))
    }

    #[cfg(test)]
    pub fn spare(&self) -> usize {
        self.entries.capacity() - self.entries.len()
    }

    /// Adds what stands behind it.
    pub fn append(&mut self, right: &[(K, V)])
    where
        V: Clone,
    {
        let from = self.entries.len();
        self.entries.extend_from_slice(right);
        self.tag_from(from);
    }
}

pub(super) struct Child<K, V> {
    pub count: usize,
    pub node: At<K, V>,
}

impl<K, V> Clone for Child<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Child<K, V> {}

/// A child behind its separator.
pub(super) type Separated<K, V> = (K, Child<K, V>);

/// The copy of an inner node costs little more than the addresses of its children: it shares what leads to them, which changes only
/// when children come and go, or a key comes that is less than all.
pub(super) struct Inner<K, V> {
    index: Arc<Index<K>>,
    children: Vec<Child<K, V>>,
}

/// Which child leads to a key.
#[derive(Clone)]
struct Index<K> {
    /// The first separator.
    like: K,
    /// How many of its first bytes all separators share.
    skip: usize,
    heads: [u64; ROOM],
    /// Of each child a lower bound of its keys, and above everything before it.
    separators: Vec<K>,
}

impl<K, V> Clone for Inner<K, V> {
    fn clone(&self) -> Self {
        Inner { index: self.index.clone(), children: self.children.clone() }
    }
}

impl<K, V> Deref for Inner<K, V> {
    type Target = [Child<K, V>];
    fn deref(&self) -> &[Child<K, V>] {
        &self.children
    }
}

impl<K, V> Inner<K, V> {
    pub fn separators(&self) -> &[K] {
        &self.index.separators
    }

    /// What its children and what leads to them take of the allocator. Copies share the latter, which is not told here.
    pub fn taken(&self) -> usize {
        let separators = self.index.separators.capacity() * size_of::<K>();
        let index = size_of::<Index<K>>() + COUNTS;
        allocated(self.children.capacity() * size_of::<Child<K, V>>()) + allocated(index) + allocated(separators)
    }

    /// To change what is below it.
    pub fn child_mut(&mut self, at: usize) -> Option<&mut Child<K, V>> {
        self.children.get_mut(at)
    }

    #[cfg(test)]
    pub fn spare(&self) -> usize {
        let of_separators = self.index.separators.capacity() - self.index.separators.len();
        of_separators.max(self.children.capacity() - self.children.len())
    }
}

impl<K: Key, V> Inner<K, V> {
    /// From children in key order, each behind its separator; none when there are none.
    pub fn new(children: impl IntoIterator<Item = Separated<K, V>>) -> Option<Self> {
        let (separators, children) = children.into_iter().unzip();
        Some(Inner { index: Arc::new(Index::new(separators)?), children })
    }

    /// The child in which a key is, if it is anywhere.
    pub fn place(&self, probe: &impl Probe<K>) -> usize {
        self.index.place(probe)
    }

    /// Makes a key that is about to be put below this node its lower bound when it is less.
    pub fn lower(&mut self, key: &K) {
        if *key < self.index.like {
            self.reindex(|separators| separators.iter_mut().take(1).for_each(|lowest| *lowest = key.clone()));
        }
    }

    /// Puts a child; the right half when there were too many.
    pub fn insert(&mut self, at: usize, (separator, child): Separated<K, V>) -> Option<Self> {
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

    pub fn remove(&mut self, at: usize) -> Child<K, V> {
        self.reindex(|separators| drop(separators.remove(at)));
        self.children.remove(at)
    }

    /// Adds what stands behind it.
    pub fn append(&mut self, right: &Self) {
        self.children.extend_from_slice(&right.children);
        self.reindex(|separators| separators.extend_from_slice(right.separators()));
    }

    fn reindex(&mut self, change: impl FnOnce(&mut Vec<K>)) {
        let index = Arc::make_mut(&mut self.index);
        change(&mut index.separators);
        index.number();
    }
}

impl<K: Key> Index<K> {
    fn new(separators: Vec<K>) -> Option<Self> {
        let mut index = Index { like: separators.first()?.clone(), skip: 0, heads: [0; ROOM], separators };
        index.number();
        Some(index)
    }

    /// To be called when the separators have changed.
    fn number(&mut self) {
        if let (Some(first), Some(last)) = (self.separators.first(), self.separators.last()) {
            self.skip = first.shared(last);
            self.like = first.clone();
        }
        for (head, separator) in self.heads.iter_mut().zip(&self.separators) {
            *head = separator.head(self.skip);
        }
    }

    /// The last whose lower bound is not above what is sought.
    fn place(&self, probe: &impl Probe<K>) -> usize {
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

/// Room for one more, and not for twice as many, as a vector would take of itself: no node holds them.
fn make_room<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(STEP.min(ROOM.saturating_sub(items.len())).max(1));
    }
}

/// Splits without leaving the left half the room of both.
fn split_off<T>(items: &mut Vec<T>, at: usize) -> Vec<T> {
    let right = items.split_off(at);
    items.shrink_to(at + STEP);
    right
}

/// Where to split what has grown over the limit. What was added at the end splits unevenly: ascending keys then fill their nodes.
fn split_at(len: usize, added_at: usize) -> Option<usize> {
    (len > MAX).then_some(if added_at + 1 == len { FILL } else { len / 2 })
}
