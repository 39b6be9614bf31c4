//! Long strings that are written to: a rope of chunks, each copy-on-write.
//!
//! A snapshot shares the chunks, so the first write after it copies the chunks that it changes and
//! the list of chunks, but not the string. A reader that needs the bytes in one piece copies them.
//! The copy stays with the string until the next write, for other readers.

use std::sync::{Arc, LazyLock, OnceLock};
use vdr_snapmap::{COUNTS, Memory, SharedBytes, allocated};

/// The bytes of a chunk: what a write copies. Measured on bursts of SETBITs: longer chunks cost
/// more to copy, shorter ones make the list of chunks longer, which each snapshot copies.
pub const CHUNK_BYTES: usize = 16 << 10;

/// The chunk of a string that only grew. All such strings share it.
static ZEROS: LazyLock<Arc<[u8]>> = LazyLock::new(|| Arc::from([0; CHUNK_BYTES].as_slice()));

/// A byte string in chunks.
pub struct Chunked {
    /// Each has [`CHUNK_BYTES`]. Zeros follow the end of the string.
    chunks: Vec<Arc<[u8]>>,
    len: usize,
    contiguous: OnceLock<SharedBytes>,
}

impl Clone for Chunked {
    /// The clone is about to change, so it does not take the contiguous bytes along.
    fn clone(&self) -> Self {
        Chunked { chunks: self.chunks.clone(), len: self.len, contiguous: OnceLock::new() }
    }
}

impl Chunked {
    pub fn new(bytes: &[u8]) -> Self {
        let (full, rest) = bytes.as_chunks::<CHUNK_BYTES>();
        let mut chunks: Vec<Arc<[u8]>> = full.iter().map(|chunk| Arc::from(chunk.as_slice())).collect();
        if !rest.is_empty() {
            let mut last: Arc<[u8]> = ZEROS.clone();
            if let Some(head) = Arc::make_mut(&mut last).get_mut(..rest.len()) {
                head.copy_from_slice(rest);
            }
            chunks.push(last);
        }
        Chunked { chunks, len: bytes.len(), contiguous: OnceLock::new() }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the bytes in one piece are there, or must be copied first.
    pub fn is_contiguous(&self) -> bool {
        self.contiguous.get().is_some()
    }

    /// The bytes in one piece. O(n) for the first call after a write. Readers that call it at the
    /// same time do not wait for each other: each copies, and one of the copies stays.
    pub fn contiguous(&self) -> &SharedBytes {
        if let Some(bytes) = self.contiguous.get() {
            return bytes;
        }
        let parts: Vec<&[u8]> = self.parts(0, self.len).collect();
        let bytes = SharedBytes::concat(&parts);
        self.contiguous.get_or_init(|| bytes)
    }

    /// The bytes `from..to`, clipped, in pieces that follow each other. None is empty.
    pub fn parts(&self, from: usize, to: usize) -> impl Iterator<Item = &[u8]> + Clone {
        let to = to.min(self.len);
        let part = move |(index, chunk)| {
            let (start, chunk): (usize, &Arc<[u8]>) = (index * CHUNK_BYTES, chunk);
            let end = to.saturating_sub(start).min(chunk.len());
            chunk.get(from.saturating_sub(start)..end).unwrap_or_default()
        };
        let chunks = self.chunks.iter().enumerate().skip(from / CHUNK_BYTES);
        chunks.map(part).take_while(|part| !part.is_empty())
    }

    /// Writes bytes at a position, and first fills a gap behind the end with zeros. Returns how
    /// many bytes were copied for it.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> usize {
        self.contiguous = OnceLock::new();
        let end = at.saturating_add(bytes.len());
        self.len = self.len.max(end);
        self.chunks.resize(self.len.div_ceil(CHUNK_BYTES).max(self.chunks.len()), ZEROS.clone());
        let (mut at, mut left, mut copied) = (at, bytes, 0);
        while !left.is_empty() {
            let Some(chunk) = self.chunks.get_mut(at / CHUNK_BYTES) else { break };
            if Arc::get_mut(chunk).is_none() {
                copied += CHUNK_BYTES;
            }
            let space = Arc::make_mut(chunk).get_mut(at % CHUNK_BYTES..).unwrap_or_default();
            let (now, later) = left.split_at(space.len().min(left.len()));
            space.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            (at, left) = (at + now.len(), later);
        }
        copied
    }

    /// Whether both have the same bytes. Chunks that both share are skipped.
    pub fn equals(&self, other: &Chunked) -> bool {
        let mut pairs = self.chunks.iter().zip(&other.chunks);
        self.len == other.len && pairs.all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
    }

    /// Whether the bytes are these.
    pub fn equals_bytes(&self, bytes: &[u8]) -> bool {
        let mut pieces = bytes.chunks(CHUNK_BYTES);
        self.len == bytes.len() && self.parts(0, self.len).all(|part| pieces.next() == Some(part))
    }

    /// The memory of the chunks, without those that are shared because they are zeros, and of the
    /// bytes in one piece.
    pub fn memory(&self) -> (Memory, Option<Memory>) {
        let own = self.chunks.iter().filter(|chunk| !Arc::ptr_eq(chunk, &ZEROS)).count();
        let list = allocated(self.chunks.capacity() * size_of::<Arc<[u8]>>());
        let chunks = Memory::Allocated(own * allocated(CHUNK_BYTES + COUNTS) + list);
        (chunks, self.contiguous.get().map(SharedBytes::memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(chunked: &Chunked, from: usize, to: usize) -> Vec<u8> {
        chunked.parts(from, to).collect::<Vec<_>>().concat()
    }

    proptest! {
        /// Against a vector, with a clone taken midway that must not change.
        #[test]
        fn a_chunked_string_is_a_string(
            len in 0..3 * CHUNK_BYTES,
            writes in proptest::collection::vec((0..4 * CHUNK_BYTES, 0..2 * CHUNK_BYTES, any::<bool>()), 1..12),
            range in (0..5 * CHUNK_BYTES, 0..5 * CHUNK_BYTES),
        ) {
            let mut model: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut chunked = Chunked::new(&model);
            let mut clones = Vec::new();
            for (number, (at, len, keep)) in writes.into_iter().enumerate() {
                if keep {
                    clones.push((chunked.clone(), model.clone()));
                }
                let bytes = vec![number as u8 + 1; len];
                chunked.write(at, &bytes);
                model.resize(model.len().max(at + len), 0);
                model[at..at + len].copy_from_slice(&bytes);
                prop_assert!(!chunked.is_contiguous());
                prop_assert_eq!(chunked.contiguous().as_slice(), &model[..]);
            }
            clones.push((chunked, model));
            let (last, _) = clones.last().unwrap();
            for (chunked, model) in &clones {
                prop_assert_eq!(chunked.equals(last), bytes_of(chunked, 0, usize::MAX) == bytes_of(last, 0, usize::MAX));
                let shorter = &model[..model.len().saturating_sub(1)];
                prop_assert!(chunked.equals_bytes(model));
                prop_assert_eq!(chunked.equals_bytes(shorter), model.is_empty());
            }
            for (chunked, model) in clones {
                prop_assert_eq!(chunked.len(), model.len());
                let (from, to) = (range.0.min(model.len()), range.1.min(model.len()));
                prop_assert_eq!(bytes_of(&chunked, range.0, range.1), model.get(from..to).unwrap_or_default());
                prop_assert!(bytes_of(&chunked, 0, usize::MAX) == model);
            }
        }
    }

    #[test]
    fn a_write_copies_only_the_chunks_that_a_clone_shares() {
        let mut chunked = Chunked::new(&vec![1; 10 * CHUNK_BYTES + 5]);
        assert_eq!(chunked.write(0, b"x"), 0);
        let clone = chunked.clone();
        assert_eq!(chunked.write(CHUNK_BYTES - 1, b"xy"), 2 * CHUNK_BYTES);
        assert_eq!((chunked.write(CHUNK_BYTES - 1, b"zz"), chunked.equals(&clone)), (0, false));
        assert_eq!(bytes_of(&clone, CHUNK_BYTES - 1, CHUNK_BYTES + 1), [1, 1]);
        // Growth behind the end copies nothing of the string: zeros are shared.
        assert_eq!(chunked.write(1000 * CHUNK_BYTES, b""), 0);
        let (Memory::Allocated(bytes), None) = chunked.memory() else { panic!() };
        assert!(bytes < 20 * CHUNK_BYTES, "{bytes}");
    }
}
