//! The consumer of a link: a mirror's keyspace, or a process with a callback module. The link does
//! not know which.

use crate::runtime::BoxFuture;
use bytes::BytesMut;
use std::fmt;
use vdr_rdb::Server;
use vdr_replica::handshake::{Position, Retry};

/// Consumes the snapshot file and the stream. All calls come from one task, in this order:
///
/// ```text
/// position -> continued                              -> streaming -> stream* -> ended
///          \> sync_started -> rdb* -> sync_finished  -> streaming -> stream* -> ended
/// ```
///
/// with `ended` possible after any of them, exactly once, and `applied` at any time between.
pub trait Sink: Send + 'static {
    /// Where the stream can be resumed. None asks for a full sync.
    fn position(&self) -> Option<Position>;

    /// Whether to ask the server for the longest string that it accepts.
    fn asks_string_limit(&self) -> bool {
        false
    }

    /// What the server said, if it was asked and said it. Called before the file or the stream.
    fn string_limit(&mut self, _bytes: Option<u64>) {}

    /// The server that the link is to, if it sent its version. Called before [`Sink::continued`].
    fn linked_to(&mut self, _server: Server) {}

    /// The primary resumes the stream at [`Sink::position`], under this id from now on.
    fn continued(&mut self, replication_id: &str);

    /// A snapshot file begins that holds everything up to `start`. `None`: only the file says up to
    /// where.
    fn sync_started(&mut self, start: Option<&Position>);

    /// The next bytes of the file. They may go beyond its end. Bytes that a step of
    /// [`RdbStep::Part`] leaves are offered again when the sink is ready.
    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError>;

    /// The file was complete and its framing correct: it may become visible.
    fn sync_finished(&mut self) -> Result<(), SinkError>;

    /// The link's state is now streaming, visible to everybody.
    fn streaming(&mut self) {}

    /// Takes whole commands off the front of `input`, which holds the bytes left by the previous
    /// call and all bytes of one turn of reading. The sink skips bare newlines between commands. If
    /// it left commands, it is called again once it is ready, without another read in between.
    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError>;

    /// The offset to acknowledge: how far the sink has applied the stream.
    fn applied(&self) -> u64;

    /// Called before every periodic acknowledgement while the stream lasts, even in silence or
    /// while [`Sink::ready`] is awaited: the sink's clock.
    fn tick(&mut self) {}

    /// The link is over, whatever the reason: the sink discards what is loaded or buffered in part.
    fn ended(&mut self);

    /// Backpressure: the link awaits this before it reads more. Acknowledgements and timers go on
    /// meanwhile, so the future may be dropped and requested again at any time, even after it has
    /// completed.
    fn ready(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The progress of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RdbStep {
    /// All bytes were consumed, and more must follow.
    More,
    /// Only this many of the given bytes were consumed: the sink has no capacity for more until it
    /// is ready again.
    Part { consumed: usize },
    /// The file ended after `consumed` of the given bytes.
    Done { consumed: usize },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStep {
    /// A REPLCONF GETACK was among the commands: the primary waits for an acknowledgement.
    pub ack_wanted: bool,
    /// Whole commands may be left: the sink has no capacity for more until it is ready again.
    pub left: bool,
}

/// Why a sink cannot go on with this link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkError {
    pub code: &'static str,
    pub detail: String,
    pub retry: Retry,
}

impl SinkError {
    /// Another link may well succeed: a checksum that did not match, say.
    pub fn soon(code: &'static str, detail: impl Into<String>) -> Self {
        SinkError { code, detail: detail.into(), retry: Retry::Soon }
    }

    /// Another link would fail in the same way: an unknown file version, say.
    pub fn slowly(code: &'static str, detail: impl Into<String>) -> Self {
        SinkError { code, detail: detail.into(), retry: Retry::Slowly }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
