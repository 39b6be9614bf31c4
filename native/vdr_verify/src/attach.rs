//! A mirror attached to a server. It keeps each of its recent states by offset.

use crate::filtered::Filtered;
use crate::history::History;
use crate::uptime::Uptime;
use crate::wrong::Wrong;
use bytes::BytesMut;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vdr_link::{
    Endpoint, LinkConfig, LinkEnd, LinkHandle, LinkState, MirrorSink, Observer, RdbStep, Sink, SinkError, StreamStep,
};
use vdr_replica::filter::Filter;
use vdr_replica::handshake::Position;
use vdr_replica::live::Snapshot;
use vdr_replica::mirror::{Mirror, Shared};
use vdr_replica::resp::Decoder;
use vdr_testkit::Command;

/// Stands behind the end of a link that the primary caused: it changed data and did not send it.
pub const UNSENT: &str = " (the primary sent nothing that made this key)";

/// One mirror and its link.
pub struct Attached {
    pub shared: Shared,
    pub history: Arc<Mutex<History>>,
    mirror: Arc<Mutex<Mirror>>,
    port: u16,
    framewise: bool,
    wrong: Option<Wrong>,
    link: Option<LinkHandle>,
    pub uptime: Arc<Uptime>,
}

impl Attached {
    /// With `framewise` the mirror publishes after each command, so that every offset can be looked
    /// up, and the filtered keyspace is compared with the whole one. Otherwise batches stay as they
    /// arrive. `wrong` is the fault that the mirror commits on purpose.
    pub fn new(port: u16, framewise: bool, only: &Filter, wrong: Option<Wrong>) -> io::Result<Self> {
        let shared = Shared::default();
        let mirror = Mirror::new(shared.clone(), Some(b"__vdr_tx".to_vec()), Box::new(drop));
        let filtered = framewise.then(|| Filtered::new(only.clone()));
        let history = History::new(filtered);
        let mut attached = Attached {
            shared,
            history: Arc::new(Mutex::new(history)),
            mirror: Arc::new(Mutex::new(mirror)),
            port,
            framewise,
            wrong,
            link: None,
            uptime: Arc::default(),
        };
        attached.ensure_link()?;
        Ok(attached)
    }

    /// Starts a link if there is none. The same mirror resumes at its offset.
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
            wrong: self.wrong.clone(),
            offset: 0,
        };
        self.link =
            Some(vdr_link::spawn(config, sink, Ends { history: self.history.clone(), uptime: self.uptime.clone() })?);
        Ok(())
    }

    /// The difference that the filter caused, if there is one.
    pub fn filter_was_wrong(&self) -> Option<String> {
        self.history.lock().filtered.as_ref()?.wrong.clone()
    }

    /// Whether the link follows the stream at this moment.
    pub fn is_streaming(&self) -> bool {
        self.uptime.is_streaming()
    }

    /// The commands that the mirror counted as unknown although they have a row.
    pub fn unknown_with_row(&self) -> Option<String> {
        let unknown = self.shared.status.unknown_commands.lock();
        let known: Vec<&String> =
            unknown.keys().filter(|name| vdr_commands::write(name.as_bytes()).is_some()).collect();
        (!known.is_empty()).then(|| format!("  counted as unknown, and have a row: {known:?}"))
    }

    /// The ends of links that no program may cause, and the commands that were counted as unknown
    /// and have a row. A full sync after such an end hides it from every digest.
    pub fn faults(&self) -> Option<String> {
        let history = self.history.lock();
        let ends: Vec<&str> = history.ends.iter().map(String::as_str).filter(|end| is_fault(end)).collect();
        let ends = (!ends.is_empty()).then(|| format!("  links ended:\n    {}", ends.join("\n    ")));
        ends.or_else(|| self.unknown_with_row())
    }

    /// The state at exactly this offset. None if it does not arrive in time, or was skipped.
    pub fn at(&mut self, offset: u64) -> io::Result<Option<Arc<Snapshot>>> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(snapshot) = self.history.lock().at(offset) {
                return Ok(Some(snapshot));
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

/// The mirror's own sink, plus a record of each command.
struct Recorder {
    sink: MirrorSink,
    shared: Shared,
    history: Arc<Mutex<History>>,
    decoder: Decoder,
    framewise: bool,
    wrong: Option<Wrong>,
    /// The last byte of the stream that belongs to a whole command.
    offset: u64,
}

impl Recorder {
    fn filter(&mut self, args: &[&[u8]], len: usize) {
        let mut history = self.history.lock();
        if let Some(filtered) = &mut history.filtered {
            filtered.command(args, len, self.sink.applied(), self.shared.live.snapshot().as_deref());
        }
    }

    /// A stream begins, or resumes, after the applied offset.
    fn stream_begins(&mut self) {
        self.decoder = Decoder::new();
        self.offset = self.sink.applied();
    }

    /// Records the command that begins `from` bytes into the input, if it is whole, and returns
    /// where it ends.
    fn next(&mut self, input: &mut BytesMut, from: usize) -> Result<Option<usize>, SinkError> {
        let rest = input.get(from..).unwrap_or_default();
        let frame = self.decoder.decode(rest).map_err(|error| SinkError::soon("protocol", error.to_string()))?;
        let Some(frame) = frame else { return Ok(None) };
        let command: Command = self.decoder.args(rest).map(<[u8]>::to_vec).collect();
        self.offset += frame.len as u64;
        self.history.lock().record(self.offset, command);
        let (start, end) = (from + frame.skipped, from + frame.skipped + frame.len);
        if let (Some(wrong), Some(bytes)) = (&self.wrong, input.get_mut(start..end)) {
            wrong.plant(bytes);
        }
        Ok(Some(end))
    }

    fn one_by_one(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        let mut step = StreamStep::default();
        while let Some(end) = self.next(input, 0)? {
            // Includes the planted fault: the filtered keyspace must equal the whole one, right or
            // wrong.
            let args: Vec<Vec<u8>> = self.decoder.args(input).map(<[u8]>::to_vec).collect();
            step.ack_wanted |= self.sink.stream(&mut input.split_to(end))?.ack_wanted;
            self.filter(&args.iter().map(Vec::as_slice).collect::<Vec<_>>(), end);
            self.history.lock().keep(self.shared.live.snapshot());
        }
        Ok(step)
    }

    fn as_they_come(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        let mut from = 0;
        while let Some(end) = self.next(input, from)? {
            from = end;
        }
        let step = self.sink.stream(input)?;
        self.history.lock().keep(self.shared.live.snapshot());
        Ok(step)
    }
}

impl Sink for Recorder {
    fn position(&self) -> Option<Position> {
        self.sink.position()
    }

    fn continued(&mut self, replication_id: &str) {
        self.history.lock().filtered.iter_mut().for_each(Filtered::continued);
        self.sink.continued(replication_id);
        self.stream_begins();
    }

    fn sync_started(&mut self, start: Option<&Position>) {
        self.sink.sync_started(start);
    }

    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError> {
        self.sink.rdb(bytes)
    }

    fn sync_finished(&mut self) -> Result<(), SinkError> {
        self.sink.sync_finished()?;
        self.stream_begins();
        let mut history = self.history.lock();
        history.filtered.iter_mut().for_each(Filtered::sync);
        history.synced(self.shared.live.snapshot());
        Ok(())
    }

    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        if self.framewise { self.one_by_one(input) } else { self.as_they_come(input) }
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

struct Ends {
    history: Arc<Mutex<History>>,
    uptime: Arc<Uptime>,
}

impl Observer for Ends {
    fn state(&self, state: LinkState) {
        self.uptime.enter(state);
    }

    fn ended(&self, end: &LinkEnd) {
        let (mut text, mut history) = (end.to_string(), self.history.lock());
        if missing_at(&text).is_some_and(|offset| history.is_unsent(offset)) {
            text += UNSENT;
        }
        history.ends.push(text.clone());
        drop(history);
        self.uptime.end(text);
    }
}

/// Whether a link ended by a fault of the mirror. A load may kill connections, and that is all.
pub fn is_fault(end: &str) -> bool {
    let code = end.split(' ').nth(2).unwrap_or_default();
    let is_bad = ["diverged", "panicked", "protocol"].contains(&code) || code.starts_with("rdb_");
    is_bad && !end.ends_with(UNSENT)
}

/// The offset of the command that named a key which is not there.
fn missing_at(end: &str) -> Option<u64> {
    let (_, rest) = end.split_once("Missing at offset ")?;
    rest.split_once(' ')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_no_fault_in_any_state() {
        assert!(!is_fault("127.0.0.1:1 rdb_transfer closed"));
        assert!(is_fault("127.0.0.1:1 rdb_transfer rdb_bad_checksum (at byte 9)"));
        let end = "127.0.0.1:1 streaming diverged (Missing at offset 17 on PERSIST k)";
        assert!(is_fault(end));
        assert!(!is_fault(&format!("{end}{UNSENT}")));
        assert_eq!(missing_at(end), Some(17));
    }
}
