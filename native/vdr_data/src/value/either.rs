//! The two forms of an aggregate, and an iterator over either.

use super::pack::Pack;
use crate::size::Footprint;
use std::sync::Arc;
use vdr_snapmap::COUNTS;

#[derive(Clone, Debug)]
pub enum Repr<L> {
    Small(Pack),
    /// Any number of elements: an aggregate that shrinks may grow again, so it stays large.
    Large(Arc<L>),
}

impl<L> Default for Repr<L> {
    fn default() -> Self {
        Repr::Small(Pack::default())
    }
}

impl<L> Repr<L> {
    /// The pack of a small aggregate.
    #[cfg(test)]
    pub fn pack(&self) -> Option<&Pack> {
        match self {
            Repr::Small(pack) => Some(pack),
            Repr::Large(_) => None,
        }
    }

    /// The bytes behind the handle, apart from elements. For a small aggregate this is everything.
    pub fn overhead_bytes(&self) -> Footprint {
        Footprint::allocated(match self {
            Repr::Small(pack) => pack.heap_bytes(),
            Repr::Large(_) => size_of::<L>() + COUNTS,
        })
    }

    /// Whether both share their memory. `inside` decides about large ones in two allocations.
    pub fn same(&self, other: &Self, inside: impl FnOnce(&L, &L) -> bool) -> bool {
        match (self, other) {
            (Repr::Small(a), Repr::Small(b)) => a.same(b),
            (Repr::Large(a), Repr::Large(b)) => Arc::ptr_eq(a, b) || inside(a, b),
            _ => false,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Either<S, L> {
    Small(S),
    Large(L),
}

impl<T, S: Iterator<Item = T>, L: Iterator<Item = T>> Iterator for Either<S, L> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Either::Small(elements) => elements.next(),
            Either::Large(elements) => elements.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Either::Small(elements) => elements.size_hint(),
            Either::Large(elements) => elements.size_hint(),
        }
    }

    /// Asks once which form it is, not for each element.
    fn fold<A, F: FnMut(A, T) -> A>(self, start: A, step: F) -> A {
        match self {
            Either::Small(elements) => elements.fold(start, step),
            Either::Large(elements) => elements.fold(start, step),
        }
    }
}

impl<T, S: DoubleEndedIterator<Item = T>, L: DoubleEndedIterator<Item = T>> DoubleEndedIterator for Either<S, L> {
    fn next_back(&mut self) -> Option<T> {
        match self {
            Either::Small(elements) => elements.next_back(),
            Either::Large(elements) => elements.next_back(),
        }
    }

    fn rfold<A, F: FnMut(A, T) -> A>(self, start: A, step: F) -> A {
        match self {
            Either::Small(elements) => elements.rfold(start, step),
            Either::Large(elements) => elements.rfold(start, step),
        }
    }
}

impl<T, S: ExactSizeIterator<Item = T>, L: ExactSizeIterator<Item = T>> ExactSizeIterator for Either<S, L> {}
