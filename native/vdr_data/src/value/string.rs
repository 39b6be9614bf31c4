//! Strings by reference, wherever they are stored.

use crate::blob::Blob;
use std::cmp::Ordering;
use std::ops::Deref;
use vdr_snapmap::PackedItem;

/// A long string that is stored beside its key, and can be exported without a copy.
pub type LongRef<'s> = PackedItem<'s>;

/// A string by reference: a value, or an element of a value.
#[derive(Clone, Copy, Debug)]
pub enum StringRef<'s> {
    /// Stored beside its key, or beside other elements.
    Packed(&'s [u8]),
    /// Stored beside its key, and long enough to be exported.
    Long(LongRef<'s>),
    /// Stored on its own, behind a refcount if it is long.
    Shared(&'s Blob),
}

impl<'s> StringRef<'s> {
    #[inline]
    pub fn as_bytes(self) -> &'s [u8] {
        match self {
            StringRef::Packed(bytes) => bytes,
            StringRef::Long(long) => long.as_bytes(),
            StringRef::Shared(blob) => blob.as_bytes(),
        }
    }

    #[inline]
    pub fn len(self) -> usize {
        match self {
            StringRef::Packed(bytes) => bytes.len(),
            StringRef::Long(long) => long.as_bytes().len(),
            StringRef::Shared(blob) => blob.len(),
        }
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The byte at an index, without a copy of a long string that was written to.
    pub fn byte(self, at: usize) -> Option<u8> {
        self.parts(at, at.saturating_add(1)).next()?.first().copied()
    }

    /// The bytes `from..to`, clipped, in pieces that follow each other, without a copy.
    pub fn parts(self, from: usize, to: usize) -> impl Iterator<Item = &'s [u8]> + Clone {
        let (piece, parts) = match self {
            StringRef::Shared(blob) => (None, Some(blob.parts(from, to))),
            StringRef::Packed(_) | StringRef::Long(_) => {
                let bytes = self.as_bytes();
                (bytes.get(from..to.min(bytes.len())), None)
            }
        };
        piece.into_iter().chain(parts.into_iter().flatten())
    }

    pub fn to_blob(self) -> Blob {
        match self {
            StringRef::Shared(blob) => blob.clone(),
            StringRef::Packed(_) | StringRef::Long(_) => Blob::new(self.as_bytes()),
        }
    }
}

impl Deref for StringRef<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for StringRef<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for StringRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (StringRef::Shared(a), StringRef::Shared(b)) => a == b,
            _ => self.len() == other.len() && self.as_bytes() == other.as_bytes(),
        }
    }
}

impl Eq for StringRef<'_> {}

impl PartialOrd for StringRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Byte order, wherever the strings are stored.
impl Ord for StringRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}
