//! One database: entries by key, with an index of the keys and a list of large ones beside them.

use super::entry::{self, Entry, EntryRef};
use super::large_keys::{LARGE_BYTES, LARGE_ELEMENTS, LargeKeys, is_large};
use crate::blob::Blob;
use crate::expiry::Expiry;
use crate::value::{StringRef, Value, ValueRef};
use std::sync::OnceLock;
use vdr_snapmap::PayloadMut;
use vdr_snapmap::map::{Iter, Map, ProcessHasher};
use vdr_snapmap::tree::{Bytes, Tree};

/// Hashes keys as every database of the process does.
pub type KeyHasher = ProcessHasher;

/// A key, and its hash by [`KeyHasher`].
#[derive(Clone, Copy, Debug)]
pub struct HashedKey<'k> {
    pub key: &'k [u8],
    pub hash: u64,
}

/// One database.
#[derive(Clone, Default)]
pub struct Db {
    pub(super) entries: Map<Value>,
    /// The keys in byte order. Built on first use, since a new key costs two to three times as much
    /// with it.
    pub(super) index: OnceLock<Tree<Blob, ()>>,
    large: LargeKeys,
    /// How many keys have an unknown value.
    unknown: usize,
    /// See [`Db::copied`].
    copied: u64,
}

impl Db {
    /// The number of stored keys. It includes expired keys that the primary has not deleted yet, as
    /// the server's DBSIZE does.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Prefetches the lookup paths of all keys at once, so that their cache misses overlap. For a
    /// single key only the leaf is prefetched: prefetching the entry would have to wait for the
    /// leaf.
    pub fn prefetch(&self, keys: &[HashedKey<'_>]) {
        keys.iter().for_each(|HashedKey { key, hash }| self.entries.prefetch_leaf(*hash, key));
        if keys.len() > 1 {
            keys.iter().for_each(|HashedKey { key, hash }| self.entries.prefetch_item(*hash, key));
        }
    }

    /// The entry as stored, even if it is expired: commands of the stream work on it.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<EntryRef<'_>> {
        self.entries.get(key).map(EntryRef::new)
    }

    /// An aggregate to change in place, even an empty one. Copy-on-write: what a snapshot shares is
    /// copied. `None` for a string.
    pub fn aggregate_mut(&mut self, key: &[u8]) -> Option<&mut Value> {
        match self.entries.get_mut(key)? {
            PayloadMut::Packed(_) | PayloadMut::Value(Value::String(_)) => None,
            PayloadMut::Value(value) => Some(value),
        }
    }

    /// Writes bytes into a string at a position, and first fills a gap behind its end with zeros. A
    /// missing key starts empty; an expiry stays. Copy-on-write: of a long string only the changed
    /// chunks are copied. `false`, and nothing changed, for a value of another type.
    pub fn write_string(&mut self, key: &[u8], at: usize, bytes: &[u8]) -> bool {
        let Some(entry) = self.get(key) else {
            let mut string = Blob::default();
            string.write(at, bytes);
            self.insert(key, Entry { value: Value::String(string), expiry: Expiry::NEVER });
            return true;
        };
        let ValueRef::String(old) = entry.value() else { return false };
        let (len, end, expiry) = (old.len(), at.saturating_add(bytes.len()), entry.expiry());
        if let StringRef::Packed(_) | StringRef::Long(_) = old
            && end > len
        {
            let mut string = old.to_blob();
            string.write(at, bytes);
            self.insert(key, Entry { value: Value::String(string), expiry });
            return true;
        }
        match self.entries.get_mut(key) {
            Some(PayloadMut::Packed(string)) => {
                if let Some(place) = string.get_mut(at..end) {
                    place.copy_from_slice(bytes);
                }
            }
            Some(PayloadMut::Value(Value::String(string))) => {
                self.copied = self.copied.wrapping_add(string.write(at, bytes) as u64);
            }
            _ => return false,
        }
        if len < LARGE_BYTES && end >= LARGE_BYTES {
            self.note_large(key);
        }
        true
    }

    /// The bytes of a short string to change in place: of a long one all bytes are copied.
    /// Copy-on-write: what a snapshot shares is copied. `None` for other types.
    pub fn string_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        match self.entries.get_mut(key)? {
            PayloadMut::Packed(bytes) => Some(bytes),
            PayloadMut::Value(Value::String(blob)) => {
                let before = blob.as_ptr();
                let bytes = blob.make_mut();
                if bytes.as_ptr() != before {
                    self.copied = self.copied.wrapping_add(bytes.len() as u64);
                }
                Some(bytes)
            }
            PayloadMut::Value(_) => None,
        }
    }

    /// Sets or removes the expiry of a key; `false` if there is no such key.
    pub fn set_expiry(&mut self, key: &[u8], expiry: Expiry) -> bool {
        self.entries.restamp(key, expiry.get())
    }

    /// Inserts or replaces an entry; `true` if the key is new.
    pub fn insert(&mut self, key: &[u8], entry: Entry) -> bool {
        let large = is_large(entry.value.as_ref());
        self.forget_unknown(key);
        self.unknown += usize::from(matches!(entry.value, Value::Unknown));
        let new = entry.put(|stamp, put| self.entries.insert(key, stamp, put));
        if large {
            self.note_large(key);
        }
        self.index_new(key, new)
    }

    /// As [`Db::insert`], for a string, whose bytes are copied.
    pub fn insert_string(&mut self, key: &[u8], bytes: &[u8], expiry: Expiry) -> bool {
        self.forget_unknown(key);
        let new = self.entries.insert(key, expiry.get(), entry::put_string(bytes));
        if is_large(ValueRef::String(StringRef::Packed(bytes))) {
            self.note_large(key);
        }
        self.index_new(key, new)
    }

    fn index_new(&mut self, key: &[u8], new: bool) -> bool {
        if new && let Some(index) = self.index.get_mut() {
            index.insert(Blob::new(key), ());
        }
        new
    }

    /// Removes an entry; `true` if there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.forget_unknown(key);
        let was_there = self.entries.remove(key);
        if was_there && let Some(index) = self.index.get_mut() {
            index.remove(Bytes(key));
        }
        was_there
    }

    /// Removes an entry and returns it.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        self.forget_unknown(key);
        let (stamp, taken) = self.entries.take(key)?;
        if let Some(index) = self.index.get_mut() {
            index.remove(Bytes(key));
        }
        Some(Entry::from_payload(stamp, taken))
    }

    /// Every entry, in no particular order, expired ones included.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.entries().map(EntryRef::new)
    }

    /// Visits the entries from a position on, expired ones included, until `count` or a few more
    /// were visited. Returns the position at which the next call continues, a multiple of 16;
    /// `None` at the end. All databases of the process have the same positions, so a scan may
    /// continue in any version of this one: see [`Map::scan`].
    pub fn scan<'d>(&'d self, from: u64, count: usize, mut visit: impl FnMut(EntryRef<'d>)) -> Option<u64> {
        self.entries.scan(from, count, |item| visit(EntryRef::new(item)))
    }

    pub fn entries(&self) -> Iter<'_, Value> {
        self.entries.iter()
    }

    /// The entries that another database may not share. If both are versions of one database, the
    /// cost is proportional to the changes between them.
    pub(super) fn unshared<'d>(&'d self, other: &'d Db) -> impl Iterator<Item = EntryRef<'d>> {
        self.entries.unshared(&other.entries).map(EntryRef::new)
    }

    /// The entries with large values.
    pub fn large_entries(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.large.keys().filter_map(|key| self.get(key)).filter(|entry| is_large(entry.value()))
    }

    /// Must be called after an aggregate was changed in place, with its numbers of elements before
    /// and now.
    pub fn note_growth(&mut self, key: &[u8], before: usize, now: usize) {
        if before < LARGE_ELEMENTS && now >= LARGE_ELEMENTS {
            self.note_large(key);
        }
    }

    /// How many bytes of long strings were copied so that they could be changed. The difference
    /// between two counts is what was copied between them.
    pub fn copied(&self) -> u64 {
        self.copied
    }

    /// How many keys have an unknown value.
    pub fn unknown_values(&self) -> usize {
        self.unknown
    }

    /// Whether the value of a key is unknown.
    pub fn is_unknown(&self, key: &[u8]) -> bool {
        self.get(key).is_some_and(|entry| matches!(entry.value(), ValueRef::Unknown))
    }

    /// The value of a key is unknown from now on, until a write replaces it. The expiry stays.
    pub fn make_unknown(&mut self, key: &[u8]) {
        if !self.is_unknown(key) {
            let expiry = self.get(key).map_or(Expiry::NEVER, |entry| entry.expiry());
            self.insert(key, Entry { value: Value::Unknown, expiry });
        }
    }

    /// Must be called before the value of a key is replaced or removed. As long as no value is
    /// unknown, it looks nothing up.
    fn forget_unknown(&mut self, key: &[u8]) {
        if self.unknown > 0 && self.is_unknown(key) {
            self.unknown -= 1;
        }
    }

    fn note_large(&mut self, key: &[u8]) {
        let entries = &self.entries;
        self.large.note(key, |key| entries.get(key).is_some_and(|item| is_large(EntryRef::new(item).value())));
    }
}
