//! Hostile and broken files: chunks of any size give the same result, a truncated file or a wrong
//! bit is an error, and no input panics or takes memory out of proportion.

use crate::files::{files, own_files, shared_folder};
use crate::support::{Recorder, load, load_whole};
use crate::writer::*;
use proptest::prelude::*;
use vdr_rdb::{KeyspaceBuilder, Loader, Progress, decode_dump};

/// The largest file that is cut at every byte. Larger ones would take minutes.
const SMALL_BYTES: usize = 3000;

/// A wrong bit in these bytes may turn the version into one without a checksum.
const MAGIC_BYTES: usize = 9;

/// Every available file: our own, a hand-made one of every type, and the shared ones where they
/// exist.
fn all_files() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = own_files().into_iter().map(|(name, bytes, _)| (name, bytes)).collect();
    all.extend([
        ("every type, Redis".to_owned(), every_type()),
        ("every type, Valkey".to_owned(), every_valkey_type()),
    ]);
    if let Some(root) = shared_folder() {
        for folder in ["redis", "redis-rdb-tools", "generated"] {
            all.extend(files(&root.join(folder)));
        }
    }
    all.retain_mut(|(_, bytes)| match load([&bytes[..]]) {
        Ok((_, taken)) => {
            bytes.truncate(taken);
            true
        }
        Err(_) => false,
    });
    assert!(all.len() > 7);
    all
}

fn small_files() -> Vec<(String, Vec<u8>)> {
    all_files().into_iter().filter(|(_, bytes)| bytes.len() <= SMALL_BYTES).collect()
}

fn strings(parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| string(part.as_bytes())).collect()
}

fn common_types() -> Vec<u8> {
    let pairs = ["f", "1", "gggggggg", "2"];
    // One node with one entry `f v`; a group with that entry pending for its consumer.
    let node = listpack(&["1", "0", "1", "f", "0", "2", "0", "0", "v", "4"]);
    let id = [[0u8; 7].as_slice(), &[5], &[0; 8]].concat();
    let stream = [
        b"\x01\x10".to_vec(),
        id.clone(),
        string(&node),
        b"\x01\x05\x00\x05\x00\x04\x00\x02\x01\x01g\x05\x00\x01\x01".to_vec(),
        id.clone(),
        77i64.to_le_bytes().to_vec(),
        b"\x03\x01\x01c".to_vec(),
        78i64.to_le_bytes().to_vec(),
        b"\x01".to_vec(),
        id,
    ]
    .concat();
    [
        b"\xfa\x09redis-ver\x057.0.0\xfe\x00\xfb\x05\x01\xfc\x01\x02\x03\x04\x05\x06\x07\x00".to_vec(),
        record(0, "string", &lzf(&[b's'; 90])),
        record(1, "list", &[vec![2], strings(&["a", "b"])].concat()),
        record(2, "set", &[vec![2], strings(&["a", "b"])].concat()),
        record(3, "zset", b"\x02\x01a\x031.5\x01b\xfe"),
        record(4, "hash", &[vec![2], strings(&["a", "b", "c"]), lzf(b"lzf value")].concat()),
        record(5, "zset2", &[b"\x01\x01a".to_vec(), 2.5f64.to_le_bytes().to_vec()].concat()),
        record(7, "module", b"\x81abcdefgh\x05\x03str\x02\x40\x50\x00"),
        record(9, "zipmap", &string(&zipmap(&[("f", "v"), ("g", "w")]))),
        record(10, "list ziplist", &string(&ziplist(&["a", "b"]))),
        record(11, "intset", &lzf(&intset(&[1, 2, 3]))),
        record(12, "zset ziplist", &string(&ziplist(&pairs))),
        record(13, "hash ziplist", &string(&ziplist(&pairs))),
        record(14, "quicklist", &[vec![2], string(&ziplist(&["a"])), lzf(&ziplist(&["b"]))].concat()),
        record(16, "hash listpack", &string(&listpack(&pairs))),
        record(17, "zset listpack", &string(&listpack(&pairs))),
        record(18, "quicklist 2", &[vec![2, 1], string(b"plain"), vec![2], lzf(&listpack(&["b"]))].concat()),
        record(20, "set listpack", &string(&listpack(&pairs))),
        record(19, "stream", &stream),
    ]
    .concat()
}

fn every_type() -> Vec<u8> {
    let expiring = [&1000i64.to_le_bytes()[..], &[1, 5], &strings(&["f", "v"])].concat();
    let led = [&1000i64.to_le_bytes()[..], &string(&listpack(&["f", "v", "9"]))].concat();
    let own = [
        record(24, "expiring", &expiring),
        b"\xf3\x01clsA\x05\x03abc\x00\xf8\x05".to_vec(),
        record(25, "expiring listpack", &led),
        b"\xf4\x01\x02\x03\xf5\x05local".to_vec(),
    ];
    file("REDIS0013", &[common_types(), own.concat()].concat())
}

fn every_valkey_type() -> Vec<u8> {
    let expiring = [&[1][..], &strings(&["f", "v"]), &1000i64.to_le_bytes()].concat();
    let own = [b"\xf3\x03job\x01\x05\x09\xf9\x07".to_vec(), record(22, "expiring", &expiring)];
    file("VALKEY080", &[common_types(), own.concat()].concat())
}

#[test]
fn every_cut_in_two_gives_the_same_result() {
    for (name, bytes) in small_files() {
        let whole = load_whole(&bytes).unwrap();
        for cut in 0..=bytes.len() {
            let (recorded, taken) =
                load([&bytes[..cut], &bytes[cut..]]).unwrap_or_else(|e| panic!("{name} at {cut}: {e}"));
            assert_eq!((recorded == whole, taken), (true, bytes.len()), "{name} cut at {cut}");
        }
    }
}

#[test]
fn pieces_of_any_size_give_the_same_result() {
    for (name, bytes) in all_files() {
        let whole = load_whole(&bytes).unwrap();
        for size in [1, 2, 3, 7, 64, 1000, 16384] {
            let (recorded, taken) = load(bytes.chunks(size)).unwrap_or_else(|e| panic!("{name} by {size}: {e}"));
            assert_eq!((recorded == whole, taken), (true, bytes.len()), "{name} in pieces of {size}");
        }
    }
}

#[test]
fn every_file_that_ends_too_early_is_an_error() {
    for (name, bytes) in small_files() {
        for end in 0..bytes.len() {
            assert_eq!(code(load([&bytes[..end]])), "rdb_truncated", "{name} up to {end}");
        }
    }
}

/// Whether the checksum at the end guards the file: version 5 and later, and not zero.
fn is_guarded(bytes: &[u8]) -> bool {
    let guarded = !(1..5).any(|version| bytes.starts_with(format!("REDIS000{version}").as_bytes()));
    guarded && !bytes.ends_with(&[0; 8])
}

#[test]
fn every_wrong_bit_of_a_file_with_a_checksum_is_an_error() {
    let guarded: Vec<_> = small_files().into_iter().filter(|(_, bytes)| is_guarded(bytes)).collect();
    assert!(guarded.len() >= 7);
    for (name, mut bytes) in guarded {
        for (at, bit) in (MAGIC_BYTES..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            bytes[at] ^= 1 << bit;
            assert!(load([&bytes[..]]).is_err(), "{name}: bit {bit} of byte {at}");
            bytes[at] ^= 1 << bit;
        }
    }
}

/// Without a checksum a wrong byte may go unnoticed, but it must do nothing worse.
#[test]
fn every_wrong_byte_of_a_file_without_a_checksum_is_survived() {
    for mut bytes in [every_type(), every_valkey_type()] {
        let trailer = bytes.len() - 8;
        bytes[trailer..].fill(0);
        for at in 0..trailer {
            let right = bytes[at];
            let flips = (0..8).map(|bit| right ^ 1 << bit);
            for wrong in flips.chain([0, 0xff, 0x80, 0x81, 0xc3, 0xf0, right.wrapping_add(1), right.wrapping_sub(1)]) {
                bytes[at] = wrong;
                let mut builder = KeyspaceBuilder::new();
                let mut loader = Loader::new();
                if loader.feed(&bytes, &mut builder).is_ok() {
                    builder.into_keyspace();
                }
            }
            bytes[at] = right;
        }
    }
}

#[test]
fn a_loader_and_a_builder_may_move_to_another_thread() {
    let (mut loader, mut builder) = (Loader::new(), KeyspaceBuilder::new());
    let keys = std::thread::spawn(move || {
        loader.feed(&every_type(), &mut builder).unwrap();
        builder.summary().keys
    });
    assert_eq!(keys.join().unwrap(), 20);
}

#[test]
fn an_error_stays_the_answer() {
    let (mut loader, mut recorded) = (Loader::new(), Recorder::default());
    let first = loader.feed(b"not a snapshot file", &mut recorded);
    assert_eq!(code(first.clone()), "rdb_bad_magic");
    assert_eq!(loader.feed(&every_type(), &mut recorded), first);
    assert_eq!(loader.finish().unwrap_err(), first.unwrap_err());
}

/// Reserving memory for these lengths would panic or abort.
#[test]
fn announced_lengths_are_not_believed() {
    let huge = length(u64::MAX);
    for (type_byte, value) in [(1, huge.clone()), (2, huge.clone()), (4, huge.clone()), (5, huge.clone()), (18, huge)] {
        let body = [b"REDIS0013".to_vec(), record(type_byte, "k", &value)].concat();
        let (mut loader, mut builder) = (Loader::new(), KeyspaceBuilder::new());
        assert_eq!(loader.feed(&body, &mut builder), Ok(Progress::More));
        assert_eq!(code(loader.finish()), "rdb_truncated");
    }
    let string = [b"REDIS0013\x00\x01k".to_vec(), length(500 << 20), vec![0; 10]].concat();
    assert_eq!(Loader::new().feed(&string, &mut KeyspaceBuilder::new()), Ok(Progress::More));
    let too_long = [b"REDIS0013\x00\x01k".to_vec(), length(1 << 40)].concat();
    assert_eq!(code(Loader::new().feed(&too_long, &mut KeyspaceBuilder::new())), "rdb_too_large");
    let long = [b"REDIS0013\x00\x01k".to_vec(), length(700 << 20), vec![0; 10]].concat();
    assert_eq!(code(Loader::new().feed(&long, &mut KeyspaceBuilder::new())), "string_too_long");
    let mut raised = Loader::new().with_string_bytes_max(1 << 30);
    assert_eq!(raised.feed(&long, &mut KeyspaceBuilder::new()), Ok(Progress::More));
}

/// A file that compresses 88 times, with elements of two bytes that take more than twenty in
/// memory.
#[test]
fn a_file_that_unpacks_to_far_more_than_came_is_refused() {
    let whole = listpack(&vec![""; 50_000]);
    // The head and the first element, then copies of that element, then the remaining bytes and the
    // end.
    let (copies, rest) = ((whole.len() - 9) / 264, (whole.len() - 9) % 264);
    let packed = [&[7][..], &whole[..8], &[0xe0, 255, 1].repeat(copies)].concat();
    let tail: Vec<u8> =
        whole[whole.len() - rest - 1..].chunks(32).flat_map(|c| [&[c.len() as u8 - 1], c].concat()).collect();
    let head = [vec![2, 0xc3], length((packed.len() + tail.len()) as u64), length(whole.len() as u64)].concat();
    let node = [head, packed, tail].concat();
    let nodes = node.repeat(20);
    let bytes = file("REDIS0011", &record(18, "bomb", &[vec![20], nodes].concat()));
    let amplification = 20 * 50_000 * 24 / bytes.len();
    assert!(amplification > 256, "{amplification}");
    let mut loader = Loader::with_free_bytes(1 << 20);
    let error = bytes.chunks(500).find_map(|piece| loader.feed(piece, &mut KeyspaceBuilder::new()).err()).unwrap();
    assert_eq!((error.code(), error.key.as_deref()), ("rdb_too_large", Some(&b"bomb"[..])));
    assert_eq!(load_whole(&bytes).unwrap().keys[0].elements.len(), 1_000_000);
}

/// A string in very many chunks is retried a few times, not once for each chunk: 4 MiB byte by byte
/// would otherwise move terabytes.
#[test]
fn a_long_string_in_small_pieces_takes_linear_time() {
    let long = vec![b'v'; 4 << 20];
    let bytes = file("REDIS0011", &record(4, "k", &[vec![1], string(b"f"), lzf(&long)].concat()));
    let started = std::time::Instant::now();
    let (recorded, _) = load(bytes.chunks(1)).unwrap();
    assert_eq!(recorded.keys.len(), 1);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_behind_a_magic_never_panic(
        body in proptest::collection::vec(any::<u8>(), 0..400),
        valkey: bool,
        size in 1usize..50,
    ) {
        let magic: &[u8] = if valkey { b"VALKEY080" } else { b"REDIS0013" };
        let bytes = [magic, &body].concat();
        let (mut loader, mut builder) = (Loader::new(), KeyspaceBuilder::new());
        for piece in bytes.chunks(size) {
            if loader.feed(piece, &mut builder).is_err() {
                break;
            }
        }
        builder.into_keyspace();
    }

    #[test]
    fn random_values_of_every_type_never_panic(
        type_byte in 0u8..34,
        value in proptest::collection::vec(any::<u8>(), 0..200),
        version in prop_oneof![Just(11u16), Just(13), Just(80)],
    ) {
        let mut body = vec![type_byte];
        body.extend(&value);
        let _ = decode_dump(&payload(version, &body), &mut Recorder::default());
        let mut blob = vec![type_byte];
        blob.extend(string(&value));
        let _ = decode_dump(&payload(version, &blob), &mut Recorder::default());
    }

    #[test]
    fn random_changes_of_a_file_and_any_cut_agree_with_the_whole(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        size in 1usize..80,
    ) {
        let mut bytes = every_type();
        let trailer = bytes.len() - 8;
        bytes[trailer..].fill(0);
        for (at, byte) in changes {
            bytes[at.index(trailer)] = byte;
        }
        let (whole, cut) = (load([&bytes[..]]), load(bytes.chunks(size)));
        match (whole, cut) {
            (Ok(whole), Ok(cut)) => prop_assert_eq!(whole, cut),
            (Err(whole), Err(cut)) => prop_assert_eq!(whole.code(), cut.code()),
            (whole, cut) => prop_assert!(false, "{:?} and {:?}", whole.is_ok(), cut.is_ok()),
        }
    }
}
