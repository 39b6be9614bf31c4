//! Calls over one open connection: many at once, each with its replies in the order of the calls.
//!
//! ```text
//! calls that arrived together:   SET a 1   INCR b   SET c 3 (sync: false)   ROLE
//! replies:                       OK        7        OK -> answered          master, offset 77
//!                                `---------`--- answered when offset 77 is visible here
//! ```
//!
//! A write's bytes are in the primary's stream, and counted, before the next command of the same
//! connection runs. So the offset in the reply to ROLE covers every call before it.

use super::call::{Answer, Call, Stage};
use super::primary::Opened;
use super::replication::{Standing, standing};
use super::request::{Kind, Request};
use super::settle::answer_at;
use crate::endpoint::Endpoint;
use crate::transport::wire_code;
use crate::wire::BoxedWire;
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use vdr_replica::position::{Position, Waiters};
use vdr_replica::resp::encode;
use vdr_replica::resp::reply::{Reply, ReplyReader};

/// About how many bytes one read may bring.
const READ_BYTES: usize = 64 << 10;
/// Below this much free memory the buffer for reads grows.
const READ_BYTES_MIN: usize = 4 << 10;

/// Calls that wait are sent together, up to about so many bytes.
const FLUSH_BYTES: usize = 256 << 10;
/// Calls that are taken from the queue at once.
const BATCH: usize = 1024;

/// How often the connection looks whether the server is silent.
const TICK: Duration = Duration::from_secs(1);
/// How long a connection is idle until it is tried.
const PING_AFTER: Duration = Duration::from_secs(10);

/// How long the primary's replication id is trusted. A server that is demoted and promoted again
/// keeps its clients' connections and goes on under another id.
const ID_KEPT: Duration = Duration::from_secs(1);

/// How a connection ended.
pub enum Ended {
    PoolClosed,
    /// Another server is, or may be, the primary. Every call is answered, or back in the queue.
    Left,
    /// With a code and the details. Calls that may have run are answered.
    Lost(&'static str, String),
}

/// See the module.
pub struct Serving {
    reader: ReadHalf<BoxedWire>,
    writer: WriteHalf<BoxedWire>,
    input: BytesMut,
    replies: ReplyReader,
    outbox: BytesMut,
    flush_due: bool,
    /// Bytes that went into the outbox, and out of it, since the connection began.
    taken: u64,
    written: u64,
    pending: VecDeque<Pending>,
    /// Calls whose replies are there, and whose offset the next reply of [`Pending::Offset`] tells.
    settling: Vec<(Arc<Call>, Answer)>,
    /// Calls that ask for the offset only. While one question is on its way they wait for the next
    /// one: the reply that is under way may be older than they are.
    syncs: Vec<Request>,
    offsets_asked: usize,
    /// `None`: the user may not ask for offsets.
    id: Option<Arc<str>>,
    id_asked: Instant,
    doubts: u64,
    waiters: Arc<Waiters>,
    silence: Duration,
    heard: Instant,
    spoke: Instant,
    /// No call is sent any more: the connection ends when all are answered.
    leaving: bool,
}

enum Pending {
    Call {
        request: Request,
        replies: Vec<Reply>,
        /// Its bytes, counted as `taken` is.
        from: u64,
        to: u64,
    },
    Offset {
        syncs: Vec<Request>,
    },
    Ping,
}

/// Why a connection cannot go on.
struct Lost(&'static str, String);

impl Serving {
    /// `doubts` is [`Visible::doubts`](vdr_replica::position::Visible::doubts) of before the
    /// connection was opened.
    pub fn new(opened: Opened, doubts: u64, waiters: Arc<Waiters>, silence: Duration) -> Self {
        let parts = opened.connection.into_parts();
        let (reader, writer) = split(parts.wire);
        let now = Instant::now();
        Serving {
            reader,
            writer,
            input: parts.input,
            replies: parts.reader,
            outbox: BytesMut::new(),
            flush_due: false,
            taken: 0,
            written: 0,
            pending: VecDeque::new(),
            settling: Vec::new(),
            syncs: Vec::new(),
            offsets_asked: 0,
            id: opened.id,
            id_asked: now,
            doubts,
            waiters,
            silence,
            heard: now,
            spoke: now,
            leaving: false,
        }
    }

    pub async fn run(
        mut self,
        inbox: &mut mpsc::UnboundedReceiver<Request>,
        target: &mut watch::Receiver<Option<Endpoint>>,
        queue: &mut VecDeque<Request>,
    ) -> Ended {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            if !self.leaving && self.outbox.is_empty() {
                self.fill(queue);
            }
            if self.leaving && self.pending.is_empty() && self.outbox.is_empty() {
                self.syncs.drain(..).for_each(|sync| queue.push_front(sync));
                return Ended::Left;
            }
            if self.input.capacity().saturating_sub(self.input.len()) < READ_BYTES_MIN {
                self.input.reserve(READ_BYTES);
            }
            let writes = !self.outbox.is_empty() || self.flush_due;
            let step = tokio::select! {
                written = push(&mut self.writer, &mut self.outbox, &mut self.written, &mut self.flush_due), if writes => {
                    written.map_err(|error| Lost(wire_code(error.kind()), error.to_string()))
                }
                read = self.reader.read_buf(&mut self.input) => match read {
                    Ok(0) => Err(Lost("closed", "the server closed it".to_owned())),
                    Ok(_) => self.read_replies(),
                    Err(error) => Err(Lost(wire_code(error.kind()), error.to_string())),
                },
                taken = inbox.recv_many(&mut batch, BATCH), if queue.is_empty() => {
                    if taken == 0 {
                        return self.close();
                    }
                    queue.extend(batch.drain(..));
                    Ok(())
                }
                changed = target.changed() => {
                    if changed.is_err() {
                        return self.close();
                    }
                    self.leaving = true;
                    Ok(())
                }
                _ = ticks.tick() => self.tick(),
            };
            if let Err(Lost(code, detail)) = step {
                self.give_back(code, queue);
                return Ended::Lost(code, detail);
            }
        }
    }

    /// Takes calls from the queue, and asks for the offset behind them, if one of them waits for
    /// it.
    fn fill(&mut self, queue: &mut VecDeque<Request>) {
        if queue.is_empty() && self.syncs.is_empty() {
            return;
        }
        if self.doubts != self.waiters.visible().doubts() {
            // The mirror's link was cut, or its primary has another id: where the primary is, and
            // which id it has, is asked anew.
            self.leaving = true;
            return;
        }
        let mut asks = false;
        while self.outbox.len() < FLUSH_BYTES {
            let Some(request) = queue.pop_front() else { break };
            if request.awaits && self.id.is_none() {
                request.fail(Stage::Queued, "no_offset");
            } else if request.is_harmless() {
                self.syncs.push(request);
            } else if request.call.advance(Stage::Sent) {
                asks |= request.awaits;
                self.put(request);
            }
        }
        if asks || (!self.syncs.is_empty() && self.offsets_asked == 0) {
            self.ask_offset();
        }
    }

    fn put(&mut self, request: Request) {
        let mut request = request;
        let from = self.taken;
        let bytes = request.take_bytes();
        self.append(&bytes);
        let replies = Vec::with_capacity(request.replies.min(BATCH));
        self.expect(Pending::Call { request, replies, from, to: self.taken });
    }

    fn ask_offset(&mut self) {
        let syncs: Vec<Request> = self.syncs.drain(..).filter(|sync| sync.call.is_awaited()).collect();
        let identifies = syncs.iter().any(|sync| sync.kind == Kind::Identify);
        let mut bytes = Vec::new();
        if identifies || self.id_asked.elapsed() >= ID_KEPT {
            encode(&[b"INFO", b"replication"], &mut bytes);
        } else {
            encode(&[b"ROLE"], &mut bytes);
        }
        self.append(&bytes);
        self.offsets_asked = self.offsets_asked.saturating_add(1);
        self.expect(Pending::Offset { syncs });
    }

    fn append(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
        self.taken = self.taken.saturating_add(bytes.len() as u64);
        self.spoke = Instant::now();
    }

    fn expect(&mut self, pending: Pending) {
        if self.pending.is_empty() {
            self.heard = self.spoke;
        }
        self.pending.push_back(pending);
    }

    fn tick(&mut self) -> Result<(), Lost> {
        if !self.pending.is_empty() && self.heard.elapsed() >= self.silence {
            return Err(Lost("read_timeout", format!("silent for {} ms", self.silence.as_millis())));
        }
        if self.pending.is_empty() && self.spoke.elapsed() >= PING_AFTER {
            let mut bytes = Vec::new();
            encode(&[b"PING"], &mut bytes);
            self.append(&bytes);
            self.expect(Pending::Ping);
        }
        Ok(())
    }

    fn read_replies(&mut self) -> Result<(), Lost> {
        self.heard = Instant::now();
        loop {
            let read = self.replies.read(&mut self.input);
            let Some(reply) = read.map_err(|error| Lost(error.code(), error.without_words().to_string()))? else {
                return Ok(());
            };
            self.take_reply(reply)?;
        }
    }

    fn take_reply(&mut self, reply: Reply) -> Result<(), Lost> {
        match self.pending.pop_front() {
            Some(Pending::Call { mut request, mut replies, from, to }) => {
                // Its server is a replica now: the next calls go to its primary.
                self.leaving |= matches!(&reply, Reply::Error(text) if text.starts_with(b"READONLY"));
                replies.push(reply);
                if replies.len() < request.replies {
                    self.pending.push_front(Pending::Call { request, replies, from, to });
                } else {
                    self.complete(&mut request, replies);
                }
                Ok(())
            }
            Some(Pending::Offset { syncs }) => self.settle(&reply, syncs),
            Some(Pending::Ping) => Ok(()),
            None => Err(Lost("bad_reply", "a reply that nothing asked for".to_owned())),
        }
    }

    fn complete(&mut self, request: &mut Request, replies: Vec<Reply>) {
        let (answer, may_have_written) = request.answer(replies);
        if !request.awaits || !may_have_written {
            request.call.finish(answer);
        } else if request.call.advance(Stage::Written) {
            request.hand_over();
            self.settling.push((request.call.clone(), answer));
        }
    }

    /// The offset that covers all calls before.
    fn settle(&mut self, reply: &Reply, syncs: Vec<Request>) -> Result<(), Lost> {
        self.offsets_asked = self.offsets_asked.saturating_sub(1);
        let standing = standing(reply);
        let standing =
            standing.ok_or_else(|| Lost("bad_reply", "the answer to ROLE or INFO makes no sense".to_owned()));
        let (offset, code) = match standing {
            Ok(Standing::Primary { id, offset, former }) => {
                if let Some(id) = id {
                    if let Some((former, shared)) = former {
                        self.waiters.visible().learn(&id, &former, shared);
                    }
                    (self.id, self.id_asked) = (Some(id), Instant::now());
                }
                (Some(offset), "no_offset")
            }
            // It was demoted meanwhile. Its new primary need not have what was written here.
            Ok(Standing::Replica(_)) => (None, "lost_history"),
            Ok(Standing::Refused) => (None, "no_offset"),
            Err(lost) => {
                self.syncs.extend(syncs);
                return Err(lost);
            }
        };
        let position = self.id.clone().zip(offset);
        let position = position.map(|(replication_id, offset)| Position { replication_id, offset });
        let Some(position) = position else {
            self.leaving = true;
            let settling = self.settling.drain(..);
            settling.for_each(|(call, _)| call.finish(Answer::Failed { stage: Stage::Written, code }));
            self.syncs.extend(syncs);
            return Ok(());
        };
        for (call, answer) in self.settling.drain(..) {
            answer_at(&self.waiters, position.clone(), call, answer);
        }
        for mut sync in syncs {
            sync.hand_over();
            if sync.kind == Kind::Sync {
                answer_at(&self.waiters, position.clone(), sync.call.clone(), Answer::Visible);
            } else {
                self.waiters.refuse_unknown(&position.replication_id);
                sync.call.finish(Answer::Visible);
            }
        }
        Ok(())
    }

    /// The pool is gone. Calls that still wait for replies answer when they are dropped.
    fn close(&mut self) -> Ended {
        for (call, _) in self.settling.drain(..) {
            call.finish(Answer::Failed { stage: Stage::Written, code: "stopped" });
        }
        Ended::PoolClosed
    }

    /// The connection is lost: answers what may have run, and gives back the rest.
    fn give_back(&mut self, code: &'static str, queue: &mut VecDeque<Request>) {
        for (call, _) in self.settling.drain(..) {
            call.finish(Answer::Failed { stage: Stage::Written, code });
        }
        let mut unsent: Vec<Request> = self.syncs.drain(..).collect();
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Call { mut request, from, to, .. } => {
                    let start = from.checked_sub(self.written);
                    let range = start.zip(to.checked_sub(self.written));
                    let bytes = range.and_then(|(start, end)| {
                        self.outbox.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
                    });
                    match bytes {
                        // No byte of it has left this machine.
                        Some(bytes) if request.call.advance(Stage::Queued) => {
                            request.bytes = bytes.to_vec();
                            unsent.push(request);
                        }
                        _ => request.fail(Stage::Sent, code),
                    }
                }
                Pending::Offset { syncs } => unsent.extend(syncs),
                Pending::Ping => {}
            }
        }
        unsent.into_iter().rev().for_each(|request| queue.push_front(request));
    }
}

/// Writes the outbox. Nothing is lost when the future is dropped.
async fn push(
    writer: &mut WriteHalf<BoxedWire>,
    outbox: &mut BytesMut,
    written: &mut u64,
    flush_due: &mut bool,
) -> io::Result<()> {
    while outbox.has_remaining() {
        let count = writer.write_buf(outbox).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *written = written.saturating_add(count as u64);
        *flush_due = true;
    }
    // TLS keeps bytes of its own until it is flushed.
    writer.flush().await?;
    *flush_due = false;
    Ok(())
}
