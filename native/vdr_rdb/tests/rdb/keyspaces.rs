//! The keyspaces that the builder makes of files.

use crate::writer::*;
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::Keyspace;
use vdr_data::value::ValueRef;
use vdr_rdb::{FileSummary, KeyspaceBuilder, Loader, Server};

fn build(magic: &str, body: &[u8]) -> (Keyspace, FileSummary) {
    let (mut loader, mut builder) = (Loader::new(), KeyspaceBuilder::new());
    loader.feed(&file(magic, body), &mut builder).unwrap();
    loader.finish().unwrap();
    let seen = builder.summary().clone();
    (builder.into_keyspace(), seen)
}

fn aux(name: &str, value: &[u8]) -> Vec<u8> {
    [vec![250], string(name.as_bytes()), value.to_vec()].concat()
}

fn text(keyspace: &Keyspace, db: u32, key: &str) -> Option<Vec<u8>> {
    match keyspace.db(db).get(key.as_bytes())?.value() {
        ValueRef::String(blob) => Some(blob.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_database_selected_twice_keeps_the_keys_of_both_times() {
    let body = [
        record(0, "a", b"\x011"),
        vec![254, 7],
        record(0, "b", b"\x012"),
        vec![254, 0],
        record(0, "c", b"\x013"),
        vec![254, 9],
    ];
    let (keyspace, seen) = build("REDIS0011", &body.concat());
    assert_eq!(keyspace.dbs().map(|(index, db)| (index, db.len())).collect::<Vec<_>>(), [(0, 2), (7, 1)]);
    assert_eq!(text(&keyspace, 0, "a"), Some(b"1".to_vec()));
    assert_eq!(text(&keyspace, 7, "b"), Some(b"2".to_vec()));
    assert_eq!(text(&keyspace, 0, "c"), Some(b"3".to_vec()));
    assert_eq!(seen.keys, 3);
}

#[test]
fn keys_stand_in_byte_order() {
    let body: Vec<u8> = ["m", "b", "z", "", "a"].iter().flat_map(|key| record(0, key, b"\x01v")).collect();
    let (keyspace, _) = build("REDIS0011", &body);
    let keys: Vec<_> = keyspace.db(0).keys(0, 10).map(|(key, ())| key.to_vec()).collect();
    assert_eq!(keys, [&b""[..], b"a", b"b", b"m", b"z"]);
}

#[test]
fn a_key_that_comes_twice_is_counted_and_the_later_one_stays() {
    let body = [record(0, "k", b"\x011"), record(0, "k", b"\x012")].concat();
    let (keyspace, seen) = build("REDIS0011", &body);
    assert_eq!(text(&keyspace, 0, "k"), Some(b"2".to_vec()));
    assert_eq!((keyspace.db(0).len(), seen.duplicate_keys), (1, 1));
}

#[test]
fn a_key_past_its_time_is_kept() {
    let body = [vec![252], 1i64.to_le_bytes().to_vec(), record(0, "old", b"\x01v")].concat();
    let (keyspace, _) = build("REDIS0011", &body);
    assert_eq!(keyspace.db(0).get(b"old").unwrap().expiry(), Expiry::at(1));
    assert!(keyspace.view(0, 2).entry(b"old").is_none());
}

#[test]
fn the_header_names_the_server_and_the_database_of_the_stream() {
    let body = [aux("valkey-ver", b"\x059.1.2"), aux("repl-stream-db", b"\xc0\x05"), aux("unknown", b"\x01x")].concat();
    let (_, seen) = build("VALKEY080", &body);
    assert_eq!(seen.server, Some(Server { name: "valkey", version: "9.1.2".to_owned() }));
    assert_eq!(seen.repl_stream_db, Some(5));
    let (_, seen) = build("REDIS0011", &[aux("redis-ver", b"\x057.0.0"), aux("repl-stream-db", b"\xc0\xff")].concat());
    assert_eq!(seen.server, Some(Server { name: "redis", version: "7.0.0".to_owned() }));
    assert_eq!(seen.repl_stream_db, None, "-1 says that a SELECT will come");
}

#[test]
fn streams_and_modules_are_there_and_counted() {
    let body = [record(15, "s", b"\0\0\0\0\0"), record(7, "m", b"\x01\0"), record(7, "n", b"\x01\0")].concat();
    let (keyspace, seen) = build("REDIS0011", &body);
    assert!(matches!(keyspace.db(0).get(b"s").unwrap().value(), ValueRef::Stream(_)));
    assert!(matches!(keyspace.db(0).get(b"m").unwrap().value(), ValueRef::Other));
    assert_eq!((seen.keys, seen.streams, seen.modules), (3, 1, 2));
}

#[test]
fn a_sorted_set_remembers_whether_it_was_packed() {
    let negative_zero = (-0.0f64).to_le_bytes();
    let body = [
        record(5, "plain", &[&b"\x01\x01m"[..], &negative_zero].concat()),
        record(17, "packed", &string(&listpack(&["m", "0"]))),
    ];
    let (keyspace, _) = build("REDIS0011", &body.concat());
    let zset = |key: &[u8]| match keyspace.db(0).get(key).unwrap().value() {
        ValueRef::ZSet(zset) => zset.clone(),
        other => panic!("{other:?}"),
    };
    assert!(zset(b"plain").score(b"m").unwrap().get().is_sign_negative());
    let mut packed = zset(b"packed");
    packed.insert(b"n", vdr_data::value::Score::new(-0.0).unwrap());
    assert!(packed.score(b"n").unwrap().get().is_sign_positive());
}
