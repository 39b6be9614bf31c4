//! The key index: the keys of a database in byte order, for cursors and ranges of keys.
//!
//! The index is built lazily. The first reader that needs it builds it for the version it reads, in
//! O(n log n). Other versions adopt that index and catch up by the changes between the versions. A
//! version that is made from an indexed one keeps the index, until the database is emptied.

use super::databases::Keyspace;
use super::db::Db;
use crate::blob::Blob;
use vdr_snapmap::tree::{Bytes, Range, Tree};

impl Db {
    /// Whether there is an index. Without one, the next call that needs it builds it in O(n log n),
    /// which is too long for a scheduler of the BEAM.
    pub fn is_indexed(&self) -> bool {
        self.index().is_some()
    }

    /// The index, if there is one.
    pub fn index(&self) -> Option<&Tree<Blob, ()>> {
        self.index.get()
    }

    /// The rank of a key in byte order, or the rank that it would have.
    pub fn rank(&self, key: &[u8]) -> Result<usize, usize> {
        self.build_index().find(Bytes(key))
    }

    /// The keys of the ranks `from..to`, clipped, in byte order, expired ones included.
    pub fn keys(&self, from: usize, to: usize) -> Range<'_, Blob, ()> {
        self.build_index().range(from, to)
    }

    fn build_index(&self) -> &Tree<Blob, ()> {
        self.index.get_or_init(|| {
            let mut keys: Vec<Blob> = self.iter().map(|entry| Blob::new(entry.key())).collect();
            keys.sort_unstable();
            Tree::from_sorted(keys.into_iter().map(|key| (key, ())))
        })
    }

    /// The index of another version, brought up to date. `None` if more than `most` entries differ
    /// between the two.
    fn catch_up(&self, other: &Db, most: usize) -> Option<Tree<Blob, ()>> {
        let mut index = other.index.get()?.clone();
        let (new, gone) = (missing(other, self, most)?, missing(self, other, most)?);
        for key in new {
            index.insert(Blob::new(key), ());
        }
        for key in gone {
            index.remove(Bytes(key));
        }
        Some(index)
    }
}

/// The keys of `there` that are missing in `here`. `None` if that means looking at more than `most`
/// entries, which are all of them unless both are versions of one database.
fn missing<'d>(here: &'d Db, there: &'d Db, most: usize) -> Option<Vec<&'d [u8]>> {
    let mut keys = Vec::new();
    for (looked_at, entry) in there.unshared(here).enumerate() {
        if looked_at >= most {
            return None;
        }
        if here.get(entry.key()).is_none() {
            keys.push(entry.key());
        }
    }
    Some(keys)
}

impl Keyspace {
    /// The number of databases with an index.
    pub fn indexed_dbs(&self) -> usize {
        self.all().filter(|(_, db)| db.is_indexed()).count()
    }

    /// Adopts the indexes of another version for databases that have none, where at most `most`
    /// entries differ. An index is no data, so the version stays equal to what it was.
    pub fn adopt_index(&self, other: &Keyspace, most: usize) {
        for (number, there) in other.all().filter(|(_, db)| db.is_indexed()) {
            let here = self.db(number);
            if here.is_empty() || here.is_indexed() {
                continue;
            }
            if let Some(index) = here.catch_up(there, most) {
                // If another thread was faster, its index is equal.
                let _equal = here.index.set(index);
            }
        }
    }

    /// The numbers of the databases with an index.
    pub fn indexed_numbers(&self) -> Vec<u32> {
        self.all().filter(|(_, db)| db.is_indexed()).map(|(number, _)| number).collect()
    }

    /// Builds the indexes of these databases.
    pub fn build_indexes(&self, numbers: &[u32]) {
        for number in numbers {
            self.db(*number).build_index();
        }
    }
}
