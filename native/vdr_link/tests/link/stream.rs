//! The stream: partial syncs, acknowledgements, and invalid input.

use crate::fake_primary::{FakePrimary, ID, Peer, frame, streaming};
use crate::tape::Tape;
use std::time::{Duration, Instant};
use vdr_link::{LinkHandle, LinkState, Retry};

const PING_BYTES: u64 = 14;
const GETACK_BYTES: u64 = 37;

/// A tape at offset 41, and a primary that was asked to resume there.
fn resuming(tape: &Tape) -> (Peer, LinkHandle) {
    let primary = FakePrimary::start();
    let link = tape.attach(primary.config());
    let mut peer = primary.accept();
    assert_eq!(peer.greet(), (ID.to_owned(), "42".to_owned()), "the first byte that is missing");
    (peer, link)
}

#[test]
fn a_partial_sync_goes_on_under_the_id_that_the_primary_names() {
    let new = "f".repeat(40);
    for (reply, id) in [(format!("+CONTINUE {new}\r\n"), new.as_str()), ("\n+CONTINUE\r\n".to_owned(), ID)] {
        let tape = Tape::at(41);
        let (mut peer, _link) = resuming(&tape);
        peer.send([reply.as_bytes(), &frame(&["PING"])].concat());
        peer.ack_of(41 + PING_BYTES);
        assert_eq!(tape.see(|notes| notes.calls.clone()), [format!("continued {id}")]);
        assert_eq!(tape.see(|notes| notes.commands.clone()), [["PING"]]);
        let states = tape.see(|notes| notes.states.clone());
        assert_eq!(states[states.len() - 2..], [LinkState::Psync, LinkState::Streaming]);
    }
}

#[test]
fn a_full_sync_in_the_place_of_a_partial_one_starts_over() {
    let tape = Tape::at(41);
    let (mut peer, _link) = resuming(&tape);
    peer.send(format!("+FULLRESYNC {ID} 7\r\n$5\r\nfile#"));
    peer.ack_of(7);
    assert_eq!(tape.see(|notes| notes.calls.clone()), [format!("sync_started {ID} 7"), "sync_finished".to_owned()]);
}

#[test]
fn every_split_of_the_stream_gives_the_same_commands() {
    let wire = [frame(&["SELECT", "0"]), frame(&["SET", "k", "a\r\nb"]), b"\n".to_vec(), frame(&["PING"])].concat();
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |_| ());
    let mut applied = 100;
    for cut in 1..wire.len() {
        peer.send(&wire[..cut]);
        std::thread::sleep(Duration::from_millis(3));
        peer.send(&wire[cut..]);
        applied += wire.len() as u64 - 1;
    }
    peer.ack_of(applied);
    let commands = tape.see(|notes| notes.commands.clone());
    assert_eq!(commands.len(), 3 * (wire.len() - 1));
    for unit in commands.chunks(3) {
        assert_eq!(unit, [vec!["SELECT", "0"], vec!["SET", "k", "a\r\nb"], vec!["PING"]]);
    }
}

#[test]
fn getack_is_answered_at_once_with_its_own_bytes_counted() {
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |config| config.ack_interval = Duration::from_secs(3600));
    let getack = frame(&["REPLCONF", "GETACK", "*"]);
    assert_eq!(getack.len() as u64, GETACK_BYTES);
    peer.send(frame(&["PING"]));
    let since = Instant::now();
    peer.send(&getack);
    peer.ack_of(100 + PING_BYTES + GETACK_BYTES);
    // An incomplete command after it is not counted.
    peer.send([getack.as_slice(), &frame(&["PING"])[..9]].concat());
    peer.ack_of(100 + PING_BYTES + 2 * GETACK_BYTES);
    assert!(since.elapsed() < Duration::from_secs(10), "not a matter of the interval");
}

#[test]
fn acknowledgements_and_ticks_go_on_while_nothing_comes() {
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |config| config.ack_interval = Duration::from_millis(20));
    peer.send(frame(&["PING"]));
    peer.ack_of(100 + PING_BYTES);
    let before = tape.see(|notes| notes.ticks);
    for _ in 0..10 {
        assert_eq!(peer.ack(), 100 + PING_BYTES);
    }
    assert!(tape.see(|notes| notes.ticks) >= before + 9);
}

#[test]
fn a_primary_that_always_asks_does_not_stop_the_ticks() {
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |config| config.ack_interval = Duration::from_millis(100));
    peer.send(frame(&["PING"]));
    let before = tape.see(|notes| notes.ticks);
    let deadline = Instant::now() + Duration::from_secs(15);
    // GETACKs arrive more often than the interval.
    while tape.see(|notes| notes.ticks) < before + 5 {
        peer.send(frame(&["REPLCONF", "GETACK", "*"]));
        peer.ack();
        assert!(Instant::now() < deadline, "the ticks have stopped");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_keepalive_is_sent_every_second_until_the_stream_begins() {
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |config| config.ack_interval = Duration::from_secs(3600));
    // A keepalive is not the beginning of the stream.
    peer.send("\n");
    let since = Instant::now();
    assert_eq!((peer.ack(), peer.ack()), (100, 100));
    assert!(since.elapsed() < Duration::from_secs(15));
}

#[test]
fn an_interval_of_nothing_is_no_busy_loop() {
    let tape = Tape::new();
    let (_primary, mut peer, link) = streaming(&tape, |config| config.ack_interval = Duration::ZERO);
    for _ in 0..50 {
        peer.ack();
    }
    let (since, before) = (Instant::now(), tape.see(|notes| notes.ticks));
    std::thread::sleep(Duration::from_millis(200));
    let ticks = tape.see(|notes| notes.ticks) - before;
    assert!(ticks as u128 <= since.elapsed().as_millis() + 1, "{ticks} in {:?}", since.elapsed());
    tape.stop(&link);
}

#[test]
fn limits_without_end_are_no_overflow() {
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |config| {
        config.ack_interval = Duration::MAX;
        let timeouts = &mut config.timeouts;
        for limit in [&mut timeouts.connect, &mut timeouts.handshake, &mut timeouts.read, &mut timeouts.write] {
            *limit = Duration::MAX;
        }
    });
    peer.send(frame(&["REPLCONF", "GETACK", "*"]));
    peer.ack_of(100 + GETACK_BYTES);
}

#[test]
fn garbage_in_the_stream_ends_the_link() {
    let garbage: [&[u8]; 8] = [
        b"+OK\r\n",
        b"SET k v\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n$9223372036854775808\r\n",
        b"*9223372036854775807\r\n",
        b"*2\r\n$3\r\nGETxx$1\r\na\r\n",
    ];
    for bytes in garbage {
        let tape = Tape::new();
        let (_primary, mut peer, _link) = streaming(&tape, |_| ());
        peer.send([frame(&["PING"]).as_slice(), bytes].concat());
        let end = tape.end();
        assert_eq!((end.code, end.retry, end.state), ("protocol", Retry::Soon, LinkState::Streaming), "{}", end.text);
        assert_eq!(tape.see(|notes| notes.commands.clone()), [["PING"]], "what came before it counts");
        peer.closed();
    }
}

#[test]
fn a_command_that_is_too_long_ends_the_link_before_it_is_whole() {
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |config| config.command_bytes_max = 100_000);
    peer.send(frame(&["SET", "k", &"v".repeat(99_000)]));
    peer.ack_of(100 + frame(&["SET", "k", &"v".repeat(99_000)]).len() as u64);
    peer.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n");
    while peer.try_send([b'v'; 10_000]).is_ok() {}
    let end = tape.end();
    assert_eq!((end.code, end.retry), ("command_too_long", Retry::Slowly));
    assert!(tape.see(|notes| notes.received) < 10_000_000);
}

#[test]
fn a_primary_that_closes_between_two_commands_or_within_one_is_closed() {
    for tail in [0, 5] {
        let tape = Tape::new();
        let (_primary, mut peer, _link) = streaming(&tape, |_| ());
        peer.send([frame(&["PING"]), frame(&["PING"])[..tail].to_vec()].concat());
        peer.say_no_more();
        let end = tape.end();
        assert_eq!((end.code, end.retry, end.state), ("closed", Retry::Soon, LinkState::Streaming));
        assert_eq!(tape.see(|notes| notes.applied), 100 + PING_BYTES, "whole commands count");
    }
}

#[test]
fn a_reset_behind_the_last_bytes_is_reported_as_one() {
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |_| ());
    tape.make_unready();
    peer.send(frame(&["PING"]));
    peer.reset();
    std::thread::sleep(Duration::from_millis(20));
    tape.set_ready(true);
    let end = tape.end();
    // A reset may discard the bytes before it. Whether they arrive depends on the kernel, and
    // resuming is exact either way.
    assert!([100, 100 + PING_BYTES].contains(&tape.see(|notes| notes.applied)));
    assert_eq!((end.code, end.retry), ("connection_reset", Retry::Soon), "{}", end.text);
}
