//! The difference between two states, after commands.

use crate::harness::{Mirror, Rng};
use vdr_data::blob::Blob;
use vdr_data::keyspace::{Change, Db};

fn diff(old: &Db, new: &Db) -> String {
    let show = |(key, change): &(Blob, Change)| format!("{}{}", &change.name()[..1], key.as_bytes().escape_ascii());
    old.diff(new).iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn keys_are_added_changed_and_removed() {
    let mut mirror = Mirror::new();
    mirror.run(&["mset a 1 b 1 c 1 d 1", "sadd s 1 2", "hset h f 1", "rpush l 1 2", "zadd z 1 m 2 n"]);
    let old = mirror.keyspace.clone();
    assert_eq!(diff(old.db(0), mirror.keyspace.db(0)), "");
    mirror.run(&["set a 2", "set b 1", "del c", "set e 1", "pexpireat d 99999999999999", "set f 1", "del f"]);
    assert_eq!(diff(old.db(0), mirror.keyspace.db(0)), "ca rc cd ae");
    assert_eq!(diff(mirror.keyspace.db(0), old.db(0)), "ca ac cd re");
    mirror.run(&["sadd s 2", "hset h f 1", "rpush l 3", "zadd z 3 m"]);
    assert_eq!(diff(old.db(0), mirror.keyspace.db(0)), "ca rc cd ae cl cz");
    mirror.run(&["rpop l", "zadd z 1 m", "srem s 1", "hset h f 2"]);
    assert_eq!(diff(old.db(0), mirror.keyspace.db(0)), "ca rc cd ae ch cs");
    assert_eq!(diff(old.db(0), old.db(7)), "ra rb rc rd rh rl rs rz");
}

#[test]
fn states_that_share_nothing_are_compared_by_what_they_hold() {
    let commands = ["mset a 1 b 1", "sadd s 1 2", "hset h f 1", "rpush l 1 2", "zadd z 1 m 2 n"];
    let (mut one, mut other) = (Mirror::new(), Mirror::new());
    one.run(&commands);
    other.run(&commands);
    other.run(&["set b 2", "hset h f 2", "zadd z 5 n"]);
    assert_eq!(diff(one.keyspace.db(0), other.keyspace.db(0)), "cb ch cz");
}

#[test]
fn whatever_was_written_the_difference_is_what_comparing_all_keys_says() {
    for seed in 0..100 {
        let (mut rng, mut mirror) = (Rng(seed), Mirror::new());
        for _ in 0..rng.below(400) {
            mirror.run(&[&format!("set k{} {}", rng.below(300), rng.below(3))]);
        }
        let old = mirror.keyspace.clone();
        for _ in 0..rng.below(100) {
            let command = rng.pick(&["set", "set", "del"]).to_string();
            mirror.run(&[&format!("{command} k{} {}", rng.below(300), rng.below(3))]);
        }
        let text = |db: &Db, key: &str| db.get(key.as_bytes()).map(|entry| format!("{:?}", entry.value()));
        let mut expected: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
        expected.sort();
        let expected = expected.into_iter().filter_map(|key| {
            let (was, is) = (text(old.db(0), &key), text(mirror.keyspace.db(0), &key));
            let change = match (&was, &is) {
                (None, Some(_)) => "a",
                (Some(_), None) => "r",
                _ if was == is => return None,
                _ => "c",
            };
            Some(format!("{change}{key}"))
        });
        assert_eq!(diff(old.db(0), mirror.keyspace.db(0)), expected.collect::<Vec<_>>().join(" "), "seed {seed}");
    }
}
