//! The mirror as a sink: what readers read.

use crate::clock::now_ms;
use crate::sink::{RdbStep, Sink, SinkError, StreamStep};
use bytes::BytesMut;
use parking_lot::Mutex;
use std::sync::Arc;
use vdr_rdb::{Progress, Server};
use vdr_replica::handshake::{Position, Retry};
use vdr_replica::mirror::{Fault, Mirror};

/// Who goes along with a link that feeds a mirror.
pub trait Company: Send + 'static {
    /// Whether this link is still the one that feeds. Asked under the mirror's lock, so that nothing of an old link comes
    /// between what a new one has read and done.
    fn is_current(&self) -> bool {
        true
    }

    /// The link begins.
    fn begins(&self, _mirror: &mut Mirror) {}

    /// The mirror has been given something that may be seen, or has refused it.
    fn fed(&mut self) {}
}

/// Nobody.
impl Company for () {}

/// Feeds a mirror that outlives the link. Only one link feeds it at a time, so the lock is free whenever it is asked for.
pub struct MirrorSink<C = ()> {
    mirror: Arc<Mutex<Mirror>>,
    company: C,
}

impl<C: Company> MirrorSink<C> {
    pub fn new(mirror: Arc<Mutex<Mirror>>, company: C) -> Self {
        MirrorSink { mirror, company }
    }

    /// Works on the mirror, unless it is another link's by now.
    fn mirror<T>(&self, work: impl FnOnce(&mut Mirror) -> T) -> Option<T> {
        let mut mirror = self.mirror.lock();
        self.company.is_current().then(|| work(&mut mirror))
    }

    /// As [`MirrorSink::mirror`], for what can fail.
    fn feed<T>(&self, work: impl FnOnce(&mut Mirror) -> Result<T, Fault>) -> Result<T, SinkError> {
        Ok(self.mirror(work).ok_or_else(|| SinkError::soon("superseded", ""))??)
    }
}

impl<C: Company> Sink for MirrorSink<C> {
    fn position(&self) -> Option<Position> {
        let (replication_id, offset) = self.mirror(|mirror| {
            // The link before may not have had the time to say so.
            mirror.ended();
            self.company.begins(mirror);
            mirror.position()
        })??;
        Some(Position { replication_id: replication_id.to_string(), offset })
    }

    fn linked_to(&mut self, server: Server) {
        self.mirror(|mirror| mirror.linked_to(server));
    }

    fn continued(&mut self, replication_id: &str) {
        self.mirror(|mirror| mirror.continued(replication_id));
        self.company.fed();
    }

    fn sync_started(&mut self, replication_id: &str, offset: u64) {
        self.mirror(|mirror| mirror.sync_started(replication_id, offset));
    }

    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError> {
        Ok(match self.feed(|mirror| mirror.rdb(bytes))? {
            Progress::More => RdbStep::More,
            Progress::Done { consumed } => RdbStep::Done { consumed },
        })
    }

    fn sync_finished(&mut self) -> Result<(), SinkError> {
        let finished = self.feed(|mirror| mirror.sync_finished(now_ms()));
        self.company.fed();
        finished
    }

    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        let fed = self.feed(|mirror| mirror.stream(input, now_ms()));
        self.company.fed();
        fed.map(|ack_wanted| StreamStep { ack_wanted, left: false })
    }

    fn applied(&self) -> u64 {
        self.mirror(|mirror| mirror.applied()).unwrap_or(0)
    }

    fn tick(&mut self) {
        self.mirror(|mirror| mirror.tick(now_ms()));
        self.company.fed();
    }

    fn ended(&mut self) {
        self.mirror(Mirror::ended);
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
