//! The sink that feeds a mirror, from which readers read.

use crate::clock::now_ms;
use crate::sink::{RdbStep, Sink, SinkError, StreamStep};
use bytes::BytesMut;
use parking_lot::Mutex;
use std::sync::Arc;
use vdr_rdb::{Progress, Server};
use vdr_replica::handshake::{Position, Retry};
use vdr_replica::live::Snapshot;
use vdr_replica::mirror::{ACTIVE_REPLICATION, Fault, Mirror};

/// Hooks into the feeding of a mirror.
pub trait MirrorHooks: Send + 'static {
    /// Whether this link is still the current one. Called under the mirror's lock, so that no input
    /// of an old link comes between two steps of a new one.
    fn is_current(&self) -> bool {
        true
    }

    /// The link starts to feed the mirror.
    fn before_feed(&self, _mirror: &mut Mirror) {}

    /// The mirror has published something, or has refused its input.
    fn after_feed(&mut self) {}
}

/// No hooks.
impl MirrorHooks for () {}

/// Feeds a mirror that outlives the link. Only one link feeds it at a time, so its lock is rarely
/// contended.
pub struct MirrorSink {
    mirror: Arc<Mutex<Mirror>>,
    hooks: Box<dyn MirrorHooks>,
}

impl MirrorSink {
    pub fn new(mirror: Arc<Mutex<Mirror>>, hooks: impl MirrorHooks) -> Self {
        MirrorSink { mirror, hooks: Box::new(hooks) }
    }

    /// Works on the mirror, unless another link feeds it by now.
    fn mirror<T>(&self, work: impl FnOnce(&mut Mirror) -> T) -> Option<T> {
        let mut mirror = self.mirror.lock();
        self.hooks.is_current().then(|| work(&mut mirror))
    }

    /// A full sync without a file, from the data of a primary that is played by a test.
    pub fn sync_data(&mut self, replication_id: &str, offset: u64, data: &Snapshot) -> Result<(), SinkError> {
        let synced = self.feed(|mirror| {
            mirror.sync_data(replication_id, offset, &data.keyspace, now_ms());
            Ok(())
        });
        self.hooks.after_feed();
        synced
    }

    /// As [`MirrorSink::mirror`], for work that can fail.
    fn feed<T>(&self, work: impl FnOnce(&mut Mirror) -> Result<T, Fault>) -> Result<T, SinkError> {
        let fed = self.mirror(|mirror| {
            work(mirror).map_err(|fault| {
                // The next link asks the server for its limit.
                let asks = fault.is_too_long() && mirror.string_limit().is_new();
                let error = SinkError::from(fault);
                if asks { SinkError { retry: Retry::Soon, ..error } } else { error }
            })
        });
        fed.ok_or_else(|| SinkError::soon("superseded", ""))?
    }
}

impl Sink for MirrorSink {
    fn position(&self) -> Option<Position> {
        let (replication_id, offset) = self.mirror(|mirror| {
            // The previous link may not have had the time to do this.
            mirror.ended();
            self.hooks.before_feed(mirror);
            mirror.position()
        })??;
        Some(Position { replication_id: replication_id.to_string(), offset })
    }

    fn asks_string_limit(&self) -> bool {
        self.mirror(|mirror| mirror.string_limit().asks()).unwrap_or(false)
    }

    fn string_limit(&mut self, bytes: Option<u64>) {
        self.mirror(|mirror| mirror.set_string_limit(|limit| limit.answered(bytes)));
    }

    fn linked_to(&mut self, server: Server) {
        self.mirror(|mirror| mirror.linked_to(server));
    }

    fn continued(&mut self, replication_id: &str) {
        self.mirror(|mirror| mirror.continued(replication_id));
        self.hooks.after_feed();
    }

    fn sync_started(&mut self, start: Option<&Position>) {
        self.mirror(|mirror| match start {
            Some(start) => mirror.sync_started(&start.replication_id, start.offset),
            None => mirror.bare_sync_started(),
        });
    }

    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError> {
        Ok(match self.feed(|mirror| mirror.rdb(bytes))? {
            Progress::More => RdbStep::More,
            Progress::Done { consumed } => RdbStep::Done { consumed },
        })
    }

    fn sync_finished(&mut self) -> Result<(), SinkError> {
        let finished = self.feed(|mirror| mirror.sync_finished(now_ms()));
        self.hooks.after_feed();
        finished
    }

    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        let fed = self.feed(|mirror| mirror.stream(input, now_ms()));
        self.hooks.after_feed();
        fed.map(|turn| StreamStep { ack_wanted: turn.ack_wanted, left: turn.left })
    }

    fn applied(&self) -> u64 {
        self.mirror(|mirror| mirror.applied()).unwrap_or(0)
    }

    fn tick(&mut self) {
        self.mirror(|mirror| mirror.tick(now_ms()));
        self.hooks.after_feed();
    }

    fn ended(&mut self) {
        self.mirror(Mirror::ended);
    }
}

impl From<Fault> for SinkError {
    fn from(fault: Fault) -> Self {
        let retry = match fault.code {
            // The primary would send the same file again.
            "rdb_unsupported_version" | "rdb_unknown_type" | "rdb_too_large" | "rdb_bad_magic" | "rdb_no_offset" => {
                Retry::Slowly
            }
            // The stream would be wrapped again.
            ACTIVE_REPLICATION => Retry::Slowly,
            // Somebody has to raise a limit, or to say that the data is gone.
            "string_too_long" | "primary_emptied" => Retry::Slowly,
            // The user asked for a decision.
            "unknown_command" => Retry::Never,
            _ => Retry::Soon,
        };
        SinkError { code: fault.code, detail: fault.detail, retry }
    }
}
