//! Builds packs from entries, and remembers sort orders that recur.

use super::entries::Pack;
use super::layout::{Form, PACK_BYTES_MAX};
use std::cmp::Ordering;
use vdr_snapmap::tree::key;

/// Collects the entries of a pack. Its buffers are reused from one pack to the next.
#[derive(Default)]
pub struct PackBuilder {
    form: Form,
    bytes: Vec<u8>,
    spans: Vec<Span>,
    scratch: Vec<u8>,
}

/// The byte range of an entry, its number in the sequence of pushes, and the first bytes in which
/// its name differs from the others.
#[derive(Clone, Copy)]
struct Span {
    head: u64,
    start: u16,
    end: u16,
    at: u16,
}

impl Span {
    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }
}

/// The capacity for entries to begin with, enough for most packs.
const SPANS: usize = 64;

/// Remembers permutations that sorted the names of earlier packs. Objects of one kind usually carry
/// the same names in the same sequence, so the last permutation probably sorts the next object,
/// too.
#[derive(Default)]
pub struct FieldOrderCache {
    kinds: [Vec<u16>; KINDS],
    sorted: Vec<Span>,
}

/// The number of permutations that are remembered, one for each number of names modulo this one.
const KINDS: usize = 16;

impl PackBuilder {
    /// Adds an entry, the concatenation of `parts`. `false`, and nothing added, if the pack would
    /// be longer than `max`.
    pub fn push(&mut self, parts: &[&[u8]], max: usize) -> bool {
        let form = self.form.with(parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len())));
        if form.size() > max.min(PACK_BYTES_MAX) {
            return false;
        }
        if self.spans.capacity() == 0 {
            self.bytes.reserve_exact(PACK_BYTES_MAX);
            self.spans.reserve_exact(SPANS);
        }
        for part in parts {
            match part {
                // Most heads are one byte: this avoids a call.
                [byte] => self.bytes.push(*byte),
                _ => self.bytes.extend_from_slice(part),
            }
        }
        let at = self.spans.len() as u16;
        self.spans.push(Span { head: 0, start: self.form.bytes as u16, end: form.bytes as u16, at });
        self.form = form;
        true
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.spans.iter().map(|span| span.of(&self.bytes))
    }

    /// Sorts the entries by their names, which `name` cuts out of them. Of entries with equal names
    /// only the last remains.
    pub fn sort_names(&mut self, name: impl Fn(&[u8]) -> &[u8]) {
        let (bytes, spans) = (&self.bytes, &mut self.spans);
        let name = |span: &Span| name(span.of(bytes));
        // Names often share a prefix, so the compared heads begin behind it.
        let first = spans.first().map(name).unwrap_or_default();
        let shared = spans
            .iter()
            .fold(first.len(), |shared, span| key::shared(first.get(..shared).unwrap_or(first), name(span)));
        spans.iter_mut().for_each(|span| span.head = key::head(name(span), shared));
        let order = |a: &Span, b: &Span| a.head.cmp(&b.head).then_with(|| name(a).cmp(name(b)));
        if spans.is_sorted_by(|a, b| order(a, b) == Ordering::Less) {
            return;
        }
        // Among equals the later ones come first, since deduplication keeps the first.
        spans.sort_unstable_by(|a, b| order(a, b).then(b.start.cmp(&a.start)));
        spans.dedup_by(|a, b| order(a, b) == Ordering::Equal);
    }

    /// As [`PackBuilder::sort_names`], but tries the permutation that sorted the last object of
    /// this kind first.
    pub fn sort_names_alike(&mut self, orders: &mut FieldOrderCache, name: impl Fn(&[u8]) -> &[u8]) {
        let count = self.spans.len();
        let Some(places) = orders.kinds.get_mut(count % KINDS) else { return };
        let tried = places.iter().filter_map(|at| self.spans.get(usize::from(*at)));
        let names = tried.clone().map(|span| name(span.of(&self.bytes)));
        // A permutation names no place twice. So if its names ascend strictly, they are all the
        // names, without duplicates.
        if places.len() == count && names.is_sorted_by(|a, b| a < b) {
            orders.sorted.clear();
            orders.sorted.extend(tried);
            std::mem::swap(&mut self.spans, &mut orders.sorted);
            return;
        }
        self.sort_names(name);
        if self.spans.len() == count {
            places.clear();
            places.extend(self.spans.iter().map(|span| span.at));
        }
    }

    /// Sorts the entries, of which no two are equal.
    pub fn sort(&mut self, order: impl Fn(&[u8], &[u8]) -> Ordering) {
        let bytes = &self.bytes;
        self.spans.sort_unstable_by(|a, b| order(a.of(bytes), b.of(bytes)));
    }

    /// Builds the pack and leaves the builder empty.
    pub fn take(&mut self) -> Pack {
        let entries = self.spans.iter().map(|span| span.of(&self.bytes));
        let pack = Pack::laid_out(entries, PACK_BYTES_MAX, &mut self.scratch).unwrap_or_default();
        self.clear();
        pack
    }

    pub fn clear(&mut self) {
        self.form = Form::default();
        self.bytes.clear();
        self.spans.clear();
    }
}
