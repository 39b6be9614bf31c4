//! Ends of links that the library causes itself: stop() in every state, and panics.

use crate::fake_primary::{FakePrimary, ID, PATIENCE, frame, streaming};
use crate::tape::Tape;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use vdr_link::{Credentials, Endpoint, LinkConfig, LinkState, Retry, Secret};

/// The longest time to stop, on a machine where eight other processes work, too.
const QUICK: Duration = Duration::from_secs(3);

const STATES: [LinkState; 7] = [
    LinkState::Ping,
    LinkState::Auth,
    LinkState::ReplconfListeningPort,
    LinkState::ReplconfCapa,
    LinkState::Psync,
    LinkState::RdbTransfer,
    LinkState::Streaming,
];

/// The state of a link that awaits the reply to this command.
fn awaiting(words: &[String]) -> LinkState {
    match (words[0].as_str(), words[1..].first().map(String::as_str)) {
        ("PING", _) => LinkState::Ping,
        ("AUTH", _) => LinkState::Auth,
        ("REPLCONF", Some("listening-port")) => LinkState::ReplconfListeningPort,
        ("REPLCONF", Some("ACK")) => LinkState::Streaming,
        ("REPLCONF", _) => LinkState::ReplconfCapa,
        _ => LinkState::Psync,
    }
}

#[test]
fn stop_in_every_state_ends_the_link_quickly_and_closes_the_connection() {
    for state in STATES {
        let primary = FakePrimary::start();
        let tape = Tape::new();
        let mut config = primary.config();
        config.credentials = Some(Credentials { username: None, password: Secret::new("x") });
        let link = tape.attach(config);
        let mut peer = primary.accept();
        loop {
            let Some(words) = peer.try_command() else { panic!("closed before {state}") };
            // Options are sent together: the link has sent this one, and may still await the reply
            // to another.
            tape.wait_for(awaiting(&words));
            if tape.see(|notes| notes.states.contains(&state)) {
                break;
            }
            match words[0].as_str() {
                "PSYNC" if state == LinkState::RdbTransfer => {
                    peer.send(format!("+FULLRESYNC {ID} 1\r\n$5\r\nfil"));
                    tape.wait_for(state);
                    break;
                }
                "PSYNC" => peer.send(format!("+FULLRESYNC {ID} 1\r\n$5\r\nfile#")),
                _ => peer.send("+OK\r\n"),
            }
        }
        assert!(!link.is_over());
        assert!(tape.stop(&link) < QUICK, "{state}");
        let end = tape.end();
        assert_eq!((end.state, end.retry), (state, Retry::Never));
        assert_eq!(tape.see(|notes| notes.calls.last().cloned()), Some("ended".to_owned()));
        assert!(tape.see(|notes| notes.sink_dropped));
        assert!(peer.closed() < QUICK);
        let deadline = Instant::now() + PATIENCE;
        while !link.is_over() {
            assert!(Instant::now() < deadline);
        }
        link.stop();
    }
}

#[test]
fn stop_while_connecting_does_not_wait_for_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        fillers.push(filler);
    }
    let tape = Tape::new();
    let mut config = LinkConfig::new(Endpoint::Tcp { host: address.ip().to_string(), port: address.port() });
    config.timeouts.connect = Duration::from_secs(3600);
    let link = tape.attach(config);
    tape.wait_for(LinkState::Init);
    assert!(tape.stop(&link) < QUICK);
    assert_eq!(tape.end().state, LinkState::Init);
}

#[test]
fn dropping_the_handle_stops_the_link() {
    let tape = Tape::new();
    let (_primary, peer, link) = streaming(&tape, |_| ());
    drop(link);
    assert_eq!(tape.end().code, "stopped");
    peer.closed();
}

#[test]
fn a_panic_of_the_sink_ends_its_link_and_no_other() {
    let (tape, other) = (Tape::new(), Tape::new());
    let (_other_primary, mut other_peer, _other_link) = streaming(&other, |_| ());
    let (_primary, mut peer, link) = streaming(&tape, |_| ());
    peer.send(frame(&["PANIC"]));
    let end = tape.end();
    assert_eq!((end.code, end.retry, end.state), ("panicked", Retry::Slowly, LinkState::Streaming));
    assert_eq!(
        tape.see(|notes| notes.calls.last().cloned()),
        Some("ended".to_owned()),
        "the sink is notified all the same"
    );
    assert!(tape.see(|notes| notes.sink_dropped));
    peer.closed();
    link.stop();

    let primary = FakePrimary::start();
    let tape = Tape::new();
    let _link = tape.attach(primary.config());
    primary.accept().full_sync(1, "a!b#");
    let end = tape.end();
    assert_eq!((end.code, end.state), ("panicked", LinkState::RdbTransfer));

    other_peer.send(frame(&["PING"]));
    other_peer.ack_of(114);
    other_peer.send(frame(&["REPLCONF", "GETACK", "*"]));
    other_peer.ack_of(114 + 37);
}

#[test]
fn many_links_started_and_stopped_leave_nothing() {
    let primary = FakePrimary::start();
    let tapes: Vec<Tape> = (0..200).map(|_| Tape::new()).collect();
    let mut peers = Vec::new();
    for (index, tape) in tapes.iter().enumerate() {
        let link = tape.attach(primary.config());
        if index % 2 == 0 {
            peers.push(primary.accept());
        }
        drop(link);
    }
    for tape in &tapes {
        assert_eq!(tape.end().code, "stopped");
        assert!(tape.see(|notes| notes.sink_dropped));
    }
}
