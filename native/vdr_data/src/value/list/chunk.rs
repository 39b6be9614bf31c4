//! Chunks: the packs that a large list is made of, and the elements too long for a pack.

use super::super::pack::{self, Pack};
use super::super::string::StringRef;
use crate::blob::Blob;

/// The longest chunk, and so the most that a change at an end copies. Half of it would cost some
/// percent of memory.
pub(super) const CHUNK_BYTES_MAX: usize = 2048 - 16;
/// A longer element is a chunk of its own, so that no change of a neighbour copies it.
pub(super) const ELEMENT_BYTES_MAX: usize = 1000;

#[derive(Clone, Debug)]
pub(super) enum Chunk {
    Packed(Pack),
    Alone(Blob),
}

impl Chunk {
    pub(super) fn of(element: &[u8]) -> Self {
        let packed =
            (element.len() <= ELEMENT_BYTES_MAX).then(|| Pack::from_entries([element].into_iter(), CHUNK_BYTES_MAX));
        packed.flatten().map_or_else(|| Chunk::Alone(Blob::new(element)), Chunk::Packed)
    }

    pub(super) fn as_ref(&self) -> ChunkRef<'_> {
        match self {
            Chunk::Packed(pack) => ChunkRef::Packed(pack),
            Chunk::Alone(blob) => ChunkRef::Alone(blob),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_ref().len()
    }
}

/// A chunk by reference, be it in the map of chunks or at an end.
#[derive(Clone, Copy)]
pub(super) enum ChunkRef<'l> {
    Packed(&'l Pack),
    Alone(&'l Blob),
}

impl<'l> ChunkRef<'l> {
    pub(super) fn len(self) -> usize {
        match self {
            ChunkRef::Packed(pack) => pack.len(),
            ChunkRef::Alone(_) => 1,
        }
    }

    pub(super) fn get(self, at: usize) -> Option<StringRef<'l>> {
        match self {
            ChunkRef::Packed(pack) => pack.get(at).map(StringRef::Packed),
            ChunkRef::Alone(blob) => Some(StringRef::Shared(blob)),
        }
    }

    /// The elements of the ranks `from..to`, clipped.
    pub(super) fn run(self, from: usize, to: usize) -> Run<'l> {
        match self {
            ChunkRef::Packed(pack) => Run::Packed(pack.range(from, to)),
            ChunkRef::Alone(blob) => Run::Alone(Some(blob)),
        }
    }
}

/// Inserts an element into a pack. `false`, and nothing done, if it is too long or the chunk would
/// be.
pub(super) fn insert(pack: &mut Pack, at: usize, element: &[u8]) -> bool {
    element.len() <= ELEMENT_BYTES_MAX && pack.insert(at, &[element], CHUNK_BYTES_MAX)
}

/// Replaces an element of a pack. `false`, and nothing done, if it is too long or the chunk would
/// be.
pub(super) fn replace(pack: &mut Pack, at: usize, element: &[u8]) -> bool {
    element.len() <= ELEMENT_BYTES_MAX && pack.replace(at, &[element], CHUNK_BYTES_MAX)
}

/// The elements of the ranks `from..to` as a pack of their own.
pub(super) fn slice(pack: &Pack, from: usize, to: usize) -> Pack {
    Pack::from_entries(pack.range(from, to), pack::PACK_BYTES_MAX).unwrap_or_default()
}

/// The elements of a chunk, forward and backward.
#[derive(Clone)]
pub(super) enum Run<'l> {
    Packed(pack::Range<'l>),
    Alone(Option<&'l Blob>),
}

impl<'l> Iterator for Run<'l> {
    type Item = StringRef<'l>;

    fn next(&mut self) -> Option<StringRef<'l>> {
        match self {
            Run::Packed(entries) => entries.next().map(StringRef::Packed),
            Run::Alone(blob) => blob.take().map(StringRef::Shared),
        }
    }
}

impl DoubleEndedIterator for Run<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Run::Packed(entries) => entries.next_back().map(StringRef::Packed),
            Run::Alone(blob) => blob.take().map(StringRef::Shared),
        }
    }
}
