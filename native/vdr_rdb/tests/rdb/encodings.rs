//! Every type of value and every opcode, by hand-made bytes.

use crate::support::{OwnedElement, Recorder, load_whole};
use crate::writer::*;
use vdr_data::expiry::Expiry;
use vdr_data::value::{Kind, Value};
use vdr_rdb::{Element, Fault, KeyHeader, KeyspaceBuilder, Loader, Visit, Want, restore};

const REDIS: &str = "REDIS0013";
const VALKEY: &str = "VALKEY080";

fn items(items: &[&str]) -> Vec<OwnedElement> {
    items.iter().map(|item| OwnedElement::Item(item.as_bytes().to_vec())).collect()
}

fn fields(fields: &[(&str, &str)]) -> Vec<OwnedElement> {
    fields.iter().map(|(name, value)| field(name, value, None)).collect()
}

fn field(name: &str, value: &str, at_ms: Option<i64>) -> OwnedElement {
    OwnedElement::Field(name.as_bytes().to_vec(), value.as_bytes().to_vec(), at_ms)
}

fn members(members: &[(&str, f64)]) -> Vec<OwnedElement> {
    members.iter().map(|(member, score)| OwnedElement::Member(member.as_bytes().to_vec(), *score)).collect()
}

/// The only key of a file with one value.
fn read(magic: &str, type_byte: u8, value: &[u8]) -> (Kind, bool, Vec<OwnedElement>) {
    let mut loaded = load_whole(&file(magic, &record(type_byte, "k", value))).unwrap();
    let key = loaded.keys.pop().expect("a key");
    assert!(loaded.keys.is_empty() && key.whole);
    assert_eq!(key.key, b"k");
    (key.kind, key.packed, key.elements)
}

fn error_code(magic: &str, type_byte: u8, value: &[u8]) -> &'static str {
    code(load_whole(&file(magic, &record(type_byte, "k", value))))
}

fn strings(parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| string(part.as_bytes())).collect()
}

#[test]
fn a_string_is_bytes_a_number_or_lzf() {
    let string_of = |bytes: &[u8]| (Kind::String, false, vec![OwnedElement::String(bytes.to_vec())]);
    assert_eq!(read(REDIS, 0, b"\x02ab"), string_of(b"ab"));
    assert_eq!(read(REDIS, 0, b"\xc0\xfe"), string_of(b"-2"));
    assert_eq!(read(REDIS, 0, &lzf(&[b'q'; 500])), string_of(&[b'q'; 500]));
    assert_eq!(read(REDIS, 0, b"\x00"), string_of(b""));
}

#[test]
fn lists_come_in_four_layouts() {
    let expected = items(&["a", "b", "7"]);
    assert_eq!(read(REDIS, 1, &[vec![3], strings(&["a", "b"]), b"\xc0\x07".to_vec()].concat()).2, expected);
    assert_eq!(read(REDIS, 10, &string(&ziplist(&["a", "b", "7"]))).2, expected);
    let first = string(&ziplist(&["a"]));
    assert_eq!(read(REDIS, 14, &[vec![2], first, lzf(&ziplist(&["b", "7"]))].concat()).2, expected);
    let nodes = [vec![3, 1], string(b"a"), vec![2], lzf(&listpack(&["b"])), vec![1], b"\xc0\x07".to_vec()].concat();
    assert_eq!(read(VALKEY, 18, &nodes), (Kind::List, false, expected));
    assert_eq!(error_code(REDIS, 18, b"\x01\x03\x01a"), "rdb_corrupt");
}

#[test]
fn sets_come_in_three_layouts() {
    assert_eq!(read(REDIS, 2, &[vec![2], strings(&["x", "y"])].concat()).2, items(&["x", "y"]));
    assert_eq!(read(REDIS, 11, &string(&intset(&[-5, 900]))), (Kind::Set, true, items(&["-5", "900"])));
    assert_eq!(read(REDIS, 20, &lzf(&listpack(&["x", "5"]))), (Kind::Set, true, items(&["x", "5"])));
}

#[test]
fn sorted_sets_come_in_four_layouts() {
    let infinity = f64::INFINITY;
    let old = b"\x04\x01a\x031.5\x01b\xfe\x01c\xff\x01d\x051e+20";
    let expected = members(&[("a", 1.5), ("b", infinity), ("c", -infinity), ("d", 1e20)]);
    assert_eq!(read(REDIS, 3, old), (Kind::ZSet, false, expected));
    let binary = [b"\x01\x01a".to_vec(), (-0.0f64).to_le_bytes().to_vec()].concat();
    let (kind, packed, elements) = read(REDIS, 5, &binary);
    assert!(matches!(&elements[..], [OwnedElement::Member(_, score)] if score.is_sign_negative()));
    assert_eq!((kind, packed), (Kind::ZSet, false));
    let expected = members(&[("c", 0.25), ("a", 1.0), ("b", infinity)]);
    let flat = ["c", "0.25", "a", "1", "b", "inf"];
    assert_eq!(read(REDIS, 12, &string(&ziplist(&flat))), (Kind::ZSet, true, expected.clone()));
    assert_eq!(read(REDIS, 17, &string(&listpack(&flat))), (Kind::ZSet, true, expected));
}

#[test]
fn a_score_that_is_no_number_is_refused() {
    assert_eq!(error_code(REDIS, 3, b"\x01\x01a\xfd"), "rdb_corrupt");
    assert_eq!(error_code(REDIS, 3, b"\x01\x01a\x03nan"), "rdb_corrupt");
    assert_eq!(error_code(REDIS, 3, b"\x01\x01a\x01x"), "rdb_corrupt");
    assert_eq!(error_code(REDIS, 5, &[b"\x01\x01a".to_vec(), f64::NAN.to_le_bytes().to_vec()].concat()), "rdb_corrupt");
    assert_eq!(error_code(REDIS, 17, &string(&listpack(&["a", "nan"]))), "rdb_corrupt");
}

#[test]
fn hashes_come_in_four_layouts() {
    let expected = fields(&[("f", "v"), ("g", "5")]);
    assert_eq!(
        read(REDIS, 4, &[vec![2], strings(&["f", "v", "g", "5"])].concat()),
        (Kind::Hash, false, expected.clone())
    );
    assert_eq!(read(REDIS, 9, &lzf(&zipmap(&[("f", "v"), ("g", "5")]))), (Kind::Hash, true, expected.clone()));
    assert_eq!(read(REDIS, 13, &string(&ziplist(&["f", "v", "g", "5"]))), (Kind::Hash, true, expected.clone()));
    assert_eq!(read(REDIS, 16, &string(&listpack(&["f", "v", "g", "5"]))), (Kind::Hash, true, expected));
}

#[test]
fn fields_that_expire_are_written_in_five_ways() {
    let expected = vec![field("f", "v", Some(1100)), field("g", "w", None)];
    let until = |at_ms: i64| at_ms.to_le_bytes().to_vec();
    let valkey = [vec![2], strings(&["f", "v"]), until(1100), strings(&["g", "w"]), until(-1)].concat();
    assert_eq!(read(VALKEY, 22, &valkey).2, expected);
    let candidate = [vec![2], length(1100), strings(&["f", "v"]), length(0), strings(&["g", "w"])].concat();
    assert_eq!(read("REDIS0012", 22, &candidate).2, expected);
    let relative = [until(1000), vec![2], length(101), strings(&["f", "v"]), vec![0], strings(&["g", "w"])].concat();
    assert_eq!(read("REDIS0012", 24, &relative).2, expected);
    let packed = string(&listpack(&["f", "v", "1100", "g", "w", "0"]));
    assert_eq!(read("REDIS0012", 23, &packed).2, expected);
    assert_eq!(read("REDIS0012", 25, &[until(1000), packed].concat()).2, expected);
}

#[test]
fn a_field_expiry_out_of_range_is_refused() {
    let at = |ms: i64| ms.to_le_bytes().to_vec();
    assert_eq!(error_code(VALKEY, 22, &[vec![1], strings(&["f", "v"]), at(-2)].concat()), "rdb_corrupt");
    let far = [at(i64::MAX - 5), vec![1, 8], strings(&["f", "v"])].concat();
    assert_eq!(error_code(REDIS, 24, &far), "rdb_corrupt");
    let huge = [at(0), vec![1], length(u64::MAX), strings(&["f", "v"])].concat();
    assert_eq!(error_code(REDIS, 24, &huge), "rdb_corrupt");
    let text = string(&listpack(&["f", "v", "soon"]));
    assert_eq!(error_code(REDIS, 25, &[at(0), text].concat()), "rdb_corrupt");
}

#[test]
fn a_duplicate_in_a_compact_encoding_is_refused() {
    for (type_byte, blob) in [
        (20, listpack(&["a", "b", "a"])),
        (16, listpack(&["f", "v", "f", "w"])),
        (17, listpack(&["m", "1", "m", "2"])),
        (12, ziplist(&["m", "1", "m", "2"])),
        (9, zipmap(&[("f", "v"), ("f", "w")])),
        (11, intset(&[3, 3])),
    ] {
        assert_eq!(error_code(REDIS, type_byte, &string(&blob)), "rdb_corrupt", "type {type_byte}");
    }
    assert_eq!(read(REDIS, 16, &string(&listpack(&["f", "v", "v", "f"]))).2.len(), 2);
}

#[test]
fn a_duplicate_in_any_encoding_is_refused_by_who_keeps_the_elements() {
    let time = |at_ms: i64| at_ms.to_le_bytes().to_vec();
    let score = |score: f64| score.to_le_bytes().to_vec();
    for (magic, type_byte, value) in [
        (REDIS, 2, [vec![3], strings(&["a", "b", "a"])].concat()),
        (REDIS, 3, b"\x02\x01m\x011\x01m\x012".to_vec()),
        (REDIS, 4, [vec![2], strings(&["f", "v", "f", "w"])].concat()),
        (REDIS, 5, [vec![2], string(b"m"), score(1.0), string(b"m"), score(2.0)].concat()),
        ("REDIS0012", 24, [time(9), vec![2, 0], strings(&["f", "v"]), vec![0], strings(&["f", "w"])].concat()),
        (VALKEY, 22, [vec![2], strings(&["f", "v"]), time(-1), strings(&["f", "w"]), time(-1)].concat()),
        (REDIS, 20, string(&listpack(&["a", "b", "a"]))),
        (REDIS, 16, string(&listpack(&["f", "v", "g", "v", "f", "w"]))),
        (REDIS, 17, string(&listpack(&["m", "1", "m", "2"]))),
        (REDIS, 9, string(&zipmap(&[("f", "v"), ("f", "w")]))),
    ] {
        let error =
            Loader::new().feed(&file(magic, &record(type_byte, "k", &value)), &mut KeyspaceBuilder::new()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("duplicate member or field at byte ") && text.ends_with("in key \"k\""), "{text}");
    }
    let twice = [vec![2u8, 2], strings(&["a", "a"])].concat();
    let payload = [twice, vec![11, 0], vec![0; 8]].concat();
    assert_eq!(restore(&payload).unwrap_err().code(), "rdb_corrupt");
}

#[test]
fn a_sorted_set_out_of_order_in_a_compact_encoding_is_refused() {
    for flat in [["a", "2", "b", "1"], ["b", "1", "a", "1"], ["10", "1", "1", "1"], ["a", "inf", "b", "1e300"]] {
        assert_eq!(error_code(REDIS, 17, &string(&listpack(&flat))), "rdb_corrupt", "{flat:?}");
        assert_eq!(error_code(REDIS, 12, &string(&ziplist(&flat))), "rdb_corrupt", "{flat:?}");
    }
    let sound = ["z", "-inf", "1", "0", "10", "0", "9", "0", "a", "0", "aa", "0", "b", "-0", "a!", "1"];
    assert_eq!(read(REDIS, 17, &string(&listpack(&sound))).2.len(), 8);
}

#[test]
fn half_a_pair_is_refused() {
    for (type_byte, blob) in [
        (16, listpack(&["f", "v", "g"])),
        (17, listpack(&["m"])),
        (13, ziplist(&["f", "v", "g"])),
        (12, ziplist(&["m", "1", "n"])),
    ] {
        assert_eq!(error_code(REDIS, type_byte, &string(&blob)), "rdb_corrupt", "type {type_byte}");
    }
    assert_eq!(error_code(REDIS, 25, &[vec![0; 8], string(&listpack(&["f", "v"]))].concat()), "rdb_corrupt");
}

#[test]
fn an_aggregate_without_elements_is_not_reported() {
    let (lp, zl) = (string(&listpack(&[])), string(&ziplist(&[])));
    let led = |value: &[u8]| [&[0; 8][..], value].concat();
    let mut body = Vec::new();
    for type_byte in [1, 2, 3, 4, 5, 14, 18, 22] {
        body.extend(record(type_byte, "none", &[0]));
    }
    for type_byte in [16, 17, 20, 23] {
        body.extend(record(type_byte, "none", &lp));
    }
    for type_byte in [10, 12, 13] {
        body.extend(record(type_byte, "none", &zl));
    }
    body.extend(record(9, "none", &string(&zipmap(&[]))));
    body.extend(record(11, "none", &string(&intset(&[]))));
    body.extend(record(14, "none", &[vec![1], zl].concat()));
    body.extend(record(18, "none", &[vec![1, 2], lp.clone()].concat()));
    body.extend(record(24, "none", &led(&[0])));
    body.extend(record(25, "none", &led(&lp)));
    body.extend(record(0, "one", b"\x01v"));
    let loaded = load_whole(&file(REDIS, &body)).unwrap();
    assert_eq!(loaded.keys.len(), 1);
    assert_eq!(loaded.keys[0].key, b"one");
}

#[test]
fn an_empty_stream_is_a_key() {
    let empty = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    assert_eq!(read(REDIS, 15, &empty[..5]), (Kind::Stream, false, vec![]));
    assert_eq!(read(REDIS, 21, &empty[..10]), (Kind::Stream, false, vec![]));
    assert_eq!(read(REDIS, 26, &[&empty[..], &[0; 3]].concat()), (Kind::Stream, false, vec![]));
}

/// Redis 8.10 writes the names of many hashes once. A payload of RESTORE brings its names along.
#[test]
fn hashes_by_a_template_come_in_four_layouts() {
    let template = |id: u8, names: &[&str]| [vec![242, id, names.len() as u8], strings(names)].concat();
    let expected = fields(&[("age", "30"), ("name", "ann")]);
    let known = [template(7, &["x"]), template(9, &["age", "name"])].concat();
    let values = string(&listpack(&["9", "30", "ann"]));
    for (type_byte, value) in [(30, values.clone()), (32, [vec![9], strings(&["30", "ann"])].concat())] {
        let body = [known.clone(), record(type_byte, "a", &value), record(type_byte, "b", &value)].concat();
        let loaded = load_whole(&file("REDIS0015", &body)).unwrap();
        assert_eq!(loaded.keys.len(), 2, "{type_byte}");
        for key in loaded.keys {
            assert_eq!((key.kind, key.elements), (Kind::Hash, expected.clone()), "{type_byte}");
        }
        // The names belong to another template, or to none.
        for wrong in [vec![template(9, &["x"])], vec![template(8, &["age", "name"])], vec![]] {
            let body = [wrong.concat(), record(type_byte, "a", &value)].concat();
            // One by one, a value too many is the type of what follows.
            let code = code(load_whole(&file("REDIS0015", &body)));
            assert!(code == "rdb_corrupt" || type_byte == 32 && code == "rdb_truncated", "{type_byte}: {code}");
        }
    }
    let names = [vec![1, 2], strings(&["age", "name"])].concat();
    let packed_names = [vec![0], string(&listpack(&["age", "name"]))].concat();
    for (type_byte, values) in [(29, values), (31, strings(&["30", "ann"]))] {
        for names in [&names, &packed_names] {
            let value = [&names[..], &values].concat();
            assert_eq!(read("REDIS0015", type_byte, &value).2, expected, "{type_byte}");
            let Ok(Some(Value::Hash(hash))) = restore(&payload(15, &[vec![type_byte], value].concat())) else {
                panic!("a hash")
            };
            assert_eq!((hash.len(), &*hash.get(b"name").unwrap().value), (2, &b"ann"[..]));
        }
    }
    for broken in [template(9, &["name", "age"]), template(9, &["a", "a"]), template(9, &[]), known.repeat(2)] {
        assert_eq!(code(load_whole(&file("REDIS0015", &broken))), "rdb_corrupt");
    }
    assert_eq!(code(load_whole(&file(VALKEY, &known))), "rdb_unknown_type");
}

#[test]
fn arrays_and_limiters_are_stepped_over() {
    let array = [b"\x03\x01\x09\x00\x00\x02ab\x05\x01".to_vec(), vec![7; 8], vec![9, 2], vec![0; 8]].concat();
    let body = [record(28, "a", &array), record(33, "g", &length(1 << 40)), record(0, "s", b"\x01v")].concat();
    let loaded = load_whole(&file("REDIS0014", &body)).unwrap();
    let kinds: Vec<_> = loaded.keys.iter().map(|key| (key.kind, key.elements.len())).collect();
    assert_eq!(kinds, [(Kind::Other, 0), (Kind::Other, 0), (Kind::String, 1)]);
    assert_eq!(error_code("REDIS0014", 28, b"\x01\x00\x00\x04"), "rdb_corrupt");
}

#[test]
fn entries_that_nobody_owns_stand_behind_the_consumers() {
    let id = |ms: u64| [ms.to_be_bytes(), 0u64.to_be_bytes()].concat();
    let pending = |ms| [id(ms), vec![0; 8], vec![2]].concat();
    let head = [vec![0, 0], vec![9, 0], vec![9, 0, 0, 0], vec![9], vec![1], string(b"g"), vec![5, 0], vec![5]].concat();
    let group = |released: &[u64]| {
        let owned = [vec![1], string(b"c"), vec![0; 16], vec![1], id(4)].concat();
        let released = [vec![released.len() as u8], released.iter().flat_map(|ms| id(*ms)).collect()].concat();
        [head.clone(), vec![2], pending(3), pending(4), owned, released, vec![1, 1, 0, 0, 0]].concat()
    };
    let restored = restore(&payload(14, &[vec![27], group(&[3])].concat()));
    let Ok(Some(Value::Stream(stream))) = restored else { panic!("{restored:?}") };
    let consumers: Vec<_> = stream.group(b"g").unwrap().pending().map(|(_, of)| of.consumer.clone()).collect();
    assert_eq!(consumers, [None, Some(vdr_data::blob::Blob::from("c"))]);
    for wrong in [&[][..], &[4], &[3, 3], &[7]] {
        assert_eq!(code(restore(&payload(14, &[vec![27], group(wrong)].concat()))), "rdb_corrupt", "{wrong:?}");
    }
}

/// Early versions of Redis 5 miscounted some streams, which Redis loads and replicates as they are.
#[test]
fn a_stream_may_record_a_wrong_length_where_replicas_accept_it() {
    let node = [string(&[0; 16]), string(&listpack(&["1", "0", "1", "f", "0", "2", "0", "1", "v", "4"]))].concat();
    let stream = |length: u8| [vec![1], node.clone(), vec![length], vec![0, 1, 0]].concat();
    for length in [0, 1, 3] {
        assert_eq!(read("REDIS0011", 15, &stream(length)).2.len(), 1, "{length}");
        let (mut loader, mut builder) = (Loader::new(), KeyspaceBuilder::new());
        loader.feed(&file("REDIS0011", &record(15, "k", &stream(length))), &mut builder).unwrap();
        assert_eq!(builder.summary().miscounted_streams, u64::from(length != 1));
        let keyspace = builder.into_keyspace();
        let stream = keyspace.view(0, 0).stream(b"k").unwrap().unwrap();
        assert_eq!((stream.len(), stream.counted()), (1, usize::from(length)));
    }
    assert_eq!(error_code(VALKEY, 15, &stream(3)), "rdb_corrupt");
    assert_eq!(error_code(REDIS, 15, &[0, 2, 0, 1, 0]), "rdb_corrupt", "entries without a node");
}

#[test]
fn a_module_is_stepped_over_item_by_item() {
    let mut value = length(u64::MAX >> 3);
    value.extend(b"\x01\x05\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x03abcd\x04abcdefgh\x05\x03str\x05\xc1ab\x05");
    value.extend(lzf(b"compressed"));
    value.push(0);
    assert_eq!(read(REDIS, 7, &value), (Kind::Other, false, vec![]));
    assert_eq!(error_code(REDIS, 7, b"\x01\x06\x00"), "rdb_corrupt");
}

#[test]
fn opcodes_before_a_key_belong_to_that_key_alone() {
    let mut body = vec![254, 3, 251, 4, 1, 252];
    body.extend(1234i64.to_le_bytes());
    body.extend([248, 10, 249, 5]);
    body.extend(record(0, "a", b"\x01x"));
    body.extend(record(0, "b", b"\x01x"));
    body.push(253);
    body.extend((-7i32).to_le_bytes());
    body.extend(record(2, "skipped", b"\x00"));
    body.extend(record(0, "c", b"\x01x"));
    body.extend([244, 1, 2, 3, 252]);
    body.extend((-1i64).to_le_bytes());
    body.extend(record(0, "d", b"\x01x"));
    let loaded = load_whole(&file(REDIS, &body)).unwrap();
    let seen: Vec<_> = loaded.keys.iter().map(|key| (key.db, &key.key[..], key.expiry)).collect();
    let never = Expiry::NEVER;
    assert_eq!(seen, [(3, &b"a"[..], Expiry::at(1234)), (3, b"b", never), (3, b"c", never), (3, b"d", never)]);
    assert_eq!(loaded.sizes, [(3, 4, 1)]);
}

#[test]
fn old_seconds_become_milliseconds_and_the_past_stays() {
    let body = [&[253][..], &100i32.to_le_bytes(), &record(0, "a", b"\x01x")].concat();
    let loaded = load_whole(&file(REDIS, &body)).unwrap();
    assert_eq!(loaded.keys[0].expiry, Expiry::at(100_000));
}

#[test]
fn what_nobody_asked_for_is_stepped_over() {
    let mut body = vec![250];
    body.extend(strings(&["aux", "value"]));
    body.push(250);
    body.extend(b"\x01n\xc0\xff");
    body.push(245);
    body.extend(string(&[b'#'; 300]));
    // Functions of release candidates of 7.0: name, engine, perhaps a description, code.
    body.extend([vec![246], strings(&["lib", "LUA"]), vec![0], strings(&["code"])].concat());
    body.extend([vec![246], strings(&["lib", "LUA"]), vec![1], strings(&["what", "code"])].concat());
    body.extend(b"\xf7\x05\x02\x02\x05\x03str\x01\x07\x00");
    // Redis Enterprise: the time of the last access.
    body.extend(b"\x6b\x40\x43");
    body.extend(record(0, "a", b"\x01x"));
    let loaded = load_whole(&file(REDIS, &body)).unwrap();
    assert_eq!(loaded.aux, [(b"aux".to_vec(), b"value".to_vec()), (b"n".to_vec(), b"-1".to_vec())]);
    assert_eq!(loaded.keys.len(), 1);
    assert_eq!(code(load_whole(&file(REDIS, b"\xf7\x05\x01\x02\x00"))), "rdb_corrupt");
}

#[test]
fn opcode_243_is_the_slots_of_an_import_or_a_keys_metadata() {
    let import = [vec![243], string(&[b'j'; 40]), vec![2, 0, 5], length(100), length(16383)].concat();
    let loaded = load_whole(&file(VALKEY, &[import, record(0, "a", b"\x01x")].concat())).unwrap();
    assert_eq!(loaded.slots, [(vec![b'j'; 40], 0, 5), (vec![b'j'; 40], 100, 16383)]);
    assert_eq!(loaded.keys.len(), 1);
    let meta = b"\xf3\x02clsA\x01\x05\x00clsB\x05\x02md\x00".to_vec();
    let loaded = load_whole(&file(REDIS, &[meta, record(0, "a", b"\x01x")].concat())).unwrap();
    assert_eq!((loaded.slots.len(), loaded.keys.len()), (0, 1));
}

#[test]
fn what_has_no_rule_ends_the_walk() {
    for byte in [6, 8, 34, 150, 241] {
        assert_eq!(code(load_whole(&file(REDIS, &record(byte, "k", b"\x01x")))), "rdb_unknown_type", "{byte}");
    }
    for byte in [23, 27, 30, 33, 107, 242] {
        assert_eq!(code(load_whole(&file(VALKEY, &record(byte, "k", b"\x01x")))), "rdb_unknown_type", "{byte}");
    }
    assert_eq!(code(load_whole(b"REDIZ0009\xff")), "rdb_bad_magic");
    assert_eq!(code(load_whole(b"REDIS0099\xff")), "rdb_unsupported_version");
    assert_eq!(code(load_whole(&file(REDIS, &[&[254][..], &length(1 << 32)].concat()))), "rdb_corrupt");
}

#[test]
fn an_error_names_the_key_and_the_byte() {
    let bytes = file(REDIS, &record(20, "broken", &string(&listpack(&["a", "a"]))));
    let error = load_whole(&bytes).unwrap_err();
    assert_eq!(error.key.as_deref(), Some(&b"broken"[..]));
    assert!((17..bytes.len() as u64).contains(&error.offset_bytes), "{error}");
}

#[test]
fn a_checksum_of_zero_is_not_checked_and_old_files_have_none() {
    let mut bytes = file(REDIS, &record(0, "k", b"\x01x"));
    let trailer = bytes.len() - 8;
    bytes[trailer..].fill(0);
    assert_eq!(load_whole(&bytes).unwrap().keys.len(), 1);
    bytes[trailer] = 1;
    assert_eq!(code(load_whole(&bytes)), "rdb_checksum");
    assert_eq!(load_whole(b"REDIS0004\x00\x01k\x01v\xff").unwrap().keys.len(), 1);
}

#[test]
fn a_visitor_that_skips_a_key_gets_no_elements_but_its_end() {
    struct Skip(Vec<&'static str>);
    impl Visit for Skip {
        fn key(&mut self, header: &KeyHeader<'_>) -> Want {
            self.0.push("key");
            if header.key == b"wanted" { Want::Elements } else { Want::Skip }
        }
        fn element(&mut self, _: Element<'_>) {
            self.0.push("element");
        }
        fn end_key(&mut self) -> Result<(), Fault> {
            self.0.push("end");
            Ok(())
        }
    }
    let body = [
        record(2, "set", &[vec![2], strings(&["x", "y"])].concat()),
        record(16, "hash", &string(&listpack(&["f", "v"]))),
        record(0, "wanted", b"\x01v"),
    ];
    let mut skip = Skip(Vec::new());
    Loader::new().feed(&file(REDIS, &body.concat()), &mut skip).unwrap();
    assert_eq!(skip.0, ["key", "end", "key", "end", "key", "element", "end"]);
}

#[test]
fn a_payload_of_restore_is_one_value() {
    let hash = [&[16][..], &string(&listpack(&["f", "v"]))].concat();
    assert!(matches!(restore(&payload(10, &hash)), Ok(Some(Value::Hash(hash))) if hash.len() == 1));
    let mut without_checksum = payload(10, &hash);
    let len = without_checksum.len();
    without_checksum[len - 8..].fill(0);
    assert!(restore(&without_checksum).unwrap().is_some());
    without_checksum[len - 1] = 1;
    assert_eq!(code(restore(&without_checksum)), "rdb_checksum");
    let meta = [b"\xf3\x01clsA\x01\x05\x00".to_vec(), hash.clone()].concat();
    assert!(restore(&payload(13, &meta)).unwrap().is_some());
    assert_eq!(code(restore(&payload(80, &meta))), "rdb_unknown_type");
    assert_eq!(code(restore(&payload(0, &hash))), "rdb_unsupported_version");
    assert!(restore(&payload(10, b"\x02\x00")).unwrap().is_none(), "a set without members");
    assert_eq!(code(restore(&payload(10, &[hash, vec![0]].concat()))), "rdb_corrupt");
    assert_eq!(code(restore(&payload(10, b"\x00\x05ab"))), "rdb_truncated");
    assert_eq!(code(restore(b"short")), "rdb_truncated");
    assert!(matches!(restore(&payload(11, b"\x15\0\0\0\0\0\0\0\0\0\0")), Ok(Some(Value::Stream(_)))));
}

#[test]
fn a_payload_of_restore_has_its_dialect_from_its_version() {
    let expiring = [&[22, 1][..], &strings(&["f", "v"]), &1100i64.to_le_bytes()].concat();
    let Ok(Some(Value::Hash(hash))) = restore(&payload(80, &expiring)) else { panic!("a hash") };
    assert_eq!(hash.get(b"f").unwrap().expiry, Expiry::at(1100));
    assert!(restore(&payload(12, &expiring)).is_err());
}

#[test]
fn nothing_is_reported_of_a_file_without_keys() {
    assert_eq!(load_whole(&file(REDIS, b"")).unwrap(), Recorder::default());
    assert_eq!(load_whole(b"REDIS0001\xff").unwrap(), Recorder::default());
}
