//! A pack and what reads it.

use super::layout::{Form, PACK_BYTES_MAX, Table, View, word};
use std::cmp::Ordering;
use std::sync::Arc;
use vdr_snapmap::{COUNTS, allocated};

static ZEROES: [u8; PACK_BYTES_MAX] = [0; PACK_BYTES_MAX];

/// A small aggregate in one allocation. See the module.
#[derive(Clone, Debug, Default)]
pub struct Pack(pub(super) Arc<[u8]>);

impl Pack {
    /// A pack of entries in their order; `None` if they take more than `max` bytes.
    pub fn from_entries<'e>(entries: impl Iterator<Item = &'e [u8]> + Clone, max: usize) -> Option<Self> {
        Pack::laid_out(entries, max, &mut Vec::new())
    }

    /// As [`Pack::from_entries`]. The pack is laid out in `scratch`, which is in the cache, and
    /// then copied at once into its own allocation, which is not.
    pub(super) fn laid_out<'e>(
        entries: impl Iterator<Item = &'e [u8]> + Clone,
        max: usize,
        scratch: &mut Vec<u8>,
    ) -> Option<Self> {
        let form = entries.clone().fold(Form::default(), |form, entry| form.with(entry.len()));
        if form.count == 0 {
            return Some(Pack::default());
        }
        let room = Pack::room(form.size(), max)?.len();
        scratch.clear();
        scratch.reserve_exact(room);
        scratch.resize(form.base(), 0);
        for (at, entry) in entries.enumerate() {
            form.put_length(scratch, at, entry.len());
            scratch.extend_from_slice(entry);
        }
        form.put_head(scratch, 0);
        scratch.resize(room, 0);
        Some(Pack(Arc::from(scratch.as_slice())))
    }

    /// A pack of zeroes with room for `needed` bytes.
    pub(super) fn with_room(needed: usize, max: usize) -> Option<Self> {
        Pack::room(needed, max).map(|room| Pack(Arc::from(room)))
    }

    /// `needed` zeroes, rounded up to the allocator's size class; `None` beyond `max`.
    fn room(needed: usize, max: usize) -> Option<&'static [u8]> {
        if needed > max {
            return None;
        }
        let room = allocated(needed + COUNTS) - COUNTS;
        ZEROES.get(..room).or(ZEROES.get(..needed))
    }

    #[inline]
    pub(super) fn view(&self) -> View<'_> {
        View::of(&self.0)
    }

    #[inline]
    pub fn len(&self) -> usize {
        word(&self.0, 0) >> 1
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn form(&self) -> Form {
        let view = self.view();
        Form { count: view.count, wide: view.wide, bytes: view.start(view.count) }
    }

    #[inline]
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let view = self.view();
        if at >= view.count {
            return None;
        }
        let (start, end) = view.span(at);
        view.entries().get(start..end)
    }

    /// Binary search in sorted entries: the rank of the entry that `order` calls equal, or where it
    /// would stand.
    pub fn search(&self, order: impl Fn(&[u8]) -> Ordering) -> Result<usize, usize> {
        let view = self.view();
        let entries = view.entries();
        let (mut from, mut to) = (0, view.count);
        while from < to {
            let at = from.midpoint(to);
            let (start, end) = view.span(at);
            match order(entries.get(start..end).unwrap_or_default()) {
                Ordering::Less => from = at + 1,
                Ordering::Greater => to = at,
                Ordering::Equal => return Ok(at),
            }
        }
        Err(from)
    }

    /// The entries of the ranks `from..to`, clipped.
    #[inline]
    pub fn range(&self, from: usize, to: usize) -> Range<'_> {
        let view = self.view();
        let to = to.min(view.count);
        let from = from.min(to);
        let entries = view.entries().get(view.start(from)..view.start(to)).unwrap_or_default();
        Range { table: view.table(from, to), entries }
    }

    #[inline]
    pub fn iter(&self) -> Range<'_> {
        self.range(0, self.len())
    }

    /// Whether both packs have the same entries.
    pub fn equals(&self, other: &Pack) -> bool {
        let used = self.used_bytes();
        self.same(other) || used == other.used_bytes() && self.0.get(..used) == other.0.get(..used)
    }

    /// Whether both packs share one allocation. Then they are equal.
    pub fn same(&self, other: &Pack) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The bytes of the allocation, its reference counts included.
    pub fn heap_bytes(&self) -> usize {
        if self.0.is_empty() { 0 } else { self.0.len() + COUNTS }
    }

    /// The bytes that the table and the entries use of the allocation.
    pub fn used_bytes(&self) -> usize {
        self.form().size()
    }
}

/// Adjacent entries, forward and backward.
#[derive(Clone, Debug)]
pub struct Range<'p> {
    table: Table<'p>,
    /// The bytes of these entries, and no more.
    entries: &'p [u8],
}

impl<'p> Iterator for Range<'p> {
    type Item = &'p [u8];

    #[inline]
    fn next(&mut self) -> Option<&'p [u8]> {
        let (len, table) = self.table.split_first()?;
        let (entry, entries) = self.entries.split_at_checked(len)?;
        *self = Range { table, entries };
        Some(entry)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.table.len(), Some(self.table.len()))
    }
}

impl DoubleEndedIterator for Range<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let (len, table) = self.table.split_last()?;
        let (entries, entry) = self.entries.split_at_checked(self.entries.len().checked_sub(len)?)?;
        *self = Range { table, entries };
        Some(entry)
    }
}

impl ExactSizeIterator for Range<'_> {}
