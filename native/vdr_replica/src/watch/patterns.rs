//! Which watched glob patterns a key may match.
//!
//! A pattern is found by an *anchor*: the longest run of literal bytes that all its matches have,
//! at their start (`user:*`), at their end (`*:name`), or somewhere (`*:cart:*`). A write is
//! compared only with the patterns whose anchor its key has. So patterns for other keys cost next
//! to nothing, however many there are. The exceptions are patterns without a literal byte (`???`),
//! with which each key of the database is compared, and those that share the anchor of a key.

use super::affixes::Lengths;
use std::collections::{BTreeMap, HashMap};
use vdr_commands::glob::{self, Literal};
use vdr_data::blob::{Blob, INLINE};

/// Longest pattern that can be watched. A comparison costs its length times that of the key.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Longest anchor inside of a key: one look-up at each place in the key for each length.
const INSIDE_MAX: usize = 8;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Where a match has the anchor.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Start,
    End,
    Inside,
    /// The pattern has no literal bytes.
    Nowhere,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Anchor {
    db: u32,
    side: Side,
    bytes: Blob,
}

#[derive(Default)]
pub(super) struct Patterns {
    by_anchor: Map<Anchor, Vec<Blob>>,
    /// How many watches each pattern has.
    watches: Map<(u32, Blob), usize>,
    starts: Lengths,
    /// Of ends, read backwards.
    ends: Lengths,
    /// How many anchors inside of keys there are of each length.
    inside: BTreeMap<(u32, usize), usize>,
}

impl Anchor {
    fn of(db: u32, pattern: &[u8]) -> Self {
        // The first of the longest: a start before the rest.
        let runs = glob::literals(pattern);
        let longest = runs.into_iter().rev().max_by_key(|run| run.bytes.len());
        let Some(Literal { bytes, at_start, at_end }) = longest else {
            return Anchor { db, side: Side::Nowhere, bytes: Blob::default() };
        };
        let (side, part) = match (at_start, at_end) {
            (true, _) => (Side::Start, bytes.get(..INLINE)),
            (_, true) => (Side::End, bytes.len().checked_sub(INLINE).and_then(|skip| bytes.get(skip..))),
            _ => (Side::Inside, bytes.get(..INSIDE_MAX)),
        };
        Anchor { db, side, bytes: Blob::new(part.unwrap_or(&bytes)) }
    }
}

impl Patterns {
    /// A watch of this pattern is to be added.
    pub(super) fn add(&mut self, db: u32, pattern: &[u8]) {
        let count = self.watches.entry((db, Blob::new(pattern))).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
        let anchor = Anchor::of(db, pattern);
        match anchor.side {
            Side::Start => self.starts.add(db, anchor.bytes.iter().copied()),
            Side::End => self.ends.add(db, anchor.bytes.iter().rev().copied()),
            Side::Inside => *self.inside.entry((db, anchor.bytes.len())).or_default() += 1,
            Side::Nowhere => {}
        }
        self.by_anchor.entry(anchor).or_default().push(Blob::new(pattern));
    }

    /// A watch of this pattern is gone.
    pub(super) fn remove(&mut self, db: u32, pattern: &[u8]) {
        let name = (db, Blob::new(pattern));
        let Some(count) = self.watches.get_mut(&name) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.watches.remove(&name);
        let anchor = Anchor::of(db, pattern);
        match anchor.side {
            Side::Start => self.starts.remove(db, anchor.bytes.iter().copied()),
            Side::End => self.ends.remove(db, anchor.bytes.iter().rev().copied()),
            Side::Inside => {
                let place = (db, anchor.bytes.len());
                if let Some(count) = self.inside.get_mut(&place) {
                    *count -= 1;
                    if *count == 0 {
                        self.inside.remove(&place);
                    }
                }
            }
            Side::Nowhere => {}
        }
        if let Some(patterns) = self.by_anchor.get_mut(&anchor) {
            patterns.retain(|other| *other != name.1);
            if patterns.is_empty() {
                self.by_anchor.remove(&anchor);
            }
        }
    }

    /// The watched patterns that a key matches.
    pub(super) fn matching(&self, db: u32, key: &[u8]) -> Vec<Blob> {
        let mut found = Vec::new();
        let mut look_up = |side, bytes: &[u8], inside: bool| {
            let patterns = self.by_anchor.get(&Anchor { db, side, bytes: Blob::new(bytes) });
            for pattern in patterns.into_iter().flatten() {
                // A key may have an anchor at several places.
                if glob::matches(pattern, key) && !(inside && found.contains(pattern)) {
                    found.push(pattern.clone());
                }
            }
        };
        self.starts.for_each(db, key.iter().copied(), |len| {
            look_up(Side::Start, key.get(..len).unwrap_or_default(), false);
        });
        self.ends.for_each(db, key.iter().rev().copied(), |len| {
            let end = key.len().checked_sub(len).and_then(|from| key.get(from..));
            look_up(Side::End, end.unwrap_or_default(), false);
        });
        for ((_, len), _) in self.inside.range((db, 0)..=(db, INSIDE_MAX)) {
            key.windows(*len).for_each(|part| look_up(Side::Inside, part, true));
        }
        look_up(Side::Nowhere, b"", false);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(patterns: &Patterns, db: u32, key: &str) -> Vec<String> {
        let found = patterns.matching(db, key.as_bytes());
        let mut found: Vec<String> = found.iter().map(|pattern| pattern.escape_ascii().to_string()).collect();
        found.sort();
        found
    }

    #[test]
    fn patterns_are_found_by_the_literal_bytes_of_their_matches() {
        let mut patterns = Patterns::default();
        let long = format!("{}*", "x".repeat(40));
        let all = ["user:*", "user:*", "*:name", "*cart*", "??", "", "*", "user:[0-9]*:name", "*ab*ab*", &long];
        all.iter().for_each(|pattern| patterns.add(0, pattern.as_bytes()));
        assert_eq!(shown(&patterns, 0, "user:1:name"), ["*", "*:name", "user:*", "user:[0-9]*:name"]);
        assert_eq!(shown(&patterns, 0, "cartcart"), ["*", "*cart*"]);
        assert_eq!(shown(&patterns, 0, "ab"), ["*", "??"]);
        assert_eq!(shown(&patterns, 0, "abab"), ["*", "*ab*ab*"]);
        assert_eq!(shown(&patterns, 0, ""), ["", "*"]);
        assert_eq!(shown(&patterns, 0, &"x".repeat(50)), ["*", &long]);
        assert_eq!(shown(&patterns, 0, &"x".repeat(30)), ["*"]);
        assert_eq!(shown(&patterns, 1, "user:1:name"), [""; 0]);
        patterns.remove(0, b"user:*");
        assert_eq!(shown(&patterns, 0, "user:1"), ["*", "user:*"]);
        all.iter().filter(|pattern| !pattern.is_empty()).for_each(|pattern| patterns.remove(0, pattern.as_bytes()));
        patterns.remove(0, b"");
        assert_eq!(shown(&patterns, 0, "user:1"), [""; 0]);
        assert!(patterns.by_anchor.is_empty() && patterns.inside.is_empty() && patterns.watches.is_empty());
    }

    proptest! {
        #[test]
        fn no_pattern_is_overlooked(
            patterns in proptest::collection::vec("[ab:*?\\[\\]\\\\^-]{0,12}", 1..20),
            keys in proptest::collection::vec("[ab:]{0,12}", 1..20),
        ) {
            let mut index = Patterns::default();
            patterns.iter().for_each(|pattern| index.add(0, pattern.as_bytes()));
            for key in keys {
                let mut expected: Vec<String> =
                    patterns.iter().filter(|pattern| glob::matches(pattern.as_bytes(), key.as_bytes())).cloned().collect();
                expected.sort();
                expected.dedup();
                let mut found: Vec<String> = index
                    .matching(0, key.as_bytes())
                    .iter()
                    .map(|pattern| String::from_utf8(pattern.to_vec()).unwrap())
                    .collect();
                found.sort();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
