//! Whatever is wrong inside of a value: a mirror that takes the file names the key and the byte,
//! and goes on serving what it served, with nothing of the file in it.

use crate::writer::*;
use bytes::BytesMut;
use std::sync::atomic::Ordering;
use vdr_rdb::Progress;
use vdr_replica::mirror::{Fault, Mirror, Shared};

const MAGIC: &str = "REDIS0013";

fn strings(parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| string(part.as_bytes())).collect()
}

/// As bytes that are put in the place of others.
fn with(mut blob: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    blob[at..at + bytes.len()].copy_from_slice(bytes);
    blob
}

/// What is wrong, the type, its value, and what the error says of it.
fn broken_values() -> Vec<(&'static str, u8, Vec<u8>, &'static str)> {
    // Entries begin behind six bytes of a listpack, ten of a ziplist.
    let (lp, zl) = (|at, bytes: &[u8]| with(listpack(&["abcd", "b"]), at, bytes), ziplist(&["abcd", "b"]));
    let runs_over = "entry runs over the end of its listpack, ziplist or zipmap";
    let twice = "duplicate member or field";
    let pairs = |pairs: &[&str]| [vec![pairs.len() as u8 / 2], strings(pairs)].concat();
    let score = |member: &str, score: f64| [string(member.as_bytes()), score.to_le_bytes().to_vec()].concat();
    let node = |blob: &[u8]| [vec![1, 2], string(blob)].concat();
    vec![
        ("a listpack's entry runs over its end", 20, string(&lp(6, b"\xbf")), runs_over),
        (
            "a listpack's length is that of another",
            16,
            string(&lp(0, b"\xff")),
            "listpack header does not fit its string",
        ),
        ("a listpack counts more than it has", 18, node(&lp(4, b"\x07")), "fewer entries than a header announces"),
        ("a listpack has an entry of no form", 17, string(&lp(6, b"\xf7")), "unknown listpack encoding"),
        ("a listpack's entry has a negative length", 20, string(&lp(6, b"\xf0\xff\xff\xff\xff")), runs_over),
        ("a ziplist's entries overlap", 10, string(&with(zl.clone(), 11, b"\x05")), runs_over),
        ("a ziplist's entry begins inside of another", 13, string(&with(zl.clone(), 11, b"\x03")), ""),
        (
            "a ziplist's entry has a negative length",
            10,
            string(&with(zl.clone(), 11, b"\x80\xff\xff\xff\xff")),
            runs_over,
        ),
        ("a ziplist's tail is behind its end", 14, [vec![1], string(&with(zl, 4, b"\xff"))].concat(), "ziplist header"),
        ("an intset has a negative count", 11, string(&with(intset(&[1, 2]), 4, b"\xff\xff\xff\xff")), "intset header"),
        ("a string has a negative length", 0, length(u64::MAX), "string of 18446744073709551615 bytes, the limit is"),
        (
            "an LZF string has a negative length",
            0,
            [vec![0xc3, 1], length(u64::MAX)].concat(),
            "string of 1844674407370955161",
        ),
        (
            "an LZF string is a bomb",
            0,
            [vec![0xc3, 4], length(400 << 20), vec![0; 4]].concat(),
            "LZF string announces more",
        ),
        (
            "an LZF copy is from before the start",
            0,
            b"\xc3\x03\x08\xe0\xff\x00".to_vec(),
            "LZF copy from before the start",
        ),
        ("an LZF string is longer than announced", 11, b"\xc3\x05\x02\x03abcd".to_vec(), "LZF output is longer"),
        ("a set has a member twice", 2, [vec![3], strings(&["a", "b", "a"])].concat(), twice),
        ("a listpack of a set has a member twice", 20, string(&listpack(&["a", "b", "a"])), twice),
        (
            "an intset has a member twice",
            11,
            string(&intset(&[1, 1])),
            "intset out of order, or with a duplicate member",
        ),
        ("an intset is not sorted", 11, string(&intset(&[2, 1])), "intset out of order, or with a duplicate member"),
        ("a hash has a field twice", 4, pairs(&["f", "v", "f", "w"]), twice),
        ("a sorted set has a member twice", 5, [vec![2], score("m", 1.0), score("m", 2.0)].concat(), twice),
        (
            "a listpack of a sorted set is not sorted",
            17,
            string(&listpack(&["a", "2", "b", "1"])),
            "sorted set out of order",
        ),
        (
            "a ziplist of a sorted set is not sorted",
            12,
            string(&ziplist(&["b", "1", "a", "1"])),
            "sorted set out of order",
        ),
        ("a score is no number", 5, [vec![1], score("m", f64::NAN)].concat(), "score is NaN"),
        ("a field has no value", 16, string(&listpack(&["f"])), "a member or field without its other half"),
    ]
}

/// A full sync, in pieces.
fn sync(mirror: &mut Mirror, bytes: &[u8], piece: usize) -> Result<(), Fault> {
    mirror.sync_started("another id", 1000);
    for bytes in bytes.chunks(piece) {
        if let Progress::Done { .. } = mirror.rdb(bytes)? {
            break;
        }
    }
    mirror.sync_finished(0)
}

fn serving(key: &str, value: &str) -> (Mirror, Shared) {
    let shared = Shared::default();
    let mut mirror = Mirror::new(shared.clone(), None, Box::new(drop));
    sync(&mut mirror, &file(MAGIC, &record(0, key, &string(value.as_bytes()))), usize::MAX).unwrap();
    (mirror, shared)
}

fn get(shared: &Shared, key: &str) -> Option<Vec<u8>> {
    let snapshot = shared.live.snapshot()?;
    let value = snapshot.view(0, 0).string(key.as_bytes()).unwrap()?;
    Some(value.to_vec())
}

#[test]
fn a_broken_value_is_told_with_its_key_and_byte_and_nothing_of_its_file_is_seen() {
    let before = record(0, "before", b"\x01v");
    for (what, type_byte, value, says) in broken_values() {
        let body = [before.clone(), record(type_byte, "broken", &value), record(0, "behind", b"\x01v")].concat();
        let bytes = file(MAGIC, &body);
        let (start, end) = (MAGIC.len() + before.len(), bytes.len());
        for piece in [usize::MAX, 1, 7] {
            let (mut mirror, shared) = serving("served", "old");
            let fault = sync(&mut mirror, &bytes, piece).expect_err(what);
            let detail = fault.detail.strip_suffix(" in key \"broken\"").unwrap_or_else(|| panic!("{what}: {fault:?}"));
            let (reason, at) = detail.rsplit_once(" at byte ").unwrap();
            assert!(reason.starts_with(says), "{what}: {fault:?}");
            assert!((start..end).contains(&at.parse().unwrap()), "{what}: {fault:?}, {start}..{end}");
            assert!(["rdb_corrupt", "rdb_too_large", "string_too_long"].contains(&fault.code), "{what}: {fault:?}");

            assert_eq!(get(&shared, "served").as_deref(), Some(&b"old"[..]), "{what}");
            assert_eq!((get(&shared, "before"), shared.status.full_syncs.load(Ordering::Relaxed)), (None, 1), "{what}");
            // The link is over: what was served goes on, and the next full sync takes its place.
            mirror.ended();
            mirror.stream(&mut BytesMut::from(&b"*3\r\n$6\r\nAPPEND\r\n$6\r\nserved\r\n$1\r\n!\r\n"[..]), 0).unwrap();
            assert_eq!(get(&shared, "served").as_deref(), Some(&b"old!"[..]), "{what}");
            sync(&mut mirror, &file(MAGIC, &before), piece).unwrap();
            assert_eq!((get(&shared, "served"), get(&shared, "before").is_some()), (None, true), "{what}");
        }
    }
}

/// A count of elements that no file holds is not believed: the file ends before it is reached.
#[test]
fn a_negative_count_of_elements_ends_with_the_file() {
    for type_byte in [1, 2, 4, 5, 14, 18] {
        let (mut mirror, shared) = serving("served", "old");
        let bytes = [MAGIC.as_bytes(), &record(type_byte, "broken", &length(u64::MAX))].concat();
        let fault = sync(&mut mirror, &bytes, 1).unwrap_err();
        let detail = format!("the input ends inside the file at byte {} in key \"broken\"", bytes.len());
        assert_eq!((fault.code, fault.detail), ("rdb_truncated", detail), "type {type_byte}");
        assert_eq!(get(&shared, "served").as_deref(), Some(&b"old"[..]));
    }
}
