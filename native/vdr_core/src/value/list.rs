//! Lists: a few elements side by side, or a persistent vector, cheap at both ends and at any index.

use crate::blob::Blob;
use im::Vector;

/// Most elements that stand side by side. The smallest vector takes room for 64.
const SMALL_MAX: usize = 32;

/// How near to an end a change is made by lifting off what lies between: about 40 ns an element, where splitting and
/// joining the vector takes 20 to 100 us. Queues are changed at their ends.
const NEAR: usize = 256;

#[derive(Clone, Debug)]
pub struct List(Repr);

#[derive(Clone, Debug)]
enum Repr {
    /// At most [`SMALL_MAX`].
    Small(Vec<Blob>),
    /// Any number, since what shrinks one by one may grow again.
    Large(Vector<Blob>),
}

impl Default for List {
    fn default() -> Self {
        List(Repr::Small(Vec::new()))
    }
}

impl List {
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Small(elements) => elements.len(),
            Repr::Large(elements) => elements.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, index: usize) -> Option<&Blob> {
        match &self.0 {
            Repr::Small(elements) => elements.get(index),
            Repr::Large(elements) => elements.get(index),
        }
    }

    /// Overwrites an element; `false` when there is none at `index`.
    pub fn set(&mut self, index: usize, value: Blob) -> bool {
        let slot = match &mut self.0 {
            Repr::Small(elements) => elements.get_mut(index),
            Repr::Large(elements) => elements.get_mut(index),
        };
        slot.map(|slot| *slot = value).is_some()
    }

    pub fn push_front(&mut self, value: Blob) {
        self.insert(0, value);
    }

    pub fn push_back(&mut self, value: Blob) {
        self.insert(usize::MAX, value);
    }

    pub fn pop_front(&mut self) -> Option<Blob> {
        self.remove(0)
    }

    pub fn pop_back(&mut self) -> Option<Blob> {
        self.remove(self.len().checked_sub(1)?)
    }

    /// Puts an element before the one at `index`; at the end when `index` is the length or more.
    pub fn insert(&mut self, index: usize, value: Blob) {
        let index = index.min(self.len());
        match self.roomy() {
            Repr::Small(elements) => elements.insert(index, value),
            Repr::Large(elements) => {
                let behind = elements.len() - index;
                if index <= behind.min(NEAR) {
                    below_front(elements, index, |elements| elements.push_front(value));
                } else if behind <= NEAR {
                    below_back(elements, behind, |elements| elements.push_back(value));
                } else {
                    elements.insert(index, value);
                }
            }
        }
    }

    pub fn remove(&mut self, index: usize) -> Option<Blob> {
        let behind = self.len().checked_sub(index)?.checked_sub(1)?;
        match &mut self.0 {
            Repr::Small(elements) => Some(elements.remove(index)),
            Repr::Large(elements) if index <= behind.min(NEAR) => below_front(elements, index, Vector::pop_front),
            Repr::Large(elements) if behind <= NEAR => below_back(elements, behind, Vector::pop_back),
            Repr::Large(elements) => Some(elements.remove(index)),
        }
    }

    /// What has room for one more.
    fn roomy(&mut self) -> &mut Repr {
        if let Repr::Small(elements) = &mut self.0
            && elements.len() >= SMALL_MAX
        {
            self.0 = Repr::Large(std::mem::take(elements).into_iter().collect());
        }
        &mut self.0
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
        let kept = self.iter().enumerate().filter(|(index, _)| gone.next_if_eq(index).is_none());
        *self = kept.map(|(_, element)| element.clone()).collect();
    }

    /// Keeps the elements `from..to` (clipped) and drops the rest.
    pub fn keep(&mut self, from: usize, to: usize) {
        let to = to.min(self.len());
        if from >= to {
            *self = List::default();
            return;
        }
        match &mut self.0 {
            Repr::Small(elements) => {
                elements.truncate(to);
                elements.drain(..from);
            }
            Repr::Large(elements) if from.saturating_add(elements.len() - to) <= NEAR => {
                // A capped list is trimmed by a few elements at a time.
                (to..elements.len()).for_each(|_| drop(elements.pop_back()));
                (0..from).for_each(|_| drop(elements.pop_front()));
            }
            Repr::Large(elements) => *elements = elements.slice(from..to),
        }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Blob> + ExactSizeIterator {
        match &self.0 {
            Repr::Small(elements) => Iter::Small(elements.iter()),
            Repr::Large(elements) => Iter::Large(elements.iter()),
        }
    }

    /// The elements `from..to` (clipped). O(log n) to start.
    pub fn range(&self, from: usize, to: usize) -> impl Iterator<Item = &Blob> {
        let to = to.min(self.len());
        match &self.0 {
            Repr::Small(elements) => Iter::Small(elements.get(from.min(to)..to).unwrap_or_default().iter()),
            Repr::Large(elements) => Iter::Large(elements.focus().narrow(from.min(to)..to).into_iter()),
        }
    }
}

/// Makes a change below the first `count` elements.
fn below_front<T>(elements: &mut Vector<Blob>, count: usize, change: impl FnOnce(&mut Vector<Blob>) -> T) -> T {
    let lifted: Vec<Blob> = (0..count).map_while(|_| elements.pop_front()).collect();
    let changed = change(elements);
    lifted.into_iter().rev().for_each(|element| elements.push_front(element));
    changed
}

/// Makes a change below the last `count` elements.
fn below_back<T>(elements: &mut Vector<Blob>, count: usize, change: impl FnOnce(&mut Vector<Blob>) -> T) -> T {
    let lifted: Vec<Blob> = (0..count).map_while(|_| elements.pop_back()).collect();
    let changed = change(elements);
    lifted.into_iter().rev().for_each(|element| elements.push_back(element));
    changed
}

impl FromIterator<Blob> for List {
    fn from_iter<I: IntoIterator<Item = Blob>>(elements: I) -> Self {
        let mut elements = elements.into_iter();
        let mut small: Vec<Blob> = elements.by_ref().take(SMALL_MAX + 1).collect();
        if small.len() <= SMALL_MAX {
            small.shrink_to_fit();
            return List(Repr::Small(small));
        }
        List(Repr::Large(small.into_iter().chain(elements).collect()))
    }
}

/// Over either of the two.
enum Iter<S, L> {
    Small(S),
    Large(L),
}

impl<'l, S: Iterator<Item = &'l Blob>, L: Iterator<Item = &'l Blob>> Iterator for Iter<S, L> {
    type Item = &'l Blob;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Iter::Small(elements) => elements.next(),
            Iter::Large(elements) => elements.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Iter::Small(elements) => elements.size_hint(),
            Iter::Large(elements) => elements.size_hint(),
        }
    }
}

impl<'l, S: DoubleEndedIterator<Item = &'l Blob>, L: DoubleEndedIterator<Item = &'l Blob>> DoubleEndedIterator
    for Iter<S, L>
{
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Iter::Small(elements) => elements.next_back(),
            Iter::Large(elements) => elements.next_back(),
        }
    }
}

impl<'l, S: ExactSizeIterator<Item = &'l Blob>, L: ExactSizeIterator<Item = &'l Blob>> ExactSizeIterator
    for Iter<S, L>
{
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
        for len in [0, 1, 2, SMALL_MAX - 1, SMALL_MAX, SMALL_MAX + 1, 300, 600, 5_000] {
            for index in [0, 1, 20, 100, NEAR, NEAR + 1, len / 2, len.saturating_sub(100), len.saturating_sub(1), len] {
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
        for len in [0usize, 1, 20, SMALL_MAX + 1, 600, 5_000] {
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
