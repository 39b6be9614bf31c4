//! The simplest sink and the observer of its link. Both record their calls.

use crate::fake_primary::PATIENCE;
use bytes::{Buf, BytesMut};
use parking_lot::{Condvar, Mutex};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use vdr_link::{
    BoxFuture, LinkConfig, LinkEnd, LinkHandle, LinkState, Observer, Position, RdbStep, Retry, Sink, SinkError,
    StreamStep,
};
use vdr_replica::resp::Decoder;

/// The end of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub code: &'static str,
    pub retry: Retry,
    pub state: LinkState,
    pub text: String,
}

#[derive(Debug, Default)]
pub struct Notes {
    pub states: Vec<LinkState>,
    pub peer: Option<SocketAddr>,
    pub received: usize,
    /// The calls of the sink that are rare, by name.
    pub calls: Vec<String>,
    pub file: Vec<u8>,
    pub commands: Vec<Vec<String>>,
    pub applied: u64,
    pub ticks: usize,
    /// How often the link asked whether the sink is ready.
    pub ready_polls: usize,
    pub end: Option<Ended>,
    pub sink_dropped: bool,
}

/// Shared by the test, the sink and the observer.
#[derive(Clone)]
pub struct Tape {
    notes: Arc<Mutex<Notes>>,
    changed: Arc<Condvar>,
    /// The position from which the sink can resume.
    pub position: Option<u64>,
    ready: Arc<watch::Sender<bool>>,
}

impl Tape {
    pub fn new() -> Self {
        Tape {
            notes: Arc::default(),
            changed: Arc::default(),
            position: None,
            ready: Arc::new(watch::Sender::new(true)),
        }
    }

    /// A tape whose earlier link applied `offset` bytes.
    pub fn at(offset: u64) -> Self {
        Tape { position: Some(offset), ..Tape::new() }
    }

    pub fn attach(&self, config: LinkConfig) -> LinkHandle {
        self.notes.lock().applied = self.position.unwrap_or(0);
        let sink = TapeSink { tape: self.clone(), decoder: Decoder::new() };
        vdr_link::spawn(config, sink, self.watcher()).unwrap()
    }

    /// Only the observer, for links with another sink.
    pub fn watcher(&self) -> Watcher {
        Watcher(self.clone())
    }

    /// Sets whether the sink is ready.
    pub fn set_ready(&self, ready: bool) {
        self.ready.send_replace(ready);
    }

    /// Makes the sink unready for certain: a read that began while the sink was ready may still be
    /// in progress. The next timer begins another one, which asks the sink and finds it unready.
    pub fn make_unready(&self) {
        self.set_ready(false);
        let polls = self.see(|notes| notes.ready_polls);
        self.wait("asked again", |notes| notes.ready_polls > polls + 1);
    }

    pub fn see<T>(&self, look: impl FnOnce(&Notes) -> T) -> T {
        look(&self.notes.lock())
    }

    fn write(&self, write: impl FnOnce(&mut Notes)) {
        write(&mut self.notes.lock());
        self.changed.notify_all();
    }

    /// Waits until `until` is true of the notes.
    pub fn wait(&self, what: &str, until: impl Fn(&Notes) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut notes = self.notes.lock();
        while !until(&notes) {
            let timed_out = self.changed.wait_until(&mut notes, deadline).timed_out();
            assert!(!timed_out, "never {what}: {notes:?}");
        }
    }

    pub fn wait_for(&self, state: LinkState) {
        self.wait(state.as_str(), |notes| notes.states.contains(&state));
    }

    pub fn end(&self) -> Ended {
        self.wait("ended", |notes| notes.end.is_some());
        self.see(|notes| notes.end.clone()).unwrap()
    }

    /// Stops the link, and returns how long that took.
    pub fn stop(&self, link: &LinkHandle) -> Duration {
        let since = Instant::now();
        link.stop();
        assert_eq!(self.end().code, "stopped");
        since.elapsed()
    }
}

struct TapeSink {
    tape: Tape,
    decoder: Decoder,
}

impl TapeSink {
    fn called(&self, name: &str) {
        self.tape.write(|notes| notes.calls.push(name.to_owned()));
    }
}

impl Sink for TapeSink {
    fn position(&self) -> Option<Position> {
        let replication_id = crate::fake_primary::ID.to_owned();
        self.tape.position.map(|offset| Position { replication_id, offset })
    }

    fn continued(&mut self, replication_id: &str) {
        self.called(&format!("continued {replication_id}"));
    }

    fn sync_started(&mut self, start: Option<&Position>) {
        let Some(Position { replication_id, offset }) = start else { return self.called("sync_started") };
        self.called(&format!("sync_started {replication_id} {offset}"));
        self.tape.write(|notes| notes.applied = *offset);
    }

    /// A file ends with `#`. A `!` in it makes the sink panic, a `~` takes it four seconds.
    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError> {
        let end = bytes.iter().position(|byte| *byte == b'#').map(|last| last + 1);
        let file = &bytes[..end.unwrap_or(bytes.len())];
        assert!(!file.contains(&b'!'), "a bug of the sink");
        if file.contains(&b'~') {
            std::thread::sleep(Duration::from_secs(4));
        }
        self.tape.write(|notes| notes.file.extend_from_slice(file));
        Ok(end.map_or(RdbStep::More, |consumed| RdbStep::Done { consumed }))
    }

    fn sync_finished(&mut self) -> Result<(), SinkError> {
        self.called("sync_finished");
        Ok(())
    }

    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        let mut step = StreamStep::default();
        loop {
            let frame = self.decoder.decode(input).map_err(|error| SinkError::soon("protocol", error.to_string()))?;
            let Some(frame) = frame else { return Ok(step) };
            let words = self.decoder.args(input).map(|word| String::from_utf8_lossy(word).into_owned());
            let command: Vec<String> = words.collect();
            input.advance(frame.skipped + frame.len);
            assert_ne!(command[0], "PANIC");
            if command[0] == "WORK" {
                std::thread::sleep(Duration::from_millis(command[1].parse().unwrap()));
            }
            step.ack_wanted |= command.get(1).is_some_and(|word| word == "GETACK");
            self.tape.write(|notes| {
                notes.applied += frame.len as u64;
                notes.commands.push(command);
            });
        }
    }

    fn applied(&self) -> u64 {
        self.tape.see(|notes| notes.applied)
    }

    fn tick(&mut self) {
        self.tape.write(|notes| notes.ticks += 1);
    }

    fn ended(&mut self) {
        self.called("ended");
    }

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.tape.write(|notes| notes.ready_polls += 1);
            let _ = self.tape.ready.subscribe().wait_for(|ready| *ready).await;
        })
    }
}

impl Drop for TapeSink {
    fn drop(&mut self) {
        self.tape.write(|notes| notes.sink_dropped = true);
    }
}

pub struct Watcher(Tape);

impl Observer for Watcher {
    fn state(&self, state: LinkState) {
        self.0.write(|notes| notes.states.push(state));
    }

    fn connected(&self, peer: Option<SocketAddr>) {
        self.0.write(|notes| notes.peer = peer);
    }

    fn received(&self, bytes: usize) {
        self.0.write(|notes| notes.received += bytes);
    }

    fn ended(&self, end: &LinkEnd) {
        let ended = Ended { code: end.code(), retry: end.retry(), state: end.state, text: end.to_string() };
        self.0.write(|notes| {
            assert_eq!(notes.end, None, "a link ends once");
            notes.end = Some(ended);
        });
    }
}
