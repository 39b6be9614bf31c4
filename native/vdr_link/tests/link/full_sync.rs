//! Full syncs in both framings, complete and broken, with a simple sink and with a mirror.

use crate::fake_primary::{FakePrimary, ID, MARK, Peer, frame, snapshot};
use crate::mirrored::Mirrored;
use crate::tape::{Ended, Tape};
use std::time::Duration;
use vdr_link::{LinkHandle, LinkState, Retry};

/// The end of a mirror's link whose primary sends these bytes after +FULLRESYNC and then nothing.
/// After every such end the mirror must still have the data of the sync before, and the next link
/// must be able to resume from it.
fn broken(transfer: &[u8]) -> Ended {
    let primary = FakePrimary::start();
    let mirrored = Mirrored::new();
    let (link, mut peer, tape) = synced(&primary, &mirrored);
    peer.send(frame(&["SET", "c", "3"]));
    let applied = 50 + frame(&["SET", "c", "3"]).len() as u64;
    peer.ack_of(applied);
    drop((link, peer));
    tape.end();

    let tape = Tape::new();
    let _link = mirrored.attach(primary.config(), &tape);
    let mut peer = primary.accept();
    assert_eq!(peer.greet(), (ID.to_owned(), (applied + 1).to_string()));
    peer.send(format!("+FULLRESYNC {} 999\r\n", "f".repeat(40)));
    peer.send(transfer);
    peer.say_no_more();
    let end = tape.end();
    assert_eq!(end.state, LinkState::RdbTransfer);
    assert_eq!((mirrored.keys(), mirrored.offset()), (Some(3), Some(applied)), "the old data is served");
    assert_eq!(mirrored.position(), Some((ID.to_owned(), applied)));
    end
}

/// A link whose mirror has two keys at offset 50. Before the next link, wait for the end on the
/// tape: a link that ends later would end the sync of the next one.
fn synced(primary: &FakePrimary, mirrored: &Mirrored) -> (LinkHandle, Peer, Tape) {
    let tape = Tape::new();
    let link = mirrored.attach(primary.config(), &tape);
    let mut peer = primary.accept();
    peer.full_sync(50, snapshot(&[("a", "1"), ("b", "2")]));
    peer.ack_of(50);
    assert_eq!(mirrored.keys(), Some(2));
    (link, peer, tape)
}

fn sized(file: &[u8]) -> Vec<u8> {
    [format!("\n${}\r\n", file.len()).as_bytes(), file].concat()
}

#[test]
fn a_whole_file_in_either_framing_becomes_the_data() {
    let file = snapshot(&[("x", "1"), ("y", "2"), ("z", "3")]);
    let marked = [format!("$EOF:{MARK}\r\n").as_bytes(), &file, MARK.as_bytes()].concat();
    for transfer in [sized(&file), marked] {
        let primary = FakePrimary::start();
        let (mirrored, tape) = (Mirrored::new(), Tape::new());
        let _link = mirrored.attach(primary.config(), &tape);
        let mut peer = primary.accept();
        peer.greet();
        // One write, so that the link reads the reply, the file and the first commands at once.
        let ping = frame(&["PING"]);
        peer.send([format!("+FULLRESYNC {ID} 10\r\n").as_bytes(), &transfer, &ping, &ping[..5]].concat());
        peer.ack_of(10 + 14);
        assert_eq!(mirrored.keys(), Some(3));
        let states = tape.see(|notes| notes.states.clone());
        assert_eq!(states[states.len() - 3..], [LinkState::Psync, LinkState::RdbTransfer, LinkState::Streaming]);
    }
}

#[test]
fn a_primary_that_closes_anywhere_in_the_file_leaves_the_old_data() {
    let file = snapshot(&[("x", "1")]);
    let whole = sized(&file);
    for upto in [0, 1, 4, 6, 12, whole.len() / 2, whole.len() - 1] {
        let end = broken(&whole[..upto]);
        assert_eq!((end.code, end.retry), ("closed", Retry::Soon), "after {upto} bytes: {}", end.text);
    }
    let marked = [format!("$EOF:{MARK}\r\n").as_bytes(), &file, &MARK.as_bytes()[..39]].concat();
    assert_eq!(broken(&marked).code, "closed", "one byte of the mark is missing");
}

#[test]
fn a_damaged_file_is_no_data() {
    let mut checksum = snapshot(&[("x", "1")]);
    *checksum.last_mut().unwrap() = 7;
    let end = broken(&sized(&checksum));
    assert_eq!((end.code, end.retry), ("rdb_checksum", Retry::Soon), "{}", end.text);
    let end = broken(&sized(b"REDIS9999\xfe\x00"));
    assert_eq!((end.code, end.retry), ("rdb_unsupported_version", Retry::Slowly), "the same file would come again");
    assert_eq!(broken(&sized(b"this is no snapshot file")).code, "rdb_bad_magic");
    // A key of 2^62 bytes must be refused by its length, before any memory is allocated for it.
    let huge = [b"REDIS0011\xfe\x00\x00\x81\x40".as_slice(), &[0; 7], b"k"].concat();
    assert_eq!(broken(&sized(&huge)).code, "rdb_too_large");
}

#[test]
fn a_framing_that_does_not_fit_the_file_is_no_data() {
    let file = snapshot(&[("x", "1")]);
    let announced = |length: &str| broken(&[format!("${length}\r\n").as_bytes(), &file].concat());
    for length in [(file.len() - 1).to_string(), (file.len() + 1).to_string(), i64::MAX.to_string()] {
        let end = announced(&length);
        assert_eq!((end.code, end.retry), ("bad_rdb_transfer", Retry::Soon), "{length}: {}", end.text);
    }
    for length in ["9223372036854775808", "-1", "0", "many", ""] {
        assert_eq!(announced(length).code, "bad_rdb_transfer", "{length}");
    }
    let other_mark = [format!("$EOF:{MARK}\r\n").as_bytes(), &file, &[b'?'; 40]].concat();
    assert!(broken(&other_mark).text.contains("no end mark"));
    let end = broken(b"-ERR BGSAVE failed, replication can't continue\r\n");
    assert_eq!((end.code, end.retry), ("sync_aborted", Retry::Soon));
    assert!(end.text.contains("BGSAVE failed"));
}

#[test]
fn a_file_that_comes_byte_by_byte_is_the_same_file() {
    let primary = FakePrimary::start();
    let (mirrored, tape) = (Mirrored::new(), Tape::new());
    let _link = mirrored.attach(primary.config(), &tape);
    let mut peer = primary.accept();
    peer.greet();
    let file = snapshot(&[("x", "1"), ("y", "2")]);
    let wire = [
        format!("\n+FULLRESYNC {ID} 10\r\n\n\n$EOF:{MARK}\r\n").as_bytes(),
        &file,
        MARK.as_bytes(),
        &frame(&["SELECT", "0"]),
        &frame(&["SET", "z", "3"]),
    ]
    .concat();
    for byte in &wire {
        peer.send([*byte]);
        std::thread::sleep(Duration::from_micros(200));
    }
    peer.ack_of(10 + (frame(&["SELECT", "0"]).len() + frame(&["SET", "z", "3"]).len()) as u64);
    assert_eq!(mirrored.keys(), Some(3));
}

#[test]
fn keepalives_reach_the_primary_while_the_file_arrives() {
    let primary = FakePrimary::start();
    let tape = Tape::new();
    let _link = tape.attach(primary.config());
    let mut peer = primary.accept();
    peer.greet();
    peer.send(format!("+FULLRESYNC {ID} 5\r\n$5\r\nfil"));
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(peer.newlines, 0);
    peer.send("e#");
    peer.ack_of(5);
    assert!((1..=10).contains(&peer.newlines), "{}", peer.newlines);
}

#[test]
fn a_multi_that_is_cut_off_is_applied_once_when_it_comes_again() {
    let primary = FakePrimary::start();
    let mirrored = Mirrored::new();
    let (first, mut peer, mut tape) = synced(&primary, &mirrored);
    let mut links = vec![first];
    let unit: Vec<u8> =
        [frame(&["MULTI"]), frame(&["INCR", "a"]), frame(&["APPEND", "b", "x"]), frame(&["EXEC"])].concat();
    let before = frame(&["INCR", "a"]);
    // Cut in each part of the unit: no part of the unit counts, and all of it is sent again.
    let mut applied = 50;
    for cut in [1, 12, 16, 30, 40, unit.len() - 1] {
        peer.send(&before);
        applied += before.len() as u64;
        peer.ack_of(applied);
        peer.send(&unit[..cut]);
        peer.say_no_more();
        peer.closed();
        tape.end();
        tape = Tape::new();
        links.push(mirrored.attach(primary.config(), &tape));
        peer = primary.accept();
        assert_eq!(peer.greet(), (ID.to_owned(), (applied + 1).to_string()), "cut at {cut}");
        assert_eq!(mirrored.offset(), Some(applied));
        peer.send(format!("+CONTINUE {ID}\r\n"));
        peer.send(&unit);
        applied += unit.len() as u64;
        peer.ack_of(applied);
    }
    assert_eq!(mirrored.offset(), Some(applied));
    assert_eq!((mirrored.string("a"), mirrored.string("b")), (Some("13".to_owned()), Some("2xxxxxx".to_owned())));
}

/// For a stream of `SET c 3` and these bytes: the code of the link's end, and what the next link
/// asks for.
fn after_stream_of(bytes: &[u8]) -> (&'static str, String) {
    let primary = FakePrimary::start();
    let mirrored = Mirrored::new();
    let (link, peer, tape) = synced(&primary, &mirrored);
    drop((link, peer));
    tape.end();
    let tape = Tape::new();
    let _link = mirrored.attach(primary.config(), &tape);
    let mut peer = primary.accept();
    assert_eq!(peer.greet(), (ID.to_owned(), "51".to_owned()));
    peer.send(format!("+CONTINUE {ID}\r\n"));
    peer.send(frame(&["SET", "c", "3"]));
    peer.ack_of(50 + frame(&["SET", "c", "3"]).len() as u64);
    peer.send(bytes);
    peer.say_no_more();
    let end = tape.end();
    assert_eq!((end.retry, end.state), (Retry::Soon, LinkState::Streaming));
    assert_eq!(mirrored.keys(), Some(3), "what was good is served");
    let _next = mirrored.attach(primary.config(), &Tape::new());
    (end.code, primary.accept().greet().0)
}

#[test]
fn after_what_contradicts_the_data_only_a_full_sync_helps() {
    assert_eq!(after_stream_of(&frame(&["RPUSH", "c", "x"])), ("diverged", "?".to_owned()));
    assert_eq!(after_stream_of(b"*1\r\nnonsense"), ("protocol", "?".to_owned()));
    assert_eq!(after_stream_of(b"*1\r\n$9223372036854775808\r\n"), ("protocol", "?".to_owned()));
    assert_eq!(after_stream_of(b"*3\r\n$3\r\nSE"), ("closed", ID.to_owned()), "an end within a command is none");
}
