//! A small aggregate in one allocation: byte strings one behind another, each found by its number in O(1).
//!
//! ```text
//! count: u16 | where each entry ends: u16 * count | entries ... | room
//! ```
//!
//! Ends count from where the first entry begins. A clone shares the allocation. A change is made in place where nobody else
//! shares it, else into a copy, which is one allocation and a few moves of bytes. What room there is comes from the
//! allocator alone, which has it anyway: a pack never asks for more than it needs, rounded up to the next size class.

use std::cmp::Ordering;
use std::sync::Arc;

/// The longest pack, its table included. Measured, a copy of that much costs less than two nodes of a tree.
pub const PACK_BYTES_MAX: usize = 4096 - COUNTS;

/// The reference counts in front of what an [`Arc`] holds.
const COUNTS: usize = 16;
/// A number in the table.
const WORD: usize = size_of::<u16>();
/// A pack in place is moved to a smaller allocation when it fills less than this part of its own.
const FILLED_MIN: usize = 2;

static ZEROES: [u8; PACK_BYTES_MAX] = [0; PACK_BYTES_MAX];

/// What an allocation takes: the allocator has four sizes between a power of two and the next, multiples of 16 among the
/// small ones.
pub fn allocated(bytes: usize) -> usize {
    let step = if bytes <= 128 { 16 } else { bytes.next_power_of_two() / 8 };
    bytes.checked_next_multiple_of(step).unwrap_or(bytes)
}

/// What a pack of so many entries takes of its allocation.
fn size(count: usize, bytes: usize) -> usize {
    WORD * (1 + count) + bytes
}

#[derive(Clone, Debug, Default)]
pub struct Pack(Arc<[u8]>);

/// Where the parts of a pack stand.
#[derive(Clone, Copy)]
struct Form {
    count: usize,
    /// Bytes of all entries.
    bytes: usize,
}

impl Form {
    fn base(self) -> usize {
        size(self.count, 0)
    }
}

impl Pack {
    /// Entries as they come; `None` when they are too many or too long for `max` bytes.
    pub fn from_entries<'e>(entries: impl Iterator<Item = &'e [u8]> + Clone, max: usize) -> Option<Self> {
        let (count, bytes) =
            entries.clone().fold((0, 0usize), |(n, sum), entry| (n + 1, sum.saturating_add(entry.len())));
        if count == 0 {
            return Some(Pack::default());
        }
        let mut pack = Pack::with_room(size(count, bytes), max)?;
        let buffer = Arc::get_mut(&mut pack.0)?;
        put_word(buffer, 0, count);
        let (mut end, base) = (0, size(count, 0));
        for (at, entry) in entries.enumerate() {
            put(buffer, base + end, entry);
            end += entry.len();
            put_word(buffer, at + 1, end);
        }
        Some(pack)
    }

    /// Room for so many bytes and what the allocator gives beside them; `None` beyond `max`.
    fn with_room(needed: usize, max: usize) -> Option<Self> {
        if needed > max {
            return None;
        }
        let room = allocated(needed + COUNTS) - COUNTS;
        Some(Pack(Arc::from(ZEROES.get(..room).or(ZEROES.get(..needed))?)))
    }

    pub fn len(&self) -> usize {
        word(&self.0, 0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the first `count` entries end.
    fn end(&self, count: usize) -> usize {
        if count == 0 { 0 } else { word(&self.0, count) }
    }

    fn form(&self) -> Form {
        let count = self.len();
        Form { count, bytes: self.end(count) }
    }

    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let count = self.len();
        if at >= count {
            return None;
        }
        let base = size(count, 0);
        self.0.get(base + self.end(at)..base + word(&self.0, at + 1))
    }

    /// The entry that `order` calls equal, or where it would stand, of entries in the order that it tells.
    pub fn search(&self, order: impl Fn(&[u8]) -> Ordering) -> Result<usize, usize> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let at = from.midpoint(to);
            match order(self.get(at).unwrap_or_default()) {
                Ordering::Less => from = at + 1,
                Ordering::Greater => to = at,
                Ordering::Equal => return Ok(at),
            }
        }
        Err(from)
    }

    /// The entries `from..to` (clipped).
    pub fn range(&self, from: usize, to: usize) -> Range<'_> {
        let to = to.min(self.len());
        let from = from.min(to);
        let (ends, _) = self.0.get(WORD * (1 + from)..WORD * (1 + to)).unwrap_or_default().as_chunks();
        Range { ends, start: self.end(from), entries: self.0.get(self.form().base()..).unwrap_or_default() }
    }

    pub fn iter(&self) -> Range<'_> {
        self.range(0, self.len())
    }

    /// Whether both have the same entries.
    pub fn equals(&self, other: &Pack) -> bool {
        let (ours, theirs) = (self.form(), other.form());
        let used = size(ours.count, ours.bytes);
        self.same(other) || used == size(theirs.count, theirs.bytes) && self.0.get(..used) == other.0.get(..used)
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
        let form = self.form();
        size(form.count, form.bytes)
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
        let (head, tail) = (self.end(at), self.end(at + gone));
        let come_bytes = come.map(|parts| parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len())));
        let count = old.count - gone + usize::from(come.is_some());
        let bytes = (old.bytes - (tail - head)).saturating_add(come_bytes.unwrap_or(0));
        let new = Form { count, bytes };
        let needed = size(0, bytes).saturating_add(WORD * count);
        if come.is_some() && needed > max {
            return false;
        }
        if count == 0 {
            *self = Pack::default();
            return true;
        }
        let cut = Cut { at, gone, head, tail, come: come_bytes };
        let room = self.0.len();
        let fits = needed <= room && needed >= room / FILLED_MIN;
        match Arc::get_mut(&mut self.0).filter(|_| fits) {
            Some(buffer) => cut.within(buffer, old, new),
            None => {
                let Some(mut made) = Pack::with_room(needed, PACK_BYTES_MAX) else { return false };
                let Some(buffer) = Arc::get_mut(&mut made.0) else { return false };
                cut.copy(&self.0, buffer, old, new);
                *self = made;
            }
        }
        let Some(buffer) = Arc::get_mut(&mut self.0) else { return false };
        put_word(buffer, 0, count);
        if let Some(parts) = come {
            let mut end = new.base() + head;
            for part in parts {
                put(buffer, end, part);
                end += part.len();
            }
            put_word(buffer, at + 1, end - new.base());
        }
        true
    }
}

/// What is taken out of a pack, and how much comes in its place.
struct Cut {
    at: usize,
    gone: usize,
    /// Bytes of the entries before, and up to the end of what goes.
    head: usize,
    tail: usize,
    /// Bytes of the entry that comes.
    come: Option<usize>,
}

impl Cut {
    /// The first number of the table behind the cut, before and after.
    fn words(&self) -> (usize, usize) {
        let from = 1 + self.at + self.gone;
        (from, from - self.gone + usize::from(self.come.is_some()))
    }

    /// Moves what stays to its places. An entry that comes stands in the way of nothing then.
    fn within(&self, buffer: &mut [u8], old: Form, new: Form) {
        let (from, to) = self.words();
        let tail = self.head + self.come.unwrap_or(0);
        let moves = [
            (WORD * from..old.base(), WORD * to),
            (old.base()..old.base() + self.head, new.base()),
            (old.base() + self.tail..old.base() + old.bytes, new.base() + tail),
        ];
        // What moves forward begins with the last, so that nothing is overwritten before it has moved.
        let forward = new.base() > old.base();
        for at in 0..moves.len() {
            let Some((range, to)) = moves.get(if forward { moves.len() - 1 - at } else { at }) else { return };
            if range.start != *to && to + range.len() <= buffer.len() {
                buffer.copy_within(range.clone(), *to);
            }
        }
        self.shift(buffer, to, new.count);
    }

    /// Copies what stays to its places.
    fn copy(&self, source: &[u8], buffer: &mut [u8], old: Form, new: Form) {
        let (from, to) = self.words();
        let tail = self.head + self.come.unwrap_or(0);
        let part = |from: usize, to: usize| source.get(from..to).unwrap_or_default();
        put(buffer, 0, part(0, WORD * (1 + self.at)));
        put(buffer, WORD * to, part(WORD * from, old.base()));
        put(buffer, new.base(), part(old.base(), old.base() + self.head));
        put(buffer, new.base() + tail, part(old.base() + self.tail, old.base() + old.bytes));
        self.shift(buffer, to, new.count);
    }

    /// Corrects where the entries behind the cut end.
    fn shift(&self, buffer: &mut [u8], from: usize, count: usize) {
        let by = (self.come.unwrap_or(0) as u16).wrapping_sub((self.tail - self.head) as u16);
        if by != 0 {
            let (words, _) = buffer.get_mut(WORD * from..WORD * (1 + count)).unwrap_or_default().as_chunks_mut();
            words.iter_mut().for_each(|word| *word = u16::from_ne_bytes(*word).wrapping_add(by).to_ne_bytes());
        }
    }
}

fn word(buffer: &[u8], at: usize) -> usize {
    buffer.get(WORD * at..).and_then(<[u8]>::first_chunk).map_or(0, number)
}

fn number(word: &[u8; WORD]) -> usize {
    usize::from(u16::from_ne_bytes(*word))
}

fn put_word(buffer: &mut [u8], at: usize, number: usize) {
    put(buffer, WORD * at, &(number as u16).to_ne_bytes());
}

fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buffer.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Entries that stand next to each other.
#[derive(Clone, Debug)]
pub struct Range<'p> {
    /// Of those that are left, and where the first of them begins.
    ends: &'p [[u8; WORD]],
    start: usize,
    entries: &'p [u8],
}

impl<'p> Iterator for Range<'p> {
    type Item = &'p [u8];

    fn next(&mut self) -> Option<&'p [u8]> {
        let (end, rest) = self.ends.split_first()?;
        let (start, end) = (self.start, number(end));
        (self.ends, self.start) = (rest, end);
        self.entries.get(start..end)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ends.len(), Some(self.ends.len()))
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (end, rest) = self.ends.split_last()?;
        self.ends = rest;
        self.entries.get(rest.last().map_or(self.start, number)..number(end))
    }
}

impl ExactSizeIterator for Range<'_> {}

/// Entries on their way into a pack, while all of them fit into one.
#[derive(Default)]
pub struct Gather {
    bytes: Vec<u8>,
    /// Where each begins and ends.
    spans: Vec<(u16, u16)>,
}

impl Gather {
    /// `false` when it would be longer than `max` with this entry: then it is not taken.
    pub fn push(&mut self, parts: &[&[u8]], max: usize) -> bool {
        let (start, come) = (self.bytes.len(), parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len())));
        if size(self.spans.len() + 1, start).saturating_add(come) > max.min(PACK_BYTES_MAX) {
            return false;
        }
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.spans.push((start as u16, self.bytes.len() as u16));
        true
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.spans.iter().map(|span| of(&self.bytes, *span))
    }

    /// Puts the entries in order; of those that are equal the last one stays.
    pub fn sort(&mut self, order: impl Fn(&[u8], &[u8]) -> Ordering) {
        let (bytes, spans) = (&self.bytes, &mut self.spans);
        let order = |a: &(u16, u16), b: &(u16, u16)| order(of(bytes, *a), of(bytes, *b));
        if spans.is_sorted_by(|a, b| order(a, b) == Ordering::Less) {
            return;
        }
        // Later ones first among equals, so that the first of each stays.
        spans.sort_unstable_by(|a, b| order(a, b).then(b.0.cmp(&a.0)));
        spans.dedup_by(|a, b| order(a, b) == Ordering::Equal);
    }

    /// The pack, and nothing left here.
    pub fn take(&mut self) -> Pack {
        let pack = Pack::from_entries(self.iter(), PACK_BYTES_MAX).unwrap_or_default();
        self.bytes.clear();
        self.spans.clear();
        pack
    }
}

fn of(bytes: &[u8], (start, end): (u16, u16)) -> &[u8] {
    bytes.get(usize::from(start)..usize::from(end)).unwrap_or_default()
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
        let entry = || prop_oneof![9 => proptest::collection::vec(any::<u8>(), 0..40), 1 => proptest::collection::vec(any::<u8>(), 0..1200)];
        prop_oneof![
            6 => (0usize..64, entry(), 0usize..40).prop_map(|(at, entry, cut)| Step::Insert(at, entry, cut)),
            3 => (0usize..64, entry(), 0usize..40).prop_map(|(at, entry, cut)| Step::Replace(at, entry, cut)),
            3 => (0usize..64, 0usize..8).prop_map(|(at, count)| Step::Remove(at, count)),
            2 => Just(Step::Share),
        ]
    }

    fn fits(model: &[Vec<u8>], max: usize) -> bool {
        size(model.len(), model.iter().map(Vec::len).sum()) <= max
    }

    #[track_caller]
    fn assert_is(pack: &Pack, model: &[Vec<u8>]) {
        assert_eq!(pack.len(), model.len());
        assert!(pack.iter().eq(model.iter().map(Vec::as_slice)), "{model:?}");
        assert!(pack.iter().rev().eq(model.iter().rev().map(Vec::as_slice)));
        assert_eq!(pack.get(model.len()), None);
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
                prop_assert_eq!(done, fits(&model, max));
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
            let name = |entry: &[u8]| entry[..entry.len() - 1].to_vec();
            gather.sort(|a, b| name(a).cmp(&name(b)));
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
