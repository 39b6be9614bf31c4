//! What a write works on.

use crate::error::{ApplyError, ApplyResult};
use crate::rules::Rules;
use std::sync::Arc;
use vdr_data::blob::Blob;
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::{Db, Entry, EntryRef, Keyspace};
use vdr_data::value::{Hash, List, Set, Stream, Value, ValueRef, ZSet};

/// The data that one write works on.
pub struct Apply<'k> {
    pub keyspace: &'k mut Keyspace,
    /// The selected database.
    pub db: u32,
    /// Unix milliseconds, for commands that carry a relative time.
    pub now_ms: i64,
    /// The primary's own ways.
    pub rules: Rules,
}

impl Apply<'_> {
    pub fn db(&mut self) -> &mut Db {
        self.keyspace.db_mut(self.db)
    }

    pub fn get(&self, key: &[u8]) -> Option<EntryRef<'_>> {
        self.keyspace.db(self.db).get(key)
    }

    /// Puts a fresh value, of whatever type was there; the expiry goes.
    pub fn replace(&mut self, key: &[u8], value: impl Into<Value>) {
        self.db().insert(key, Entry::new(value));
    }

    /// Puts the result of a store command: an empty one deletes the destination.
    pub fn store(&mut self, key: &[u8], value: impl Into<Value>) {
        let value = value.into();
        if value.is_empty() {
            self.db().remove(key);
        } else {
            self.replace(key, value);
        }
    }

    /// `true` when the key was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.db().remove(key)
    }

    /// Changes a string in place, its expiry kept. A missing key starts empty.
    pub fn string(&mut self, key: &[u8], change: impl FnOnce(&mut Vec<u8>) -> ApplyResult) -> ApplyResult {
        let (mut bytes, expiry) = match self.get(key).map(|entry| (entry.value(), entry.expiry())) {
            None => (Vec::new(), Expiry::NEVER),
            Some((ValueRef::String(string), expiry)) => (string.to_vec(), expiry),
            Some(_) => return Err(ApplyError::WrongType),
        };
        let copied = bytes.len();
        change(&mut bytes)?;
        let db = self.db();
        db.insert(key, Entry { value: Value::String(Blob::from(bytes)), expiry });
        db.note_copied(copied);
        Ok(())
    }

    /// Changes a list; a missing key starts empty, an empty result deletes the key.
    pub fn list(&mut self, key: &[u8], change: impl FnOnce(&mut List) -> ApplyResult) -> ApplyResult {
        self.aggregate(
            key,
            |value| match value {
                Value::List(list) => change(list),
                _ => Err(ApplyError::WrongType),
            },
            || List::default().into(),
        )
    }

    /// As [`Apply::list`], for sets.
    pub fn set(&mut self, key: &[u8], change: impl FnOnce(&mut Set) -> ApplyResult) -> ApplyResult {
        self.aggregate(
            key,
            |value| match value {
                Value::Set(set) => change(set),
                _ => Err(ApplyError::WrongType),
            },
            || Set::default().into(),
        )
    }

    /// As [`Apply::list`], for hashes.
    pub fn hash(&mut self, key: &[u8], change: impl FnOnce(&mut Hash) -> ApplyResult) -> ApplyResult {
        self.aggregate(
            key,
            |value| match value {
                Value::Hash(hash) => change(hash),
                _ => Err(ApplyError::WrongType),
            },
            || Hash::default().into(),
        )
    }

    /// As [`Apply::list`], for sorted sets.
    pub fn zset(&mut self, key: &[u8], change: impl FnOnce(&mut ZSet) -> ApplyResult) -> ApplyResult {
        self.aggregate(
            key,
            |value| match value {
                Value::ZSet(zset) => change(zset),
                _ => Err(ApplyError::WrongType),
            },
            || ZSet::default().into(),
        )
    }

    /// Changes a stream, which must be there: a primary has made it before it sends anything else of it.
    pub fn stream(&mut self, key: &[u8], change: impl FnOnce(&mut Stream) -> ApplyResult) -> ApplyResult {
        if self.get(key).is_none() {
            return Err(ApplyError::Missing);
        }
        let db = self.db();
        let Some(Value::Stream(stream)) = db.aggregate_mut(key) else { return Err(ApplyError::WrongType) };
        let stream = Arc::make_mut(stream);
        let before = stream.len();
        change(stream)?;
        let now = stream.len();
        db.has_grown(key, before, now);
        Ok(())
    }

    /// Changes a stream; a missing key starts empty. An empty one stays.
    pub fn made_stream(&mut self, key: &[u8], change: impl FnOnce(&mut Stream) -> ApplyResult) -> ApplyResult {
        if self.get(key).is_some() {
            return self.stream(key, change);
        }
        let mut stream = Stream::default();
        change(&mut stream)?;
        self.replace(key, stream);
        Ok(())
    }

    fn aggregate(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut Value) -> ApplyResult,
        empty: impl FnOnce() -> Value,
    ) -> ApplyResult {
        let db = self.keyspace.db_mut(self.db);
        if let Some(value) = db.aggregate_mut(key) {
            let before = value.as_ref().len();
            change(value)?;
            let now = value.as_ref().len();
            if value.is_empty() {
                db.remove(key);
            }
            db.has_grown(key, before, now);
            return Ok(());
        }
        if db.get(key).is_some() {
            return Err(ApplyError::WrongType);
        }
        let mut value = empty();
        change(&mut value)?;
        if !value.is_empty() {
            db.insert(key, Entry::new(value));
        }
        Ok(())
    }
}
