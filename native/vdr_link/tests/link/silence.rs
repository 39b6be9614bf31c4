//! Peers that send nothing or read nothing, and sinks that are not ready.

use crate::fake_primary::{FakePrimary, ID, PATIENCE, frame, streaming};
use crate::tape::{Ended, Tape};
use std::time::{Duration, Instant};
use vdr_link::{Credentials, LinkConfig, LinkState, Retry, Secret};

/// A timeout of the link. A busy machine may stop the primary's thread for a second, so it is not
/// too short.
const SHORT: Duration = Duration::from_secs(3);

/// The end of a link whose primary does this and then nothing.
fn silent_after(tune: impl Fn(&mut LinkConfig), act: impl Fn(&mut crate::fake_primary::Peer)) -> Ended {
    let primary = FakePrimary::start();
    let tape = Tape::new();
    let mut config = primary.config();
    tune(&mut config);
    let _link = tape.attach(config);
    let mut peer = primary.accept();
    act(&mut peer);
    let since = Instant::now();
    let end = tape.end();
    assert!(since.elapsed() < PATIENCE / 2);
    peer.closed();
    end
}

fn short_read(config: &mut LinkConfig) {
    config.timeouts.read = SHORT;
}

#[test]
fn a_primary_that_accepts_and_says_nothing_is_left_after_the_handshake_timeout() {
    let end = silent_after(|config| config.timeouts.handshake = SHORT, |_| ());
    assert_eq!((end.code, end.retry, end.state), ("handshake_timeout", Retry::Soon, LinkState::Ping));
    let end = silent_after(
        |config| config.timeouts.handshake = SHORT,
        |peer| {
            peer.command();
            peer.send("+PONG\r\n+O");
        },
    );
    assert_eq!((end.code, end.state), ("handshake_timeout", LinkState::ReplconfListeningPort));
}

#[test]
fn newlines_do_not_prolong_the_handshake() {
    let primary = FakePrimary::start();
    let tape = Tape::new();
    let mut config = primary.config();
    config.timeouts.handshake = SHORT;
    let _link = tape.attach(config);
    let mut peer = primary.accept();
    while peer.try_send("\n").is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(tape.end().code, "handshake_timeout");
}

#[test]
fn a_primary_that_falls_silent_is_left_after_the_read_timeout_wherever_it_is() {
    let end = silent_after(short_read, |peer| drop(peer.greet()));
    assert_eq!((end.code, end.retry, end.state), ("read_timeout", Retry::Soon, LinkState::Psync));
    let end = silent_after(short_read, |peer| {
        peer.greet();
        peer.send(format!("+FULLRESYNC {ID} 1\r\n\n"));
    });
    assert_eq!((end.code, end.state), ("read_timeout", LinkState::RdbTransfer));
    let end = silent_after(short_read, |peer| {
        peer.greet();
        peer.send(format!("+FULLRESYNC {ID} 1\r\n$5\r\nfil"));
    });
    assert_eq!((end.code, end.state), ("read_timeout", LinkState::RdbTransfer));
    let end = silent_after(short_read, |peer| {
        peer.full_sync(1, "file#");
        peer.send(&frame(&["PING"])[..5]);
    });
    assert_eq!((end.code, end.state), ("read_timeout", LinkState::Streaming));
}

#[test]
fn a_primary_that_takes_nothing_is_left_after_the_write_timeout() {
    // More bytes than the kernel's buffers take, so that some remain in the link.
    let username = Some("u".repeat(64 << 20));
    let end = silent_after(
        |config| {
            config.credentials = Some(Credentials { username: username.clone(), password: Secret::new("hunter2") });
            config.timeouts.write = SHORT;
        },
        |peer| {
            peer.command();
            peer.send("+PONG\r\n");
        },
    );
    assert_eq!((end.code, end.retry, end.state), ("write_timeout", Retry::Soon, LinkState::Auth));
}

#[test]
fn a_primary_that_takes_nothing_is_still_read_until_then() {
    let tape = Tape::new();
    let (_primary, mut peer, link) = streaming(&tape, |config| config.ack_interval = Duration::from_millis(1));
    // The primary reads no acknowledgement here.
    for _ in 0..2000 {
        peer.send(frame(&["REPLCONF", "GETACK", "*"]));
    }
    tape.wait("all commands", |notes| notes.commands.len() == 2000);
    tape.stop(&link);
}

#[test]
fn a_sink_that_is_not_ready_slows_the_primary_down_while_acknowledgements_go_on() {
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |config| {
        config.ack_interval = Duration::from_millis(20);
        short_read(config);
    });
    peer.send(frame(&["PING"]));
    peer.ack_of(114);
    tape.make_unready();
    peer.send(frame(&["PING"]));
    let (ticks, since) = (tape.see(|notes| notes.ticks), Instant::now());
    while since.elapsed() < SHORT * 3 {
        assert_eq!(peer.ack(), 114, "nothing is read");
    }
    assert!(tape.see(|notes| notes.ticks) > ticks + 5);
    assert_eq!(tape.see(|notes| notes.end.clone()), None, "the silence is our own doing");
    tape.set_ready(true);
    peer.ack_of(128);
}

#[test]
fn a_sink_that_is_not_ready_before_psync_is_answered_costs_no_thread() {
    let primary = FakePrimary::start();
    let tape = Tape::new();
    let mut config = primary.config();
    config.timeouts.handshake = SHORT;
    let link = tape.attach(config);
    let mut peer = primary.accept();
    peer.greet();
    tape.set_ready(false);
    peer.send("\n");
    // The timer of the handshake fires although its deadline no longer applies.
    std::thread::sleep(SHORT + Duration::from_secs(1));
    let polls = tape.see(|notes| notes.ready_polls);
    std::thread::sleep(SHORT);
    // A busy loop would ask the sink thousands of times.
    assert!(tape.see(|notes| notes.ready_polls) - polls < 10);
    tape.set_ready(true);
    peer.send(format!("+FULLRESYNC {ID} 3\r\n$5\r\nfile#"));
    peer.ack_of(3);
    tape.stop(&link);
}

#[test]
fn a_sink_that_is_never_ready_can_be_stopped() {
    let tape = Tape::new();
    let (_primary, _peer, link) = streaming(&tape, |_| ());
    tape.set_ready(false);
    std::thread::sleep(Duration::from_millis(50));
    assert!(tape.stop(&link) < PATIENCE / 4);
    assert_eq!(tape.end().state, LinkState::Streaming);
}

#[test]
fn the_time_that_a_sink_works_is_none_in_which_the_primary_is_silent() {
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |config| {
        config.timeouts.read = SHORT;
        config.timeouts.write = SHORT;
    });
    let work = frame(&["WORK", "7500"]);
    let mut applied = 100;
    for _ in 0..2 {
        peer.send([work.as_slice(), &frame(&["REPLCONF", "GETACK", "*"])].concat());
        applied += work.len() as u64 + 37;
        peer.ack_of(applied);
    }
    assert_eq!(tape.see(|notes| notes.end.clone()), None);
}

#[test]
fn signs_of_life_go_out_while_the_sink_works() {
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |_| ());
    peer.send(frame(&["PING"]));
    peer.ack_of(114);
    let work = frame(&["WORK", "3600"]);
    let (before, since) = (peer.newlines, Instant::now());
    peer.send(&work);
    // The next command that comes is the acknowledgement of the work.
    peer.ack_of(114 + work.len() as u64);
    let (signs, took) = (peer.newlines - before, since.elapsed());
    assert!(signs >= 2 && signs <= took.as_secs() as usize + 1, "{signs} in {took:?}");
    // Commands stay whole: a sign never cuts one, and none comes without need.
    let after = peer.newlines;
    for _ in 0..30 {
        peer.ack();
    }
    assert_eq!(peer.newlines, after);
}

#[test]
fn signs_of_life_go_out_while_a_part_of_the_file_is_worked_on() {
    let primary = FakePrimary::start();
    let tape = Tape::new();
    let _link = tape.attach(primary.config());
    let mut peer = primary.accept();
    peer.greet();
    peer.send(format!("+FULLRESYNC {ID} 5\r\n$6\r\n~file#"));
    peer.ack_of(5);
    assert!(peer.newlines >= 1, "{} in 4 s", peer.newlines);
}

#[test]
fn a_link_that_works_delays_no_other() {
    // More than there are processors, and more than there were threads for all links.
    let busy: Vec<_> = (0..6)
        .map(|_| {
            let tape = Tape::new();
            let (primary, mut peer, link) = streaming(&tape, |_| ());
            peer.send(frame(&["WORK", "15000"]));
            (tape, primary, peer, link)
        })
        .collect();
    let tape = Tape::new();
    let (_primary, mut peer, _link) = streaming(&tape, |_| ());
    let since = Instant::now();
    for n in 1..=50 {
        peer.send([frame(&["PING"]), frame(&["REPLCONF", "GETACK", "*"])].concat());
        peer.ack_of(100 + n * (14 + 37));
    }
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert!(busy.iter().all(|(tape, ..)| tape.see(|notes| notes.commands.iter().all(|words| words[0] != "WORK"))));
}
