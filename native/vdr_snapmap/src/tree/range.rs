//! Iteration over an interval of ranks, from both ends.

use super::btree::Tree;
use super::key::Key;

impl<K: Key, V: Clone> Tree<K, V> {
    /// The entries with ranks `from..to`, as far as there are any, forward or, with `.rev()`,
    /// backward. O(log n) to start and at each leaf, O(1) a step.
    pub fn range(&self, from: usize, to: usize) -> Range<'_, K, V> {
        let to = to.min(self.len());
        Range { tree: self, from: from.min(to), to, front: &[], front_at: 0, back: &[] }
    }

    pub fn iter(&self) -> Range<'_, K, V> {
        self.range(0, self.len())
    }
}

/// See [`Tree::range`].
pub struct Range<'t, K, V> {
    tree: &'t Tree<K, V>,
    from: usize,
    to: usize,
    /// The leaf at the front, and the index of the next entry in it.
    front: &'t [(K, V)],
    front_at: usize,
    /// The remaining entries of the leaf at the back.
    back: &'t [(K, V)],
}

impl<K, V> Clone for Range<'_, K, V> {
    fn clone(&self) -> Self {
        Range { ..*self }
    }
}

impl<'t, K: Key, V: Clone> Iterator for Range<'t, K, V> {
    type Item = (&'t K, &'t V);

    fn next(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        if self.front_at >= self.front.len() {
            (self.front, self.front_at) = self.tree.locate(self.from)?;
        }
        let (key, value) = self.front.get(self.front_at)?;
        self.from += 1;
        self.front_at += 1;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.to - self.from, Some(self.to - self.from))
    }
}

impl<K: Key, V: Clone> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        if self.back.is_empty() {
            let (leaf, at) = self.tree.locate(self.to - 1)?;
            self.back = leaf.get(..=at)?;
        }
        let ((key, value), rest) = self.back.split_last()?;
        self.back = rest;
        self.to -= 1;
        Some((key, value))
    }
}

impl<K: Key, V: Clone> ExactSizeIterator for Range<'_, K, V> {}
