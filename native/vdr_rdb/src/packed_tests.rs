//! Each compact encoding by hand-made bytes: every form of entry, and everything that can be wrong.

use super::*;

fn all(pieces: Result<Pieces<'_>, Fault>) -> Result<Vec<String>, Fault> {
    pieces?.map(|piece| piece.map(|p| String::from_utf8_lossy(p.text().as_bytes()).into_owned())).collect()
}

fn listpack_of(count: u16, entries: &[u8]) -> Vec<u8> {
    let mut blob = (entries.len() as u32 + 7).to_le_bytes().to_vec();
    blob.extend(count.to_le_bytes());
    blob.extend(entries);
    blob.push(END);
    blob
}

fn ziplist_of(count: u16, entries: &[u8]) -> Vec<u8> {
    let mut blob = (entries.len() as u32 + 11).to_le_bytes().to_vec();
    blob.extend(10u32.to_le_bytes());
    blob.extend(count.to_le_bytes());
    blob.extend(entries);
    blob.push(END);
    blob
}

fn intset_of(width: u32, count: u32, ints: &[u8]) -> Vec<u8> {
    [&width.to_le_bytes()[..], &count.to_le_bytes(), ints].concat()
}

#[test]
fn a_listpack_has_eleven_forms_of_entry() {
    let mut entries = Vec::new();
    entries.extend(b"\x7f\x01"); // 7 bits
    entries.extend(b"\x83abc\x04"); // 6-bit length
    entries.extend(b"\xdf\xff\x02\xcf\xff\x02\xd0\x00\x02"); // 13 bits: -1, 4095, -4096
    entries.extend(b"\xe0\x02de\x04"); // 12-bit length
    entries.extend(b"\xf0\x01\0\0\0f\x06"); // 32-bit length
    entries.extend(b"\xf1\x00\x80\x03"); // i16
    entries.extend(b"\xf2\xff\xff\x7f\x04"); // i24
    entries.extend(b"\xf3\x00\x00\x00\x80\x05"); // i32
    entries.extend(b"\xf4\x00\x00\x00\x00\x00\x00\x00\x80\x09"); // i64
    let blob = listpack_of(11, &entries);
    let want =
        ["127", "abc", "-1", "4095", "-4096", "de", "f", "-32768", "8388607", "-2147483648", "-9223372036854775808"];
    assert_eq!(all(Pieces::listpack(&blob)).unwrap(), want);
    let unknown = listpack_of(COUNT_UNKNOWN, &entries);
    assert_eq!(all(Pieces::listpack(&unknown)).unwrap(), want);
}

#[test]
fn the_back_length_of_a_long_listpack_entry_is_wider() {
    for (len, back_len) in [(122, 1), (123, 2), (16_378, 2), (16_379, 3), (2_097_146, 3), (2_097_147, 4)] {
        let mut entries = vec![0xf0];
        entries.extend((len as u32).to_le_bytes());
        entries.extend(vec![b'x'; len]);
        entries.extend(vec![0; back_len]);
        entries.extend(b"\x05\x01");
        let blob = listpack_of(2, &entries);
        let got = all(Pieces::listpack(&blob)).unwrap();
        assert_eq!((got[0].len(), got[1].as_str()), (len, "5"));
    }
}

#[test]
fn a_broken_listpack_is_refused() {
    let refused = |blob: &[u8]| all(Pieces::listpack(blob)).is_err();
    assert!(refused(b""));
    assert!(refused(b"\x07\0\0\0\0"));
    assert!(refused(b"\x08\0\0\0\0\0\xff"), "total is not the length");
    assert!(refused(b"\x06\0\0\0\0\0"), "no end mark");
    assert!(refused(&listpack_of(2, b"\x01\x01")), "fewer than announced");
    assert!(refused(&listpack_of(1, b"\x01\x01\x02\x01")), "more than announced");
    assert!(refused(&listpack_of(1, b"\x85ab\x03")), "overrun");
    assert!(refused(&listpack_of(1, b"\xf0\xff\xff\xff\xffa\x01")), "length far beyond");
    assert!(refused(&listpack_of(1, b"\xf5\x01")), "unknown encoding");
    assert!(refused(&listpack_of(1, b"\x01\x01\xff\x01\x01")), "bytes behind the end");
    assert!(!refused(&listpack_of(0, b"")));
}

#[test]
fn a_ziplist_has_nine_forms_of_entry_and_two_of_previous_length() {
    let mut entries = Vec::new();
    entries.extend(b"\x00\x03abc");
    entries.extend(b"\x05\x40\x02de");
    entries.extend(b"\xfe\x06\0\0\0\x80\0\0\0\x01f");
    entries.extend(b"\x06\xc0\x00\x80");
    entries.extend(b"\x04\xd0\x00\x00\x00\x80");
    entries.extend(b"\x06\xe0\xff\xff\xff\xff\xff\xff\xff\x7f");
    entries.extend(b"\x0a\xf0\x00\x00\x80");
    entries.extend(b"\x05\xfe\xff");
    entries.extend(b"\x03\xf1\x02\xfd");
    let blob = ziplist_of(10, &entries);
    let want = ["abc", "de", "f", "-32768", "-2147483648", "9223372036854775807", "-8388608", "-1", "0", "12"];
    assert_eq!(all(Pieces::ziplist(&blob)).unwrap(), want);
    assert_eq!(all(Pieces::ziplist(&ziplist_of(COUNT_UNKNOWN, &entries))).unwrap(), want);
}

#[test]
fn a_broken_ziplist_is_refused() {
    let refused = |blob: &[u8]| all(Pieces::ziplist(blob)).is_err();
    assert!(refused(b""));
    assert!(refused(b"\x0b\0\0\0\x0b\0\0\0\0\0\xff"), "tail beyond the end");
    assert!(refused(&ziplist_of(2, b"\0\xf1")), "fewer than announced");
    assert!(refused(&ziplist_of(0, b"\0\xf1")), "more than announced");
    assert!(refused(&ziplist_of(1, b"\0\x05ab")), "overrun");
    assert!(refused(&ziplist_of(1, b"\xfe\0\0\0")), "previous length cut");
    assert!(refused(&ziplist_of(1, b"\0\xc1a")), "unknown encoding");
    assert!(refused(&ziplist_of(2, b"\0\x04abcd\x06\x04ab\x05cd")), "an entry reaches into the next");
    assert!(!refused(&ziplist_of(0, b"")));
}

#[test]
fn an_intset_is_two_four_or_eight_bytes_wide() {
    assert_eq!(all(Pieces::intset(&intset_of(2, 2, b"\xff\xff\x01\x00"))).unwrap(), ["-1", "1"]);
    assert_eq!(all(Pieces::intset(&intset_of(4, 1, b"\x00\x00\x00\x80"))).unwrap(), ["-2147483648"]);
    let wide = intset_of(8, 1, &i64::MAX.to_le_bytes());
    assert_eq!(all(Pieces::intset(&wide)).unwrap(), ["9223372036854775807"]);
    assert_eq!(all(Pieces::intset(&intset_of(2, 0, b""))).unwrap(), Vec::<String>::new());
}

#[test]
fn a_broken_intset_is_refused() {
    let refused = |blob: &[u8]| all(Pieces::intset(blob)).is_err();
    assert!(refused(b"\x02\0\0\0\x01"));
    assert!(refused(&intset_of(3, 1, b"\x01\0\0")), "width");
    assert!(refused(&intset_of(2, 2, b"\x01\0")), "cut");
    assert!(refused(&intset_of(8, u32::MAX, b"")), "count far beyond");
    assert!(refused(&intset_of(2, 2, b"\x01\0\x01\0")), "duplicate");
    assert!(refused(&intset_of(2, 2, b"\x02\0\x01\0")), "order");
}

#[test]
fn a_zipmap_has_short_and_long_lengths_and_padding() {
    let mut blob = b"\x02\x01a\x02\x03bc...".to_vec();
    blob.extend(b"\xfe\x00\x01\0\0");
    blob.extend([b'f'; 256]);
    blob.extend(b"\x00\x00\xff");
    let got = all(Pieces::zipmap(&blob)).unwrap();
    assert_eq!(got, ["a", "bc", &"f".repeat(256), ""]);
    blob[0] = 254;
    assert_eq!(all(Pieces::zipmap(&blob)).unwrap().len(), 4);
    assert_eq!(all(Pieces::zipmap(b"\0\xff")).unwrap().len(), 0);
}

#[test]
fn a_broken_zipmap_is_refused() {
    let refused = |blob: &[u8]| all(Pieces::zipmap(blob)).is_err();
    assert!(refused(b""));
    assert!(refused(b"\x01"));
    assert!(refused(b"\x01\x01a\xff"), "no value");
    assert!(refused(b"\x01\x01a\x01\x00b"), "no end");
    assert!(refused(b"\x01\x01a\x01\x05b\xff"), "padding beyond the end");
    assert!(refused(b"\x02\x01a\x01\x00b\xff"), "fewer than announced");
    assert!(refused(b"\x01\x01a\x01\x00b\xff."), "bytes behind the end");
}

#[test]
fn after_an_error_there_is_nothing_more() {
    let blob = listpack_of(2, b"\xf5\x01\x01\x01");
    let mut pieces = Pieces::listpack(&blob).unwrap();
    assert!(pieces.next().unwrap().is_err());
    assert!(pieces.next().is_none());
}
