//! An ordered, counted, persistent map. (Interface only for now; see the commit that follows.)

use std::cmp::Ordering;
use std::sync::Arc;

/// Entries in key order, addressed by key or by rank (position in that order). A clone is O(1) and shares everything.
#[derive(Clone, Debug)]
pub struct Tree<K, V> {
    entries: Arc<Vec<(K, V)>>,
}

impl<K: Ord + Clone, V: Clone> Default for Tree<K, V> {
    fn default() -> Self {
        Tree { entries: Arc::default() }
    }
}

impl<K: Ord + Clone, V: Clone> Tree<K, V> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Rank of the entry that `order` calls equal, or the rank where it would stand. `order` compares a stored key with
    /// what is sought: `|key| key.cmp(&sought)`. O(log n).
    pub fn find(&self, order: impl Fn(&K) -> Ordering) -> Result<usize, usize> {
        self.entries.binary_search_by(|(key, _)| order(key))
    }

    /// The entry that `order` calls equal. O(log n).
    pub fn get(&self, order: impl Fn(&K) -> Ordering) -> Option<(&K, &V)> {
        self.find(order).ok().and_then(|rank| self.at(rank))
    }

    /// The value to change in place; copies what snapshots share. O(log n).
    pub fn get_mut(&mut self, order: impl Fn(&K) -> Ordering) -> Option<&mut V> {
        let rank = self.find(order).ok()?;
        Arc::make_mut(&mut self.entries).get_mut(rank).map(|(_, value)| value)
    }

    /// The entry at a rank. O(log n).
    pub fn at(&self, rank: usize) -> Option<(&K, &V)> {
        self.entries.get(rank).map(|(key, value)| (key, value))
    }

    /// Puts an entry; answers the value that it replaces. An equal key that is there already stays. O(log n).
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(|k| k.cmp(&key)) {
            Ok(_) => self.get_mut(|k| k.cmp(&key)).map(|old| std::mem::replace(old, value)),
            Err(rank) => {
                Arc::make_mut(&mut self.entries).insert(rank, (key, value));
                None
            }
        }
    }

    /// Takes an entry out. O(log n).
    pub fn remove(&mut self, order: impl Fn(&K) -> Ordering) -> Option<(K, V)> {
        let rank = self.find(order).ok()?;
        Some(Arc::make_mut(&mut self.entries).remove(rank))
    }

    /// The entries with ranks `from..to` (clipped to what is there), forward or, with `.rev()`, backward. O(log n) to
    /// start, O(1) a step.
    pub fn range(&self, from: usize, to: usize) -> Range<'_, K, V> {
        let to = to.min(self.len());
        Range { tree: self, from: from.min(to), to }
    }

    pub fn iter(&self) -> Range<'_, K, V> {
        self.range(0, self.len())
    }

    /// Builds from entries in strictly ascending key order: O(n). Entries out of order are put where they belong.
    pub fn from_sorted(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut tree = Tree::new();
        for (key, value) in entries {
            tree.insert(key, value);
        }
        tree
    }

    /// Whether both are the very same structure in memory: then they are equal.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }
}

/// See [`Tree::range`].
#[derive(Clone)]
pub struct Range<'t, K, V> {
    tree: &'t Tree<K, V>,
    from: usize,
    to: usize,
}

impl<'t, K: Ord + Clone, V: Clone> Iterator for Range<'t, K, V> {
    type Item = (&'t K, &'t V);
    fn next(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        self.from += 1;
        self.tree.at(self.from - 1)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.to - self.from, Some(self.to - self.from))
    }
}

impl<K: Ord + Clone, V: Clone> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        self.to -= 1;
        self.tree.at(self.to)
    }
}

impl<K: Ord + Clone, V: Clone> ExactSizeIterator for Range<'_, K, V> {}
