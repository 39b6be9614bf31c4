//! Byte strings: keys, values, members, fields.
//!
//! Most are short, so up to [`INLINE`] bytes are stored in the handle itself. Longer ones are
//! shared by a refcount: a clone never copies a long string, and a reader exports it zero-copy to
//! the host, which counts its references.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use vdr_snapmap::tree::{Key, key};
use vdr_snapmap::{ExportedBytes, Memory, SharedBytes};

/// The longest string that is stored in the handle.
pub const INLINE: usize = 22;

/// An immutable byte string of 24 bytes plus, when longer than [`INLINE`], one shared allocation.
#[derive(Clone)]
pub struct Blob(Repr);

#[derive(Clone)]
enum Repr {
    Inline(u8, [u8; INLINE]),
    Shared(SharedBytes),
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

    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Repr::Shared(bytes) => bytes.as_slice(),
        }
    }

    /// The bytes to change in place. Copy-on-write: they are copied first if they are shared or
    /// were exported.
    pub fn make_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Repr::Inline(len, bytes) => bytes.get_mut(..usize::from(*len)).unwrap_or_default(),
            Repr::Shared(bytes) => bytes.make_mut(),
        }
    }

    /// Exports a long string, so that the host may show it zero-copy. From then on its bytes never
    /// change.
    pub fn export(&self) -> Option<ExportedBytes<'_>> {
        match &self.0 {
            Repr::Inline(..) => None,
            Repr::Shared(bytes) => bytes.export(),
        }
    }

    /// The allocation behind the handle. `None` for a short string.
    pub fn memory(&self) -> Option<Memory> {
        match &self.0 {
            Repr::Inline(..) => None,
            Repr::Shared(bytes) => Some(bytes.memory()),
        }
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
        self.as_bytes() == other.as_bytes()
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
            assert_eq!(Blob::new(&bytes).memory().is_some(), len > INLINE);
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

    #[test]
    fn orders_like_memcmp_with_the_prefix_first() {
        assert!(Blob::from("a") < Blob::from("ab"));
        assert!(Blob::from("a\u{7f}") < Blob::new(b"a\xff"));
        assert!(Blob::from("") < Blob::new(b"\0"));
    }
}
