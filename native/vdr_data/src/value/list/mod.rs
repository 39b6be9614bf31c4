//! Lists: one [`Pack`](super::pack::Pack) if small, else a sequence of packs that is cheap to
//! change at both ends.
//!
//! ```text
//! first           key           key           key
//!   [ front ][ chunk ][ chunk ] ... [ chunk ][ back ]
//! ```
//!
//! The modules stand in reading order: each uses those above it.

mod chunk;
mod large;
mod iter;
mod builder;
#[cfg(test)]
mod tests;

pub use builder::ListBuilder;
pub use iter::Iter;

use super::string::StringRef;
use crate::size::Footprint;
use chunk::{ChunkRef, insert, replace};
use large::{Large, Repr, chunk_at};
use std::sync::Arc;

/// Up to this many elements are removed one by one. For more, the list is built anew from the rest.
const SINGLE_MAX: usize = 8;

/// The bytes of a chunk's position and handle in the map of chunks, with the node's empty slots.
const CHUNK_SLOT: Footprint = Footprint { allocated: 48.0, in_host: 0.0 };

#[derive(Clone, Debug, Default)]
pub struct List(Repr);

impl List {
    pub fn len(&self) -> usize {
        large::len(&self.0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// O(log n).
    pub fn get(&self, index: usize) -> Option<StringRef<'_>> {
        let (chunk, start) = chunk_at(&self.0, index)?;
        chunk.get(index - start)
    }

    /// The bytes of the list apart from its elements, for [`estimate`](crate::estimate).
    pub fn overhead_bytes(&self) -> Footprint {
        self.0.overhead_bytes()
    }

    /// The bytes of one element, its share of its chunk included, for
    /// [`estimate`](crate::estimate). None for a small list, whose one allocation is overhead.
    pub fn amortized_bytes(&self, index: usize) -> Option<Footprint> {
        let Repr::Large(_) = &self.0 else { return None };
        let (chunk, elements) = match chunk_at(&self.0, index)?.0 {
            ChunkRef::Packed(pack) => (Footprint::allocated(pack.heap_bytes()), pack.len()),
            ChunkRef::Alone(blob) => (Footprint::of(blob), 1),
        };
        Some((chunk + CHUNK_SLOT) * (1.0 / elements.max(1) as f64))
    }

    /// Replaces the element at `index`; `false` if there is none.
    pub fn set(&mut self, index: usize, element: &[u8]) -> bool {
        if index >= self.len() {
            return false;
        }
        let done = match &mut self.0 {
            Repr::Small(pack) => replace(pack, index, element),
            Repr::Large(_) => false,
        };
        if !done {
            self.change_large(|large| large.set(index, element));
        }
        true
    }

    pub fn push_front(&mut self, element: &[u8]) {
        self.insert(0, element);
    }

    pub fn push_back(&mut self, element: &[u8]) {
        self.insert(usize::MAX, element);
    }

    pub fn pop_front(&mut self) -> bool {
        self.remove(0)
    }

    pub fn pop_back(&mut self) -> bool {
        self.len().checked_sub(1).is_some_and(|last| self.remove(last))
    }

    /// Inserts an element before the one at `index`, or at the end if `index` is the length or
    /// more.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        let index = index.min(self.len());
        let done = match &mut self.0 {
            Repr::Small(pack) => insert(pack, index, element),
            Repr::Large(_) => false,
        };
        if !done {
            self.change_large(|large| large.insert(index, element));
        }
    }

    /// Removes the element at `index`; `false` if there is none.
    pub fn remove(&mut self, index: usize) -> bool {
        if index >= self.len() {
            return false;
        }
        match &mut self.0 {
            Repr::Small(pack) => pack.remove(index, index + 1),
            Repr::Large(_) => self.change_large(|large| large.remove(index)),
        }
        true
    }

    /// Converts the list to a large one and changes it. It becomes small again if it fits one pack
    /// at an end.
    fn change_large(&mut self, change: impl FnOnce(&mut Large)) {
        if let Repr::Small(pack) = &mut self.0 {
            let large = Large { len: pack.len(), front: std::mem::take(pack), ..Large::default() };
            self.0 = Repr::Large(Arc::new(large));
        }
        let Repr::Large(large) = &mut self.0 else { return };
        let large = Arc::make_mut(large);
        change(large);
        if large.chunks.is_empty() && (large.front.is_empty() || large.back.is_empty()) {
            let one = if large.front.is_empty() { &mut large.back } else { &mut large.front };
            self.0 = Repr::Small(std::mem::take(one));
        }
    }

    /// Removes the elements at these ascending indices.
    pub fn remove_all(&mut self, indices: &[usize]) {
        if indices.len() <= SINGLE_MAX {
            indices.iter().rev().for_each(|index| {
                self.remove(*index);
            });
            return;
        }
        let mut removed = indices.iter().copied().peekable();
        let kept = self.iter().enumerate().filter(|(index, _)| removed.next_if_eq(index).is_none());
        *self = kept.map(|(_, element)| element).collect();
    }

    /// Keeps the elements `from..to`, clipped, and removes the rest.
    pub fn keep(&mut self, from: usize, to: usize) {
        let len = self.len();
        let to = to.min(len);
        if from >= to {
            *self = List::default();
            return;
        }
        match &mut self.0 {
            Repr::Small(pack) => {
                pack.remove(to, len);
                pack.remove(0, from);
            }
            // Measured: dropping a chunk costs about a tenth of building one.
            Repr::Large(_) if (to - from) < (len - (to - from)) / 10 => *self = self.range(from, to).collect(),
            Repr::Large(_) => self.change_large(|large| {
                large.drop_back(len - to);
                large.drop_front(from);
            }),
        }
    }

    pub fn iter(&self) -> Iter<'_> {
        self.range(0, self.len())
    }

    /// The elements `from..to`, clipped. O(log n) for the first element and at each chunk.
    pub fn range(&self, from: usize, to: usize) -> Iter<'_> {
        let to = to.min(self.len());
        Iter::new(&self.0, from.min(to), to)
    }

    /// Whether both lists have the same elements.
    pub fn equals(&self, other: &List) -> bool {
        self.same(other) || self.len() == other.len() && self.iter().eq(other.iter())
    }

    /// Whether both lists share their memory. Then they are equal.
    pub fn same(&self, other: &List) -> bool {
        self.0.same(&other.0, |_, _| false)
    }
}

impl ListBuilder {
    pub fn build(self) -> List {
        List(self.finish())
    }
}

impl<E: AsRef<[u8]>> FromIterator<E> for List {
    fn from_iter<I: IntoIterator<Item = E>>(elements: I) -> Self {
        let mut builder = ListBuilder::default();
        elements.into_iter().for_each(|element| builder.push(element.as_ref()));
        builder.build()
    }
}
