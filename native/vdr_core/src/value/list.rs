//! Lists: a persistent vector, cheap at both ends and at any index.

use crate::blob::Blob;
use im::Vector;

/// How near to an end a change is made by lifting off what lies between: about 40 ns an element, where splitting and
/// joining the vector takes 20 to 100 us. Queues are changed at their ends.
const NEAR: usize = 256;

#[derive(Clone, Debug, Default)]
pub struct List(Vector<Blob>);

impl List {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&Blob> {
        self.0.get(index)
    }

    /// Overwrites an element; `false` when there is none at `index`.
    pub fn set(&mut self, index: usize, value: Blob) -> bool {
        match self.0.get_mut(index) {
            Some(slot) => {
                *slot = value;
                true
            }
            None => false,
        }
    }

    pub fn push_front(&mut self, value: Blob) {
        self.0.push_front(value);
    }

    pub fn push_back(&mut self, value: Blob) {
        self.0.push_back(value);
    }

    pub fn pop_front(&mut self) -> Option<Blob> {
        self.0.pop_front()
    }

    pub fn pop_back(&mut self) -> Option<Blob> {
        self.0.pop_back()
    }

    /// Puts an element before the one at `index`; at the end when `index` is the length or more.
    pub fn insert(&mut self, index: usize, value: Blob) {
        let index = index.min(self.len());
        let behind = self.len() - index;
        if index <= behind.min(NEAR) {
            self.below_front(index, |elements| elements.push_front(value));
        } else if behind <= NEAR {
            self.below_back(behind, |elements| elements.push_back(value));
        } else {
            self.0.insert(index, value);
        }
    }

    pub fn remove(&mut self, index: usize) -> Option<Blob> {
        let behind = self.len().checked_sub(index)?.checked_sub(1)?;
        if index <= behind.min(NEAR) {
            self.below_front(index, Vector::pop_front)
        } else if behind <= NEAR {
            self.below_back(behind, Vector::pop_back)
        } else {
            Some(self.0.remove(index))
        }
    }

    /// Makes a change below the first `count` elements.
    fn below_front<T>(&mut self, count: usize, change: impl FnOnce(&mut Vector<Blob>) -> T) -> T {
        let lifted: Vec<Blob> = (0..count).map_while(|_| self.0.pop_front()).collect();
        let changed = change(&mut self.0);
        lifted.into_iter().rev().for_each(|element| self.0.push_front(element));
        changed
    }

    /// Makes a change below the last `count` elements.
    fn below_back<T>(&mut self, count: usize, change: impl FnOnce(&mut Vector<Blob>) -> T) -> T {
        let lifted: Vec<Blob> = (0..count).map_while(|_| self.0.pop_back()).collect();
        let changed = change(&mut self.0);
        lifted.into_iter().rev().for_each(|element| self.0.push_back(element));
        changed
    }

    /// Takes out the elements at these indices, which ascend.
    pub fn remove_all(&mut self, indices: &[usize]) {
        // A removal amid the vector costs as much as a copy of some two thousand elements. But a copy shares nothing with
        // the snapshots.
        if indices.len() == 1 || indices.len().saturating_mul(2048) < self.len() {
            indices.iter().rev().for_each(|index| drop(self.remove(*index)));
            return;
        }
        let mut gone = indices.iter().copied().peekable();
        let kept = self.0.iter().enumerate().filter(|(index, _)| gone.next_if_eq(index).is_none());
        self.0 = kept.map(|(_, element)| element.clone()).collect();
    }

    /// Keeps the elements `from..to` (clipped) and drops the rest.
    pub fn keep(&mut self, from: usize, to: usize) {
        let to = to.min(self.len());
        if from >= to {
            self.0 = Vector::new();
        } else if from.saturating_add(self.len() - to) <= NEAR {
            // A capped list is trimmed by a few elements at a time.
            (to..self.len()).for_each(|_| drop(self.0.pop_back()));
            (0..from).for_each(|_| drop(self.0.pop_front()));
        } else {
            self.0 = self.0.slice(from..to);
        }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Blob> + ExactSizeIterator {
        self.0.iter()
    }

    /// The elements `from..to` (clipped). O(log n) to start.
    pub fn range(&self, from: usize, to: usize) -> impl Iterator<Item = &Blob> {
        let to = to.min(self.len());
        self.0.focus().narrow(from.min(to)..to).into_iter()
    }
}

impl FromIterator<Blob> for List {
    fn from_iter<I: IntoIterator<Item = Blob>>(elements: I) -> Self {
        List(elements.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize) -> (List, Vec<Blob>) {
        let plain: Vec<Blob> = (0..len as i64).map(Blob::from_int).collect();
        (plain.iter().cloned().collect(), plain)
    }

    fn assert_same(list: &List, plain: &[Blob]) {
        assert_eq!(list.len(), plain.len());
        assert!(list.iter().eq(plain));
    }

    /// Near the front, near the back and amid, where each goes its own way.
    #[test]
    fn elements_come_and_go_anywhere() {
        for len in [0, 1, 2, 300, 600, 5_000] {
            for index in [0, 1, 100, NEAR, NEAR + 1, len / 2, len.saturating_sub(100), len.saturating_sub(1), len] {
                let (mut list, mut plain) = numbers(len);
                let shared = list.clone();
                list.insert(index, Blob::from("x"));
                plain.insert(index.min(len), Blob::from("x"));
                assert_same(&list, &plain);
                let removed = (index < plain.len()).then(|| plain.remove(index));
                assert_eq!(list.remove(index), removed);
                assert_same(&list, &plain);
                assert_same(&shared, &numbers(len).1);
            }
        }
    }

    #[test]
    fn a_range_is_kept() {
        for len in [0usize, 1, 600, 5_000] {
            for (from, to) in
                [(0, len), (1, len), (0, len.saturating_sub(1)), (200, len - len / 20), (len / 2, len / 2 + 9)]
            {
                let (mut list, plain) = numbers(len);
                list.keep(from, to);
                let to = to.min(len);
                assert_same(&list, plain.get(from..to).unwrap_or_default());
                assert!(list.range(0, usize::MAX).eq(list.iter()));
            }
        }
        let (mut list, _) = numbers(5);
        list.keep(3, 2);
        assert!(list.is_empty());
    }

    #[test]
    fn many_elements_go_at_once() {
        for (len, step) in [(10, 3), (5_000, 2), (5_000, 4_000), (5_000, 10_000), (3, 1)] {
            let (mut list, mut plain) = numbers(len);
            let indices: Vec<usize> = (0..len).step_by(step).collect();
            list.remove_all(&indices);
            let mut index = 0;
            plain.retain(|_| {
                index += 1;
                (index - 1) % step != 0
            });
            assert_same(&list, &plain);
        }
    }
}
