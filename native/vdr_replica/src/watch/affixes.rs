//! Which watched prefixes, and which literal ends of patterns, a key may have.
//!
//! A key is looked up once for each length of a watched prefix that begins with the same four
//! bytes. So watches elsewhere in the key space cost nothing, however many there are.

use std::collections::BTreeMap;

/// The lengths of the prefixes that begin alike are kept together.
const HEAD: usize = 4;

/// A database, and the first bytes of a prefix: all of them if it has fewer than [`HEAD`].
type Head = (u32, u8, [u8; HEAD]);

/// The lengths of prefixes, by the first bytes of the prefixes.
#[derive(Default)]
pub(super) struct Lengths {
    /// With the number of prefixes of each length.
    by_head: BTreeMap<Head, BTreeMap<usize, usize>>,
    /// How many heads are of prefixes shorter than [`HEAD`].
    short: usize,
}

/// The first `len` bytes, at most [`HEAD`] of them.
fn head(db: u32, bytes: impl Iterator<Item = u8>, len: usize) -> Head {
    let mut head = [0; HEAD];
    head.iter_mut().zip(bytes.take(len)).for_each(|(place, byte)| *place = byte);
    (db, len.min(HEAD) as u8, head)
}

impl Lengths {
    /// A prefix is watched. The bytes of the end of a key come backwards.
    pub(super) fn add(&mut self, db: u32, bytes: impl ExactSizeIterator<Item = u8>) {
        let len = bytes.len();
        let lengths = self.by_head.entry(head(db, bytes, len)).or_default();
        if lengths.is_empty() && len < HEAD {
            self.short += 1;
        }
        *lengths.entry(len).or_default() += 1;
    }

    pub(super) fn remove(&mut self, db: u32, bytes: impl ExactSizeIterator<Item = u8>) {
        let len = bytes.len();
        let head = head(db, bytes, len);
        let Some(lengths) = self.by_head.get_mut(&head) else { return };
        if let Some(count) = lengths.get_mut(&len) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&len);
            }
        }
        if lengths.is_empty() {
            self.by_head.remove(&head);
            self.short -= usize::from(len < HEAD);
        }
    }

    /// Calls `found` with each length of which there may be a watched prefix of this key.
    pub(super) fn for_each(
        &self,
        db: u32,
        key: impl ExactSizeIterator<Item = u8> + Clone,
        mut found: impl FnMut(usize),
    ) {
        let first = if self.short > 0 { 0 } else { HEAD };
        for len in first..=HEAD.min(key.len()) {
            let Some(lengths) = self.by_head.get(&head(db, key.clone(), len)) else { continue };
            lengths.range(..=key.len()).for_each(|(len, _)| found(*len));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_of_the_watched_prefixes_of_a_key_are_found() {
        let mut lengths = Lengths::default();
        let of = |lengths: &Lengths, db, key: &str| {
            let mut found = Vec::new();
            lengths.for_each(db, key.bytes(), |len| found.push(len));
            found
        };
        let watched = ["", "a", "user", "user:1", "user:12", "user:12", "user:1234", "sess:123456"];
        watched.iter().for_each(|prefix| lengths.add(0, prefix.bytes()));
        assert_eq!(of(&lengths, 0, "user:12x"), [0, 4, 6, 7]);
        assert_eq!(of(&lengths, 0, "use"), [0]);
        assert_eq!(of(&lengths, 0, "abc"), [0, 1]);
        assert_eq!(of(&lengths, 1, "user:12x"), [0; 0]);
        for prefix in ["", "a", "user:12", "user"] {
            lengths.remove(0, prefix.bytes());
        }
        assert_eq!(of(&lengths, 0, "user:12x"), [6, 7]);
        assert_eq!(lengths.short, 0);
        for prefix in ["user:1", "user:12", "user:1234", "sess:123456"] {
            lengths.remove(0, prefix.bytes());
        }
        assert!(lengths.by_head.is_empty());
    }
}
