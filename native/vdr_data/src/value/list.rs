//! Lists: one [`Pack`] when small, else a sequence of them, cheap at both ends.
//!
//! ```text
//! first           key           key           key
//!   [ front ][ chunk ][ chunk ] ... [ chunk ][ back ]
//! ```
//!
//! Elements have positions, which count from wherever the list began: the one at index 0 has the position `first`. A chunk's
//! key is the position of its first element, so an index leads to its chunk by one search, and what comes and goes at
//! the ends moves nobody. What comes or goes amid moves the keys of all chunks on its way to the nearer end, which is
//! less than the walk by which the server, and we, find an element by its value.
//!
//! Front and back stand aside, since queues are changed there: a change copies no more than a chunk of what snapshots share.

use super::StringRef;
use super::either;
use super::pack::{self, PackBuilder, PACK_BYTES_MAX, Pack};
use crate::blob::Blob;
use crate::size::Taken;
use im::OrdMap;
use std::sync::Arc;

/// The longest chunk, which is what a change at an end copies at most. Half of it costs some percent of memory.
const CHUNK_BYTES_MAX: usize = 2048 - 16;
/// Longer elements stand alone, so that none of them is copied when a neighbour changes.
const ELEMENT_BYTES_MAX: usize = 1000;
/// A chunk that has less than this after a removal joins the next one, if both fit.
const CHUNK_BYTES_MIN: usize = CHUNK_BYTES_MAX / 4;
/// How many elements are taken out one by one, rather than by building what stays anew.
const SINGLE_MAX: usize = 8;

/// What a chunk's position and handle take in the map of chunks, with what its node leaves empty.
const CHUNK_PLACE: Taken = Taken { allocated: 48.0, at_home: 0.0 };

#[derive(Clone, Debug, Default)]
pub struct List(Repr);

type Repr = either::Repr<Large>;

#[derive(Clone, Debug, Default)]
struct Large {
    first: i64,
    len: usize,
    front: Pack,
    /// No chunk is empty, and there is no gap between their positions.
    chunks: OrdMap<i64, Chunk>,
    back: Pack,
}

#[derive(Clone, Debug)]
enum Chunk {
    Packed(Pack),
    Alone(Blob),
}

impl Chunk {
    fn of(element: &[u8]) -> Self {
        let packed =
            (element.len() <= ELEMENT_BYTES_MAX).then(|| Pack::from_entries([element].into_iter(), CHUNK_BYTES_MAX));
        packed.flatten().map_or_else(|| Chunk::Alone(Blob::new(element)), Chunk::Packed)
    }

    fn as_ref(&self) -> ChunkRef<'_> {
        match self {
            Chunk::Packed(pack) => ChunkRef::Packed(pack),
            Chunk::Alone(blob) => ChunkRef::Alone(blob),
        }
    }

    fn len(&self) -> usize {
        self.as_ref().len()
    }
}

/// Elements next to each other.
#[derive(Clone, Copy)]
enum ChunkRef<'l> {
    Packed(&'l Pack),
    Alone(&'l Blob),
}

impl<'l> ChunkRef<'l> {
    fn len(self) -> usize {
        match self {
            ChunkRef::Packed(pack) => pack.len(),
            ChunkRef::Alone(_) => 1,
        }
    }

    fn get(self, at: usize) -> Option<StringRef<'l>> {
        match self {
            ChunkRef::Packed(pack) => pack.get(at).map(StringRef::Packed),
            ChunkRef::Alone(blob) => Some(StringRef::Shared(blob)),
        }
    }

    fn run(self, from: usize, to: usize) -> Run<'l> {
        match self {
            ChunkRef::Packed(pack) => Run::Packed(pack.range(from, to)),
            ChunkRef::Alone(blob) => Run::Alone(Some(blob)),
        }
    }
}

/// Where an element is.
#[derive(Clone, Copy)]
enum Place {
    Front(usize),
    /// The chunk's key, and which of its elements.
    Chunk(i64, usize),
    Back(usize),
}

impl Place {
    /// Which of the elements there.
    fn within(self) -> usize {
        match self {
            Place::Front(at) | Place::Chunk(_, at) | Place::Back(at) => at,
        }
    }
}

impl List {
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Small(pack) => pack.len(),
            Repr::Large(large) => large.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// O(log n).
    pub fn get(&self, index: usize) -> Option<StringRef<'_>> {
        let (chunk, start) = self.chunk(index)?;
        chunk.get(index - start)
    }

    /// The chunk that the element at an index is in, and the index of its first element.
    fn chunk(&self, index: usize) -> Option<(ChunkRef<'_>, usize)> {
        match &self.0 {
            Repr::Small(pack) => Some((ChunkRef::Packed(pack), 0)),
            Repr::Large(large) => {
                let (place, chunk) = large.find(index)?;
                Some((chunk, index - place.within()))
            }
        }
    }

    /// See [`estimate`].
    ///
    /// [`estimate`]: crate::estimate
    pub fn around(&self) -> Taken {
        self.0.around()
    }

    /// See [`estimate`]: the element's part of its chunk. None of a small one.
    ///
    /// [`estimate`]: crate::estimate
    pub fn part(&self, index: usize) -> Option<Taken> {
        let Repr::Large(_) = &self.0 else { return None };
        let (chunk, elements) = match self.chunk(index)?.0 {
            ChunkRef::Packed(pack) => (Taken::allocated(pack.heap_bytes()), pack.len()),
            ChunkRef::Alone(blob) => (Taken::of(blob), 1),
        };
        Some((chunk + CHUNK_PLACE) * (1.0 / elements.max(1) as f64))
    }

    /// Overwrites an element; `false` when there is none at `index`.
    pub fn set(&mut self, index: usize, element: &[u8]) -> bool {
        if index >= self.len() {
            return false;
        }
        let done = match &mut self.0 {
            Repr::Small(pack) => replace(pack, index, element),
            Repr::Large(_) => false,
        };
        if !done {
            self.large(|large| large.set(index, element));
        }
        true
    }

    pub fn push_front(&mut self, element: &[u8]) {
        self.insert(0, element);
    }

    pub fn push_back(&mut self, element: &[u8]) {
        self.insert(usize::MAX, element);
    }

    pub fn pop_front(&mut self) -> bool {
        self.remove(0)
    }

    pub fn pop_back(&mut self) -> bool {
        self.len().checked_sub(1).is_some_and(|last| self.remove(last))
    }

    /// Puts an element before the one at `index`; at the end when `index` is the length or more.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        let index = index.min(self.len());
        let done = match &mut self.0 {
            Repr::Small(pack) => insert(pack, index, element),
            Repr::Large(_) => false,
        };
        if !done {
            self.large(|large| large.insert(index, element));
        }
    }

    /// `true` when there was one.
    pub fn remove(&mut self, index: usize) -> bool {
        if index >= self.len() {
            return false;
        }
        match &mut self.0 {
            Repr::Small(pack) => pack.remove(index, index + 1),
            Repr::Large(_) => self.large(|large| large.remove(index)),
        }
        true
    }

    /// Changes it as a large one, which it may stay.
    fn large(&mut self, change: impl FnOnce(&mut Large)) {
        if let Repr::Small(pack) = &mut self.0 {
            let large = Large { len: pack.len(), front: std::mem::take(pack), ..Large::default() };
            self.0 = Repr::Large(Arc::new(large));
        }
        let Repr::Large(large) = &mut self.0 else { return };
        let large = Arc::make_mut(large);
        change(large);
        if large.chunks.is_empty() && (large.front.is_empty() || large.back.is_empty()) {
            let one = if large.front.is_empty() { &mut large.back } else { &mut large.front };
            self.0 = Repr::Small(std::mem::take(one));
        }
    }

    /// Takes out the elements at these indices, which ascend.
    pub fn remove_all(&mut self, indices: &[usize]) {
        if indices.len() <= SINGLE_MAX {
            indices.iter().rev().for_each(|index| {
                self.remove(*index);
            });
            return;
        }
        let mut gone = indices.iter().copied().peekable();
        let kept = self.iter().enumerate().filter(|(index, _)| gone.next_if_eq(index).is_none());
        *self = kept.map(|(_, element)| element).collect();
    }

    /// Keeps the elements `from..to` (clipped) and drops the rest.
    pub fn keep(&mut self, from: usize, to: usize) {
        let len = self.len();
        let to = to.min(len);
        if from >= to {
            *self = List::default();
            return;
        }
        match &mut self.0 {
            Repr::Small(pack) => {
                pack.remove(to, len);
                pack.remove(0, from);
            }
            // Dropping chunks costs about a tenth of building as many anew.
            Repr::Large(_) if (to - from) < (len - (to - from)) / 10 => *self = self.range(from, to).collect(),
            Repr::Large(_) => self.large(|large| {
                large.drop_back(len - to);
                large.drop_front(from);
            }),
        }
    }

    pub fn iter(&self) -> Iter<'_> {
        self.range(0, self.len())
    }

    /// The elements `from..to` (clipped). O(log n) to start and at each chunk.
    pub fn range(&self, from: usize, to: usize) -> Iter<'_> {
        let to = to.min(self.len());
        Iter { list: self, from: from.min(to), to, front: Run::Alone(None), back: Run::Alone(None) }
    }

    /// Whether both have the same elements.
    pub fn equals(&self, other: &List) -> bool {
        self.same(other) || self.len() == other.len() && self.iter().eq(other.iter())
    }

    pub fn same(&self, other: &List) -> bool {
        self.0.same(&other.0, |_, _| false)
    }
}

/// `false` when the pack has no room for it.
fn insert(pack: &mut Pack, at: usize, element: &[u8]) -> bool {
    element.len() <= ELEMENT_BYTES_MAX && pack.insert(at, &[element], CHUNK_BYTES_MAX)
}

/// `false` when the pack has no room for it.
fn replace(pack: &mut Pack, at: usize, element: &[u8]) -> bool {
    element.len() <= ELEMENT_BYTES_MAX && pack.replace(at, &[element], CHUNK_BYTES_MAX)
}

/// Elements of one chunk as another.
fn part(pack: &Pack, from: usize, to: usize) -> Pack {
    Pack::from_entries(pack.range(from, to), PACK_BYTES_MAX).unwrap_or_default()
}

impl Large {
    fn place(&self, index: usize) -> Option<Place> {
        self.find(index).map(|(place, _)| place)
    }

    fn find(&self, index: usize) -> Option<(Place, ChunkRef<'_>)> {
        let back = self.len - self.back.len();
        if index < self.front.len() {
            Some((Place::Front(index), ChunkRef::Packed(&self.front)))
        } else if index >= back {
            (index < self.len).then_some((Place::Back(index - back), ChunkRef::Packed(&self.back)))
        } else {
            let position = self.position(index);
            let (key, chunk) = self.chunks.get_prev(&position)?;
            Some((Place::Chunk(*key, (position - key) as usize), chunk.as_ref()))
        }
    }

    fn position(&self, index: usize) -> i64 {
        self.first + index as i64
    }

    /// Makes the front a chunk like others.
    fn close_front(&mut self) {
        if !self.front.is_empty() {
            self.chunks.insert(self.first, Chunk::Packed(std::mem::take(&mut self.front)));
        }
    }

    fn close_back(&mut self) {
        if !self.back.is_empty() {
            let key = self.position(self.len - self.back.len());
            self.chunks.insert(key, Chunk::Packed(std::mem::take(&mut self.back)));
        }
    }

    fn push_front(&mut self, element: &[u8]) {
        if !insert(&mut self.front, 0, element) {
            self.close_front();
            if !insert(&mut self.front, 0, element) {
                self.chunks.insert(self.first - 1, Chunk::of(element));
            }
        }
        self.first -= 1;
        self.len += 1;
    }

    fn push_back(&mut self, element: &[u8]) {
        if !insert(&mut self.back, usize::MAX, element) {
            self.close_back();
            if !insert(&mut self.back, 0, element) {
                self.chunks.insert(self.position(self.len), Chunk::of(element));
            }
        }
        self.len += 1;
    }

    fn drop_front(&mut self, mut count: usize) {
        while count > 0 {
            if self.front.is_empty() {
                match self.chunks.get_min().map(|(key, _)| *key).and_then(|key| self.chunks.remove(&key)) {
                    Some(Chunk::Packed(pack)) => self.front = pack,
                    Some(Chunk::Alone(_)) => {
                        (self.first, self.len, count) = (self.first + 1, self.len - 1, count - 1);
                        continue;
                    }
                    None if self.back.is_empty() => return,
                    None => self.front = std::mem::take(&mut self.back),
                }
            }
            let gone = count.min(self.front.len());
            self.front.remove(0, gone);
            (self.first, self.len, count) = (self.first + gone as i64, self.len - gone, count - gone);
        }
    }

    fn drop_back(&mut self, mut count: usize) {
        while count > 0 {
            if self.back.is_empty() {
                match self.chunks.get_max().map(|(key, _)| *key).and_then(|key| self.chunks.remove(&key)) {
                    Some(Chunk::Packed(pack)) => self.back = pack,
                    Some(Chunk::Alone(_)) => {
                        (self.len, count) = (self.len - 1, count - 1);
                        continue;
                    }
                    None if self.front.is_empty() => return,
                    None => self.back = std::mem::take(&mut self.front),
                }
            }
            let len = self.back.len();
            let gone = count.min(len);
            self.back.remove(len - gone, len);
            (self.len, count) = (self.len - gone, count - gone);
        }
    }

    fn insert(&mut self, index: usize, element: &[u8]) {
        if index == 0 {
            return self.push_front(element);
        }
        match self.place(index) {
            None => self.push_back(element),
            Some(Place::Front(at)) if insert(&mut self.front, at, element) => {
                self.first -= 1;
                self.len += 1;
            }
            Some(Place::Back(at)) if insert(&mut self.back, at, element) => self.len += 1,
            Some(place) => self.amid(place, index, |chunk, at| pieces(chunk, at, 0, element)),
        }
    }

    fn set(&mut self, index: usize, element: &[u8]) {
        match self.place(index) {
            None => {}
            Some(Place::Front(at)) if replace(&mut self.front, at, element) => {}
            Some(Place::Back(at)) if replace(&mut self.back, at, element) => {}
            Some(place) => self.amid(place, index, |chunk, at| pieces(chunk, at, 1, element)),
        }
    }

    fn remove(&mut self, index: usize) {
        match self.place(index) {
            _ if index == 0 => self.drop_front(1),
            _ if index + 1 == self.len => self.drop_back(1),
            None => {}
            Some(Place::Front(at)) => {
                self.front.remove(at, at + 1);
                self.first += 1;
                self.len -= 1;
            }
            Some(Place::Back(at)) => {
                self.back.remove(at, at + 1);
                self.len -= 1;
            }
            Some(place) => self.amid(place, index, without),
        }
    }

    /// Puts other chunks in the place of the one at an index, and of the next one if they tell so.
    fn amid(&mut self, place: Place, index: usize, change: impl FnOnce(&Chunk, usize) -> Vec<Chunk>) {
        match place {
            Place::Front(_) => self.close_front(),
            Place::Back(_) => self.close_back(),
            Place::Chunk(..) => {}
        }
        let Some(Place::Chunk(key, at)) = self.place(index) else { return };
        let Some(chunk) = self.chunks.remove(&key) else { return };
        let (mut gone, mut come) = (chunk.len(), change(&chunk, at));
        let next = key + gone as i64;
        if let [Chunk::Packed(rest)] = come.as_mut_slice()
            && rest.used_bytes() < CHUNK_BYTES_MIN
            && let Some(Chunk::Packed(more)) = self.chunks.get(&next)
            && let Some(both) = Pack::from_entries(rest.iter().chain(more.iter()), CHUNK_BYTES_MAX)
        {
            gone += more.len();
            *rest = both;
            self.chunks.remove(&next);
        }
        self.exchange(key, gone, come);
    }

    /// Puts chunks in the place of `gone` elements, whose chunks are out already, and moves what stands on the way to the
    /// nearer end.
    fn exchange(&mut self, key: i64, gone: usize, come: Vec<Chunk>) {
        let (behind, end) = (key + gone as i64, self.position(self.len));
        let len: usize = come.iter().map(Chunk::len).sum();
        let longer = len as i64 - gone as i64;
        let to_front = key - self.first < end - behind;
        let (range, by) = if to_front { (self.first..key, -longer) } else { (behind..end, longer) };
        if by != 0 {
            let moved: Vec<(i64, Chunk)> = self.chunks.range(range).map(|(key, chunk)| (*key, chunk.clone())).collect();
            moved.iter().for_each(|(key, _)| drop(self.chunks.remove(key)));
            moved.into_iter().for_each(|(key, chunk)| drop(self.chunks.insert(key + by, chunk)));
        }
        let mut start = key;
        if to_front {
            (self.first, start) = (self.first - longer, key - longer);
        }
        for chunk in come {
            let len = chunk.len() as i64;
            self.chunks.insert(start, chunk);
            start += len;
        }
        self.len = self.len - gone + len;
    }
}

/// A chunk with an element in the place of `gone` ones, none or one, at `at`.
fn pieces(chunk: &Chunk, at: usize, gone: usize, element: &[u8]) -> Vec<Chunk> {
    let Chunk::Packed(pack) = chunk else {
        let stays = (gone == 0).then(|| chunk.clone());
        return std::iter::once(Chunk::of(element)).chain(stays).collect();
    };
    let mut whole = pack.clone();
    if if gone == 0 { insert(&mut whole, at, element) } else { replace(&mut whole, at, element) } {
        return vec![Chunk::Packed(whole)];
    }
    let (mut head, mut tail) = (part(pack, 0, at), part(pack, at + gone, pack.len()));
    let between = (!insert(&mut head, at, element) && !insert(&mut tail, 0, element)).then(|| Chunk::of(element));
    let packed = |pack: Pack| (!pack.is_empty()).then_some(Chunk::Packed(pack));
    [packed(head), between, packed(tail)].into_iter().flatten().collect()
}

fn without(chunk: &Chunk, at: usize) -> Vec<Chunk> {
    match chunk {
        Chunk::Packed(pack) if pack.len() > 1 => {
            let mut rest = pack.clone();
            rest.remove(at, at + 1);
            vec![Chunk::Packed(rest)]
        }
        Chunk::Packed(_) | Chunk::Alone(_) => Vec::new(),
    }
}

/// What is left of a chunk on the way through it.
#[derive(Clone)]
enum Run<'l> {
    Packed(pack::Range<'l>),
    Alone(Option<&'l Blob>),
}

impl<'l> Iterator for Run<'l> {
    type Item = StringRef<'l>;

    fn next(&mut self) -> Option<StringRef<'l>> {
        match self {
            Run::Packed(entries) => entries.next().map(StringRef::Packed),
            Run::Alone(blob) => blob.take().map(StringRef::Shared),
        }
    }
}

impl DoubleEndedIterator for Run<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Run::Packed(entries) => entries.next_back().map(StringRef::Packed),
            Run::Alone(blob) => blob.take().map(StringRef::Shared),
        }
    }
}

/// Elements of a list, forward and backward.
#[derive(Clone)]
pub struct Iter<'l> {
    list: &'l List,
    from: usize,
    to: usize,
    /// The rest of the chunk that `from` is in, and of the one that `to` is behind.
    front: Run<'l>,
    back: Run<'l>,
}

impl<'l> Iterator for Iter<'l> {
    type Item = StringRef<'l>;

    fn next(&mut self) -> Option<StringRef<'l>> {
        if self.from >= self.to {
            return None;
        }
        let next = self.front.next().or_else(|| {
            let (chunk, start) = self.list.chunk(self.from)?;
            self.front = chunk.run(self.from - start, self.to - start);
            self.front.next()
        });
        self.from += 1;
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.to - self.from, Some(self.to - self.from))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.from >= self.to {
            return None;
        }
        let next = self.back.next_back().or_else(|| {
            let (chunk, start) = self.list.chunk(self.to - 1)?;
            self.back = chunk.run(self.from.saturating_sub(start), self.to - start);
            self.back.next_back()
        });
        self.to -= 1;
        next
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// A list on its way, element by element from its front.
#[derive(Default)]
pub struct ListBuilder {
    last: PackBuilder,
    /// What is full, with the positions of its first elements.
    chunks: Vec<(i64, Chunk)>,
    len: usize,
    /// How many of them are in chunks.
    full: usize,
}

impl ListBuilder {
    pub fn push(&mut self, element: &[u8]) {
        if element.len() > ELEMENT_BYTES_MAX {
            self.close();
            self.chunks.push((self.len as i64, Chunk::of(element)));
            self.full = self.len + 1;
        } else if !self.last.push(&[element], CHUNK_BYTES_MAX) {
            self.close();
            self.last.push(&[element], CHUNK_BYTES_MAX);
        }
        self.len += 1;
    }

    fn close(&mut self) {
        if !self.last.is_empty() {
            self.chunks.push((self.full as i64, Chunk::Packed(self.last.take())));
            self.full = self.len;
        }
    }

    pub fn build(mut self) -> List {
        let back = self.last.take();
        if self.chunks.is_empty() {
            return List(Repr::Small(back));
        }
        let chunks = self.chunks.into_iter().collect();
        List(Repr::Large(Arc::new(Large { first: 0, len: self.len, front: Pack::default(), chunks, back })))
    }
}

impl<E: AsRef<[u8]>> FromIterator<E> for List {
    fn from_iter<I: IntoIterator<Item = E>>(elements: I) -> Self {
        let mut builder = ListBuilder::default();
        elements.into_iter().for_each(|element| builder.push(element.as_ref()));
        builder.build()
    }
}

#[cfg(test)]
mod tests;
