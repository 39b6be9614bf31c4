//! Iteration over a list, one search for each chunk.

use super::super::string::StringRef;
use super::chunk::Run;
use super::large::{Repr, chunk_at};

/// The elements of a list, forward and backward.
#[derive(Clone)]
pub struct Iter<'l> {
    list: &'l Repr,
    from: usize,
    to: usize,
    /// The rest of the chunk of `from`, and of the chunk of `to - 1`.
    front: Run<'l>,
    back: Run<'l>,
}

impl<'l> Iter<'l> {
    /// The elements `from..to`; `from` is at most `to`, and `to` at most the length.
    pub(super) fn new(list: &'l Repr, from: usize, to: usize) -> Self {
        Iter { list, from, to, front: Run::Alone(None), back: Run::Alone(None) }
    }
}

impl<'l> Iterator for Iter<'l> {
    type Item = StringRef<'l>;

    fn next(&mut self) -> Option<StringRef<'l>> {
        if self.from >= self.to {
            return None;
        }
        let next = self.front.next().or_else(|| {
            let (chunk, start) = chunk_at(self.list, self.from)?;
            self.front = chunk.run(self.from - start, self.to - start);
            self.front.next()
        });
        self.from += 1;
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.to - self.from, Some(self.to - self.from))
    }

    /// A chunk at a time.
    fn fold<A, F: FnMut(A, StringRef<'l>) -> A>(mut self, start: A, mut step: F) -> A {
        let mut result = start;
        while let Some(first) = self.next() {
            result = step(result, first);
            let rest = std::mem::replace(&mut self.front, Run::Alone(None));
            if let Run::Packed(entries) = rest {
                let len = entries.len().min(self.to - self.from);
                self.from += len;
                result = entries.take(len).map(StringRef::Packed).fold(result, &mut step);
            }
        }
        result
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        let next = self.back.next_back().or_else(|| {
            let (chunk, start) = chunk_at(self.list, self.to - 1)?;
            self.back = chunk.run(self.from.saturating_sub(start), self.to - start);
            self.back.next_back()
        });
        self.to -= 1;
        next
    }
}

impl ExactSizeIterator for Iter<'_> {}
