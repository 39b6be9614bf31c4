//! Files of real servers with known contents.

use crate::files::{files, own_files, shared_folder};
use crate::support::{Key, OwnedElement, Recorder, load, load_whole};
use std::path::Path;
use vdr_data::value::Kind;
use vdr_rdb::{KeyspaceBuilder, Loader, Progress, decode_dump};

/// The folder, the file, and either the keys by kind and database or the code of the error.
///
/// A row has the form `db kind=count ...`; databases are separated by `;`.
const SHARED: &[(&str, &str, Result<&str, &str>)] = &[
    ("redis", "corrupt_empty_keys", Ok("")),
    ("redis", "corrupt_ziplist", Err("rdb_corrupt")),
    ("redis", "encodings", Ok("0 hash=2 list=2 set=4 string=3 zset=2")),
    ("redis", "hash-ziplist", Ok("0 hash=1")),
    ("redis", "hash-zipmap", Ok("0 hash=1")),
    ("redis", "list-quicklist", Ok("0 list=1 string=1")),
    ("redis", "scriptbackup", Ok("")),
    ("redis", "zset-ziplist", Ok("0 zset=1")),
    ("valkey", "corrupt_empty_keys", Ok("")),
    ("valkey", "corrupt_ziplist", Err("rdb_corrupt")),
    ("valkey", "encodings-rdb12", Ok("0 string=1")),
    ("valkey", "encodings-rdb75-unknown-types", Err("rdb_unknown_type")),
    ("valkey", "encodings-rdb987-unknown-types", Err("rdb_unknown_type")),
    ("valkey", "encodings-rdb987", Ok("0 hash=2 list=2 set=4 string=3 zset=2")),
    ("valkey", "encodings", Ok("0 hash=2 list=2 set=4 string=3 zset=2")),
    ("valkey", "hash-ziplist", Ok("0 hash=1")),
    ("valkey", "hash-zipmap", Ok("0 hash=1")),
    ("valkey", "list-quicklist", Ok("0 list=1 string=1")),
    ("valkey", "scriptbackup", Ok("")),
    ("valkey", "zset-ziplist", Ok("0 zset=1")),
    ("redis-rdb-tools", "dictionary", Ok("0 hash=1")),
    ("redis-rdb-tools", "easily_compressible_string_key", Ok("0 string=1")),
    ("redis-rdb-tools", "empty_database", Ok("")),
    ("redis-rdb-tools", "hash_as_ziplist", Ok("0 hash=1")),
    ("redis-rdb-tools", "integer_keys", Ok("0 string=6")),
    ("redis-rdb-tools", "intset_16", Ok("0 set=1")),
    ("redis-rdb-tools", "intset_32", Ok("0 set=1")),
    ("redis-rdb-tools", "intset_64", Ok("0 set=1")),
    ("redis-rdb-tools", "keys_with_expiry", Ok("0 string=1")),
    ("redis-rdb-tools", "linkedlist", Ok("0 list=1")),
    ("redis-rdb-tools", "multiple_databases", Ok("0 string=1; 2 string=1")),
    ("redis-rdb-tools", "non_ascii_values", Ok("0 string=6")),
    ("redis-rdb-tools", "parser_filters", Ok("0 hash=3 list=12 set=6 string=18 zset=4")),
    ("redis-rdb-tools", "rdb_version_5_with_checksum", Ok("0 string=6")),
    ("redis-rdb-tools", "rdb_version_8_with_64b_length_and_scores", Ok("0 string=1 zset=1")),
    ("redis-rdb-tools", "redis_40_with_module", Ok("0 other=1 string=1")),
    ("redis-rdb-tools", "redis_50_with_streams", Ok("0 hash=2 list=2 set=4 stream=1 string=3 zset=2")),
    ("redis-rdb-tools", "redis_60_with_module_aux", Ok("")),
    ("redis-rdb-tools", "regular_set", Ok("0 set=1")),
    ("redis-rdb-tools", "regular_sorted_set", Ok("0 zset=1")),
    ("redis-rdb-tools", "sorted_set_as_ziplist", Ok("0 zset=1")),
    ("redis-rdb-tools", "uncompressible_string_keys", Ok("0 string=3")),
    ("redis-rdb-tools", "ziplist_that_compresses_easily", Ok("0 list=1")),
    ("redis-rdb-tools", "ziplist_that_doesnt_compress", Ok("0 list=1")),
    ("redis-rdb-tools", "ziplist_with_integers", Ok("0 list=1")),
    ("redis-rdb-tools", "zipmap_that_compresses_easily", Ok("0 hash=1")),
    ("redis-rdb-tools", "zipmap_that_doesnt_compress", Ok("0 hash=1")),
    ("redis-rdb-tools", "zipmap_with_big_values", Ok("0 hash=1")),
    ("generated", "redis-7.0.15-alltypes", Ok(ALL_TYPES)),
    ("generated", "redis-7.2.6-alltypes", Ok(ALL_TYPES)),
    ("generated", "redis-7.4.1-alltypes", Ok(ALL_TYPES)),
    ("generated", "redis-7.4.1-cluster-mode", Ok("0 string=7")),
    ("generated", "redis-8.0.6-alltypes", Ok(ALL_TYPES)),
    ("generated", "redis-8.0.6-vectorset", Ok(ALL_TYPES_AND_A_MODULE)),
    ("generated", "redis-8.6.3-alltypes", Ok(ALL_TYPES_AND_A_STREAM)),
    ("generated", "redis-8.6.3-cluster-mode", Ok("0 string=7")),
    ("generated", "redis-8.6.3-empty", Ok("")),
    ("generated", "redis-8.6.3-nocompress-nochecksum", Ok("0 string=1")),
    ("generated", "redis-8.6.3-vectorset", Ok(ALL_TYPES_A_STREAM_AND_A_MODULE)),
    ("generated", "valkey-8.0.1-alltypes", Ok(ALL_TYPES)),
    ("generated", "valkey-8.0.1-cluster-mode", Ok("0 string=7")),
    ("generated", "valkey-8.1.1-alltypes", Ok(ALL_TYPES)),
    ("generated", "valkey-9.1.2-alltypes", Ok(ALL_TYPES)),
    ("generated", "valkey-9.1.2-cluster-mode", Ok("0 string=7")),
    ("generated", "valkey-9.1.2-cluster-slot-import", Ok("0 string=3")),
    ("generated", "valkey-9.1.2-empty", Ok("")),
    ("generated", "valkey-9.1.2-lfu", Ok("0 string=2")),
    ("generated", "valkey-9.1.2-rdb11-fallback", Ok(ALL_TYPES_BUT_FIELD_EXPIRIES)),
];

const ALL_TYPES: &str = "0 hash=6 list=4 set=5 stream=2 string=15 zset=3; 5 string=1";
const ALL_TYPES_AND_A_MODULE: &str = "0 hash=6 list=4 other=1 set=5 stream=2 string=15 zset=3; 5 string=1";
const ALL_TYPES_AND_A_STREAM: &str = "0 hash=6 list=4 set=5 stream=3 string=15 zset=3; 5 string=1";
const ALL_TYPES_A_STREAM_AND_A_MODULE: &str = "0 hash=6 list=4 other=1 set=5 stream=3 string=15 zset=3; 5 string=1";
const ALL_TYPES_BUT_FIELD_EXPIRIES: &str = "0 hash=4 list=4 set=5 stream=2 string=15 zset=3; 5 string=1";

/// This file was captured during a diskless sync, with its end mark.
const WITH_END_MARK: &str = "redis_40_with_module";
const END_MARK_BYTES: usize = 40;

fn row(recorded: &Recorder) -> String {
    let dbs = recorded.counts().into_iter().map(|(db, kinds)| {
        let kinds: String = kinds.into_iter().map(|(kind, count)| format!(" {kind}={count}")).collect();
        format!("{db}{kinds}")
    });
    dbs.collect::<Vec<_>>().join("; ")
}

#[test]
fn the_shared_files_have_their_known_contents() {
    let Some(root) = shared_folder() else { return };
    for (folder, name, expected) in SHARED {
        let bytes = std::fs::read(root.join(folder).join(format!("{name}.rdb"))).unwrap();
        let loaded = load([&bytes[..]]);
        let found = loaded.as_ref().map(|(recorded, _)| row(recorded)).map_err(|error| error.code());
        assert_eq!(found, expected.map(str::to_owned), "{folder}/{name}");
        if let Ok((_, taken)) = loaded {
            let mark = if *name == WITH_END_MARK { END_MARK_BYTES } else { 0 };
            assert_eq!(taken, bytes.len() - mark, "{folder}/{name}");
        }
    }
    let found = ["redis", "valkey", "redis-rdb-tools", "generated"].map(|folder| files(&root.join(folder)).len());
    assert_eq!(found.iter().sum::<usize>(), SHARED.len(), "a file without a row");
}

/// FNV-1a over the elements, as `bin/make-rdb-fixtures` computes it from the server's answers.
fn content(elements: &[OwnedElement]) -> u64 {
    let parts = elements.iter().flat_map(|recorded| match recorded {
        OwnedElement::String(bytes) | OwnedElement::Item(bytes) => vec![bytes.clone()],
        OwnedElement::Field(name, value, None) => vec![name.clone(), value.clone()],
        OwnedElement::Field(name, value, Some(at_ms)) => {
            vec![name.clone(), value.clone(), at_ms.to_string().into_bytes()]
        }
        OwnedElement::Member(member, score) => vec![member.clone(), score.to_le_bytes().to_vec()],
        OwnedElement::Entry(id, words) => [vec![id.clone().into_bytes()], words.clone()].concat(),
    });
    let bytes = parts.flat_map(|part| [&(part.len() as u32).to_le_bytes()[..], &part].concat());
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// A key as a line of a `.keys` file: all but lists in byte order.
fn line(key: &Key) -> String {
    let hex: String = key.key.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = if hex.is_empty() { "-" } else { &hex };
    let mut elements = key.elements.clone();
    // The server's answers in these files omit the contents of streams. The digest covers them.
    if key.kind == Kind::Stream {
        elements.clear();
    }
    if key.kind != Kind::List {
        elements.sort_by(|a, b| a.name().cmp(b.name()));
    }
    let (kind, count, at_ms) = (key.kind.name(), elements.len(), key.expiry.get().unwrap_or(-1));
    format!("{} {hex} {kind} {at_ms} {count} {:016x}", key.db, content(&elements))
}

#[test]
fn our_own_files_hold_what_their_server_answered() {
    let files = own_files();
    assert!(files.len() >= 5, "bin/make-rdb-fixtures makes five files of each server");
    for (name, bytes, answers) in files {
        let recorded = load_whole(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut found: Vec<String> = recorded.keys.iter().map(line).collect();
        let mut expected: Vec<&str> = answers.lines().filter(|line| !line.starts_with("digest")).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn our_own_files_become_keyspaces_with_the_same_keys() {
    for (name, bytes, answers) in own_files() {
        let (mut loader, mut builder) = (Loader::new(), KeyspaceBuilder::new());
        for piece in bytes.chunks(4096) {
            loader.feed(piece, &mut builder).unwrap();
        }
        loader.finish().unwrap();
        let (product, rest) = name.split_once('-').unwrap();
        let (version, _) = rest.split_once('-').unwrap();
        let server = builder.summary().server.clone().unwrap();
        assert_eq!((server.name, server.version.as_str()), (product, version));
        assert_eq!(builder.summary().duplicate_keys, 0);
        assert_eq!(builder.summary().repl_stream_db, None, "{name} is no full sync");
        let keyspace = builder.into_keyspace();
        let mut left = keyspace.dbs().map(|(_, db)| db.len()).sum::<usize>();
        for answer in answers.lines().skip(1) {
            let [db, key, kind, at_ms, count, _] = answer.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{answer}")
            };
            let entry = keyspace.db(db.parse().unwrap()).get(&unhex(key)).unwrap_or_else(|| panic!("{name}: {answer}"));
            assert_eq!(entry.value().kind().name(), kind);
            assert_eq!(entry.expiry().get().unwrap_or(-1).to_string(), at_ms);
            if kind != "stream" {
                assert_eq!(entry.value().len().to_string(), count);
            }
            left -= 1;
        }
        assert_eq!(left, 0, "{name} has more keys than its server had");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter(|&c| c != b'-').map(|c| (c as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The payload of DUMP and the file must agree about a key.
#[test]
fn what_a_server_dumps_of_a_key_is_what_its_file_says() {
    let mut compared = 0;
    for (name, bytes, _) in own_files() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rdb").join(format!("{name}.dumps"));
        let Ok(dumps) = std::fs::read_to_string(path) else { continue };
        let file = load_whole(&bytes).unwrap();
        for dump in dumps.lines() {
            let (key, payload) = dump.split_once(' ').unwrap();
            let mut recorded = Recorder::default();
            decode_dump(&unhex(payload), &mut recorded).unwrap_or_else(|error| panic!("{name} {key}: {error}"));
            let expected = file.keys.iter().find(|found| found.db == 0 && found.key == unhex(key)).unwrap();
            // Key and expiry are arguments of RESTORE. The order of a hash table may differ between
            // the two.
            let dumped = recorded.keys.pop().unwrap();
            let dumped = Key { key: expected.key.clone(), expiry: expected.expiry, ..dumped };
            assert_eq!(line(&dumped), line(expected), "{name}");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn what_follows_the_file_is_left_to_the_caller() {
    let (_, mut bytes, _) = own_files().remove(0);
    let len = bytes.len();
    bytes.extend([b'm'; 40]);
    let (mut loader, mut recorded) = (Loader::new(), Recorder::default());
    assert_eq!(loader.feed(&bytes, &mut recorded), Ok(Progress::Done { consumed: len }));
    assert_eq!(loader.feed(b"more", &mut recorded), Ok(Progress::Done { consumed: 0 }));
    assert_eq!(loader.offset_bytes(), len as u64);
}
