//! How the watched prefixes and patterns of a key are found.
//!
//! A prefix is looked up as such. A pattern is found by an *anchor*: the longest run of literal
//! bytes that all its matches have, at their start (`user:*`), at their end (`*:name`), or
//! somewhere (`*:cart:*`). Its place in the table holds the patterns that have it, and a key is
//! compared only with those of its own anchors. So patterns for other keys cost next to nothing,
//! however many there are. The exceptions are patterns without a literal byte (`???`), whose anchor
//! is empty, and those that share the anchor of a key.
//!
//! Which beginnings of a key are looked up? Those that have the length of a watched prefix, or of
//! an anchor, which begins with the same four bytes, its *head*. The place of a head holds these
//! lengths. So watches elsewhere in the key space cost nothing here, too. The same goes for ends,
//! which are read backwards. Anchors inside of keys have one head for each database: they are
//! looked up at each place in the key.

use super::event::{Kind, Target};
use super::table::{Item, Place, Sort, Table};
use std::sync::atomic::{AtomicUsize, Ordering};
use vdr_commands::glob::{self, Literal};
use vdr_data::blob::{Blob, INLINE};

/// Longest pattern that can be watched. A comparison costs its length times that of the key.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Longest anchor inside of a key: one look-up at each place in the key for each length.
const INSIDE_MAX: usize = 8;

/// The lengths of the affixes that begin alike are kept together.
pub(super) const HEAD: usize = 4;

/// A database, the sort of the head, and the first bytes of an affix: all of them if it has fewer
/// than [`HEAD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    db: u32,
    sort: Sort,
    len: u8,
    bytes: [u8; HEAD],
}

impl Head {
    /// Of the first `len` bytes, at most [`HEAD`] of them.
    #[inline]
    pub(super) fn of_start(db: u32, bytes: &[u8], len: usize) -> Self {
        let head = |bytes| Head { db, sort: Sort::StartHead, len: len.min(HEAD) as u8, bytes };
        match bytes.first_chunk() {
            Some(whole) if len >= HEAD => head(*whole),
            _ => head(first(bytes.iter(), len)),
        }
    }

    /// Of the last `len` bytes, at most [`HEAD`] of them, backwards.
    pub(super) fn of_end(db: u32, bytes: &[u8], len: usize) -> Self {
        Head { db, sort: Sort::EndHead, len: len.min(HEAD) as u8, bytes: first(bytes.iter().rev(), len) }
    }

    /// Of all anchors inside of keys of a database.
    pub(super) fn of_insides(db: u32) -> Self {
        Head { db, sort: Sort::InsideHead, len: 0, bytes: [0; HEAD] }
    }

    pub(super) fn place(&self) -> Place<'_> {
        (self.db, self.sort, self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes))
    }

    /// A number that differs for most heads.
    pub(super) fn mixed(&self) -> u64 {
        let bytes = u64::from(u32::from_ne_bytes(self.bytes));
        let rest = (u64::from(self.db) << 8) ^ (u64::from(self.len) << 4) ^ self.sort as u64;
        (bytes ^ (rest << 32) ^ (rest >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

fn first<'b>(bytes: impl Iterator<Item = &'b u8>, len: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head.iter_mut().zip(bytes.take(len)).for_each(|(place, byte)| *place = *byte);
    head
}

/// What a prefix or pattern is found by.
struct Affix {
    sort: Sort,
    bytes: Blob,
}

impl Affix {
    fn of(target: &Target) -> Option<Self> {
        match target.kind {
            Kind::Key => None,
            Kind::Prefix => Some(Affix { sort: Sort::Prefix, bytes: target.name.clone() }),
            Kind::Pattern => Some(Affix::of_pattern(&target.name)),
        }
    }

    fn of_pattern(pattern: &[u8]) -> Self {
        // The first of the longest: a start before the rest.
        let runs = glob::literals(pattern);
        let longest = runs.into_iter().rev().max_by_key(|run| run.bytes.len());
        let Some(Literal { bytes, at_start, at_end }) = longest else {
            return Affix { sort: Sort::InsideAnchor, bytes: Blob::default() };
        };
        let (sort, part) = match (at_start, at_end) {
            (true, _) => (Sort::StartAnchor, bytes.get(..INLINE)),
            (_, true) => (Sort::EndAnchor, bytes.len().checked_sub(INLINE).and_then(|skip| bytes.get(skip..))),
            _ => (Sort::InsideAnchor, bytes.get(..INSIDE_MAX)),
        };
        Affix { sort, bytes: Blob::new(part.unwrap_or(&bytes)) }
    }

    fn head(&self, db: u32) -> Head {
        let len = self.bytes.len();
        match self.sort {
            Sort::EndAnchor => Head::of_end(db, &self.bytes, len),
            Sort::InsideAnchor => Head::of_insides(db),
            _ => Head::of_start(db, &self.bytes, len),
        }
    }
}

/// Counts of what is found by affixes. All of them change before the table has a new watch, so that
/// [`Unpublished`](super::filter::Unpublished) holds for them, too.
#[derive(Default)]
pub(super) struct Affixes {
    /// How many keys are watched, which are found by no affix.
    keys: AtomicUsize,
    starts: Count,
    ends: Count,
    insides: Count,
    /// How often the lengths of any head have changed.
    changes: AtomicUsize,
}

/// How many watches are found by affixes of one sort.
#[derive(Default)]
struct Count {
    all: AtomicUsize,
    /// By those that are shorter than [`HEAD`].
    short: AtomicUsize,
}

/// What the publisher knows of [`Affixes`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KnownAffixes {
    /// Whether keys are watched, too.
    pub(super) keys: bool,
    /// The length of the shortest head; `None` if nothing is found by such affixes.
    pub(super) starts: Option<usize>,
    pub(super) ends: Option<usize>,
    pub(super) insides: bool,
    pub(super) changes: usize,
}

impl Count {
    fn shortest_head(&self) -> Option<usize> {
        let shortest = if self.short.load(Ordering::SeqCst) > 0 { 0 } else { HEAD };
        (self.all.load(Ordering::SeqCst) > 0).then_some(shortest)
    }
}

impl Affixes {
    fn count(&self, affix: &Affix) -> &Count {
        match affix.sort {
            Sort::EndAnchor => &self.ends,
            Sort::InsideAnchor => &self.insides,
            _ => &self.starts,
        }
    }

    /// A watch of this target is to be added.
    pub(super) fn add(&self, table: &Table, target: &Target) {
        let Some(affix) = Affix::of(target) else {
            self.keys.fetch_add(1, Ordering::SeqCst);
            return;
        };
        let len = affix.bytes.len();
        if target.kind == Kind::Pattern {
            let pattern = Item::Pattern(target.name.clone());
            table.add_item((target.db, affix.sort, &affix.bytes), pattern, || {});
        }
        table.add_item(affix.head(target.db).place(), Item::Length(len, affix.sort), || self.note_change());
        let count = self.count(&affix);
        count.all.fetch_add(1, Ordering::SeqCst);
        count.short.fetch_add(usize::from(len < HEAD), Ordering::SeqCst);
    }

    /// A watch of this target is gone.
    pub(super) fn remove(&self, table: &Table, target: &Target) {
        let Some(affix) = Affix::of(target) else {
            self.keys.fetch_sub(1, Ordering::SeqCst);
            return;
        };
        let len = affix.bytes.len();
        let count = self.count(&affix);
        count.short.fetch_sub(usize::from(len < HEAD), Ordering::SeqCst);
        count.all.fetch_sub(1, Ordering::SeqCst);
        table.remove_item(affix.head(target.db).place(), &Item::Length(len, affix.sort), || self.note_change());
        if target.kind == Kind::Pattern {
            let pattern = Item::Pattern(target.name.clone());
            table.remove_item((target.db, affix.sort, &affix.bytes), &pattern, || {});
        }
    }

    fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn known(&self) -> KnownAffixes {
        KnownAffixes {
            keys: self.keys.load(Ordering::SeqCst) > 0,
            starts: self.starts.shortest_head(),
            ends: self.ends.shortest_head(),
            insides: self.insides.shortest_head().is_some(),
            changes: self.changes.load(Ordering::SeqCst),
        }
    }
}
