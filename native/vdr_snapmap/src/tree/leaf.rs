//! A leaf: entries in key order, and a tag for each, so that a search reads few cache lines.

use super::fanout::{ROOM, make_room, split_at, split_off};
use super::key::{Key, Probe};
use crate::host_alloc::allocated;
use crate::prefetch::prefetch;
use std::ops::Deref;
use std::ptr::NonNull;

#[derive(Clone)]
pub struct Leaf<K, V> {
    /// Of the entry at the same index.
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
    /// From entries in key order, at most [`super::fanout::MAX`].
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

    /// The bytes that its entries take of the allocator.
    pub fn allocated_bytes(&self) -> usize {
        allocated(self.entries.capacity() * size_of::<(K, V)>())
    }

    /// The index of the entry, if it is there.
    fn position(&self, probe: &impl Probe<K>) -> Option<usize> {
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
        self.entries.get(self.position(probe)?)
    }

    pub fn find_mut(&mut self, probe: &impl Probe<K>) -> Option<&mut V> {
        let at = self.position(probe)?;
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    /// The index of the entry, or the index where it would be inserted.
    pub fn rank(&self, probe: &impl Probe<K>) -> Result<usize, usize> {
        self.position(probe).map_or_else(|| self.search(probe), Ok)
    }

    /// Puts an entry. Answers the replaced value, and the right half if the leaf had to split.
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
            moved.iter_mut().take(1).for_each(|first| *first = tag);
        }
        let right = split_at(self.entries.len(), at).map(|at| Leaf::new(split_off(&mut self.entries, at)));
        (None, right)
    }

    pub fn remove(&mut self, probe: &impl Probe<K>) -> Option<(K, V)> {
        let at = self.position(probe)?;
        if let Some(moved) = self.tags.get_mut(at..self.entries.len()) {
            moved.rotate_left(1);
        }
        Some(self.entries.remove(at))
    }

    #[cfg(test)]
    pub fn spare(&self) -> usize {
        self.entries.capacity() - self.entries.len()
    }

    /// Appends the entries of the leaf behind this one.
    pub fn append(&mut self, right: &[(K, V)])
    where
        V: Clone,
    {
        let from = self.entries.len();
        self.entries.extend_from_slice(right);
        self.tag_from(from);
    }
}
