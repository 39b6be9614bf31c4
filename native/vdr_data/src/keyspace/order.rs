//! The keys of a database in byte order: what cursors and ranges of keys stand on.
//!
//! Nobody keeps it until somebody asks. The first who does puts the keys of the version in order that he reads, which is work for all of
//! them; other versions are brought up to date from that one, by what changed. A version that is made from one in order keeps the order,
//! until the database is emptied.

use super::{Db, Keyspace};
use crate::blob::Blob;
use vdr_snapmap::tree::{Bytes, Range, Tree};

impl Db {
    /// Whether the order is there. Else whoever asks for it waits until it is: O(n log n), and not for a scheduler of the BEAM.
    pub fn is_ordered(&self) -> bool {
        self.in_order().is_some()
    }

    /// The keys in order, if they are kept.
    pub fn in_order(&self) -> Option<&Tree<Blob, ()>> {
        self.order.get()
    }

    /// Position of a key in byte order, or where it would stand.
    pub fn rank(&self, key: &[u8]) -> Result<usize, usize> {
        self.order().find(Bytes(key))
    }

    /// Keys with ranks `from..to` (clipped), in byte order, those past their time included.
    pub fn keys(&self, from: usize, to: usize) -> Range<'_, Blob, ()> {
        self.order().range(from, to)
    }

    fn order(&self) -> &Tree<Blob, ()> {
        self.order.get_or_init(|| {
            let mut keys: Vec<Blob> = self.iter().map(|entry| Blob::new(entry.key())).collect();
            keys.sort_unstable();
            Tree::from_sorted(keys.into_iter().map(|key| (key, ())))
        })
    }

    /// The order that another version has, brought up to date; none when more than so many entries were written between the two.
    fn order_after(&self, other: &Db, most: usize) -> Option<Tree<Blob, ()>> {
        let mut order = other.order.get()?.clone();
        let (new, gone) = (missing(other, self, most)?, missing(self, other, most)?);
        for key in new {
            order.insert(Blob::new(key), ());
        }
        for key in gone {
            order.remove(Bytes(key));
        }
        Some(order)
    }
}

/// The keys of one version that are not in another, if so many entries at most are to be looked at. Of databases that are no versions of
/// one, those are all.
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
    /// How many databases are in order.
    pub fn ordered(&self) -> usize {
        self.all().filter(|(_, db)| db.is_ordered()).count()
    }

    /// Takes over what order there is in another version and not in this one, where no more than so many entries were written between the
    /// two. The order is no data: this version is still what it was.
    pub fn take_order(&self, other: &Keyspace, most: usize) {
        for (index, there) in other.all().filter(|(_, db)| db.is_ordered()) {
            let here = self.db(index);
            if here.is_empty() || here.is_ordered() {
                continue;
            }
            if let Some(order) = here.order_after(there, most) {
                // Where somebody else was quicker, it is the same order.
                let _same = here.order.set(order);
            }
        }
    }

    /// The databases whose keys are in order.
    pub fn ordered_dbs(&self) -> Vec<u32> {
        self.all().filter(|(_, db)| db.is_ordered()).map(|(index, _)| index).collect()
    }

    /// Puts the keys of these databases in order.
    pub fn order_dbs(&self, dbs: &[u32]) {
        for index in dbs {
            self.db(*index).order();
        }
    }
}
