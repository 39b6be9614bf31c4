//! Byte strings: keys, values, members, fields.
//!
//! Most are short, so up to [`INLINE`] bytes are stored in the handle itself. Longer ones are
//! shared by a refcount: a clone never copies a long string, and a reader exports it zero-copy to
//! the host, which counts its references.

use crate::chunked::Chunked;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use vdr_snapmap::tree::{Key, key};
use vdr_snapmap::{ExportedBytes, Memory, SharedBytes};

/// The longest string that is stored in the handle.
pub const INLINE: usize = 22;

/// A string of at least this length becomes chunked when a write would have to copy it. Shorter
/// ones are copied, which takes microseconds, and stay in one piece.
const CHUNKED_BYTES_MIN: usize = 64 << 10;

/// A byte string of 24 bytes plus, when longer than [`INLINE`], shared allocations.
#[derive(Clone)]
pub struct Blob(Repr);

#[derive(Clone)]
enum Repr {
    Inline(u8, [u8; INLINE]),
    Shared(SharedBytes),
    /// A long string that was written to.
    Chunked(Arc<Chunked>),
}

impl Blob {
    pub fn new(bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE];
        match inline.get_mut(..bytes.len()) {
            Some(head) => {
                head.copy_from_slice(bytes);
                Blob(Repr::Inline(bytes.len() as u8, inline))
            }
            None => Blob(Repr::Shared(SharedBytes::new(bytes))),
        }
    }

    /// The decimal text of an integer, as the server writes it.
    pub fn from_int(value: i64) -> Self {
        Blob::new(itoa::Buffer::new().format(value).as_bytes())
    }

    /// The parts behind each other, copied once.
    pub fn concat(parts: &[&[u8]]) -> Self {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > INLINE { Blob(Repr::Shared(SharedBytes::concat(parts))) } else { Blob::new(&parts.concat()) }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Inline(len, _) => usize::from(*len),
            Repr::Shared(bytes) => bytes.as_slice().len(),
            Repr::Chunked(chunked) => chunked.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in one piece. O(1), unless [`Blob::is_contiguous`] is false.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Repr::Shared(bytes) => bytes.as_slice(),
            Repr::Chunked(chunked) => chunked.contiguous().as_slice(),
        }
    }

    /// Whether [`Blob::as_bytes`] and [`Blob::export`] are O(1). They are not for a long string
    /// that was written to: the first of them after a write copies it.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        match &self.0 {
            Repr::Chunked(chunked) => chunked.is_contiguous(),
            Repr::Inline(..) | Repr::Shared(_) => true,
        }
    }

    /// The bytes `from..to`, clipped, in pieces that follow each other, without a copy. Only the
    /// last piece may be empty.
    pub fn parts(&self, from: usize, to: usize) -> impl Iterator<Item = &[u8]> + Clone {
        let (piece, chunked) = match &self.0 {
            Repr::Chunked(chunked) => (None, Some(chunked.parts(from, to))),
            Repr::Inline(..) | Repr::Shared(_) => {
                let bytes = self.as_bytes();
                (bytes.get(from..to.min(bytes.len())), None)
            }
        };
        piece.into_iter().chain(chunked.into_iter().flatten())
    }

    /// Writes bytes at a position, and first fills a gap behind the end with zeros. Copy-on-write:
    /// a long string becomes chunked where all of it would have to be copied. Returns how many
    /// bytes were copied.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> usize {
        let (len, end) = (self.len(), at.saturating_add(bytes.len()));
        let in_place = match &mut self.0 {
            Repr::Chunked(chunked) => return Arc::make_mut(chunked).write(at, bytes),
            Repr::Inline(..) => end <= len,
            Repr::Shared(shared) => end <= len && shared.is_unique(),
        };
        // A long gap costs nothing in chunks.
        if !in_place && len.max(at.saturating_sub(len)) >= CHUNKED_BYTES_MIN {
            let mut chunked = Chunked::new(self.as_bytes());
            chunked.write(at, bytes);
            self.0 = Repr::Chunked(Arc::new(chunked));
            return len;
        }
        if end > len {
            let head = self.as_bytes().get(..at).unwrap_or(self.as_bytes());
            let zeros = vec![0; at.saturating_sub(len)];
            *self = Blob::concat(&[head, &zeros, bytes]);
        } else if let Some(place) = self.make_mut().get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
        if in_place { 0 } else { len }
    }

    /// The bytes to change in place. Copy-on-write: they are copied first if they are shared or
    /// were exported.
    pub fn make_mut(&mut self) -> &mut [u8] {
        if let Repr::Chunked(chunked) = &self.0 {
            self.0 = Repr::Shared(chunked.contiguous().clone());
        }
        match &mut self.0 {
            Repr::Inline(len, bytes) => bytes.get_mut(..usize::from(*len)).unwrap_or_default(),
            Repr::Shared(bytes) => bytes.make_mut(),
            Repr::Chunked(_) => &mut [],
        }
    }

    /// Exports a long string, so that the host may show it zero-copy. From then on its bytes never
    /// change.
    #[inline]
    pub fn export(&self) -> Option<ExportedBytes<'_>> {
        match &self.0 {
            Repr::Inline(..) => None,
            Repr::Shared(bytes) => bytes.export(),
            Repr::Chunked(chunked) => chunked.contiguous().export(),
        }
    }

    /// The memory behind the handle: none of a short string, two kinds of a chunked one.
    pub fn memory(&self) -> impl Iterator<Item = Memory> {
        let (first, second) = match &self.0 {
            Repr::Inline(..) => (None, None),
            Repr::Shared(bytes) => (Some(bytes.memory()), None),
            Repr::Chunked(chunked) => {
                let (chunks, contiguous) = chunked.memory();
                (Some(chunks), contiguous)
            }
        };
        first.into_iter().chain(second)
    }
}

impl Default for Blob {
    fn default() -> Self {
        Blob(Repr::Inline(0, [0; INLINE]))
    }
}

impl Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Borrow<[u8]> for Blob {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Blob::new(bytes)
    }
}

impl From<&str> for Blob {
    fn from(text: &str) -> Self {
        Blob::new(text.as_bytes())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Blob::new(&bytes)
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Chunked(a), Repr::Chunked(b)) => a.equals(b),
            (Repr::Chunked(chunked), _) => chunked.equals_bytes(other.as_bytes()),
            (_, Repr::Chunked(chunked)) => chunked.equals_bytes(self.as_bytes()),
            _ => self.as_bytes() == other.as_bytes(),
        }
    }
}

impl Eq for Blob {}

impl PartialOrd for Blob {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Byte order, the shorter first on a common prefix: the server's memcmp order.
impl Ord for Blob {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Key for Blob {
    fn tag(&self) -> u8 {
        key::tag(self)
    }

    fn shared(&self, other: &Self) -> usize {
        key::shared(self, other)
    }

    fn head(&self, skip: usize) -> u64 {
        key::head(self, skip)
    }
}

impl Hash for Blob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_three_words_and_leaves_a_niche() {
        assert_eq!(std::mem::size_of::<Blob>(), 24);
        assert_eq!(std::mem::size_of::<Option<Blob>>(), 24);
    }

    #[test]
    fn keeps_every_length_around_the_inline_limit() {
        for len in 0..INLINE + 3 {
            let bytes: Vec<u8> = (0..len as u8).collect();
            assert_eq!(Blob::new(&bytes).as_bytes(), &bytes[..]);
            assert_eq!(Blob::from(bytes.clone()).as_bytes(), &bytes[..]);
            assert_eq!(Blob::new(&bytes).memory().count(), usize::from(len > INLINE));
        }
    }

    #[test]
    fn a_change_in_place_leaves_clones_as_they_were() {
        for len in [3, INLINE + 1] {
            let mut blob = Blob::from(vec![0; len]);
            let clone = blob.clone();
            blob.make_mut()[1] = 7;
            assert_eq!((blob[1], blob.len()), (7, len));
            assert_eq!(clone, Blob::from(vec![0; len]));
        }
    }

    /// Through all forms, with clones taken midway that must not change.
    #[test]
    fn writes_grow_a_string_and_leave_clones_as_they_were() {
        let (mut blob, mut model, mut clones) = (Blob::default(), Vec::new(), Vec::new());
        let long = CHUNKED_BYTES_MIN;
        for (number, (at, len)) in
            [(0, 3), (1, 1), (5, 2), (3, 40), (0, 1), (10, long), (7, 2), (7, 2), (long * 2, 1), (0, 3 * long), (9, 0)]
                .into_iter()
                .enumerate()
        {
            clones.push((blob.clone(), model.clone()));
            let bytes = vec![number as u8 + 1; len];
            blob.write(at, &bytes);
            model.resize(model.len().max(at + len), 0);
            model[at..at + len].copy_from_slice(&bytes);
        }
        assert!(!blob.is_contiguous());
        clones.push((blob.clone(), model.clone()));
        for (blob, model) in &clones {
            assert_eq!(
                (blob.len(), blob.parts(2, 70_000).collect::<Vec<_>>().concat()),
                (model.len(), model.get(2..model.len().min(70_000)).unwrap_or_default().to_vec())
            );
            assert!(*blob == Blob::new(model) && Blob::new(model) == *blob);
            assert_eq!((blob.as_bytes(), blob.is_contiguous()), (&model[..], true));
        }
        blob.make_mut()[0] = 77;
        assert_eq!((blob[0], clones.last().unwrap().0[0]), (77, model[0]));
    }

    /// What a write copies: nothing if nobody shares the string, all of it once if it is long, and
    /// then only chunks.
    #[test]
    fn a_long_string_is_copied_once() {
        let len = 10 * CHUNKED_BYTES_MIN;
        let mut blob = Blob::from(vec![1; len]);
        assert_eq!((blob.write(5, b"x"), blob.is_contiguous()), (0, true));
        let clone = blob.clone();
        assert_eq!((blob.write(5, b"y"), blob.is_contiguous()), (len, false));
        let (clone, other) = (blob.clone(), clone);
        assert!(blob.write(5, b"z") < CHUNKED_BYTES_MIN && blob.write(len, b"behind") < CHUNKED_BYTES_MIN);
        assert_eq!((other[5], clone[5], blob[5], blob.len()), (b'x', b'y', b'z', len + 6));
        // A gap takes next to no memory, however long.
        let mut sparse = Blob::default();
        sparse.write(512 << 20, b"x");
        let Some(Memory::Allocated(bytes)) = sparse.memory().next() else { panic!() };
        assert!(bytes < 1 << 20 && sparse.len() > 512 << 20);
    }

    #[test]
    fn orders_like_memcmp_with_the_prefix_first() {
        assert!(Blob::from("a") < Blob::from("ab"));
        assert!(Blob::from("a\u{7f}") < Blob::new(b"a\xff"));
        assert!(Blob::from("") < Blob::new(b"\0"));
    }
}
