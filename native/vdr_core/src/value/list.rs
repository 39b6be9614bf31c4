//! Lists: a persistent vector, cheap at both ends and at any index.

use crate::blob::Blob;
use im::Vector;

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
        self.0.insert(index.min(self.0.len()), value);
    }

    pub fn remove(&mut self, index: usize) -> Option<Blob> {
        (index < self.0.len()).then(|| self.0.remove(index))
    }

    /// Takes out the elements at these indices, which ascend.
    pub fn remove_all(&mut self, indices: &[usize]) {
        // A removal splits and joins the vector, which costs as much as copying a few hundred elements. But a copy shares
        // nothing with the snapshots.
        if indices.len().saturating_mul(256) < self.len() {
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
        self.0 = if from < to { self.0.slice(from..to) } else { Vector::new() };
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
