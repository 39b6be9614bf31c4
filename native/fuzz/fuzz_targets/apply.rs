//! Applies any commands to one keyspace: no panic, no aggregate without elements, and a snapshot
//! never changes.
//!
//! The input is lines of words. A first byte from 128 on picks a row of the command table, so that
//! the fuzzer need not guess names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use vdr_replica::stream::Applier;
use vdr_data::digest::{Dialect, digest};
use vdr_data::keyspace::Keyspace;
use vdr_data::value::ValueRef;

const NAMES: usize = 128;
/// Larger offsets make larger strings, as they do on a server. That is known, and not what this
/// target looks for.
const NUMBER_MAX: u64 = 100_000;

static TABLE: LazyLock<Vec<&[u8]>> = LazyLock::new(|| vdr_commands::writes().map(|row| row.name.as_bytes()).collect());

fn words(line: &[u8]) -> Vec<&[u8]> {
    let mut words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    if let Some((first, rest)) = line.split_first()
        && usize::from(*first) >= NAMES
    {
        let row = TABLE[(usize::from(*first) - NAMES) % TABLE.len()];
        words = std::iter::once(row).chain(rest.split(|byte| *byte == b' ')).collect();
    }
    words
}

fn grows_by_number(words: &[&[u8]]) -> bool {
    let large = |word: &&[u8]| {
        let digits: String = word.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
        digits.len() > 5 && !digits.parse::<u64>().is_ok_and(|number| number <= NUMBER_MAX)
    };
    ["setrange", "setbit", "bitfield"].iter().any(|name| words[0].eq_ignore_ascii_case(name.as_bytes()))
        && words.iter().any(large)
}

fn summary(keyspace: &Keyspace) -> String {
    format!("{:?}", digest(keyspace, Dialect::of("redis", "8.0"), 0).map(|digest| digest.to_string()))
}

fn check(keyspace: &Keyspace) {
    for (_, db) in keyspace.dbs() {
        for entry in db.iter() {
            assert_eq!(db.get(entry.key()).map(|found| found.value().len()), Some(entry.value().len()));
            assert!(
                !matches!(entry.value(), ValueRef::List(_) | ValueRef::Set(_) | ValueRef::Hash(_) | ValueRef::ZSet(_))
                    || entry.value().len() > 0
            );
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut applier = Applier::new(Keyspace::default(), 0, 0, Some(b"g".to_vec()));
    let mut kept: Option<(Keyspace, String)> = None;
    for (count, line) in input.split(|byte| *byte == b'\n').enumerate().take(200) {
        let words = words(line);
        if grows_by_number(&words) {
            continue;
        }
        let before = applier.offset();
        // A contradiction is a valid result, but the keyspace must stay sound after it.
        let _ = applier.command(&words, 10, 1_000_000);
        assert_eq!(applier.offset(), before + 10);
        if count % 20 == 10 {
            kept = applier.visible().map(|(keyspace, _)| (keyspace.clone(), summary(keyspace)));
        }
    }
    if let Some((keyspace, summary_then)) = &kept {
        assert_eq!(&summary(keyspace), summary_then);
    }
    applier.rewind();
    if let Some((keyspace, _)) = applier.visible() {
        check(keyspace);
    }
});
