//! A mirror attached to a server, every state of it kept by offset for a while.

use crate::filtered::Filtered;
use bytes::BytesMut;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vdr_core::handshake::Position;
use vdr_core::live::Snapshot;
use vdr_core::mirror::{Mirror, Shared};
use vdr_core::only::Only;
use vdr_core::resp::Decoder;
use vdr_link::{Endpoint, LinkConfig, LinkEnd, LinkHandle, MirrorSink, Observer, RdbStep, Sink, SinkError, StreamStep};
use vdr_testkit::Command;

/// How many states and commands are kept.
const KEPT: usize = 20_000;

/// What the mirror was at each offset, and what brought it there.
#[derive(Default)]
pub struct History {
    states: BTreeMap<u64, Arc<Snapshot>>,
    log: VecDeque<(u64, Command)>,
    pub commands: u64,
    pub full_syncs: u64,
    pub ends: Vec<String>,
    /// Only framewise: in a batch not every state is seen.
    pub filtered: Option<Filtered>,
}

impl History {
    fn keep(&mut self, snapshot: Option<Arc<Snapshot>>) {
        self.states.extend(snapshot.map(|snapshot| (snapshot.offset, snapshot)));
        while self.states.len() > KEPT {
            self.states.pop_first();
        }
    }

    /// The last commands of the stream that name a key.
    pub fn about(&self, key: &[u8]) -> Vec<String> {
        let naming = self.log.iter().rev().filter(|(_, command)| command.iter().any(|word| word == key));
        naming.take(12).map(|(offset, command)| format!("@{offset} {}", show(command))).collect()
    }
}

impl History {
    /// The last commands up to an offset, at which the digests differed.
    pub fn before(&self, offset: u64) -> String {
        let last: Vec<_> = self.log.iter().rev().filter(|(at, _)| *at <= offset).take(12).collect();
        let lines = last.iter().rev().map(|(at, command)| format!("\n    @{at} {}", show(command)));
        format!("  digests differ at offset {offset}, under load, after{}", lines.collect::<String>())
    }
}

/// A command for people: bytes escaped, long arguments cut.
pub fn show(command: &[Vec<u8>]) -> String {
    let words = command.iter().take(24).map(|word| {
        let text = word.escape_ascii().to_string();
        if text.len() > 80 { format!("{}..({} bytes)", text.get(..60).unwrap_or_default(), word.len()) } else { text }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// One mirror and its link.
pub struct Attached {
    pub shared: Shared,
    pub history: Arc<Mutex<History>>,
    mirror: Arc<Mutex<Mirror>>,
    port: u16,
    framewise: bool,
    link: Option<LinkHandle>,
}

impl Attached {
    /// `framewise` publishes after each command, so that every offset can be asked for, and holds what the stream makes of a
    /// part against the whole; otherwise batches are as they come.
    pub fn new(port: u16, framewise: bool, only: &Only) -> io::Result<Self> {
        let shared = Shared::default();
        let mirror = Mirror::new(shared.clone(), Some(b"__vdr_tx".to_vec()), Box::new(drop));
        let filtered = framewise.then(|| Filtered::new(only.clone()));
        let history = History { filtered, ..History::default() };
        let mut attached = Attached {
            shared,
            history: Arc::new(Mutex::new(history)),
            mirror: Arc::new(Mutex::new(mirror)),
            port,
            framewise,
            link: None,
        };
        attached.ensure_link()?;
        Ok(attached)
    }

    /// Starts a link when there is none: the same mirror goes on where it was.
    pub fn ensure_link(&mut self) -> io::Result<()> {
        if self.link.as_ref().is_some_and(|link| !link.is_over()) {
            return Ok(());
        }
        let mut config = LinkConfig::new(Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: self.port });
        config.ack_interval = Duration::from_millis(100);
        let sink = Recorder {
            sink: MirrorSink::new(self.mirror.clone(), ()),
            shared: self.shared.clone(),
            history: self.history.clone(),
            decoder: Decoder::new(),
            framewise: self.framewise,
        };
        self.link = Some(vdr_link::spawn(config, sink, Ends(self.history.clone()))?);
        Ok(())
    }

    /// What a filter made wrong, if it did.
    pub fn filter_was_wrong(&self) -> Option<String> {
        self.history.lock().filtered.as_ref()?.wrong.clone()
    }

    /// The state at exactly this offset; None when it does not come in time, or was passed over.
    pub fn at(&mut self, offset: u64) -> io::Result<Option<Arc<Snapshot>>> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(snapshot) = self.history.lock().states.get(&offset) {
                return Ok(Some(snapshot.clone()));
            }
            if let Some(snapshot) = self.shared.live.snapshot().filter(|snapshot| snapshot.offset >= offset) {
                return Ok((snapshot.offset == offset).then_some(snapshot));
            }
            self.ensure_link()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(None)
    }
}

/// The mirror's own sink, one command at a time, with a record of each.
struct Recorder {
    sink: MirrorSink,
    shared: Shared,
    history: Arc<Mutex<History>>,
    decoder: Decoder,
    framewise: bool,
}

impl Recorder {
    fn filter(&mut self, args: &[&[u8]], len: usize) {
        let mut history = self.history.lock();
        if let Some(filtered) = &mut history.filtered {
            filtered.command(args, len, self.sink.applied(), self.shared.live.snapshot().as_deref());
        }
    }

    fn record(&mut self, input: &[u8], whole_len: usize) {
        let command: Command = self.decoder.args(input).map(<[u8]>::to_vec).collect();
        let mut history = self.history.lock();
        let offset = self.sink.applied() + whole_len as u64;
        history.log.push_back((offset, command));
        history.commands += 1;
        if history.log.len() > KEPT {
            history.log.pop_front();
        }
    }
}

impl Sink for Recorder {
    fn position(&self) -> Option<Position> {
        self.sink.position()
    }

    fn continued(&mut self, replication_id: &str) {
        self.decoder = Decoder::new();
        self.history.lock().filtered.iter_mut().for_each(Filtered::continued);
        self.sink.continued(replication_id);
    }

    fn sync_started(&mut self, replication_id: &str, offset: u64) {
        self.sink.sync_started(replication_id, offset);
    }

    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError> {
        self.sink.rdb(bytes)
    }

    fn sync_finished(&mut self) -> Result<(), SinkError> {
        self.decoder = Decoder::new();
        self.sink.sync_finished()?;
        let mut history = self.history.lock();
        history.full_syncs += 1;
        history.filtered.iter_mut().for_each(Filtered::sync);
        history.states.clear();
        history.keep(self.shared.live.snapshot());
        Ok(())
    }

    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        if !self.framewise {
            let step = self.sink.stream(input)?;
            self.history.lock().keep(self.shared.live.snapshot());
            return Ok(step);
        }
        let mut step = StreamStep::default();
        loop {
            let frame = self.decoder.decode(input).map_err(|error| SinkError::soon("protocol", error.to_string()))?;
            let Some(frame) = frame else { return Ok(step) };
            self.record(input, frame.len);
            let args: Vec<Vec<u8>> = self.decoder.args(input).map(<[u8]>::to_vec).collect();
            let mut one = input.split_to(frame.skipped + frame.len);
            step.ack_wanted |= self.sink.stream(&mut one)?.ack_wanted;
            self.filter(&args.iter().map(Vec::as_slice).collect::<Vec<_>>(), frame.skipped + frame.len);
            self.history.lock().keep(self.shared.live.snapshot());
        }
    }

    fn applied(&self) -> u64 {
        self.sink.applied()
    }

    fn tick(&mut self) {
        self.sink.tick();
    }

    fn ended(&mut self) {
        self.sink.ended();
    }
}

struct Ends(Arc<Mutex<History>>);

impl Observer for Ends {
    fn ended(&self, end: &LinkEnd) {
        self.0.lock().ends.push(end.to_string());
    }
}
