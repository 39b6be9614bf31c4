//! A list of any length: a map of chunks by position, and two open ends.
//!
//! Elements have positions, which count from wherever the list began: the element at index 0 has
//! the position `first`. A chunk's key is the position of its first element, so one search leads
//! from an index to its chunk, and a push or a pop at an end moves no key. An edit in the middle
//! moves the keys of all chunks on its way to the nearer end. That is less work than the walk by
//! which the server, and the mirror, find an element by its value.
//!
//! Front and back stand apart from the map, since queues change there: a change is copy-on-write of
//! one chunk at most.

use super::super::either;
use super::super::pack::Pack;
use super::chunk::{CHUNK_BYTES_MAX, Chunk, ChunkRef, insert, replace, slice};
use im::OrdMap;

/// A chunk with fewer bytes after a removal merges with the next one, if both fit.
const CHUNK_BYTES_MIN: usize = CHUNK_BYTES_MAX / 4;

/// The two forms of a list.
pub(super) type Repr = either::Repr<Large>;

#[derive(Clone, Debug, Default)]
pub(super) struct Large {
    pub(super) first: i64,
    pub(super) len: usize,
    pub(super) front: Pack,
    /// No chunk is empty, and there is no gap between their positions.
    pub(super) chunks: OrdMap<i64, Chunk>,
    pub(super) back: Pack,
}

/// The place of an element.
#[derive(Clone, Copy)]
enum Place {
    Front(usize),
    /// The chunk's key, and the element's rank in it.
    Chunk(i64, usize),
    Back(usize),
}

impl Place {
    /// The rank of the element in its chunk or end.
    fn rank(self) -> usize {
        match self {
            Place::Front(at) | Place::Chunk(_, at) | Place::Back(at) => at,
        }
    }
}

/// The chunk of the element at an index, and the index of the chunk's first element.
pub(super) fn chunk_at(repr: &Repr, index: usize) -> Option<(ChunkRef<'_>, usize)> {
    match repr {
        Repr::Small(pack) => Some((ChunkRef::Packed(pack), 0)),
        Repr::Large(large) => {
            let (place, chunk) = large.find(index)?;
            Some((chunk, index - place.rank()))
        }
    }
}

/// The number of elements.
pub(super) fn len(repr: &Repr) -> usize {
    match repr {
        Repr::Small(pack) => pack.len(),
        Repr::Large(large) => large.len,
    }
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

    pub(super) fn position(&self, index: usize) -> i64 {
        self.first + index as i64
    }

    /// Moves the front into the map of chunks.
    fn close_front(&mut self) {
        if !self.front.is_empty() {
            self.chunks.insert(self.first, Chunk::Packed(std::mem::take(&mut self.front)));
        }
    }

    /// Moves the back into the map of chunks.
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

    pub(super) fn drop_front(&mut self, mut count: usize) {
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

    pub(super) fn drop_back(&mut self, mut count: usize) {
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

    pub(super) fn insert(&mut self, index: usize, element: &[u8]) {
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
            Some(place) => self.replace_chunk(place, index, |chunk, at| pieces(chunk, at, 0, element)),
        }
    }

    pub(super) fn set(&mut self, index: usize, element: &[u8]) {
        match self.place(index) {
            None => {}
            Some(Place::Front(at)) if replace(&mut self.front, at, element) => {}
            Some(Place::Back(at)) if replace(&mut self.back, at, element) => {}
            Some(place) => self.replace_chunk(place, index, |chunk, at| pieces(chunk, at, 1, element)),
        }
    }

    pub(super) fn remove(&mut self, index: usize) {
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
            Some(place) => self.replace_chunk(place, index, without),
        }
    }

    /// Replaces the chunk of the element at `index` by those that `change` makes of it. If what is
    /// left is small, it merges with the next chunk.
    fn replace_chunk(&mut self, place: Place, index: usize, change: impl FnOnce(&Chunk, usize) -> Vec<Chunk>) {
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
        self.splice_chunks(key, gone, come);
    }

    /// Puts chunks in the place of `gone` elements, whose chunks are removed already, and moves the
    /// keys of the chunks on the way to the nearer end.
    fn splice_chunks(&mut self, key: i64, gone: usize, come: Vec<Chunk>) {
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

/// The chunks that result when an element replaces `gone` elements, none or one, at the rank `at`.
fn pieces(chunk: &Chunk, at: usize, gone: usize, element: &[u8]) -> Vec<Chunk> {
    let Chunk::Packed(pack) = chunk else {
        let stays = (gone == 0).then(|| chunk.clone());
        return std::iter::once(Chunk::of(element)).chain(stays).collect();
    };
    let mut whole = pack.clone();
    if if gone == 0 { insert(&mut whole, at, element) } else { replace(&mut whole, at, element) } {
        return vec![Chunk::Packed(whole)];
    }
    let (mut head, mut tail) = (slice(pack, 0, at), slice(pack, at + gone, pack.len()));
    let between = (!insert(&mut head, at, element) && !insert(&mut tail, 0, element)).then(|| Chunk::of(element));
    let packed = |pack: Pack| (!pack.is_empty()).then_some(Chunk::Packed(pack));
    [packed(head), between, packed(tail)].into_iter().flatten().collect()
}

/// The chunk without the element at a rank: none if it was the only one.
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
