//! An iterator over either of two forms of a value.

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
}

impl<T, S: DoubleEndedIterator<Item = T>, L: DoubleEndedIterator<Item = T>> DoubleEndedIterator for Either<S, L> {
    fn next_back(&mut self) -> Option<T> {
        match self {
            Either::Small(elements) => elements.next_back(),
            Either::Large(elements) => elements.next_back(),
        }
    }
}

impl<T, S: ExactSizeIterator<Item = T>, L: ExactSizeIterator<Item = T>> ExactSizeIterator for Either<S, L> {}
