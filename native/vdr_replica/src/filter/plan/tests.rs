use super::*;
use crate::stream::{Applied, Applier};
use std::sync::Arc;
use vdr_commands::ApplyError;
use vdr_data::keyspace::Keyspace;

fn prefix() -> Filter {
    Filter::new(None, Some(vec![b"u:".to_vec()]), None)
}

fn kinds(kinds: &[Kind]) -> Filter {
    Filter::new(None, None, Some(kinds.to_vec()))
}

fn applier(filter: Filter) -> Applier {
    Applier::new(Keyspace::default(), 0, 0, None).with_filter(Some(Arc::new(filter)))
}

fn run(applier: &mut Applier, command: &str) -> Result<Applied, ApplyError> {
    let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    applier.command(&args, 1, 0).map_err(|divergence| divergence.error)
}

/// The keys of database 0 after these commands, each of which must succeed.
fn keys(filter: Filter, commands: &[&str]) -> Vec<String> {
    let mut applier = applier(filter);
    for command in commands {
        assert!(run(&mut applier, command).is_ok(), "{command}");
    }
    let keyspace = applier.visible().unwrap().0;
    let db = keyspace.db(0);
    db.keys(0, db.len()).map(|(key, ())| String::from_utf8(key.to_vec()).unwrap()).collect()
}

fn missing(filter: Filter, before: &[&str], command: &str) {
    let mut applier = applier(filter);
    for command in before {
        assert!(run(&mut applier, command).is_ok(), "{command}");
    }
    assert_eq!(run(&mut applier, command).err(), Some(ApplyError::NotMirrored), "{command}");
}

#[test]
fn only_keys_of_the_prefix_are_there() {
    let none: [&str; 0] = [];
    assert_eq!(keys(prefix(), &["SET x 1", "LSET x 5 v", "HINCRBY x f 1", "PEXPIREAT x 5"]), none);
    assert_eq!(keys(prefix(), &["MSET x 1 u:a 1 y 2", "INCR u:a"]), ["u:a"]);
    assert_eq!(keys(prefix(), &["SET u:a 1", "SET u:b 1", "DEL x u:a"]), ["u:b"]);
}

#[test]
fn what_leaves_the_prefix_is_gone() {
    assert_eq!(keys(prefix(), &["SET u:a 1", "SET u:b 1", "RENAME u:a x"]), ["u:b"]);
    assert_eq!(keys(prefix(), &["SADD u:a m n", "SMOVE u:a x m", "SUNIONSTORE x u:a", "COPY u:a y"]), ["u:a"]);
    assert_eq!(keys(prefix(), &["RPUSH u:a 1", "LMOVE u:a x LEFT RIGHT"]), [""; 0]);
}

#[test]
fn what_comes_into_the_prefix_from_outside_needs_a_full_sync() {
    for command in [
        "RENAME x u:a",
        "RENAMENX x u:a",
        "COPY x u:a",
        "LMOVE x u:a LEFT LEFT",
        "RPOPLPUSH x u:a",
        "SUNIONSTORE u:a u:b x",
        "SINTERSTORE u:a x",
        "SDIFFSTORE u:a u:b x",
        "ZUNIONSTORE u:a 2 u:b x",
        "ZINTERSTORE u:a 1 x WEIGHTS 2",
        "ZRANGESTORE u:a x 0 -1",
        "GEOSEARCHSTORE u:a x FROMLONLAT 0 0 BYRADIUS 1 km",
        "GEORADIUS x 0 0 1 km STORE u:a",
        "BITOP AND u:a u:b x",
        "PFMERGE u:a x",
        "SORT x STORE u:a",
        "SORT u:b BY w_* STORE u:a",
        "SORT u:b GET # GET w_* STORE u:a",
        "LMPOP 2 x u:a LEFT",
    ] {
        missing(prefix(), &[], command);
    }
}

#[test]
fn a_member_that_moves_into_the_prefix_is_all_that_is_needed() {
    let mut applier = applier(prefix());
    run(&mut applier, "SADD u:a m").unwrap();
    run(&mut applier, "SMOVE x u:a n").unwrap();
    run(&mut applier, "SMOVE x u:b n").unwrap();
    let keyspace = applier.visible().unwrap().0;
    let size = |key: &[u8]| keyspace.db(0).get(key).map(|entry| entry.value().len());
    assert_eq!((size(b"u:a"), size(b"u:b"), size(b"x")), (Some(2), Some(1), None));
}

#[test]
fn within_the_prefix_stores_work_as_ever() {
    let commands = ["SADD u:a 1 2", "SADD u:b 2 3", "SINTERSTORE u:c u:a u:b", "SORT u:a STORE u:d", "RENAME u:a u:e"];
    assert_eq!(keys(prefix(), &commands), ["u:b", "u:c", "u:d", "u:e"]);
}

#[test]
fn databases_that_change_places_with_one_that_is_not_mirrored_need_a_full_sync() {
    let filter = || Filter::new(Some(vec![0, 1]), None, None);
    missing(filter(), &[], "SWAPDB 1 2");
    missing(filter(), &["SELECT 2"], "MOVE k 0");
    missing(filter(), &["SELECT 2"], "COPY k k DB 0");
    assert_eq!(keys(filter(), &["SET k 1", "SET l 1", "MOVE k 2", "SWAPDB 2 3", "COPY l l DB 7"]), ["l"]);
    assert_eq!(keys(filter(), &["SET k 1", "SWAPDB 0 1", "SELECT 2", "SET x 1", "FLUSHDB"]), [""; 0]);
}

#[test]
fn only_values_of_the_types_are_there() {
    let hashes = || kinds(&[Kind::Hash]);
    let commands =
        ["HSET h f v", "SET s 1", "APPEND s x", "LPUSH l 1", "LSET l 0 2", "PEXPIREAT l 5", "ZADD z 1 m", "GETEX s"];
    assert_eq!(keys(hashes(), &commands), ["h"]);
    assert_eq!(keys(hashes(), &["HSET h f v", "HSET i f v", "SET h 1", "RENAME i j", "COPY j k"]), ["j", "k"]);
    assert_eq!(keys(hashes(), &["HSET h f v", "SUNIONSTORE h a b", "HSET i f v", "RENAME list i"]), [""; 0]);
}

#[test]
fn a_store_that_may_have_read_another_type_needs_a_full_sync() {
    missing(kinds(&[Kind::ZSet]), &["ZADD z 1 m"], "ZUNIONSTORE d 2 z perhaps_a_set");
    missing(kinds(&[Kind::List]), &["RPUSH l 1"], "SORT l STORE d");
    let both = kinds(&[Kind::ZSet, Kind::Set]);
    assert_eq!(keys(both, &["ZADD z 1 m", "ZUNIONSTORE d 2 z nothing"]), ["d", "z"]);
}

#[test]
fn a_string_that_keeps_the_expiry_of_what_we_have_not_needs_a_full_sync() {
    let strings = || kinds(&[Kind::String]);
    missing(strings(), &[], "SET perhaps_a_hash v KEEPTTL");
    missing(strings(), &["SET a 1"], "MSETEX 2 a 1 b 2 KEEPTTL");
    assert_eq!(keys(strings(), &["SET a 1", "SET a 2 KEEPTTL", "SET b 1", "MSETEX 2 a 1 b 2 KEEPTTL"]), ["a", "b"]);
    assert_eq!(keys(prefix(), &["SET u:a 1 KEEPTTL", "SET x 1 KEEPTTL"]), ["u:a"]);
}

#[test]
fn a_restored_value_is_kept_by_its_type() {
    let mut payload = vec![0u8, 1, b'v', 11, 0];
    payload.extend_from_slice(&[0; 8]);
    let args: [&[u8]; 4] = [b"RESTORE", b"k", b"0", &payload];
    for (kind, there) in [(Kind::String, true), (Kind::Hash, false)] {
        let mut applier = applier(kinds(&[kind]));
        assert!(applier.command(&args, 1, 0).is_ok());
        assert_eq!(applier.visible().unwrap().0.db(0).get(b"k").is_some(), there);
    }
}

#[test]
fn a_write_that_names_several_keys_says_how_they_go_together() {
    for row in vdr_commands::writes() {
        let keys = row.shape.iter().filter(|part| **part == Part::Key).count();
        let several = row.shape.iter().any(|part| matches!(part, Part::Keys | Part::KeyPairs));
        let reads = row.shape.iter().any(|part| matches!(part, Part::Source | Part::Sources | Part::CountedSources));
        let says = match row.effect {
            Effect::Moves | Effect::MovesMember => keys == 2 || reads && keys == 1,
            Effect::MovesToDatabase => keys == 1,
            Effect::PicksOne | Effect::Sorts => reads && keys == 0,
            Effect::StoresFrom(kinds) | Effect::MergesFrom(kinds) => reads && keys < 2 && !kinds.is_empty(),
            Effect::Each | Effect::Replaces | Effect::ReplacesOrKeepsExpiry => !reads && (keys < 2 || several),
            Effect::SetsExpiry => !reads && keys == 1 && !several,
            Effect::SwapsDatabases | Effect::WholeDatabases => keys == 0,
        };
        assert!(says, "{}", row.name);
    }
}
