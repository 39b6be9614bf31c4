//! What a link says to `tracing`: its steps, and spans of the handshake, of syncs and of batches.

use crate::fake_primary::{FakePrimary, ID, frame};
use crate::tape::Tape;
use std::sync::Arc;
use vdr_link::{Credentials, LinkConfig, Secret};
use vdr_trace::{Entry, Instance, LevelFilter};

const PASSWORD: &str = "the-password-of-the-primary";

/// The configuration of a link whose events this instance hears.
fn traced(primary: &FakePrimary, level: LevelFilter) -> (LinkConfig, Arc<Instance>) {
    vdr_trace::install();
    let instance = vdr_trace::instances().open();
    instance.set_level(level);
    let mut config = primary.config();
    config.instance = instance.number();
    config.credentials = Some(Credentials { username: None, password: Secret::new(PASSWORD.as_bytes()) });
    (config, instance)
}

/// The lines since the last call, without the times that something took.
fn lines(instance: &Instance) -> Vec<String> {
    let text = |entry| match entry {
        Entry::Line(line) => match line.text.split_once(" took ") {
            Some((name, rest)) => format!("{name} {}", rest.split_once(" ms").unwrap().1),
            None => line.text,
        },
        Entry::Dropped(count) => panic!("{count} were dropped"),
    };
    instance.take(1000).into_iter().map(text).collect()
}

#[test]
fn each_phase_of_a_link_is_a_span_and_none_shows_a_password_or_a_value() {
    let primary = FakePrimary::start();
    let server = format!("127.0.0.1:{}", primary.port());
    let (config, instance) = traced(&primary, LevelFilter::TRACE);
    let tape = Tape::new();
    let link = tape.attach(config);
    let mut peer = primary.accept();
    peer.full_sync(41, "file#");
    peer.ack_of(41);
    let value = frame(&["SET", "k", "a-value"]);
    peer.send(&value);
    let applied = 41 + value.len() as u64;
    peer.ack_of(applied);
    drop(peer);
    assert_eq!(tape.end().code, "closed");
    drop(link);
    let said = lines(&instance);
    let steps =
        |said: &[String]| said.iter().filter(|line| !line.starts_with("link state")).cloned().collect::<Vec<_>>();
    let bytes = value.len();
    assert_eq!(
        steps(&said),
        [
            format!("connecting to {server}"),
            format!("connected to {server} peer=Some({server})"),
            format!("handshake : server={server} outcome=full sync"),
            format!("full sync : replication_id={ID} offset=41 by=socket file_bytes=5 outcome=loaded"),
            format!("batch : bytes={bytes} applied={applied}"),
            format!("link to {server} ended code=closed state=streaming"),
        ]
    );
    assert!(said.contains(&"link state state=psync".to_owned()), "{said:?}");
    assert!(!said.iter().any(|line| line.contains(PASSWORD) || line.contains("a-value")), "{said:?}");
}

#[test]
fn a_partial_sync_is_a_span_and_a_batch_is_none_below_trace() {
    let primary = FakePrimary::start();
    let (config, instance) = traced(&primary, LevelFilter::DEBUG);
    let tape = Tape::at(41);
    let link = tape.attach(config);
    let mut peer = primary.accept();
    peer.greet();
    peer.send([&b"+CONTINUE\r\n"[..], &frame(&["PING"])].concat());
    peer.ack_of(41 + frame(&["PING"]).len() as u64);
    tape.stop(&link);
    let said = lines(&instance);
    assert!(said.contains(&format!("partial sync : replication_id={ID} offset=41 outcome=streaming")), "{said:?}");
    assert!(!said.iter().any(|line| line.starts_with("batch")), "{said:?}");
}

#[test]
fn a_phase_that_is_broken_off_says_so() {
    let primary = FakePrimary::start();
    let (config, instance) = traced(&primary, LevelFilter::DEBUG);
    let tape = Tape::new();
    let link = tape.attach(config);
    drop(primary.accept());
    assert_eq!(tape.end().code, "closed_in_handshake");
    drop(link);
    assert!(lines(&instance).iter().any(|line| line.starts_with("handshake ") && line.ends_with("outcome=broken off")));
    // After such an end the link tries whether the port speaks TLS: that is another primary's.
    let primary = FakePrimary::start();
    let (config, instance) = traced(&primary, LevelFilter::DEBUG);
    let tape = Tape::new();
    let _link = tape.attach(config);
    let mut peer = primary.accept();
    peer.greet();
    peer.send(format!("+FULLRESYNC {ID} 7\r\n$99\r\nfile"));
    tape.wait("loaded", |notes| notes.file == b"file");
    drop(peer);
    assert_eq!(tape.end().code, "closed");
    let said = lines(&instance);
    let sync = format!("full sync : replication_id={ID} offset=7 by=socket file_bytes=4 outcome=broken off");
    assert!(said.contains(&sync), "{said:?}");
}

#[test]
fn an_instance_that_wants_nothing_hears_nothing_beside_one_that_wants_all() {
    let primary = FakePrimary::start();
    let (_curious, all) = traced(&primary, LevelFilter::TRACE);
    let (config, nothing) = traced(&primary, LevelFilter::OFF);
    let tape = Tape::new();
    let link = tape.attach(config);
    let mut peer = primary.accept();
    peer.full_sync(41, "file#");
    peer.send(frame(&["PING"]));
    peer.ack_of(41 + frame(&["PING"]).len() as u64);
    tape.stop(&link);
    assert_eq!((lines(&nothing), lines(&all)), (vec![], vec![]));
}
