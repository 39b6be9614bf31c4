//! The keys of a database in byte order: what cursors and ranges of keys stand on.
//!
//! Nobody keeps it until somebody asks. The first who does puts the keys of the version in order that he reads, which is work for all of
//! them; other versions are brought up to date from that one, by what changed. A version that is made from one in order keeps the order,
//! until the database is emptied.

use super::{Db, Keyspace};
use crate::blob::Blob;
use crate::tree::{Bytes, Range, Tree};

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

    /// Puts those databases in order that another keyspace has in order.
    pub fn order_as(&self, other: &Keyspace) {
        for (index, _) in other.all().filter(|(_, db)| db.is_ordered()) {
            self.db(index).order();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::harness::{Mirror, Rng};

    fn keys(db: &Db) -> Vec<String> {
        db.keys(0, usize::MAX).map(|(key, ())| key.escape_ascii().to_string()).collect()
    }

    fn stored(db: &Db) -> Vec<String> {
        let mut keys: Vec<String> = db.iter().map(|entry| entry.key().escape_ascii().to_string()).collect();
        keys.sort();
        keys
    }

    fn written(rng: &mut Rng, mirror: &mut Mirror, count: usize) {
        for _ in 0..rng.below(count) {
            let (from, to) = (rng.below(300), rng.below(300));
            let command = match rng.below(5) {
                0 => format!("del k{from}"),
                1 => format!("rename k{from} k{to}"),
                2 => format!("copy k{from} a-key-that-is-longer-than-others:{to}"),
                _ => format!("set k{from} 1"),
            };
            // A key may be missing.
            let _ = mirror.attempt(&command);
        }
    }

    #[test]
    fn nobody_keeps_an_order_until_it_is_asked_for_and_then_all_that_follow_do() {
        for seed in 0..50 {
            let (mut rng, mut mirror) = (Rng(seed), Mirror::new());
            written(&mut rng, &mut mirror, 400);
            mirror.run(&["set k 1"]);
            let before = mirror.keyspace.clone();
            assert!(!mirror.keyspace.db(0).is_ordered());
            assert_eq!(keys(mirror.keyspace.db(0)), stored(mirror.keyspace.db(0)), "seed {seed}");
            // One version was put in order: the database itself, which both have.
            assert_eq!((before.ordered(), mirror.keyspace.ordered()), (1, 1));
            written(&mut rng, &mut mirror, 400);
            assert!(mirror.keyspace.db(0).is_ordered());
            assert_eq!(keys(mirror.keyspace.db(0)), stored(mirror.keyspace.db(0)), "seed {seed}");
            assert_eq!(keys(before.db(0)), stored(before.db(0)), "seed {seed}");
        }
    }

    #[test]
    fn another_version_takes_the_order_over_with_what_changed() {
        for seed in 0..50 {
            let (mut rng, mut mirror) = (Rng(seed), Mirror::new());
            written(&mut rng, &mut mirror, 400);
            mirror.run(&["set k 1"]);
            let asked = mirror.keyspace.clone();
            written(&mut rng, &mut mirror, 100);
            mirror.run(&["set new 1", "set newer 1"]);
            mirror.keyspace.take_order(&asked, usize::MAX);
            keys(asked.db(0));
            let later = mirror.keyspace.clone();
            written(&mut rng, &mut mirror, 100);
            mirror.run(&["del new"]);
            later.take_order(&asked, 1);
            assert_eq!(later.ordered(), 0, "seed {seed}");
            later.take_order(&asked, usize::MAX);
            mirror.keyspace.take_order(&later, usize::MAX);
            assert_eq!((later.ordered(), mirror.keyspace.ordered()), (1, 1));
            for keyspace in [&asked, &later, &mirror.keyspace] {
                assert_eq!(keys(keyspace.db(0)), stored(keyspace.db(0)), "seed {seed}");
            }
        }
    }

    #[test]
    fn what_is_no_version_of_the_same_database_takes_no_order_from_it() {
        let (mut one, mut other) = (Mirror::new(), Mirror::new());
        for n in 0..50 {
            one.run(&[&format!("set a{n} 1")]);
            other.run(&[&format!("set b{n} 1")]);
        }
        keys(one.keyspace.db(0));
        other.keyspace.take_order(&one.keyspace, 40);
        assert_eq!(other.keyspace.ordered(), 0);
        // Nor does an emptied one.
        one.run(&["flushdb", "set a 1"]);
        assert_eq!((one.keyspace.ordered(), keys(one.keyspace.db(0))), (0, vec!["a".into()]));
    }

    #[test]
    fn the_databases_of_a_full_sync_are_put_in_order_as_those_before_were() {
        let (mut old, mut new) = (Mirror::new(), Mirror::new());
        old.run(&["set a 1"]);
        new.run(&["set b 1", "set a 1"]);
        new.keyspace.order_as(&old.keyspace);
        assert_eq!(new.keyspace.ordered(), 0);
        keys(old.keyspace.db(0));
        new.keyspace.order_as(&old.keyspace);
        assert_eq!((new.keyspace.ordered(), keys(new.keyspace.db(0))), (1, vec!["a".into(), "b".into()]));
    }
}
