//! All databases of a server, as one persistent value.

use super::db::Db;
use super::view::{Now, View};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// All databases of one server.
#[derive(Clone, Default)]
pub struct Keyspace {
    /// Database 0 stands apart, since most servers have all their keys in it: its clone is one
    /// refcount.
    first: Arc<Db>,
    others: BTreeMap<u32, Arc<Db>>,
    /// The count of [`Keyspace::unlinked`] for databases that were removed.
    unlinked: u64,
}

static EMPTY_DB: LazyLock<Db> = LazyLock::new(Db::default);

impl Keyspace {
    #[inline]
    pub fn db(&self, index: u32) -> &Db {
        let db = if index == 0 { Some(&self.first) } else { self.others.get(&index) };
        db.map_or(&EMPTY_DB, |db| db)
    }

    /// A database to change. It is created if it does not exist.
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

    /// Every database, empty ones included.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Db)> {
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
            // Counting the elements would take too long, so the count becomes larger than any
            // threshold.
            self.unlinked = self.unlinked.wrapping_add(db.entries.unlinked()).wrapping_add(u64::from(u32::MAX));
        }
    }

    pub fn clear(&mut self) {
        self.clear_db(0);
        while let Some(index) = self.others.keys().next().copied() {
            self.clear_db(index);
        }
    }

    /// Counts the elements of values that were removed or replaced since this keyspace began. The
    /// difference between two versions estimates how much there is to free with the older one. Only
    /// a small difference is exact.
    pub fn unlinked(&self) -> u64 {
        self.all().fold(self.unlinked, |sum, (_, db)| sum.wrapping_add(db.entries.unlinked()))
    }

    /// A database as readers see it at a time.
    pub fn view(&self, db: u32, now: impl Into<Now>) -> View<'_> {
        View { db: self.db(db), now: now.into() }
    }
}

impl Keyspace {
    /// How many keys of all databases have an unknown value.
    pub fn unknown_values(&self) -> usize {
        self.all().map(|(_, db)| db.unknown_values()).sum()
    }

    /// [`Db::copied`] of all databases.
    pub fn copied(&self) -> u64 {
        self.all().fold(0, |sum, (_, db)| sum.wrapping_add(db.copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiry::Expiry;
    use crate::keyspace::Entry;
    use crate::value::Value;

    #[test]
    fn an_unknown_value_counts_until_it_is_replaced_or_removed_and_when_it_is_moved() {
        let mut keyspace = Keyspace::default();
        let db = keyspace.db_mut(3);
        db.insert_string(b"a", b"1", Expiry::at(7));
        ["a", "b", "c"].iter().for_each(|key| db.make_unknown(key.as_bytes()));
        db.make_unknown(b"a");
        assert_eq!((db.unknown_values(), db.get(b"a").unwrap().expiry()), (3, Expiry::at(7)));
        db.insert_string(b"a", b"2", Expiry::NEVER);
        let moved = db.take(b"b").unwrap();
        db.insert(b"d", moved);
        assert_eq!((db.is_unknown(b"d"), db.is_unknown(b"b")), (true, false));
        for n in 0..1000 {
            db.make_unknown(format!("k{n}").as_bytes());
            db.remove(format!("k{n}").as_bytes());
        }
        assert_eq!(keyspace.unknown_values(), 2);
        let db = keyspace.db_mut(3);
        db.insert(b"d", Entry { value: Value::Unknown, expiry: Expiry::NEVER });
        assert_eq!(db.unknown_values(), 2, "replaced by its like");
        db.remove(b"d");
        db.remove(b"d");
        db.insert_string(b"c", b"3", Expiry::NEVER);
        assert_eq!(keyspace.unknown_values(), 0);
    }

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
