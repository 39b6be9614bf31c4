//! Builds a list from its first element to its last.

use super::super::pack::{Pack, PackBuilder};
use super::chunk::{CHUNK_BYTES_MAX, Chunk, ELEMENT_BYTES_MAX};
use super::large::{Large, Repr};
use std::sync::Arc;

/// Collects the elements of a list, from the first to the last.
#[derive(Default)]
pub struct ListBuilder {
    last: PackBuilder,
    /// The full chunks, with the positions of their first elements.
    chunks: Vec<(i64, Chunk)>,
    len: usize,
    /// The number of elements in full chunks.
    full: usize,
}

impl ListBuilder {
    pub fn push(&mut self, element: &[u8]) {
        if element.len() > ELEMENT_BYTES_MAX {
            self.close();
            self.chunks.push((self.len as i64, Chunk::of(element)));
            self.full = self.len + 1;
        } else if !self.last.push(&[element], CHUNK_BYTES_MAX) {
            self.close();
            self.last.push(&[element], CHUNK_BYTES_MAX);
        }
        self.len += 1;
    }

    fn close(&mut self) {
        if !self.last.is_empty() {
            self.chunks.push((self.full as i64, Chunk::Packed(self.last.take())));
            self.full = self.len;
        }
    }

    pub(super) fn finish(mut self) -> Repr {
        let back = self.last.take();
        if self.chunks.is_empty() {
            return Repr::Small(back);
        }
        let chunks = self.chunks.into_iter().collect();
        Repr::Large(Arc::new(Large { first: 0, len: self.len, front: Pack::default(), chunks, back }))
    }
}
