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
    pub fn as_bytes(self) -> &'s [u8] {
        match self {
            StringRef::Packed(bytes) => bytes,
            StringRef::Long(long) => long.as_bytes(),
            StringRef::Shared(blob) => blob.as_bytes(),
        }
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
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for StringRef<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for StringRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
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
