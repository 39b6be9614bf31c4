//! Databases, keys, and when they expire.
//!
//! A keyspace is a persistent value: `clone` is O(databases), and the clone never changes. A key past its time stays,
//! as it does on a real replica, until the primary's DEL arrives; [`View`] is what hides it from readers.

mod diff;
mod entry;
mod heavy;
mod order;

pub use diff::Change;
pub use entry::{Entry, EntryRef, PACKED_BYTES_MAX};
pub use heavy::{HEAVY_BYTES, HEAVY_ELEMENTS, is_heavy};

use crate::blob::Blob;
use crate::expiry::Expiry;
use crate::value::{Aggregate, Hash, Kind, List, Set, Stream, StringRef, Value, ValueRef, ZSet};
use heavy::Heavy;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};
use vdr_snapmap::PayloadMut;
use vdr_snapmap::map::{Iter, Map};
use vdr_snapmap::tree::{Bytes, Tree};

/// One database.
#[derive(Clone, Default)]
pub struct Db {
    entries: Map<Value>,
    /// The keys in byte order, from the first time that somebody asks for it: to keep it takes twice the time that a new key takes else.
    order: OnceLock<Tree<Blob, ()>>,
    heavy: Heavy,
}

impl Db {
    /// Physical keys, those past their time included: what the server's DBSIZE counts.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Asks for the memory of keys that are about to be read or written: all of them at once, where one after the other
    /// would wait for each. Of a single one no more than the leaf: to ask for its entry would be to wait for the leaf, and whoever
    /// writes has other things to do until that is there.
    pub fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k [u8]> + Clone) {
        keys.clone().for_each(|key| self.entries.prefetch_leaf(key));
        if keys.clone().nth(1).is_some() {
            keys.for_each(|key| self.entries.prefetch_item(key));
        }
    }

    /// The entry as stored, even past its time: what commands of the stream work on.
    pub fn get(&self, key: &[u8]) -> Option<EntryRef<'_>> {
        self.entries.get(key).map(EntryRef::new)
    }

    /// An aggregate to change in place, also when it has become empty; copies what snapshots share. None for a string.
    pub fn aggregate_mut(&mut self, key: &[u8]) -> Option<&mut Value> {
        match self.entries.get_mut(key)? {
            PayloadMut::Packed(_) | PayloadMut::Value(Value::String(_)) => None,
            PayloadMut::Value(value) => Some(value),
        }
    }

    /// The bytes of a string to change in place; copies what snapshots share. None for anything else.
    pub fn string_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        match self.entries.get_mut(key)? {
            PayloadMut::Packed(bytes) => Some(bytes),
            PayloadMut::Value(Value::String(blob)) => Some(blob.make_mut()),
            PayloadMut::Value(_) => None,
        }
    }

    /// `false` when there is no such key.
    pub fn set_expiry(&mut self, key: &[u8], expiry: Expiry) -> bool {
        self.entries.restamp(key, expiry.get())
    }

    /// `true` when the key is new.
    pub fn insert(&mut self, key: &[u8], entry: Entry) -> bool {
        let heavy = is_heavy(entry.value.as_ref());
        let new = entry.put(|stamp, put| self.entries.insert(key, stamp, put));
        if heavy {
            self.note_heavy(key);
        }
        self.keep_order(key, new)
    }

    /// As [`Db::insert`], for a string, which is copied.
    pub fn insert_string(&mut self, key: &[u8], bytes: &[u8], expiry: Expiry) -> bool {
        let new = self.entries.insert(key, expiry.get(), entry::put_string(bytes));
        if is_heavy(ValueRef::String(StringRef::Packed(bytes))) {
            self.note_heavy(key);
        }
        self.keep_order(key, new)
    }

    fn keep_order(&mut self, key: &[u8], new: bool) -> bool {
        if new && let Some(order) = self.order.get_mut() {
            order.insert(Blob::new(key), ());
        }
        new
    }

    /// `true` when the key was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let was_there = self.entries.remove(key);
        if was_there && let Some(order) = self.order.get_mut() {
            order.remove(Bytes(key));
        }
        was_there
    }

    /// Takes an entry out.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let (stamp, taken) = self.entries.take(key)?;
        if let Some(order) = self.order.get_mut() {
            order.remove(Bytes(key));
        }
        Some(Entry::taken(stamp, taken))
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.entries().map(EntryRef::new)
    }

    pub fn entries(&self) -> Iter<'_, Value> {
        self.entries.iter()
    }

    /// The entries that may not be those of another database; where both are versions of one, that costs what changed between them.
    fn unshared<'d>(&'d self, other: &'d Db) -> impl Iterator<Item = EntryRef<'d>> {
        self.entries.unshared(&other.entries).map(EntryRef::new)
    }
}

/// All databases of one server.
#[derive(Clone, Default)]
pub struct Keyspace {
    /// Database 0, where most servers have all their keys: to clone it is to count one reference.
    first: Arc<Db>,
    others: BTreeMap<u32, Arc<Db>>,
    /// Of databases that are gone.
    unlinked: u64,
}

static EMPTY_DB: LazyLock<Db> = LazyLock::new(Db::default);

impl Keyspace {
    pub fn db(&self, index: u32) -> &Db {
        let db = if index == 0 { Some(&self.first) } else { self.others.get(&index) };
        db.map_or(&EMPTY_DB, |db| db)
    }

    /// The database to change; it comes to be when it was not.
    pub fn db_mut(&mut self, index: u32) -> &mut Db {
        Arc::make_mut(self.slot(index))
    }

    fn slot(&mut self, index: u32) -> &mut Arc<Db> {
        if index == 0 { &mut self.first } else { self.others.entry(index).or_default() }
    }

    pub fn put_db(&mut self, index: u32, db: Db) {
        self.clear_db(index);
        *self.slot(index) = Arc::new(db);
    }

    /// Databases with keys in them, in ascending order.
    pub fn dbs(&self) -> impl Iterator<Item = (u32, &Db)> {
        self.all().filter(|(_, db)| !db.is_empty())
    }

    fn all(&self) -> impl Iterator<Item = (u32, &Db)> {
        let others = self.others.iter().map(|(index, db)| (*index, db.as_ref()));
        std::iter::once((0, self.first.as_ref())).chain(others)
    }

    pub fn swap(&mut self, a: u32, b: u32) {
        if a != b {
            let db_a = std::mem::take(self.slot(a));
            *self.slot(a) = std::mem::replace(self.slot(b), db_a);
        }
    }

    pub fn clear_db(&mut self, index: u32) {
        let gone = if index == 0 { Some(std::mem::take(&mut self.first)) } else { self.others.remove(&index) };
        if let Some(db) = gone {
            // Nobody counts its elements now: it may be any number.
            self.unlinked = self.unlinked.wrapping_add(db.entries.unlinked()).wrapping_add(u64::from(u32::MAX));
        }
    }

    pub fn clear(&mut self) {
        self.clear_db(0);
        while let Some(index) = self.others.keys().next().copied() {
            self.clear_db(index);
        }
    }

    /// How many elements, of values that were taken out or replaced, this keyspace has left behind since it began: what there may be to
    /// free with an older one. The difference between two tells; when it is no small number it may be any.
    pub fn unlinked(&self) -> u64 {
        self.all().fold(self.unlinked, |sum, (_, db)| sum.wrapping_add(db.entries.unlinked()))
    }

    /// What a reader sees of one database at a time.
    pub fn view(&self, db: u32, now: impl Into<Now>) -> View<'_> {
        View { db: self.db(db), now: now.into() }
    }
}

/// The time that a reader judges expiry by, in Unix milliseconds. A clock is asked only where something has an expiry:
/// for reads of a single key, since it may tell two of them different times.
#[derive(Clone, Copy)]
pub enum Now {
    At(i64),
    Clock(fn() -> i64),
}

impl From<i64> for Now {
    fn from(ms: i64) -> Self {
        Now::At(ms)
    }
}

impl From<fn() -> i64> for Now {
    fn from(clock: fn() -> i64) -> Self {
        Now::Clock(clock)
    }
}

/// The key holds a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// A database as a reader sees it: keys past their time are not there.
#[derive(Clone, Copy)]
pub struct View<'s> {
    pub db: &'s Db,
    pub now: Now,
}

impl<'s> View<'s> {
    pub fn entry(&self, key: &[u8]) -> Option<EntryRef<'s>> {
        self.db.get(key).filter(|entry| !self.is_past(entry.expiry()))
    }

    pub fn is_past(&self, expiry: Expiry) -> bool {
        expiry.is_set() && expiry.is_past(self.now_ms())
    }

    pub fn now_ms(&self) -> i64 {
        match self.now {
            Now::At(ms) => ms,
            Now::Clock(clock) => clock(),
        }
    }

    pub fn kind(&self, key: &[u8]) -> Option<Kind> {
        self.entry(key).map(|entry| entry.value().kind())
    }

    pub fn string(&self, key: &[u8]) -> Result<Option<StringRef<'s>>, WrongType> {
        match self.entry(key).map(EntryRef::value) {
            None => Ok(None),
            Some(ValueRef::String(string)) => Ok(Some(string)),
            Some(_) => Err(WrongType),
        }
    }

    pub fn list(&self, key: &[u8]) -> Result<Option<&'s List>, WrongType> {
        self.aggregate(key)
    }

    pub fn set(&self, key: &[u8]) -> Result<Option<&'s Set>, WrongType> {
        self.aggregate(key)
    }

    pub fn hash(&self, key: &[u8]) -> Result<Option<&'s Hash>, WrongType> {
        self.aggregate(key)
    }

    pub fn zset(&self, key: &[u8]) -> Result<Option<&'s ZSet>, WrongType> {
        self.aggregate(key)
    }

    pub fn stream(&self, key: &[u8]) -> Result<Option<&'s Stream>, WrongType> {
        self.aggregate(key)
    }

    /// A value with elements of this type; `None` when there is no such key.
    pub fn aggregate<T: Aggregate>(&self, key: &[u8]) -> Result<Option<&'s T>, WrongType> {
        let Some(entry) = self.entry(key) else { return Ok(None) };
        T::of(entry.value()).map(Some).ok_or(WrongType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_change_places() {
        for (a, b) in [(0, 3), (3, 0), (2, 5), (0, 0), (3, 3)] {
            let mut keyspace = Keyspace::default();
            for index in [0, 3, 5] {
                keyspace.db_mut(index).insert_string(b"key", &[index as u8], Expiry::NEVER);
            }
            let before = keyspace.clone();
            keyspace.swap(a, b);
            let held = |keyspace: &Keyspace, index| Some(keyspace.view(index, 0).string(b"key").unwrap()?.to_vec());
            for (index, was) in [(a, b), (b, a)] {
                assert_eq!(held(&keyspace, index), held(&before, was));
            }
            let numbers: Vec<u32> = keyspace.dbs().map(|(index, _)| index).collect();
            assert_eq!((numbers.len(), numbers.is_sorted()), (3, true));
        }
    }
}
