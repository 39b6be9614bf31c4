//! A consumer group: the last entry that it read, and its pending entries by consumer.

use super::id::Id;
use crate::blob::Blob;
use vdr_snapmap::tree::{Bytes, Range, Tree};

#[derive(Debug, Default)]
pub struct Group {
    /// The last entry delivered to any consumer.
    pub last_id: Id,
    /// How many entries were read; `None` if unknown, a server's -1.
    pub entries_read: Option<u64>,
    pending: Tree<Id, Pending>,
    consumers: Tree<Blob, Consumer>,
}

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// `None` for an entry that a consumer gave back.
    pub consumer: Option<Blob>,
    pub delivered_at_ms: i64,
    pub deliveries: u64,
}

#[derive(Debug, Default)]
pub struct Consumer {
    /// When it last tried to read.
    pub seen_at_ms: i64,
    /// When it last received entries.
    pub active_at_ms: Option<i64>,
    pending: Tree<Id, ()>,
}

/// Not derived, for the reason that [`Stream`](super::Stream) has.
impl Clone for Group {
    fn clone(&self) -> Self {
        Group { pending: self.pending.clone(), consumers: self.consumers.clone(), ..*self }
    }
}

/// Not derived, for the reason that [`Stream`](super::Stream) has.
impl Clone for Consumer {
    fn clone(&self) -> Self {
        Consumer { pending: self.pending.clone(), ..*self }
    }
}

impl Consumer {
    pub fn new(seen_at_ms: i64, active_at_ms: Option<i64>) -> Self {
        Consumer { seen_at_ms, active_at_ms, pending: Tree::new() }
    }

    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }
}

impl Group {
    pub fn new(last_id: Id, entries_read: Option<u64>) -> Self {
        Group { last_id, entries_read, ..Group::default() }
    }

    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The pending entries in the order of their ids.
    pub fn pending(&self) -> Range<'_, Id, Pending> {
        self.pending.iter()
    }

    pub fn pending_of(&self, id: Id) -> Option<&Pending> {
        self.pending.get(&id).map(|(_, pending)| pending)
    }

    /// The consumers by name, in byte order.
    pub fn consumers(&self) -> Range<'_, Blob, Consumer> {
        self.consumers.iter()
    }

    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(Bytes(name)).map(|(_, consumer)| consumer)
    }

    /// The consumer to change; `None` if there is none by this name.
    pub fn consumer_mut(&mut self, name: &[u8]) -> Option<&mut Consumer> {
        self.consumers.get_mut(Bytes(name))
    }

    /// Adds a consumer without pending entries. `false`, and nothing changed, if there is one by
    /// this name.
    pub fn add_consumer(&mut self, name: &[u8], consumer: Consumer) -> bool {
        let new = self.consumer(name).is_none();
        if new {
            self.consumers.insert(Blob::new(name), consumer);
        }
        new
    }

    /// Removes a consumer with its pending entries.
    pub fn remove_consumer(&mut self, name: &[u8]) {
        let gone = self.consumers.remove(Bytes(name));
        for (id, ()) in gone.iter().flat_map(|(_, consumer)| consumer.pending.iter()) {
            self.pending.remove(id);
        }
    }

    /// Makes an entry pending for this consumer, and for no other. Adds the consumer if it is
    /// missing.
    pub fn assign(&mut self, id: Id, consumer: &[u8], delivered_at_ms: i64, deliveries: u64) {
        let owner = self.consumers.get(Bytes(consumer)).map(|(name, _)| name.clone());
        let owner = owner.unwrap_or_else(|| {
            let name = Blob::new(consumer);
            self.consumers.insert(name.clone(), Consumer::default());
            name
        });
        let pending = Pending { consumer: Some(owner.clone()), delivered_at_ms, deliveries };
        let old = self.pending.insert(id, pending).and_then(|old| old.consumer);
        if let Some(other) = old.filter(|other| *other != owner) {
            self.disown(&other, id);
        }
        if let Some(owner) = self.consumer_mut(&owner) {
            owner.pending.insert(id, ());
        }
    }

    /// An entry waits for whoever claims it: its consumer has given it back.
    pub fn release(&mut self, id: Id, delivered_at_ms: i64, deliveries: u64) {
        let old = self.pending.insert(id, Pending { consumer: None, delivered_at_ms, deliveries });
        if let Some(owner) = old.and_then(|old| old.consumer) {
            self.disown(&owner, id);
        }
    }

    fn disown(&mut self, consumer: &[u8], id: Id) {
        if let Some(consumer) = self.consumer_mut(consumer) {
            consumer.pending.remove(&id);
        }
    }

    /// Acknowledges an entry. `false` if it was not pending.
    pub fn acknowledge(&mut self, id: Id) -> bool {
        let Some((_, pending)) = self.pending.remove(&id) else { return false };
        if let Some(owner) = pending.consumer {
            self.disown(&owner, id);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(group: &Group) -> Vec<(String, usize)> {
        let text = |name: &Blob| String::from_utf8_lossy(name).into_owned();
        group.consumers().map(|(name, consumer)| (text(name), consumer.pending_len())).collect()
    }

    #[test]
    fn an_entry_waits_for_one_consumer_at_a_time() {
        let mut group = Group::new(Id::MIN, Some(0));
        (1..6).for_each(|ms| group.assign(Id::new(ms, 0), b"a", 7, 1));
        group.assign(Id::new(2, 0), b"b", 8, 2);
        group.assign(Id::new(2, 0), b"b", 9, 3);
        assert_eq!(counts(&group), [("a".to_owned(), 4), ("b".to_owned(), 1)]);
        let pending = group.pending_of(Id::new(2, 0)).unwrap();
        assert_eq!((pending.delivered_at_ms, pending.deliveries), (9, 3));
        assert!(group.acknowledge(Id::new(2, 0)) && !group.acknowledge(Id::new(2, 0)));
        assert_eq!((counts(&group), group.pending_len()), (vec![("a".to_owned(), 4), ("b".to_owned(), 0)], 4));
    }

    #[test]
    fn an_entry_that_was_given_back_waits_for_nobody_in_particular() {
        let (mut group, id) = (Group::new(Id::MIN, None), Id::new(1, 0));
        group.assign(id, b"a", 7, 3);
        group.release(id, 0, 2);
        assert_eq!((counts(&group), group.pending_len()), (vec![("a".to_owned(), 0)], 1));
        group.remove_consumer(b"a");
        assert_eq!(group.pending_of(id), Some(&Pending { consumer: None, delivered_at_ms: 0, deliveries: 2 }));
        group.assign(id, b"b", 9, 3);
        assert_eq!(counts(&group), [("b".to_owned(), 1)]);
        group.release(id, 0, 3);
        assert!(group.acknowledge(id));
        assert_eq!((counts(&group), group.pending_len()), (vec![("b".to_owned(), 0)], 0));
    }

    #[test]
    fn with_a_consumer_goes_what_it_has_not_acknowledged() {
        let mut group = Group::new(Id::MIN, None);
        (1..6).for_each(|ms| group.assign(Id::new(ms, 0), if ms % 2 == 0 { b"a" } else { b"b" }, 0, 1));
        assert!(!group.add_consumer(b"a", Consumer::default()));
        group.remove_consumer(b"b");
        group.remove_consumer(b"nobody");
        assert_eq!((counts(&group), group.pending_len()), (vec![("a".to_owned(), 2)], 2));
    }
}
