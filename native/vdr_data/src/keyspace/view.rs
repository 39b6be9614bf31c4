//! What readers see: a database without its expired keys, with access by type.

use super::db::Db;
use super::entry::EntryRef;
use crate::expiry::Expiry;
use crate::value::{Aggregate, Hash, Kind, List, Set, Stream, StringRef, ValueRef, ZSet};

/// The time by which a reader judges expiry, in Unix milliseconds. A clock is read only if an entry
/// has an expiry. It suits reads of a single key, since two entries may see different times.
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

/// Why a key has no value of the type that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeError {
    /// The key holds a value of another type.
    WrongType,
    /// A command that is not understood may have changed the value.
    UnknownValue,
}

impl TypeError {
    /// A value has not the type that was asked for.
    fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Unknown => TypeError::UnknownValue,
            _ => TypeError::WrongType,
        }
    }
}

/// A database as a reader sees it: expired keys are hidden.
#[derive(Clone, Copy)]
pub struct View<'s> {
    pub db: &'s Db,
    pub now: Now,
}

impl<'s> View<'s> {
    #[inline]
    pub fn entry(&self, key: &[u8]) -> Option<EntryRef<'s>> {
        self.db.get(key).filter(|entry| !self.is_past(entry.expiry()))
    }

    /// As [`View::entry`]; an error if the value is not known.
    pub fn known_entry(&self, key: &[u8]) -> Result<Option<EntryRef<'s>>, TypeError> {
        match self.entry(key) {
            Some(entry) if matches!(entry.value(), ValueRef::Unknown) => Err(TypeError::UnknownValue),
            entry => Ok(entry),
        }
    }

    #[inline]
    pub fn is_past(&self, expiry: Expiry) -> bool {
        expiry.is_set() && expiry.is_past(self.now_ms())
    }

    #[inline]
    pub fn now_ms(&self) -> i64 {
        match self.now {
            Now::At(ms) => ms,
            Now::Clock(clock) => clock(),
        }
    }

    pub fn kind(&self, key: &[u8]) -> Option<Kind> {
        self.entry(key).map(|entry| entry.value().kind())
    }

    #[inline]
    pub fn string(&self, key: &[u8]) -> Result<Option<StringRef<'s>>, TypeError> {
        match self.entry(key).map(EntryRef::value) {
            None => Ok(None),
            Some(ValueRef::String(string)) => Ok(Some(string)),
            Some(other) => Err(TypeError::of(other)),
        }
    }

    #[inline]
    pub fn list(&self, key: &[u8]) -> Result<Option<&'s List>, TypeError> {
        self.aggregate(key)
    }

    #[inline]
    pub fn set(&self, key: &[u8]) -> Result<Option<&'s Set>, TypeError> {
        self.aggregate(key)
    }

    #[inline]
    pub fn hash(&self, key: &[u8]) -> Result<Option<&'s Hash>, TypeError> {
        self.aggregate(key)
    }

    #[inline]
    pub fn zset(&self, key: &[u8]) -> Result<Option<&'s ZSet>, TypeError> {
        self.aggregate(key)
    }

    #[inline]
    pub fn stream(&self, key: &[u8]) -> Result<Option<&'s Stream>, TypeError> {
        self.aggregate(key)
    }

    /// An aggregate of the type `T`; `None` if there is no such key.
    #[inline]
    pub fn aggregate<T: Aggregate>(&self, key: &[u8]) -> Result<Option<&'s T>, TypeError> {
        let Some(entry) = self.entry(key) else { return Ok(None) };
        T::of(entry.value()).map(Some).ok_or_else(|| TypeError::of(entry.value()))
    }
}
