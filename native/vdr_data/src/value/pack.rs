//! A small aggregate in one allocation: byte strings one behind another, each found by its number.
//!
//! ```text
//! count * 2 + wide: u16 | where each eighth entry ends: u16 | length of each: u8 or, if wide, u16 | entries ... | room
//! ```
//!
//! A pack is wide when, and only when, one of its entries does not fit the narrow table. Ends count from where the first entry
//! begins; what lies between two of them is the sum of seven lengths at most, which are one word of the processor in a narrow
//! pack. So an entry is found in O(1), for ten bits each rather than sixteen.
//!
//! A clone shares the allocation. A change is made in place where nobody else shares it, else into a copy, which is one
//! allocation and a few moves of bytes. What room there is comes from the allocator alone, which has it anyway: a pack never
//! asks for more than it needs, rounded up to the next size class.

use std::cmp::Ordering;
use std::sync::Arc;
use vdr_snapmap::tree::key;
use vdr_snapmap::{COUNTS, allocated};

/// The longest pack, its table included. Measured, a copy of that much costs less than two nodes of a tree.
pub const PACK_BYTES_MAX: usize = 4096 - COUNTS;

/// An end, and a length in the table of a wide pack.
const WORD: usize = size_of::<u16>();
/// The end of each so many entries is kept.
const BLOCK: usize = 8;
/// The longest entry of a pack that is not wide.
const NARROW_MAX: usize = u8::MAX as usize;
/// A pack in place is moved to a smaller allocation when it fills less than this part of its own.
const FILLED_MIN: usize = 2;

static ZEROES: [u8; PACK_BYTES_MAX] = [0; PACK_BYTES_MAX];

/// What a pack is apart from its contents.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Form {
    count: usize,
    wide: bool,
    /// Bytes of all entries.
    bytes: usize,
}

impl Form {
    /// With one more entry.
    fn with(self, len: usize) -> Self {
        Form { count: self.count + 1, wide: self.wide || len > NARROW_MAX, bytes: self.bytes.saturating_add(len) }
    }

    /// Where the length of an entry stands; behind the last of them, where the entries begin.
    fn length_at(self, at: usize) -> usize {
        WORD * (1 + self.count / BLOCK) + if self.wide { WORD * at } else { at }
    }

    fn base(self) -> usize {
        self.length_at(self.count)
    }

    /// What it takes of an allocation.
    fn size(self) -> usize {
        self.base().saturating_add(self.bytes)
    }

    fn put_length(self, buffer: &mut [u8], at: usize, len: usize) {
        let (narrow, wide) = ([len as u8], (len as u16).to_ne_bytes());
        put(buffer, self.length_at(at), if self.wide { &wide } else { &narrow });
    }

    /// What stands in front of the lengths, which are there already, as are the ends of the blocks before that of `at`.
    fn put_head(self, buffer: &mut [u8], at: usize) {
        put_word(buffer, 0, self.count << 1 | usize::from(self.wide));
        let Some((ends, behind)) = buffer.split_at_mut_checked(self.length_at(0)) else { return };
        let (first, width) = (at / BLOCK, if self.wide { WORD } else { 1 });
        let mut end = if first > 0 { word(ends, first) } else { 0 };
        let (places, _) = ends.get_mut(WORD * (first + 1)..).unwrap_or_default().as_chunks_mut();
        let blocks = behind.get(width * BLOCK * first..).unwrap_or_default().chunks_exact(width * BLOCK);
        for (place, bytes) in places.iter_mut().zip(blocks) {
            end += Table { wide: self.wide, bytes }.sum_of_block();
            *place = (end as u16).to_ne_bytes();
        }
    }
}

/// Lengths of entries that stand next to each other.
#[derive(Clone, Copy, Debug)]
struct Table<'p> {
    wide: bool,
    bytes: &'p [u8],
}

impl Table<'_> {
    fn len(self) -> usize {
        if self.wide { self.bytes.len() / WORD } else { self.bytes.len() }
    }

    fn sum_of_block(self) -> usize {
        let narrow = self.bytes.first_chunk().filter(|_| !self.wide);
        narrow.map_or_else(|| self.sum(), |eight| sum(u64::from_le_bytes(*eight)))
    }

    /// Whether one of them does not fit a narrow table.
    fn needs_wide(self) -> bool {
        self.wide && self.bytes.as_chunks().0.iter().any(|word| number(word) > NARROW_MAX)
    }

    fn split_first(self) -> Option<(usize, Self)> {
        let (len, bytes) = if self.wide {
            self.bytes.split_first_chunk().map(|(word, rest)| (number(word), rest))?
        } else {
            self.bytes.split_first().map(|(byte, rest)| (usize::from(*byte), rest))?
        };
        Some((len, Table { bytes, ..self }))
    }

    fn split_last(self) -> Option<(usize, Self)> {
        let (len, bytes) = if self.wide {
            self.bytes.split_last_chunk().map(|(rest, word)| (number(word), rest))?
        } else {
            self.bytes.split_last().map(|(byte, rest)| (usize::from(*byte), rest))?
        };
        Some((len, Table { bytes, ..self }))
    }
}

impl Iterator for Table<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let (len, rest) = self.split_first()?;
        *self = rest;
        Some(len)
    }
}

fn number(word: &[u8; WORD]) -> usize {
    usize::from(u16::from_ne_bytes(*word))
}

fn word(buffer: &[u8], at: usize) -> usize {
    buffer.get(WORD * at..).and_then(<[u8]>::first_chunk).map_or(0, number)
}

/// A pack as it is read.
#[derive(Clone, Copy)]
struct View<'p> {
    count: usize,
    wide: bool,
    ends: &'p [u8],
    /// The lengths, the entries and what room there is.
    behind: &'p [u8],
}

impl<'p> View<'p> {
    fn of(buffer: &'p [u8]) -> Self {
        let head = word(buffer, 0);
        let count = head >> 1;
        let (ends, behind) = buffer.split_at_checked(WORD * (1 + count / BLOCK)).unwrap_or_default();
        View { count, wide: head & 1 != 0, ends, behind }
    }

    fn table(self, from: usize, to: usize) -> Table<'p> {
        let range = if self.wide { WORD * from..WORD * to } else { from..to };
        Table { wide: self.wide, bytes: self.behind.get(range).unwrap_or_default() }
    }

    fn entries(self) -> &'p [u8] {
        self.behind.get(if self.wide { WORD * self.count } else { self.count }..).unwrap_or_default()
    }

    /// Where the entry at `at` begins and ends, of as many as there are.
    #[inline(always)]
    fn span(self, at: usize) -> (usize, usize) {
        let (block, rest) = (at / BLOCK, at % BLOCK);
        let before = if block > 0 { word(self.ends, block) } else { 0 };
        let narrow = if self.wide { None } else { self.behind.get(BLOCK * block..).and_then(<[u8]>::first_chunk) };
        let Some(eight) = narrow.map(|eight| u64::from_le_bytes(*eight)) else {
            let start = before + self.table(BLOCK * block, at).sum::<usize>();
            return (start, start + self.table(at, at + 1).sum::<usize>());
        };
        // What belongs to those from `at` on is shifted out.
        let start = before + sum(eight << (8 * (BLOCK - 1 - rest)) << 8);
        (start, start + usize::from((eight >> (8 * rest)) as u8))
    }

    /// Where the entry at `at` begins, or the last one ends.
    fn start(self, at: usize) -> usize {
        self.span(at).0
    }
}

/// The sum of the bytes of a number.
fn sum(bytes: u64) -> usize {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    // Four sums of two, and their sum in the topmost sixteen bits.
    (((bytes & EVEN) + (bytes >> 8 & EVEN)).wrapping_mul(0x0001_0001_0001_0001) >> 48) as usize
}

#[derive(Clone, Debug, Default)]
pub struct Pack(Arc<[u8]>);

impl Pack {
    /// Entries as they come; `None` when they are too many or too long for `max` bytes.
    pub fn from_entries<'e>(entries: impl Iterator<Item = &'e [u8]> + Clone, max: usize) -> Option<Self> {
        Pack::laid_out(entries, max, &mut Vec::new())
    }

    /// As [`Pack::from_entries`]. It is laid out in `desk`, which is at hand, and its own memory, which is not, is written at once.
    fn laid_out<'e>(entries: impl Iterator<Item = &'e [u8]> + Clone, max: usize, desk: &mut Vec<u8>) -> Option<Self> {
        let form = entries.clone().fold(Form::default(), |form, entry| form.with(entry.len()));
        if form.count == 0 {
            return Some(Pack::default());
        }
        let room = Pack::room(form.size(), max)?.len();
        desk.clear();
        desk.reserve_exact(room);
        desk.resize(form.base(), 0);
        for (at, entry) in entries.enumerate() {
            form.put_length(desk, at, entry.len());
            desk.extend_from_slice(entry);
        }
        form.put_head(desk, 0);
        desk.resize(room, 0);
        Some(Pack(Arc::from(desk.as_slice())))
    }

    fn with_room(needed: usize, max: usize) -> Option<Self> {
        Pack::room(needed, max).map(|room| Pack(Arc::from(room)))
    }

    /// Room for so many bytes and what the allocator gives beside them; `None` beyond `max`.
    fn room(needed: usize, max: usize) -> Option<&'static [u8]> {
        if needed > max {
            return None;
        }
        let room = allocated(needed + COUNTS) - COUNTS;
        ZEROES.get(..room).or(ZEROES.get(..needed))
    }

    fn view(&self) -> View<'_> {
        View::of(&self.0)
    }

    pub fn len(&self) -> usize {
        word(&self.0, 0) >> 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn form(&self) -> Form {
        let view = self.view();
        Form { count: view.count, wide: view.wide, bytes: view.start(view.count) }
    }

    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let view = self.view();
        if at >= view.count {
            return None;
        }
        let (start, end) = view.span(at);
        view.entries().get(start..end)
    }

    /// The entry that `order` calls equal, or where it would stand, of entries in the order that it tells.
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

    /// The entries `from..to` (clipped).
    pub fn range(&self, from: usize, to: usize) -> Range<'_> {
        let view = self.view();
        let to = to.min(view.count);
        let from = from.min(to);
        let entries = view.entries().get(view.start(from)..view.start(to)).unwrap_or_default();
        Range { table: view.table(from, to), entries }
    }

    pub fn iter(&self) -> Range<'_> {
        self.range(0, self.len())
    }

    /// Whether both have the same entries.
    pub fn equals(&self, other: &Pack) -> bool {
        let used = self.used_bytes();
        self.same(other) || used == other.used_bytes() && self.0.get(..used) == other.0.get(..used)
    }

    /// Whether both are the very same in memory: then they are equal.
    pub fn same(&self, other: &Pack) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Bytes on the heap, the reference counts included.
    pub fn heap_bytes(&self) -> usize {
        if self.0.is_empty() { 0 } else { self.0.len() + COUNTS }
    }

    /// Bytes that the entries and the table take of them.
    pub fn used_bytes(&self) -> usize {
        self.form().size()
    }

    /// Puts an entry, which is made of `parts`, before the one at `at`. As [`Pack::splice`].
    pub fn insert(&mut self, at: usize, parts: &[&[u8]], max: usize) -> bool {
        self.splice(at, 0, Some(parts), max)
    }

    /// Puts an entry in the place of the one at `at`. As [`Pack::splice`].
    pub fn replace(&mut self, at: usize, parts: &[&[u8]], max: usize) -> bool {
        self.splice(at, 1, Some(parts), max)
    }

    /// Takes the entries `from..to` (clipped) out.
    pub fn remove(&mut self, from: usize, to: usize) {
        let to = to.min(self.len());
        if from < to {
            self.splice(from, to - from, None, PACK_BYTES_MAX);
        }
    }

    /// Puts an entry, if any, in the place of `gone` ones. `false` when that would be longer than `max`: then nothing has
    /// changed.
    fn splice(&mut self, at: usize, gone: usize, come: Option<&[&[u8]]>, max: usize) -> bool {
        let old = self.form();
        let at = at.min(old.count);
        let gone = gone.min(old.count - at);
        let view = self.view();
        let (head, tail) = (view.start(at), old.bytes - view.start(at + gone));
        let wide = view.table(0, at).needs_wide() || view.table(at + gone, old.count).needs_wide();
        let stays = Form { count: old.count - gone, wide, bytes: head + tail };
        let come_len = come.map(|parts| parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len())));
        let new = come_len.map_or(stays, |len| stays.with(len));
        if come.is_some() && new.size() > max {
            return false;
        }
        if new.count == 0 {
            *self = Pack::default();
            return true;
        }
        let cut = Cut { at, gone, head, tail };
        let room = self.0.len();
        let fits = new.wide == old.wide && new.size() <= room && new.size() >= room / FILLED_MIN;
        match Arc::get_mut(&mut self.0).filter(|_| fits) {
            Some(buffer) => cut.within(buffer, old, new),
            None => {
                let Some(mut made) = Pack::with_room(new.size(), PACK_BYTES_MAX) else { return false };
                let Some(buffer) = Arc::get_mut(&mut made.0) else { return false };
                cut.copy(self.view(), buffer, old, new);
                *self = made;
            }
        }
        let Some(buffer) = Arc::get_mut(&mut self.0) else { return false };
        if let (Some(parts), Some(len)) = (come, come_len) {
            new.put_length(buffer, at, len);
            put_all(buffer, new.base() + head, parts);
        }
        new.put_head(buffer, at);
        true
    }
}

/// What is taken out of a pack.
struct Cut {
    at: usize,
    gone: usize,
    /// Bytes of the entries before, and behind what goes.
    head: usize,
    tail: usize,
}

impl Cut {
    /// Moves what stays to its places. An entry that comes stands in the way of nothing then.
    fn within(&self, buffer: &mut [u8], old: Form, new: Form) {
        let behind = old.count - self.at - self.gone;
        let moves = [
            (old.length_at(0)..old.length_at(self.at), new.length_at(0)),
            (old.length_at(self.at + self.gone)..old.base(), new.length_at(new.count - behind)),
            (old.base()..old.base() + self.head, new.base()),
            (old.size() - self.tail..old.size(), new.size() - self.tail),
        ];
        // What moves forward begins with the last, so that nothing is overwritten before it has moved.
        let forward = new.base() > old.base();
        for at in 0..moves.len() {
            let Some((range, to)) = moves.get(if forward { moves.len() - 1 - at } else { at }) else { return };
            if range.start != *to && to + range.len() <= buffer.len() {
                buffer.copy_within(range.clone(), *to);
            }
        }
    }

    /// Copies what stays to its places.
    fn copy(&self, source: View<'_>, buffer: &mut [u8], old: Form, new: Form) {
        let behind = old.count - self.at - self.gone;
        put(buffer, 0, source.ends.get(..WORD * (1 + self.at / BLOCK)).unwrap_or_default());
        for (from, to, count) in [(0, 0, self.at), (self.at + self.gone, new.count - behind, behind)] {
            let table = source.table(from, from + count);
            if old.wide == new.wide {
                put(buffer, new.length_at(to), table.bytes);
            } else {
                table.enumerate().for_each(|(at, len)| new.put_length(buffer, to + at, len));
            }
        }
        let entries = source.entries();
        put(buffer, new.base(), entries.get(..self.head).unwrap_or_default());
        put(buffer, new.size() - self.tail, entries.get(old.bytes - self.tail..old.bytes).unwrap_or_default());
    }
}

fn put_word(buffer: &mut [u8], at: usize, number: usize) {
    put(buffer, WORD * at, &(number as u16).to_ne_bytes());
}

fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buffer.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn put_all(buffer: &mut [u8], mut at: usize, parts: &[&[u8]]) {
    for part in parts {
        put(buffer, at, part);
        at += part.len();
    }
}

/// Entries that stand next to each other.
#[derive(Clone, Debug)]
pub struct Range<'p> {
    table: Table<'p>,
    /// No more than theirs.
    entries: &'p [u8],
}

impl<'p> Iterator for Range<'p> {
    type Item = &'p [u8];

    fn next(&mut self) -> Option<&'p [u8]> {
        let (len, table) = self.table.split_first()?;
        let (entry, entries) = self.entries.split_at_checked(len)?;
        *self = Range { table, entries };
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.table.len(), Some(self.table.len()))
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (len, table) = self.table.split_last()?;
        let (entries, entry) = self.entries.split_at_checked(self.entries.len().checked_sub(len)?)?;
        *self = Range { table, entries };
        Some(entry)
    }
}

impl ExactSizeIterator for Range<'_> {}

/// Entries on their way into a pack, while all of them fit into one.
#[derive(Default)]
pub struct Gather {
    form: Form,
    bytes: Vec<u8>,
    spans: Vec<Span>,
    desk: Vec<u8>,
}

/// Where an entry is, its number among those that came, and the first bytes that tell its name from others.
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

/// Room for the entries of most packs.
const SPANS: usize = 64;

/// What put the names of other packs in order: of some kinds of objects the last one's, each the places from which its names came.
#[derive(Default)]
pub struct Orders {
    kinds: [Vec<u16>; KINDS],
    sorted: Vec<Span>,
}

/// Kinds that come in turns are told apart by how many names they have.
const KINDS: usize = 16;

impl Gather {
    /// `false` when it would be longer than `max` with this entry: then it is not taken.
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
                // Most heads are one byte: for that nothing is called.
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

    /// Puts the entries in the order of their names, which are parts of them; of those with the same name the last one stays.
    pub fn sort_names(&mut self, name: impl Fn(&[u8]) -> &[u8]) {
        let (bytes, spans) = (&self.bytes, &mut self.spans);
        let name = |span: &Span| name(span.of(bytes));
        // Names are alike: what tells them apart begins behind what all of them share.
        let first = spans.first().map(name).unwrap_or_default();
        let shared = spans
            .iter()
            .fold(first.len(), |shared, span| key::shared(first.get(..shared).unwrap_or(first), name(span)));
        spans.iter_mut().for_each(|span| span.head = key::head(name(span), shared));
        let order = |a: &Span, b: &Span| a.head.cmp(&b.head).then_with(|| name(a).cmp(name(b)));
        if spans.is_sorted_by(|a, b| order(a, b) == Ordering::Less) {
            return;
        }
        // Later ones first among equals, so that the first of each stays.
        spans.sort_unstable_by(|a, b| order(a, b).then(b.start.cmp(&a.start)));
        spans.dedup_by(|a, b| order(a, b) == Ordering::Equal);
    }

    /// As [`Gather::sort_names`], and what put others in order is tried first: objects of one kind are written with the same
    /// names in the same sequence.
    pub fn sort_names_alike(&mut self, orders: &mut Orders, name: impl Fn(&[u8]) -> &[u8]) {
        let count = self.spans.len();
        let Some(places) = orders.kinds.get_mut(count % KINDS) else { return };
        let tried = places.iter().filter_map(|at| self.spans.get(usize::from(*at)));
        let names = tried.clone().map(|span| name(span.of(&self.bytes)));
        // No place is there twice, so as many in order are all that there are, none of them twice.
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

    /// Puts the entries in order, of which no two are equal.
    pub fn sort(&mut self, order: impl Fn(&[u8], &[u8]) -> Ordering) {
        let bytes = &self.bytes;
        self.spans.sort_unstable_by(|a, b| order(a.of(bytes), b.of(bytes)));
    }

    /// The pack, and nothing left here.
    pub fn take(&mut self) -> Pack {
        let entries = self.spans.iter().map(|span| span.of(&self.bytes));
        let pack = Pack::laid_out(entries, PACK_BYTES_MAX, &mut self.desk).unwrap_or_default();
        self.clear();
        pack
    }

    pub fn clear(&mut self) {
        self.form = Form::default();
        self.bytes.clear();
        self.spans.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(usize, Vec<u8>, usize),
        Replace(usize, Vec<u8>, usize),
        Remove(usize, usize),
        /// Somebody else shares it from now on.
        Share,
    }

    fn step() -> impl Strategy<Value = Step> {
        let len = prop_oneof![18 => 0usize..40, 1 => NARROW_MAX - 2..NARROW_MAX + 3, 1 => 0usize..1200];
        let entry = || (len.clone(), any::<u8>()).prop_map(|(len, byte)| vec![byte; len]);
        prop_oneof![
            6 => (0usize..64, entry(), 0usize..40).prop_map(|(at, entry, cut)| Step::Insert(at, entry, cut)),
            3 => (0usize..64, entry(), 0usize..40).prop_map(|(at, entry, cut)| Step::Replace(at, entry, cut)),
            3 => (0usize..64, 0usize..8).prop_map(|(at, count)| Step::Remove(at, count)),
            2 => Just(Step::Share),
        ]
    }

    fn size(model: &[Vec<u8>]) -> usize {
        let wide = model.iter().any(|entry| entry.len() > 255);
        let bytes: usize = model.iter().map(Vec::len).sum();
        2 + model.len() / 8 * 2 + model.len() * if wide { 2 } else { 1 } + bytes
    }

    #[track_caller]
    fn assert_is(pack: &Pack, model: &[Vec<u8>]) {
        assert_eq!(pack.len(), model.len());
        assert!(pack.iter().eq(model.iter().map(Vec::as_slice)), "{model:?}");
        assert!(pack.iter().rev().eq(model.iter().rev().map(Vec::as_slice)));
        assert_eq!(pack.get(model.len()), None);
        assert_eq!(pack.used_bytes(), size(model));
        assert!(pack.is_empty() || pack.heap_bytes() >= pack.used_bytes());
        assert_eq!(pack.heap_bytes(), allocated(pack.heap_bytes()));
    }

    proptest! {
        /// Against a vector, with copies taken on the way that must stay as they were.
        #[test]
        fn a_pack_is_a_vector_of_byte_strings(steps in proptest::collection::vec(step(), 1..80), max in 200usize..PACK_BYTES_MAX) {
            let (mut pack, mut model) = (Pack::default(), Vec::<Vec<u8>>::new());
            let mut shared: Vec<(Pack, Vec<Vec<u8>>)> = Vec::new();
            for step in steps {
                let before = model.clone();
                let done = match step {
                    Step::Insert(at, entry, cut) => {
                        let (a, b) = entry.split_at(cut.min(entry.len()));
                        let done = pack.insert(at, &[a, b], max);
                        model.insert(at.min(model.len()), entry);
                        done
                    }
                    Step::Replace(at, entry, cut) if at < model.len() => {
                        let (a, b) = entry.split_at(cut.min(entry.len()));
                        let done = pack.replace(at, &[a, b], max);
                        model[at] = entry;
                        done
                    }
                    Step::Replace(..) => true,
                    Step::Remove(at, count) => {
                        pack.remove(at, at + count);
                        let to = (at + count).min(model.len());
                        model.drain(at.min(to)..to);
                        true
                    }
                    Step::Share => {
                        shared.push((pack.clone(), model.clone()));
                        true
                    }
                };
                prop_assert_eq!(done, size(&model) <= max);
                if !done {
                    model = before;
                }
                assert_is(&pack, &model);
                let rebuilt = Pack::from_entries(model.iter().map(Vec::as_slice), max).unwrap();
                prop_assert!(pack.equals(&rebuilt));
            }
            shared.iter().for_each(|(pack, model)| assert_is(pack, model));
        }

        #[test]
        fn what_is_gathered_comes_sorted_the_last_of_equals_staying(entries in proptest::collection::vec("[ab]{0,3}[0-9]", 0..60)) {
            let mut gather = Gather::default();
            let mut model = std::collections::BTreeMap::new();
            for entry in &entries {
                prop_assert!(gather.push(&[entry.as_bytes()], PACK_BYTES_MAX));
                model.insert(entry[..entry.len() - 1].to_string(), entry.clone());
            }
            // The digit does not count.
            gather.sort_names(|entry| &entry[..entry.len() - 1]);
            prop_assert!(gather.take().iter().eq(model.values().map(|entry| entry.as_bytes())));
            prop_assert!(gather.is_empty());
        }
    }

    #[test]
    fn a_search_tells_where_to_stand() {
        let pack = Pack::from_entries([&b"b"[..], b"d", b"f"].into_iter(), PACK_BYTES_MAX).unwrap();
        let places: Vec<_> =
            ["a", "b", "c", "f", "g"].iter().map(|word| pack.search(|entry| entry.cmp(word.as_bytes()))).collect();
        assert_eq!(places, [Err(0), Ok(0), Err(1), Ok(2), Err(3)]);
        assert_eq!(Pack::default().search(|_| Ordering::Equal), Err(0));
    }

    #[test]
    fn an_allocation_has_one_of_four_sizes_to_a_doubling() {
        let sizes = [1, 16, 17, 128, 129, 160, 161, 256, 257, 320, 321, 1025, 4096];
        assert_eq!(sizes.map(allocated), [16, 16, 32, 128, 160, 160, 192, 256, 320, 320, 384, 1280, 4096]);
    }

    #[test]
    fn a_pack_that_shrinks_gives_memory_back() {
        let mut pack = Pack::default();
        while pack.insert(0, &[&[b'x'; 20]], PACK_BYTES_MAX) {}
        assert!(pack.heap_bytes() > 3800);
        pack.remove(3, usize::MAX);
        assert!(pack.heap_bytes() < 100, "{}", pack.heap_bytes());
        pack.remove(0, 3);
        assert_eq!((pack.heap_bytes(), pack.len()), (0, 0));
    }
}
