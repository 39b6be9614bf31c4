//! The context of a write: the data that it changes.

use crate::error::{ApplyError, ApplyResult};
use crate::rules::Rules;
use std::sync::Arc;
use vdr_data::keyspace::{Db, Entry, EntryRef, Keyspace};
use vdr_data::value::{Aggregate, Hash, List, Set, Stream, Value, ZSet};

/// The data that one write changes, and the conditions under which it does.
pub struct Apply<'k> {
    pub keyspace: &'k mut Keyspace,
    /// The selected database.
    pub db: u32,
    /// The present in Unix milliseconds, for commands with a relative time.
    pub now_ms: i64,
    /// The rules of the primary's version.
    pub rules: Rules,
}

impl Apply<'_> {
    pub fn db(&mut self) -> &mut Db {
        self.keyspace.db_mut(self.db)
    }

    pub fn get(&self, key: &[u8]) -> Option<EntryRef<'_>> {
        self.keyspace.db(self.db).get(key)
    }

    /// Replaces whatever the key holds, its expiry included.
    pub fn replace(&mut self, key: &[u8], value: impl Into<Value>) {
        self.db().insert(key, Entry::new(value));
    }

    /// Stores the result of a command such as SUNIONSTORE. An empty result deletes the destination.
    pub fn store(&mut self, key: &[u8], value: impl Into<Value>) {
        let value = value.into();
        if value.is_empty() {
            self.db().remove(key);
        } else {
            self.replace(key, value);
        }
    }

    /// Whatever the key holds is replaced by a value that cannot be known here: the result depends
    /// on more than the data.
    pub fn doubt(&mut self, key: &[u8]) {
        self.db().remove(key);
        self.db().make_unknown(key);
    }

    /// Returns whether the key existed.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.db().remove(key)
    }

    /// Writes bytes into a string, as [`Db::write_string`].
    pub fn write_string(&mut self, key: &[u8], at: usize, bytes: &[u8]) -> ApplyResult {
        if self.db().write_string(key, at, bytes) { Ok(()) } else { Err(ApplyError::WrongType) }
    }

    /// A value with elements of this type, expired or not; `None` if there is no such key.
    pub fn stored<T: Aggregate>(&self, key: &[u8]) -> Result<Option<&T>, ApplyError> {
        let Some(entry) = self.get(key) else { return Ok(None) };
        T::of(entry.value()).map(Some).ok_or(ApplyError::WrongType)
    }

    pub fn list(&mut self, key: &[u8], change: impl FnOnce(&mut List) -> ApplyResult) -> ApplyResult {
        self.aggregate(key, change)
    }

    pub fn set(&mut self, key: &[u8], change: impl FnOnce(&mut Set) -> ApplyResult) -> ApplyResult {
        self.aggregate(key, change)
    }

    pub fn hash(&mut self, key: &[u8], change: impl FnOnce(&mut Hash) -> ApplyResult) -> ApplyResult {
        self.aggregate(key, change)
    }

    pub fn zset(&mut self, key: &[u8], change: impl FnOnce(&mut ZSet) -> ApplyResult) -> ApplyResult {
        self.aggregate(key, change)
    }

    /// Changes a stream that must exist: a primary creates a stream before it sends any other
    /// command on it.
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
        db.note_growth(key, before, now);
        Ok(())
    }

    /// Changes a stream. A missing key starts empty, and an empty stream stays.
    pub fn stream_or_new(&mut self, key: &[u8], change: impl FnOnce(&mut Stream) -> ApplyResult) -> ApplyResult {
        if self.get(key).is_some() {
            return self.stream(key, change);
        }
        let mut stream = Stream::default();
        change(&mut stream)?;
        self.replace(key, stream);
        Ok(())
    }

    /// Changes a value with elements. A missing key starts empty; an empty result deletes the key.
    fn aggregate<T: Aggregate>(&mut self, key: &[u8], change: impl FnOnce(&mut T) -> ApplyResult) -> ApplyResult {
        let db = self.keyspace.db_mut(self.db);
        if let Some(value) = db.aggregate_mut(key) {
            let value = T::of_mut(value).ok_or(ApplyError::WrongType)?;
            let before = value.elements();
            change(value)?;
            let now = value.elements();
            if now == 0 {
                db.remove(key);
            }
            db.note_growth(key, before, now);
            return Ok(());
        }
        if db.get(key).is_some() {
            return Err(ApplyError::WrongType);
        }
        let mut value = T::default();
        change(&mut value)?;
        if value.elements() > 0 {
            db.insert(key, Entry::new(value));
        }
        Ok(())
    }
}

/// Fails for an empty value. A stored value is never empty, so an empty one is the start of a
/// missing key.
pub fn must_exist(value: &impl Aggregate) -> ApplyResult {
    if value.elements() == 0 { Err(ApplyError::Missing) } else { Ok(()) }
}
