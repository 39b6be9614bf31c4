//! The key index under commands.

use crate::harness::{Mirror, Rng};
use vdr_data::keyspace::Db;

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
        // The command fails if its key is missing.
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
        assert!(!mirror.keyspace.db(0).is_indexed());
        assert_eq!(keys(mirror.keyspace.db(0)), stored(mirror.keyspace.db(0)), "seed {seed}");
        // One index was built: for the database that both versions share.
        assert_eq!((before.indexed_dbs(), mirror.keyspace.indexed_dbs()), (1, 1));
        written(&mut rng, &mut mirror, 400);
        assert!(mirror.keyspace.db(0).is_indexed());
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
        mirror.keyspace.adopt_index(&asked, usize::MAX);
        keys(asked.db(0));
        let later = mirror.keyspace.clone();
        written(&mut rng, &mut mirror, 100);
        mirror.run(&["del new"]);
        later.adopt_index(&asked, 1);
        assert_eq!(later.indexed_dbs(), 0, "seed {seed}");
        later.adopt_index(&asked, usize::MAX);
        mirror.keyspace.adopt_index(&later, usize::MAX);
        assert_eq!((later.indexed_dbs(), mirror.keyspace.indexed_dbs()), (1, 1));
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
    other.keyspace.adopt_index(&one.keyspace, 40);
    assert_eq!(other.keyspace.indexed_dbs(), 0);
    // An emptied database takes no index either.
    one.run(&["flushdb", "set a 1"]);
    assert_eq!((one.keyspace.indexed_dbs(), keys(one.keyspace.db(0))), (0, vec!["a".into()]));
}

#[test]
fn the_databases_of_a_full_sync_are_put_in_order_as_those_before_were() {
    let (mut old, mut new) = (Mirror::new(), Mirror::new());
    old.run(&["set a 1"]);
    new.run(&["set b 1", "set a 1"]);
    new.keyspace.build_indexes(&old.keyspace.indexed_numbers());
    assert_eq!(new.keyspace.indexed_dbs(), 0);
    keys(old.keyspace.db(0));
    new.keyspace.build_indexes(&old.keyspace.indexed_numbers());
    assert_eq!((new.keyspace.indexed_dbs(), keys(new.keyspace.db(0))), (1, vec!["a".into(), "b".into()]));
}
