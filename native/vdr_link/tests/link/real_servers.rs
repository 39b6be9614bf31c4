//! Links to the real servers of this machine, each in turn: they do by themselves what the fake
//! primary does by script. The server's own digest of its keyspace decides about equality.

use crate::fake_primary::PATIENCE;
use crate::mirrored::Mirrored;
use crate::tape::Tape;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vdr_data::digest::Dialect;
use vdr_link::{Credentials, Endpoint, LinkConfig, LinkHandle, LinkState, Retry, Secret, SyncBy};
use vdr_testkit::{Client, Reply, Server, binaries, command};

/// A server and its mirror, with one link at a time.
pub struct Pair {
    pub server: Server,
    pub client: Client,
    pub mirrored: Mirrored,
    pub config: LinkConfig,
    pub tape: Tape,
    link: Option<LinkHandle>,
}

impl Pair {
    /// A mirror that is not attached yet.
    pub fn new(server: Server) -> Self {
        let client = server.client().unwrap();
        let mut config = LinkConfig::new(Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: server.port });
        config.ack_interval = Duration::from_millis(50);
        Pair { server, client, mirrored: Mirrored::new(), config, tape: Tape::new(), link: None }
    }

    pub fn call(&mut self, words: &[&str]) -> Reply {
        self.client.call(words).unwrap()
    }

    pub fn attach(&mut self) {
        // Here nothing tells a link that it is not the current one: were it to end later, it would
        // end the sync of the next one.
        if self.link.take().is_some() {
            self.tape.end();
        }
        self.tape = Tape::new();
        self.link = Some(self.mirrored.attach(self.config.clone(), &self.tape));
    }

    /// Attaches again until a link streams, because a server that has just started may not be ready
    /// for it.
    pub fn attach_until_streaming(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.attach();
            self.tape.wait("streaming or ended", |notes| {
                notes.end.is_some() || notes.states.contains(&LinkState::Streaming)
            });
            if self.tape.see(|notes| notes.end.is_none()) {
                return;
            }
            assert!(Instant::now() < deadline, "{:?}", self.tape.end());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn fill(&mut self) {
        let mut commands = Vec::new();
        for n in 0..500 {
            let n = n.to_string();
            commands.push(command(&["SET", &format!("string:{n}"), &n.repeat(20)]));
            commands.push(command(&["RPUSH", &format!("list:{}", n.len()), &n, "x"]));
            commands.push(command(&["SADD", "set", &n, &format!("m{n}")]));
            commands.push(command(&["HSET", "hash", &n, &format!("v{n}")]));
            commands.push(command(&["ZADD", "zset", &format!("{n}.25"), &n]));
        }
        commands.push(command(&["SELECT", "3"]));
        commands.push(command(&["SET", "in three", "3"]));
        commands.push(command(&["SELECT", "0"]));
        for reply in self.client.pipeline(&commands).unwrap() {
            assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
        }
    }

    pub fn offset(&mut self) -> u64 {
        field(&self.call(&["INFO", "replication"]).text(), "master_repl_offset").parse().unwrap()
    }

    /// Asserts that both sides have the same data at the same offset. A primary's own pings may
    /// advance its offset at any time.
    pub fn assert_equal(&mut self) {
        let dialect = Dialect::of(&self.server.kind, &self.server.version);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.offset();
            let theirs = self.call(&["DEBUG", "DIGEST"]).text();
            let patience = deadline.saturating_duration_since(Instant::now());
            match self.mirrored.digest_from(before, dialect, patience) {
                (offset, ours) if offset == before && self.offset() == before => {
                    assert_eq!(ours, theirs);
                    return;
                }
                _ => assert!(Instant::now() < deadline, "the primary never rests"),
            }
        }
    }

    /// Full and partial syncs so far.
    pub fn syncs(&self) -> (u64, u64) {
        let status = &self.mirrored.shared.status;
        (status.full_syncs.load(Ordering::Relaxed), status.partial_syncs.load(Ordering::Relaxed))
    }
}

fn field(info: &str, name: &str) -> String {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name} in {info}")).trim().to_owned()
}

/// Runs `scenario` with each server program of this machine.
pub fn on_every_server(settings: &[&str], scenario: impl Fn(&mut Pair)) {
    let programs = binaries();
    assert!(!programs.is_empty(), "install redis-server, or unpack others into .servers");
    let settings: Vec<String> = settings.iter().map(|&word| word.to_owned()).collect();
    for program in programs {
        let server = Server::start(&program, &settings).unwrap();
        println!("{} is {} {}", program.name, server.kind, server.version);
        scenario(&mut Pair::new(server));
    }
}

#[test]
fn a_full_sync_by_disk_and_diskless_is_equal_and_followed() {
    for diskless in ["yes", "no"] {
        on_every_server(&["--repl-diskless-sync", diskless], |pair| {
            pair.fill();
            pair.attach();
            pair.tape.wait_for(LinkState::Streaming);
            pair.assert_equal();
            pair.call(&["DEL", "set"]);
            pair.call(&["APPEND", "string:7", "more"]);
            pair.assert_equal();
            assert_eq!(pair.syncs(), (1, 0));
        });
    }
}

/// What a server as installed has, against what the test's servers are given.
const AS_INSTALLED: [&str; 2] = ["--repl-diskless-sync-delay", "5"];

/// How long until a mirror of a new server streams.
fn time_to_stream(pair: &mut Pair, sync_by: SyncBy) -> Duration {
    pair.config.sync_by = sync_by;
    pair.fill();
    let since = Instant::now();
    pair.attach();
    pair.tape.wait_for(LinkState::Streaming);
    let took = since.elapsed();
    println!("{} {}: {sync_by:?} {took:?}", pair.server.kind, pair.server.version);
    pair.assert_equal();
    pair.call(&["APPEND", "string:7", "more"]);
    pair.assert_equal();
    took
}

#[test]
fn small_data_of_a_server_as_installed_is_there_at_once_by_its_disk() {
    for sync_by in [SyncBy::Auto, SyncBy::Disk] {
        // A longer delay, so that a busy machine looks like no delay.
        let a_minute = ["--repl-diskless-sync-delay", "60"];
        on_every_server(&a_minute, |pair| assert!(time_to_stream(pair, sync_by) < PATIENCE));
    }
}

#[test]
fn by_the_socket_a_server_as_installed_waits() {
    let programs = binaries();
    let settings = AS_INSTALLED.map(str::to_owned);
    let server = Server::start(programs.first().expect("make setup installs a server"), &settings).unwrap();
    assert!(time_to_stream(&mut Pair::new(server), SyncBy::Socket) >= Duration::from_secs(4));
}

#[test]
fn a_disk_that_cannot_be_written_to_is_not_tried_twice() {
    on_every_server(&["--enable-protected-configs", "yes"], |pair| {
        pair.config.sync_by = SyncBy::Auto;
        // A folder that is no longer there takes no file, not even of root.
        let nowhere = pair.server.dir().join("nowhere");
        std::fs::create_dir(&nowhere).unwrap();
        pair.call(&["CONFIG", "SET", "dir", &nowhere.to_string_lossy()]);
        std::fs::remove_dir(&nowhere).unwrap();
        pair.attach();
        let end = pair.tape.end();
        assert!(["closed", "bgsave_failed", "sync_aborted"].contains(&end.code), "{}", end.text);
        // The server says itself that its disk failed.
        pair.attach();
        pair.tape.wait_for(LinkState::Streaming);
        pair.assert_equal();
    });
}

#[test]
fn a_server_that_renames_psync_is_followed_by_full_syncs() {
    on_every_server(&["--rename-command", "PSYNC", "Xk3"], |pair| {
        pair.fill();
        pair.attach();
        assert_eq!(pair.tape.end().code, "psync_forbidden");
        pair.config.psync_command = Some(Secret::new("Xk3"));
        for (syncs, sync_by) in [(1, SyncBy::Disk), (2, SyncBy::Socket)] {
            pair.config.sync_by = sync_by;
            pair.attach();
            pair.tape.wait_for(LinkState::Streaming);
            pair.assert_equal();
            pair.call(&["APPEND", "string:7", "more"]);
            pair.assert_equal();
            assert_eq!(pair.syncs(), (syncs, 0), "nothing is resumed by SYNC");
            let (replication_id, offset) = pair.mirrored.position().unwrap();
            let info = pair.call(&["INFO", "replication"]).text();
            assert_eq!(replication_id, field(&info, "master_replid"), "the file names it");
            assert!(offset.abs_diff(pair.offset()) < 1000);
        }
        pair.config.psync_command = Some(Secret::new("SYNC"));
        pair.attach();
        let end = pair.tape.end();
        assert_eq!((end.code, end.retry), ("not_psync", Retry::Slowly), "{}", end.text);
    });
}

#[test]
fn the_primary_sees_our_offset_and_wait_counts_us() {
    on_every_server(&[], |pair| {
        pair.config.ack_interval = Duration::from_secs(3600);
        pair.attach();
        pair.tape.wait_for(LinkState::Streaming);
        // From now on only GETACK causes acknowledgements.
        for n in 0..3 {
            pair.call(&["SET", "k", &n.to_string()]);
            assert_eq!(pair.call(&["WAIT", "1", "15000"]), Reply::Int(1));
        }
        let info = pair.call(&["INFO", "replication"]).text();
        assert!(field(&info, "slave0").contains("port=70000,state=online"), "{info}");
    });
}

#[test]
fn a_server_with_a_password_wants_it() {
    on_every_server(&[], |pair| {
        pair.fill();
        pair.call(&["CONFIG", "SET", "requirepass", "hunter2"]);
        let end_with = |pair: &mut Pair, password: Option<&str>| {
            pair.config.credentials =
                password.map(|password| Credentials { username: None, password: Secret::new(password) });
            pair.attach();
            let end = pair.tape.end();
            assert_eq!(end.retry, Retry::Slowly);
            assert!(!end.text.contains("hunter"), "{}", end.text);
            end.code
        };
        assert_eq!(end_with(pair, None), "password_required");
        assert_eq!(end_with(pair, Some("hunter3")), "wrong_password");
        pair.config.credentials = Some(Credentials { username: None, password: Secret::new("hunter2") });
        pair.attach();
        pair.tape.wait_for(LinkState::Streaming);
        pair.assert_equal();
        pair.call(&["CONFIG", "SET", "requirepass", ""]);
        assert_eq!(end_with(pair, Some("hunter2")), "no_password_set");
    });
}

#[test]
fn the_least_permissions_are_enough_and_fewer_are_reported() {
    on_every_server(&[], |pair| {
        pair.fill();
        let user = |name: &str| Credentials { username: Some(name.to_owned()), password: Secret::new("pw") };
        for (name, commands) in [("repl", "+psync +replconf +ping"), ("noping", "+psync +replconf")] {
            let line = format!("ACL SETUSER {name} on >pw -@all {commands}");
            assert_eq!(pair.call(&line.split(' ').collect::<Vec<_>>()), Reply::Simple("OK".to_owned()));
            pair.config.credentials = Some(user(name));
            pair.attach();
            pair.tape.wait_for(LinkState::Streaming);
            pair.assert_equal();
        }
        for (name, commands, missing) in
            [("nopsync", "+replconf +ping", "PSYNC"), ("noconf", "+psync +ping", "REPLCONF")]
        {
            let line = format!("ACL SETUSER {name} on >pw -@all {commands}");
            pair.call(&line.split(' ').collect::<Vec<_>>());
            pair.config.credentials = Some(user(name));
            pair.attach();
            let end = pair.tape.end();
            assert_eq!((end.code, end.retry), ("no_permission", Retry::Slowly));
            assert!(end.text.contains(&format!("{missing}: NOPERM")), "{}", end.text);
        }
        pair.config.credentials = Some(user("nobody"));
        pair.attach();
        assert_eq!(pair.tape.end().code, "wrong_password");
    });
}

#[test]
fn a_killed_link_goes_on_with_nothing_lost_or_doubled() {
    on_every_server(&["--repl-backlog-size", "64mb"], |pair| {
        pair.fill();
        pair.attach();
        pair.tape.wait_for(LinkState::Streaming);
        let port = pair.server.port;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| count_up(port, &stop));
            for _ in 0..5 {
                std::thread::sleep(Duration::from_millis(100));
                pair.call(&["CLIENT", "KILL", "TYPE", "replica"]);
                let end = pair.tape.end();
                assert!(["closed", "connection_reset"].contains(&end.code), "{}", end.text);
                pair.attach_until_streaming();
            }
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap();
        });
        // Counters and lists show commands that were applied twice or not at all.
        pair.assert_equal();
        assert_eq!(pair.syncs().0, 1, "never another full sync");
        assert!(pair.syncs().1 >= 5);
    });
}

/// Writes whose effects are counted, in units and alone, until `stop`.
fn count_up(port: u16, stop: &AtomicBool) {
    let mut client = Client::connect(port).unwrap();
    let mut round = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let round = round.to_string();
        let commands = [
            command(&["MULTI"]),
            command(&["INCR", "counter"]),
            command(&["RPUSH", "log", &round]),
            command(&["SELECT", "5"]),
            command(&["INCR", "counter"]),
            command(&["EXEC"]),
            command(&["APPEND", "tail", "x"]),
            command(&["SELECT", "0"]),
            command(&["INCRBYFLOAT", "float", "0.1"]),
        ];
        client.pipeline(&commands).unwrap();
    }
}

#[test]
fn a_primary_that_restarts_with_its_data_continues_and_without_it_starts_over() {
    on_every_server(&[], |pair| {
        pair.fill();
        pair.attach();
        pair.tape.wait_for(LinkState::Streaming);
        pair.assert_equal();
        // SHUTDOWN has no reply: the server closes the connection.
        let _ = pair.client.call(&["SHUTDOWN", "SAVE"]);
        assert_eq!(pair.tape.end().retry, Retry::Soon);
        pair.server.restart().unwrap();
        pair.client = pair.server.client().unwrap();
        pair.attach_until_streaming();
        pair.call(&["SET", "after", "restart"]);
        pair.assert_equal();
        assert_eq!(pair.syncs(), (1, 1), "everything had arrived before the shutdown");

        pair.server.kill().unwrap();
        pair.tape.end();
        assert_eq!(pair.mirrored.string("after").as_deref(), Some("restart"), "served while there is no primary");
        pair.server.restart().unwrap();
        pair.client = pair.server.client().unwrap();
        pair.attach_until_streaming();
        pair.assert_equal();
        assert_eq!(pair.syncs().0, 2);
        assert_eq!(pair.mirrored.string("after"), None, "it was never saved");
    });
}

#[test]
fn a_replica_without_its_primary_is_asked_again_soon() {
    on_every_server(&[], |pair| {
        pair.call(&["REPLICAOF", "127.0.0.1", "1"]);
        pair.attach();
        let end = pair.tape.end();
        assert_eq!((end.code, end.retry, end.state), ("no_master_link", Retry::Soon, LinkState::Psync));
        pair.call(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
        pair.attach();
        let end = pair.tape.end();
        assert!(["no_master_link", "master_down"].contains(&end.code), "{}", end.text);
    });
}
