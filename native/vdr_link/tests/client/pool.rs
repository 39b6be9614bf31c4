use crate::fake_server::{FakeServer, ID, info, role};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};
use vdr_link::{
    Access, Answer, Answers, BoxFuture, Call, Caller, ClientPool, Endpoint, HostMap, Kind, PoolConfig, PoolState,
    Question, Request, Stage,
};
use vdr_replica::position::{Visible, WAITERS_PER_WAKE, Waiters};
use vdr_replica::resp::reply::Reply;

const PATIENCE: Duration = Duration::from_secs(20);

struct NoPassword;

impl Answers for NoPassword {
    fn ask(&self, _question: Question) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async { None })
    }
}

struct Forward(Mutex<Sender<Answer>>);

impl Caller for Forward {
    fn answer(&self, answer: Answer) {
        let _no_longer_awaited = self.0.lock().send(answer);
    }
}

struct Fixture {
    pool: ClientPool,
    visible: Arc<Visible>,
    waiters: Arc<Waiters>,
}

impl Fixture {
    /// The data has the server's id, and is at offset 100.
    fn new(endpoint: Endpoint, silence: Duration) -> Self {
        let visible = Arc::new(Visible::default());
        visible.replace(&Arc::from(ID));
        visible.publish(100);
        let waiters = Arc::new(Waiters::new(visible.clone()));
        let served: Weak<Waiters> = Arc::downgrade(&waiters);
        visible.wake_by(move || while served.upgrade().is_some_and(|waiters| waiters.serve(WAITERS_PER_WAKE)) {});
        let access = Access { tls: None, timeout: PATIENCE, username: None, password: false };
        let host_map = HostMap::Table(HashMap::new());
        let config = PoolConfig { instance: 0, access, host_map, silence };
        let pool = ClientPool::new(config, Arc::new(NoPassword), waiters.clone());
        pool.follow(endpoint);
        Fixture { pool, visible, waiters }
    }

    fn of(server: &FakeServer) -> Self {
        Self::new(server.endpoint(), PATIENCE)
    }

    fn send(&self, commands: &[&str], kind: Kind, awaits: bool) -> (Arc<Call>, Receiver<Answer>) {
        let (sender, receiver) = channel();
        let call = Call::new(Forward(Mutex::new(sender)), self.waiters.clone());
        let words: Vec<Vec<&[u8]>> =
            commands.iter().map(|command| command.split(' ').map(str::as_bytes).collect()).collect();
        let request = match kind {
            Kind::Sync | Kind::Identify => Request::sync(kind, call.clone()),
            _ => Request::new(kind, 0, &words, awaits, call.clone()).unwrap(),
        };
        self.pool.submit(request).unwrap();
        (call, receiver)
    }

    fn command(&self, command: &str) -> (Arc<Call>, Receiver<Answer>) {
        self.send(&[command], Kind::Command, true)
    }
}

fn take(receiver: &Receiver<Answer>) -> Answer {
    receiver.recv_timeout(PATIENCE).unwrap()
}

fn ok() -> Answer {
    Answer::Reply(Reply::Simple("OK".into()))
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "never came true: {what}");
        sleep(Duration::from_millis(2));
    }
}

/// Answers writes with OK, and offsets by a counter.
fn healthy(offset: Arc<AtomicU64>) -> impl Fn(&str) -> Option<String> + Send + Sync + 'static {
    move |command| {
        let now = || offset.load(Ordering::SeqCst);
        Some(match command {
            "INFO replication" => info(now()),
            "ROLE" => role(now()),
            "EXEC" => "*1\r\n+OK\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        })
    }
}

#[test]
fn a_write_is_answered_when_its_offset_is_visible_and_not_before() {
    let offset = Arc::new(AtomicU64::new(100));
    let server = FakeServer::start(healthy(offset.clone()));
    let fixture = Fixture::of(&server);
    assert_eq!(fixture.pool.state(), PoolState::Unused);
    assert_eq!(take(&fixture.command("SET a 1").1), ok());
    assert_eq!(fixture.pool.state(), PoolState::Ready);
    offset.store(150, Ordering::SeqCst);
    let (call, waiting) = fixture.command("SET a 2");
    let (_, at_once) = fixture.send(&["SET b 1"], Kind::Command, false);
    assert_eq!(take(&at_once), ok());
    eventually("the write is done", || call.stage() == Stage::Written);
    fixture.visible.publish(149);
    assert!(waiting.recv_timeout(Duration::from_millis(50)).is_err());
    fixture.visible.publish(150);
    assert_eq!(take(&waiting), ok());
    let (_, unit) = fixture.send(&["SET a 3"], Kind::Transaction, true);
    assert_eq!(take(&unit), Answer::Replies(vec![Reply::Simple("OK".into())]));
}

#[test]
fn callers_of_sync_share_one_question_on_its_way_and_one_behind_it() {
    let held = Arc::new(AtomicBool::new(false));
    let holds = held.clone();
    let server = FakeServer::start(move |command| {
        // The first question is answered when all callers have come.
        while holds.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(1));
        }
        Some(match command {
            "INFO replication" => info(100),
            "ROLE" => role(100),
            _ => "+OK\r\n".to_owned(),
        })
    });
    let fixture = Fixture::of(&server);
    let _first = take(&fixture.send(&[], Kind::Sync, true).1);
    let before = server.count("ROLE") + server.count("INFO replication");
    held.store(true, Ordering::SeqCst);
    let waiting: Vec<_> = (0..1000).map(|_| fixture.send(&[], Kind::Sync, true).1).collect();
    held.store(false, Ordering::SeqCst);
    for receiver in &waiting {
        assert_eq!(take(receiver), Answer::Visible);
    }
    assert!(server.count("ROLE") + server.count("INFO replication") - before <= 2);
}

#[test]
fn writes_that_leave_together_share_one_question() {
    let held = Arc::new(AtomicBool::new(true));
    let holds = held.clone();
    let server = FakeServer::start(move |command| {
        // The connection opens when all writes wait for it.
        while holds.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(1));
        }
        Some(match command {
            "INFO replication" => info(100),
            "ROLE" => role(100),
            _ => "+OK\r\n".to_owned(),
        })
    });
    let fixture = Fixture::of(&server);
    let waiting: Vec<_> = (0..500).map(|_| fixture.command("SET a 1").1).collect();
    held.store(false, Ordering::SeqCst);
    for receiver in &waiting {
        assert_eq!(take(receiver), ok());
    }
    // The others came with the connection.
    let asked = (server.count("SET a 1"), server.count("ROLE"), server.count("INFO replication"));
    assert_eq!(asked, (500, 2, 1));
}

#[test]
fn the_fate_of_a_write_whose_connection_is_lost_is_unknown_and_it_is_not_sent_again() {
    let server = FakeServer::start(|command| match command {
        "INFO replication" => Some(info(100)),
        "ROLE" => Some(role(100)),
        "SET a 1" => None,
        _ => Some("+OK\r\n".to_owned()),
    });
    let fixture = Fixture::of(&server);
    let (_, lost) = fixture.command("SET a 1");
    assert_eq!(take(&lost), Answer::Failed { stage: Stage::Sent, code: "closed" });
    assert_eq!(take(&fixture.command("SET a 2").1), ok());
    assert_eq!(server.count("SET a 1"), 1);
}

#[test]
fn a_silent_server_is_left_after_a_while() {
    // From the write on it says nothing, not even to the ROLE behind the write.
    let silent = AtomicBool::new(false);
    let server = FakeServer::start(move |command| {
        silent.fetch_or(command == "SET a 1", Ordering::SeqCst);
        match command {
            _ if silent.load(Ordering::SeqCst) => Some(String::new()),
            "INFO replication" => Some(info(100)),
            "ROLE" => Some(role(100)),
            _ => Some(String::new()),
        }
    });
    let fixture = Fixture::new(server.endpoint(), Duration::from_millis(100));
    let (_, silent) = fixture.command("SET a 1");
    assert_eq!(take(&silent), Answer::Failed { stage: Stage::Sent, code: "read_timeout" });
    // The call hears of it first.
    let until = Instant::now() + PATIENCE;
    while fixture.pool.last_error().is_none() && Instant::now() < until {
        sleep(Duration::from_millis(1));
    }
    assert_eq!(fixture.pool.last_error(), Some("read_timeout"));
}

#[test]
fn a_call_that_was_given_up_is_not_sent() {
    let server = FakeServer::start(healthy(Arc::new(AtomicU64::new(100))));
    let fixture = Fixture::new(Endpoint::tcp("127.0.0.1", 1), PATIENCE);
    let (given_up, _) = fixture.command("SET a 1");
    let (_, waiting) = fixture.command("SET a 2");
    eventually("connecting fails", || fixture.pool.last_error() == Some("connection_refused"));
    assert_eq!(given_up.cancel(), Stage::Queued);
    assert_eq!(given_up.cancel(), Stage::Cancelled);
    fixture.pool.follow(server.endpoint());
    assert_eq!(take(&waiting), ok());
    assert_eq!(server.count("SET a 1"), 0);
}

#[test]
fn a_replica_is_asked_for_its_primary() {
    let primary = FakeServer::start(healthy(Arc::new(AtomicU64::new(100))));
    let port = primary.port;
    let replica = FakeServer::start(move |command| {
        Some(match command {
            "ROLE" => format!("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$9\r\nconnected\r\n:1\r\n"),
            _ => "-NOPERM no\r\n".to_owned(),
        })
    });
    let fixture = Fixture::of(&replica);
    assert_eq!(take(&fixture.command("SET a 1").1), ok());
    assert_eq!(primary.count("SET a 1"), 1);
}

/// A server that was demoted answers READONLY; the next call asks where the primary is.
#[test]
fn a_demoted_server_is_left() {
    let demoted = Arc::new(AtomicU64::new(0));
    let primary = FakeServer::start(healthy(Arc::new(AtomicU64::new(100))));
    let (port, is_demoted) = (primary.port, demoted.clone());
    let server = FakeServer::start(move |command| {
        let replica = is_demoted.load(Ordering::SeqCst) == 1;
        Some(match command {
            "INFO replication" if !replica => info(100),
            "ROLE" if !replica => role(100),
            "ROLE" => format!("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$9\r\nconnected\r\n:1\r\n"),
            _ if replica => "-READONLY You can't write against a read only replica.\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        })
    });
    let fixture = Fixture::of(&server);
    assert_eq!(take(&fixture.command("SET a 1").1), ok());
    demoted.store(1, Ordering::SeqCst);
    let Answer::Reply(Reply::Error(text)) = take(&fixture.command("SET a 2").1) else { panic!("READONLY") };
    assert!(text.starts_with(b"READONLY"));
    assert_eq!(take(&fixture.command("SET a 3").1), ok());
    assert_eq!(primary.count("SET a 3"), 1);
    assert_eq!(primary.count("SET a 2"), 0);
}

#[test]
fn a_write_that_the_present_history_lacks_is_lost() {
    let offset = Arc::new(AtomicU64::new(150));
    let server = FakeServer::start(healthy(offset));
    let fixture = Fixture::of(&server);
    let (call, lost) = fixture.command("SET a 1");
    eventually("the write is done", || call.stage() == Stage::Written && fixture.waiters.len() == 1);
    // A full sync from another primary, which does not go back to the id of before.
    let other: Arc<str> = Arc::from("b".repeat(40));
    fixture.visible.replace(&other);
    fixture.visible.publish(1000);
    fixture.waiters.refuse_unknown(&other);
    assert_eq!(take(&lost), Answer::Failed { stage: Stage::Written, code: "lost_history" });
}
