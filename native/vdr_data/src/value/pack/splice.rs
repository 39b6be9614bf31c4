//! Edits of a pack: in place if nobody shares its allocation, else into a copy.

use super::entries::Pack;
use super::layout::{BLOCK, Form, PACK_BYTES_MAX, View, WORD, put, put_all};
use std::sync::Arc;

/// A pack that is edited in place moves to a smaller allocation when it fills less than this part
/// of its own.
const FILLED_MIN: usize = 2;

impl Pack {
    /// Inserts an entry, the concatenation of `parts`, before the entry at `at`. `false`, and
    /// nothing changed, if the pack would be longer than `max`.
    pub fn insert(&mut self, at: usize, parts: &[&[u8]], max: usize) -> bool {
        self.splice(at, 0, Some(parts), max)
    }

    /// Replaces the entry at `at` by the concatenation of `parts`. `false`, and nothing changed, if
    /// the pack would be longer than `max`.
    pub fn replace(&mut self, at: usize, parts: &[&[u8]], max: usize) -> bool {
        self.splice(at, 1, Some(parts), max)
    }

    /// Removes the entries of the ranks `from..to`, clipped.
    pub fn remove(&mut self, from: usize, to: usize) {
        let to = to.min(self.len());
        if from < to {
            self.splice(from, to - from, None, PACK_BYTES_MAX);
        }
    }

    /// Replaces `gone` entries by one entry or none. `false`, and nothing changed, if the pack
    /// would be longer than `max`.
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

/// A range of entries to remove from a pack.
struct Cut {
    at: usize,
    gone: usize,
    /// The bytes of the entries before the range, and of those behind it.
    head: usize,
    tail: usize,
}

impl Cut {
    /// Moves the remaining lengths and entries to their new places within the buffer.
    fn within(&self, buffer: &mut [u8], old: Form, new: Form) {
        let behind = old.count - self.at - self.gone;
        let moves = [
            (old.length_at(0)..old.length_at(self.at), new.length_at(0)),
            (old.length_at(self.at + self.gone)..old.base(), new.length_at(new.count - behind)),
            (old.base()..old.base() + self.head, new.base()),
            (old.size() - self.tail..old.size(), new.size() - self.tail),
        ];
        // Forward moves go from the last to the first, so that no byte is overwritten before it has
        // moved.
        let forward = new.base() > old.base();
        for at in 0..moves.len() {
            let Some((range, to)) = moves.get(if forward { moves.len() - 1 - at } else { at }) else { return };
            if range.start != *to && to + range.len() <= buffer.len() {
                buffer.copy_within(range.clone(), *to);
            }
        }
    }

    /// Copies the remaining lengths and entries to their places in another buffer.
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
