//! What a link feeds. The mirror's keyspace is one, a process with a callback module another; the link does not know.

use bytes::BytesMut;
use std::fmt;
use std::future::Future;
use vdr_rdb::Server;
use vdr_replica::handshake::{Position, Retry};

/// Takes the snapshot file and the stream. All calls come from one task, in this order:
///
/// ```text
/// position -> continued                              -> streaming -> stream* -> ended
///          \> sync_started -> rdb* -> sync_finished  -> streaming -> stream* -> ended
/// ```
///
/// with `ended` possible after any of them, exactly once, and `applied` at any time between.
pub trait Sink: Send + 'static {
    /// Where the stream can be taken up again. None asks for a full sync.
    fn position(&self) -> Option<Position>;

    /// The server that the link is to, if it told its version. Called before [`Sink::continued`].
    fn linked_to(&mut self, _server: Server) {}

    /// The primary goes on where we left it, under this id from now on.
    fn continued(&mut self, replication_id: &str);

    /// A snapshot file begins that holds everything up to `offset`.
    fn sync_started(&mut self, replication_id: &str, offset: u64);

    /// The next bytes of the file. Bytes behind its end may be among them, and are not the sink's. What a step of
    /// [`RdbStep::Part`] leaves is offered again when the sink is ready.
    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError>;

    /// The file was whole and its framing right: it may become visible.
    fn sync_finished(&mut self) -> Result<(), SinkError>;

    /// The link's state is now streaming, for all who look.
    fn streaming(&mut self) {}

    /// Takes whole commands off the front of `input`, which holds all that one turn of reading brought, behind what was
    /// left the last time. Bare newlines between commands are the sink's to skip. Called again without anything read in
    /// between when it left commands and the sink is ready.
    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError>;

    /// The offset to acknowledge: what has been applied, as far as the primary may know.
    fn applied(&self) -> u64;

    /// Called before every periodic acknowledgement while the stream lasts, also when nothing comes or [`Sink::ready`] is
    /// awaited: the sink's clock.
    fn tick(&mut self) {}

    /// The link is over, whatever the reason: what is half loaded or half buffered is worth nothing any more.
    fn ended(&mut self);

    /// Awaited before more is read: the way to slow the primary down. Acknowledgements and timers go on meanwhile, so the
    /// future may be dropped and asked for again at any time, also after it was done.
    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// How far the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RdbStep {
    /// All bytes were taken and more must follow.
    More,
    /// Only so many of the bytes given were taken: there is no room for more before the sink is ready again.
    Part { consumed: usize },
    /// The file ended after `consumed` of the bytes given.
    Done { consumed: usize },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStep {
    /// A REPLCONF GETACK was among the commands: the primary waits for the answer.
    pub ack_wanted: bool,
    /// Whole commands may have been left: there is no room for more before the sink is ready again.
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

    /// Another link would meet the same: a file version that we do not know, say.
    pub fn slowly(code: &'static str, detail: impl Into<String>) -> Self {
        SinkError { code, detail: detail.into(), retry: Retry::Slowly }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
