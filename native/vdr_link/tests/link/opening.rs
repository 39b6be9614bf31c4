//! Everything before the first byte of the file: unreachable hosts, and servers that refuse.

use crate::fake_primary::{FakePrimary, ID, PATIENCE};
use crate::tape::{Ended, Tape};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use vdr_link::{Credentials, Endpoint, LinkConfig, LinkState, Retry, Secret};

/// The end of a link whose primary answers the commands up to PSYNC with these replies, one each,
/// and then waits.
fn end_after(replies: &[&str]) -> Ended {
    let primary = FakePrimary::start();
    let tape = Tape::new();
    let mut config = primary.config();
    let username = Some("repl".to_owned());
    config.credentials = Some(Credentials { username, password: Secret::new("hunter2") });
    let _link = tape.attach(config);
    let mut peer = primary.accept();
    for reply in replies {
        peer.command();
        peer.send(reply);
    }
    let end = tape.end();
    assert_eq!(tape.see(|notes| notes.calls.clone()), ["ended"]);
    assert!(tape.see(|notes| notes.sink_dropped), "dropped before the observer is called");
    assert!(!end.text.contains("hunter2"));
    peer.closed();
    end
}

/// As above, but everything before PSYNC is accepted.
fn end_after_psync(reply: &str) -> Ended {
    let end = end_after(&["+PONG\r\n", "+OK\r\n", "+OK\r\n", "+OK\r\n", "+OK\r\n", "+OK\r\n", reply]);
    assert_eq!(end.state, LinkState::Psync);
    end
}

fn end_at(host: &str, port: u16) -> Ended {
    let tape = Tape::new();
    let mut config = LinkConfig::new(Endpoint::Tcp { host: host.to_owned(), port });
    // A resolver waits for five seconds if a packet is lost.
    config.timeouts.connect = Duration::from_secs(60);
    let _link = tape.attach(config);
    tape.end()
}

#[test]
fn a_port_that_nobody_listens_on() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let end = end_at("127.0.0.1", free);
    assert_eq!((end.code, end.retry, end.state), ("connection_refused", Retry::Soon, LinkState::Init));
    assert!(end.text.starts_with(&format!("127.0.0.1:{free} init connection_refused (")), "{}", end.text);
}

#[test]
fn a_host_that_no_name_server_knows() {
    for host in ["no-such-host.invalid", "", "a host\0name"] {
        let end = end_at(host, 6379);
        assert_eq!((end.code, end.retry), ("host_not_found", Retry::Soon), "{host:?}: {}", end.text);
    }
}

#[test]
fn every_address_of_a_name_is_tried() {
    // `localhost` is ::1 and 127.0.0.1 on most machines. The primary listens on the latter only.
    let primary = FakePrimary::start();
    let tape = Tape::new();
    let _link = tape.attach(LinkConfig::new(Endpoint::Tcp { host: "localhost".to_owned(), port: primary.port() }));
    let _peer = primary.accept();
    tape.wait("connected", |notes| notes.peer.is_some());
    assert_eq!(tape.see(|notes| notes.peer.map(|peer| peer.port())), Some(primary.port()));
}

#[test]
fn a_name_with_only_an_address_of_ipv6_is_reached() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tape = Tape::new();
    // With a zone it is no address to us but a name, of which the system knows one address.
    let _link = tape.attach(LinkConfig::new(Endpoint::Tcp { host: "::1%1".to_owned(), port }));
    tape.wait("connected", |notes| notes.peer.is_some());
    assert!(tape.see(|notes| notes.peer.is_some_and(|peer| peer.is_ipv6() && peer.port() == port)));
}

#[test]
fn a_host_that_swallows_everything_is_left_after_the_connect_timeout() {
    // Linux completes connections up to the backlog and lets further ones wait. With a full backlog
    // the port never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        fillers.push(filler);
        assert!(fillers.len() < 20_000, "this system accepts without end");
    }
    let tape = Tape::new();
    let mut config = LinkConfig::new(Endpoint::Tcp { host: address.ip().to_string(), port: address.port() });
    config.timeouts.connect = Duration::from_millis(200);
    let since = Instant::now();
    let _link = tape.attach(config);
    let end = tape.end();
    assert_eq!((end.code, end.retry, end.state), ("connect_timeout", Retry::Soon, LinkState::Init));
    assert!(since.elapsed() >= Duration::from_millis(200) && since.elapsed() < PATIENCE / 2);
}

#[test]
fn a_wrong_password_is_reported_and_never_shown() {
    let end =
        end_after(&["-NOAUTH Authentication required.\r\n", "-WRONGPASS invalid hunter2 or user is disabled.\r\n"]);
    assert_eq!((end.code, end.retry, end.state), ("wrong_password", Retry::Slowly, LinkState::Auth));
}

#[test]
fn a_server_without_passwords_is_no_wrong_password() {
    let reply = "-ERR AUTH <password> called without any password configured for the default user.\r\n";
    assert_eq!(end_after(&["+PONG\r\n", reply]).code, "no_password_set");
}

#[test]
fn a_web_server_and_noise_are_no_primaries() {
    let http = "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Length: 150\r\n\r\n<html>";
    for greeting in [http, "\u{16}\u{3}\u{1}", "SSH-2.0-OpenSSH_9.2\r\n", "\0\0\0\0", "220 smtp ready\r\n"] {
        let end = end_after(&[greeting]);
        assert_eq!((end.code, end.retry, end.state), ("not_redis", Retry::Slowly, LinkState::Ping), "{greeting:?}");
    }
    assert!(end_after(&[http]).text.contains("HTTP/1.1 400 Bad Request"));
}

#[test]
fn garbage_in_the_middle_of_the_opening_is_no_reply() {
    let end = end_after(&["+PONG\r\n", "+OK\r\n", "$5\r\nhello\r\n"]);
    assert_eq!((end.code, end.state), ("bad_reply", LinkState::ReplconfListeningPort));
    assert_eq!(end_after_psync("+FULLRESYNC nonsense 1\r\n").code, "bad_reply");
    assert_eq!(end_after_psync(&format!("+FULLRESYNC {ID} 18446744073709551615\r\n")).code, "bad_reply");
    assert_eq!(end_after_psync(&format!("+CONTINUE {ID}\r\n")).code, "bad_reply", "there is nothing to continue");
    let endless = format!("+{}", "x".repeat(100_000));
    assert_eq!(end_after(&[&endless]).code, "bad_reply");
}

#[test]
fn a_server_that_cannot_yet_is_asked_again_soon() {
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    let end = end_after(&[loading]);
    assert_eq!((end.code, end.retry, end.state), ("loading", Retry::Soon, LinkState::Ping));
    let rows = [
        (loading, "loading"),
        ("-NOMASTERLINK Can't SYNC while not connected with my master\r\n", "no_master_link"),
        ("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n", "master_down"),
        ("-BUSY Redis is busy running a script.\r\n", "busy"),
        ("-ERR BGSAVE failed, replication can't continue\r\n", "bgsave_failed"),
    ];
    for (reply, code) in rows {
        let end = end_after_psync(reply);
        assert_eq!((end.code, end.retry), (code, Retry::Soon));
    }
}

#[test]
fn a_missing_permission_names_the_command() {
    let end = end_after_psync("-NOPERM User repl has no permissions to run the 'psync' command\r\n");
    assert_eq!((end.code, end.retry), ("no_permission", Retry::Slowly));
    assert!(end.text.contains("PSYNC: NOPERM") && end.text.contains("'psync'"), "{}", end.text);
    let end = end_after(&["+PONG\r\n", "+OK\r\n", "-NOPERM this user has no permissions to run the command\r\n"]);
    assert!(end.text.contains("REPLCONF: NOPERM"), "the server need not name it: {}", end.text);
}

#[test]
fn a_service_that_refuses_replicas_is_reported_as_such() {
    let replies = [
        "-ERR unknown command 'PSYNC', with args beginning with: '?' '-1' \r\n",
        "-ERR unknown command `psync`, with args beginning with: `?`, `-1`, \r\n",
        "-ERR Command is not available: 'PSYNC'. See https://docs.example/\r\n",
        "-ERR PSYNC is not allowed on this instance\r\n",
        "-ERR This command is disabled\r\n",
    ];
    for reply in replies {
        let end = end_after_psync(reply);
        assert_eq!((end.code, end.retry), ("psync_forbidden", Retry::Slowly), "{reply}");
        assert!(end.text.contains("PSYNC: ERR"), "the server's words are there: {}", end.text);
    }
}

#[test]
fn options_that_a_server_does_not_know_are_no_obstacle() {
    let primary = FakePrimary::start();
    let tape = Tape::new();
    let _link = tape.attach(primary.config());
    let mut peer = primary.accept();
    let mut asked = Vec::new();
    loop {
        let words = peer.command();
        match words[0].as_str() {
            "PSYNC" => break,
            "PING" => peer.send("-NOPERM this user has no permissions to run the 'ping' command\r\n"),
            _ => peer.send("-ERR Unrecognized REPLCONF option\r\n"),
        }
        asked.push(words.join(" "));
    }
    let expected = [
        "PING",
        "REPLCONF listening-port 70000",
        "REPLCONF capa eof",
        "REPLCONF capa psync2",
        "REPLCONF version 9.1.0",
    ];
    assert_eq!(asked, expected);
    peer.send(format!("+FULLRESYNC {ID} 0\r\n$5\r\nfile#"));
    tape.wait_for(LinkState::Streaming);
}

#[test]
fn a_server_that_hangs_up_instead_of_answering_is_told_with_the_command() {
    let commands =
        ["PING", "REPLCONF listening-port", "REPLCONF capa eof", "REPLCONF capa psync2", "REPLCONF version", "PSYNC"];
    for (answered, command) in commands.into_iter().enumerate() {
        let primary = FakePrimary::start();
        let tape = Tape::new();
        let _link = tape.attach(primary.config());
        let mut peer = primary.accept();
        for before in commands.iter().take(answered) {
            assert!(peer.command().join(" ").starts_with(before));
            peer.send("+OK\r\n");
        }
        assert!(peer.command().join(" ").starts_with(command));
        if answered % 2 == 0 {
            peer.reset()
        } else {
            drop(peer)
        }
        // Nobody speaks TLS there.
        drop(primary);
        let end = tape.end();
        assert_eq!((end.code, end.retry), ("closed_in_handshake", Retry::Soon), "{}", end.text);
        assert!(end.text.ends_with(&format!("(after {command})")), "{}", end.text);
    }
}

#[test]
fn a_stream_that_was_begun_and_closed_is_no_refusal() {
    let tape = Tape::new();
    let (_primary, peer, _link) = crate::fake_primary::streaming(&tape, |_| ());
    drop(peer);
    assert!(["closed", "connection_reset"].contains(&tape.end().code));
}

#[test]
fn a_server_with_a_replication_of_its_own_is_told_as_such() {
    let rows = [
        ("-ERR value is not an unsigned long long or out of range\r\n", "other_replication"),
        ("-ERR:3,msg:not supported\r\n", "other_replication"),
        ("-ERR wrong number of arguments for 'psync' command\r\n", "not_psync"),
    ];
    for (reply, code) in rows {
        let end = end_after_psync(reply);
        assert_eq!((end.code, end.retry), (code, Retry::Slowly), "{reply}");
    }
    assert_eq!(end_after(&["+PONG\r\n", "+OK\r\n", "+OK\r\n", "+OK active-replica\r\n"]).code, "active_replication");
}

#[test]
fn newlines_between_the_replies_are_keepalives() {
    let primary = FakePrimary::start();
    let tape = Tape::new();
    let mut config = primary.config();
    config.timeouts.read = Duration::from_millis(1500);
    let _link = tape.attach(config);
    let mut peer = primary.accept();
    peer.greet();
    for _ in 0..20 {
        peer.send("\n");
        std::thread::sleep(Duration::from_millis(100));
    }
    peer.send(format!("\n+FULLRESYNC {ID} 7\r\n"));
    for _ in 0..20 {
        peer.send("\n");
        std::thread::sleep(Duration::from_millis(100));
    }
    peer.send("$5\r\nfile#");
    peer.ack_of(7);
    peer.send("\n\n");
    peer.send(crate::fake_primary::frame(&["PING"]));
    peer.send("\n");
    peer.ack_of(7 + 14);
}
