//! The mirror as a sink: what readers read.

use crate::sink::{RdbStep, Sink, SinkError, StreamStep};
use bytes::BytesMut;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use vdr_core::handshake::{Position, Retry};
use vdr_core::mirror::{Fault, Mirror};
use vdr_core::rdb::Progress;

/// Feeds a mirror that outlives the link. Only one link feeds it at a time, so the lock is free whenever it is asked for.
pub struct MirrorSink {
    mirror: Arc<Mutex<Mirror>>,
}

impl MirrorSink {
    pub fn new(mirror: Arc<Mutex<Mirror>>) -> Self {
        MirrorSink { mirror }
    }
}

impl Sink for MirrorSink {
    fn position(&self) -> Option<Position> {
        let (replication_id, offset) = self.mirror.lock().position()?;
        Some(Position { replication_id: replication_id.to_string(), offset })
    }

    fn continued(&mut self, replication_id: &str) {
        self.mirror.lock().continued(replication_id);
    }

    fn sync_started(&mut self, replication_id: &str, offset: u64) {
        self.mirror.lock().sync_started(replication_id, offset);
    }

    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError> {
        Ok(match self.mirror.lock().rdb(bytes)? {
            Progress::More => RdbStep::More,
            Progress::Done { consumed } => RdbStep::Done { consumed },
        })
    }

    fn sync_finished(&mut self) -> Result<(), SinkError> {
        Ok(self.mirror.lock().sync_finished(now_ms())?)
    }

    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        let ack_wanted = self.mirror.lock().stream(input, now_ms())?;
        Ok(StreamStep { ack_wanted, left: false })
    }

    fn applied(&self) -> u64 {
        self.mirror.lock().applied()
    }

    fn tick(&mut self) {
        self.mirror.lock().tick(now_ms());
    }

    fn ended(&mut self) {
        self.mirror.lock().ended();
    }
}

impl From<Fault> for SinkError {
    fn from(fault: Fault) -> Self {
        let retry = match fault.code {
            // The same file would come again.
            "rdb_unsupported_version" | "rdb_unknown_type" | "rdb_too_large" | "rdb_bad_magic" => Retry::Slowly,
            // What the user wants to decide.
            "unknown_command" => Retry::Never,
            _ => Retry::Soon,
        };
        SinkError { code: fault.code, detail: fault.detail, retry }
    }
}

/// Unix milliseconds.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
