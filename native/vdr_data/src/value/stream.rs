//! Streams: entries by id, and the groups that consume them.
//!
//! Entries are ordered by their ids, which only grow. A group remembers which consumer got which
//! entry and has not acknowledged it; the stream itself may no longer have that entry. Redis 8.6's
//! memory of idempotent producers is not kept, because what a primary sends distinguishes
//! duplicates from entries.

mod group;
mod id;

pub use group::{Consumer, Group, Pending};
pub use id::Id;

use crate::blob::Blob;
use crate::size::{self, Footprint};
use std::sync::Arc;
use vdr_snapmap::COUNTS;
use vdr_snapmap::tree::{Bytes, Range, Tree};

/// The fields of an entry with their values, in order. A field may come twice.
pub type Fields = Arc<[(Blob, Blob)]>;

#[derive(Debug, Default)]
pub struct Stream {
    entries: Tree<Id, Fields>,
    groups: Tree<Blob, Group>,
    /// The greatest id of any entry so far.
    pub last_id: Id,
    /// The greatest id that was deleted by name; 0-0 if none. Trimming does not count.
    pub max_deleted_id: Id,
    /// How many entries were ever added.
    pub entries_added: u64,
    /// How many more entries the server counts than there are: see [`Stream::counted`].
    pub miscounted: i64,
}

/// Not derived: a derived one would be compiled again in each crate that copies a stream, and the
/// trees with it.
impl Clone for Stream {
    fn clone(&self) -> Self {
        Stream { entries: self.entries.clone(), groups: self.groups.clone(), ..*self }
    }
}

impl Stream {
    /// Builds a stream from entries in ascending order of their ids.
    pub fn from_sorted(entries: Vec<(Id, Fields)>) -> Self {
        let entries = Tree::from_sorted(entries);
        let last_id = entries.len().checked_sub(1).and_then(|rank| entries.at(rank)).map_or(Id::MIN, |(id, _)| *id);
        Stream { last_id, entries_added: entries.len() as u64, entries, ..Stream::default() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number of entries by the server's count. Early versions of Redis 5 miscounted some
    /// streams, and later versions load and replicate them as they are: XLEN answers this count,
    /// and trimming goes by it.
    pub fn counted(&self) -> usize {
        let counted = i64::try_from(self.len()).unwrap_or(i64::MAX).saturating_add(self.miscounted);
        usize::try_from(counted).unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, id: Id) -> Option<&Fields> {
        self.entries.get(&id).map(|(_, fields)| fields)
    }

    pub fn first(&self) -> Option<(&Id, &Fields)> {
        self.entries.at(0)
    }

    pub fn last(&self) -> Option<(&Id, &Fields)> {
        self.entries.at(self.len().checked_sub(1)?)
    }

    /// The entry at a rank.
    pub fn at(&self, rank: usize) -> Option<(&Id, &Fields)> {
        self.entries.at(rank)
    }

    /// The bytes of one entry with its share of the nodes on its path, for
    /// [`estimate`](crate::estimate).
    pub fn amortized_bytes(&self, rank: usize) -> Option<Footprint> {
        let (_, fields) = self.entries.at(rank)?;
        let pairs = Footprint::allocated(COUNTS + size_of_val(&**fields));
        let words = fields.iter().flat_map(|(name, value)| [name, value]).map(Footprint::of);
        Some(words.fold(size::amortized_entry(&self.entries, rank)? + pairs, |sum, word| sum + word))
    }

    /// The id of the first entry, 0-0 if there is none. The server computes it the same way.
    pub fn first_id(&self) -> Id {
        self.first().map_or(Id::MIN, |(id, _)| *id)
    }

    /// The rank of an id, or where it would stand.
    pub fn rank(&self, id: Id) -> usize {
        self.entries.find(&id).unwrap_or_else(|rank| rank)
    }

    /// How many entries have an id in `from..=to`. O(log n).
    pub fn count(&self, from: Id, to: Id) -> usize {
        self.end(to).saturating_sub(self.rank(from))
    }

    /// The entries with ids in `from..=to`, forward or, with `.rev()`, backward.
    pub fn range(&self, from: Id, to: Id) -> Range<'_, Id, Fields> {
        self.entries.range(self.rank(from), self.end(to))
    }

    pub fn iter(&self) -> Range<'_, Id, Fields> {
        self.entries.iter()
    }

    /// The rank after the last id that is not above `to`.
    fn end(&self, to: Id) -> usize {
        to.next().map_or(self.len(), |beyond| self.rank(beyond))
    }

    /// Adds an entry. `false`, and nothing changed, unless its id is greater than all ids so far.
    pub fn add(&mut self, id: Id, fields: Fields) -> bool {
        let new = id > self.last_id;
        if new {
            self.entries.insert(id, fields);
            self.last_id = id;
            self.entries_added = self.entries_added.saturating_add(1);
        }
        new
    }

    /// Deletes an entry by name. `false` if there is none.
    pub fn delete(&mut self, id: Id) -> bool {
        let there = self.entries.remove(&id).is_some();
        if there {
            self.max_deleted_id = self.max_deleted_id.max(id);
        }
        there
    }

    /// Removes the first `count` entries. This does not count as deletion by name.
    pub fn drop_first(&mut self, count: usize) {
        // To rebuild the rest is cheaper than many single removals.
        if count > self.len() / 2 {
            let stay = self.entries.range(count, self.len()).map(|(id, fields)| (*id, Arc::clone(fields)));
            self.entries = Tree::from_sorted(stay);
            return;
        }
        for _ in 0..count {
            let first = self.first_id();
            self.entries.remove(&first);
        }
    }

    /// Removes one entry without the bookkeeping of [`Stream::delete`].
    pub fn drop_one(&mut self, id: Id) {
        self.entries.remove(&id);
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(Bytes(name)).map(|(_, group)| group)
    }

    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(Bytes(name))
    }

    /// Groups by name, in byte order.
    pub fn groups(&self) -> Range<'_, Blob, Group> {
        self.groups.iter()
    }

    pub fn put_group(&mut self, name: Blob, group: Group) {
        self.groups.insert(name, group);
    }

    pub fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        self.groups.remove(Bytes(name)).map(|(_, group)| group)
    }

    /// Whether some group has not read an entry yet, or has not acknowledged it.
    pub fn is_referenced(&self, id: Id) -> bool {
        self.groups.iter().any(|(_, group)| group.last_id < id || group.pending_of(id).is_some())
    }

    /// Removes an entry from the pending entries of all groups.
    pub fn forget_pending(&mut self, id: Id) {
        let waiting = |(name, group): (&Blob, &Group)| group.pending_of(id).map(|_| name.clone());
        let names: Vec<Blob> = self.groups.iter().filter_map(waiting).collect();
        for name in names {
            if let Some(group) = self.group_mut(&name) {
                group.acknowledge(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Arc::from([(Blob::from("f"), Blob::from("v"))])
    }

    fn stream(ids: std::ops::Range<u64>) -> Stream {
        let mut stream = Stream::default();
        ids.for_each(|ms| assert!(stream.add(Id::new(ms, 0), fields())));
        stream
    }

    #[test]
    fn ids_are_next_to_each_other_over_the_milliseconds() {
        for (id, next) in [((0, 0), (0, 1)), ((1, u64::MAX), (2, 0))] {
            let (id, next) = (Id::new(id.0, id.1), Id::new(next.0, next.1));
            assert_eq!((id.next(), next.previous()), (Some(next), Some(id)));
        }
        assert_eq!((Id::MAX.next(), Id::MIN.previous()), (None, None));
    }

    #[test]
    fn ids_only_grow_even_when_entries_are_gone() {
        let mut stream = stream(1..4);
        assert!(!stream.add(Id::new(3, 0), fields()));
        assert!(stream.delete(Id::new(3, 0)) && !stream.delete(Id::new(3, 0)));
        assert!(!stream.add(Id::new(3, 0), fields()));
        assert_eq!((stream.max_deleted_id, stream.last_id), (Id::new(3, 0), Id::new(3, 0)));
        assert_eq!((stream.len(), stream.entries_added), (2, 3));
    }

    #[test]
    fn a_range_has_both_its_ends() {
        let stream = stream(1..1000);
        for (from, to, count) in
            [(Id::new(5, 0), Id::new(7, 0), 3), (Id::MIN, Id::MAX, 999), (Id::new(5, 1), Id::new(5, 9), 0)]
        {
            assert_eq!((stream.range(from, to).count(), stream.count(from, to)), (count, count));
        }
        assert_eq!(stream.count(Id::MAX, Id::MIN), 0);
    }

    #[test]
    fn the_first_entries_go_the_same_way_whether_few_or_many() {
        for count in [0, 1, 400, 600, 999, 5000] {
            let mut stream = stream(1..1000);
            stream.drop_first(count);
            let left: Vec<u64> = stream.iter().map(|(id, _)| id.ms).collect();
            assert_eq!(left, (1..1000).skip(count).collect::<Vec<_>>());
            assert_eq!((stream.max_deleted_id, stream.entries_added), (Id::MIN, 999));
        }
    }

    #[test]
    fn a_copy_does_not_change_with_its_original() {
        let mut stream = stream(1..100);
        stream.put_group(Blob::from("g"), Group::new(Id::MIN, None));
        let copy = stream.clone();
        stream.drop_first(50);
        stream.group_mut(b"g").unwrap().assign(Id::new(60, 0), b"c", 0, 1);
        assert_eq!((copy.len(), copy.group(b"g").unwrap().pending_len()), (99, 0));
        assert_eq!((stream.len(), stream.group(b"g").unwrap().pending_len()), (49, 1));
    }

    #[test]
    fn an_entry_is_referenced_until_every_group_got_and_acknowledged_it() {
        let (mut stream, id) = (stream(1..3), Id::new(1, 0));
        assert!(!stream.is_referenced(id));
        stream.put_group(Blob::from("g"), Group::new(Id::MIN, None));
        assert!(stream.is_referenced(id));
        let group = stream.group_mut(b"g").unwrap();
        group.last_id = id;
        group.assign(id, b"c", 0, 1);
        assert!(stream.is_referenced(id));
        stream.forget_pending(id);
        assert!(!stream.is_referenced(id) && stream.is_referenced(Id::new(2, 0)));
    }
}
