//! The keys whose value is not known, because a command that is not understood may have changed it.
//!
//! A key is noted when its value becomes unknown, and not struck out when it is replaced or removed:
//! whoever asks looks at the entry. The notes are swept when they are twice as many as at the last
//! sweep.

use super::{Db, Entry, Keyspace};
use crate::blob::Blob;
use crate::expiry::Expiry;
use crate::value::{Value, ValueRef};
use im::OrdSet;

const SWEPT_AT: usize = 64;

#[derive(Clone)]
pub(super) struct UnknownKeys {
    keys: OrdSet<Blob>,
    sweep_at: usize,
}

impl Default for UnknownKeys {
    fn default() -> Self {
        UnknownKeys { keys: OrdSet::new(), sweep_at: SWEPT_AT }
    }
}

impl Db {
    /// How many keys have an unknown value.
    pub fn unknown_values(&self) -> usize {
        self.unknown.keys.iter().filter(|key| self.is_unknown(key)).count()
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

    pub(super) fn note_unknown(&mut self, key: &[u8]) {
        self.unknown.keys.insert(Blob::new(key));
        if self.unknown.keys.len() >= self.unknown.sweep_at {
            let keys: OrdSet<Blob> = self.unknown.keys.iter().filter(|key| self.is_unknown(key)).cloned().collect();
            self.unknown = UnknownKeys { sweep_at: SWEPT_AT + 2 * keys.len(), keys };
        }
    }
}

impl Keyspace {
    /// How many keys of all databases have an unknown value.
    pub fn unknown_values(&self) -> usize {
        self.dbs().map(|(_, db)| db.unknown_values()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_or_removed_counts_no_longer_and_what_is_moved_does() {
        let mut db = Db::default();
        db.insert_string(b"a", b"1", Expiry::at(7));
        ["a", "b", "c"].iter().for_each(|key| db.make_unknown(key.as_bytes()));
        db.make_unknown(b"a");
        assert_eq!((db.unknown_values(), db.get(b"a").unwrap().expiry()), (3, Expiry::at(7)));
        db.insert_string(b"a", b"2", Expiry::NEVER);
        let moved = db.take(b"b").unwrap();
        db.insert(b"d", moved);
        assert_eq!((db.unknown_values(), db.is_unknown(b"d"), db.is_unknown(b"b")), (2, true, false));
        for n in 0..10 * SWEPT_AT {
            db.make_unknown(format!("k{n}").as_bytes());
            db.remove(format!("k{n}").as_bytes());
            assert!(db.unknown.keys.len() < 2 * SWEPT_AT + 4);
        }
        assert_eq!(db.unknown_values(), 2);
    }
}
