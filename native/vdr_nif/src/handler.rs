//! A process as a sink, with backpressure: batches of commands as messages, and a bounded number of
//! them in flight.
//!
//! ```text
//! link: take -> batch -> message --> process: handle_commands --> ack --> capacity for another
//!        \-- not ready while BATCHES_IN_FLIGHT_MAX wait: nothing is read, so the primary slows down
//! ```
//!
//! A batch that was sent is handled, or the process is gone and this handler with it. So the next
//! link continues behind the last sent batch, and no batch comes twice. Filter batches that the
//! process has handled are acknowledged to the primary.

use crate::link_slot::LinkSlot;
use crate::recipient::Recipient;
use crate::status::HandlerStatus;
use crate::terms;
use bytes::BytesMut;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;
use vdr_link::{BoxFuture, Position, RdbStep, Retry, Sink, SinkError, StreamStep};
use vdr_rdb::{Loader, Progress};
use vdr_replica::batch::{ResumePoint, SnapshotBatcher, StreamBatcher};
use vdr_replica::filter::{Filter, Filtered};
use vdr_replica::mirror::Fault;
use vdr_replica::string_limit::StringLimit;

/// Batches in flight: one that the process works on, and the next. `vdr_replica::batch` bounds the
/// size of a batch.
const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// The bytes of a snapshot file that are decoded between two checks for a full batch. Values may be
/// a hundred times as large as in the file, where they are packed.
const RDB_STEP_BYTES: usize = 16 << 10;

/// The content of a handler's resource.
pub struct Handler {
    inner: Arc<Inner>,
}

pub struct Inner {
    pub slot: Arc<LinkSlot>,
    recipient: Recipient,
    only: Option<Arc<Filter>>,
    inbound: Mutex<Inbound>,
    in_flight: Mutex<InFlight>,
    capacity: Notify,
}

/// How far the links' bytes have been decoded and sent.
#[derive(Default)]
struct Inbound {
    replication_id: Arc<str>,
    string_limit: StringLimit,
    sync: Option<Load>,
    /// `None` before the first full sync and during one.
    follower: Option<StreamBatcher>,
}

struct Load {
    loader: Loader,
    chunks: Filtered<SnapshotBatcher>,
    /// `None`: only the file says it.
    offset: Option<u64>,
}

/// The batches that the process has not handled yet, and the position up to which it has.
#[derive(Default)]
struct InFlight {
    last: u64,
    /// Each unacknowledged batch, with the place behind it; `None` within a full sync.
    batches: VecDeque<(u64, Option<ResumePoint>)>,
    handled: Option<ResumePoint>,
    /// A copy of the inbound state's, for schedulers: the inbound lock may be held for long.
    replication_id: Arc<str>,
}

impl Handler {
    /// `initial` is the position at which an earlier incarnation of the process ended.
    pub fn new(recipient: Recipient, only: Option<Filter>, initial: Option<(String, ResumePoint)>) -> Self {
        let (only, mut inbound) = (only.map(Arc::new), Inbound::default());
        let mut in_flight = InFlight { handled: initial.as_ref().map(|(_, place)| *place), ..InFlight::default() };
        if let Some((replication_id, place)) = initial {
            inbound.replication_id = Arc::from(replication_id);
            in_flight.replication_id = inbound.replication_id.clone();
            inbound.follower = Some(StreamBatcher::new(place, only.clone()));
        }
        let (slot, capacity) = (Arc::default(), Notify::new());
        let (inbound, in_flight) = (Mutex::new(inbound), Mutex::new(in_flight));
        Handler { inner: Arc::new(Inner { slot, recipient, only, inbound, in_flight, capacity }) }
    }

    pub fn inner(&self) -> &Inner {
        &self.inner
    }

    pub fn status(&self) -> HandlerStatus {
        HandlerStatus {
            state: self.inner.slot.status.state(),
            replication_id: self.inner.replication_id(),
            position: self.inner.position(),
        }
    }

    /// `string_bytes_max` is the user's limit; `None` is the server's own.
    pub fn feed(&self, link: u64, string_bytes_max: Option<u64>) -> HandlerFeed {
        HandlerFeed { inner: self.inner.clone(), link, string_bytes_max }
    }

    /// The process has handled the batches up to this one.
    pub fn handled(&self, number: u64) {
        let mut in_flight = self.inner.in_flight.lock();
        while let Some((first, place)) = in_flight.batches.front().copied()
            && first <= number
        {
            in_flight.batches.pop_front();
            in_flight.handled = place;
        }
        drop(in_flight);
        self.inner.capacity.notify_one();
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // The link holds what it feeds, so nothing but this ends it.
        self.inner.slot.unlink();
    }
}

impl Inner {
    /// The replication id and the place up to which everything is handled. `None` within a full
    /// sync.
    fn position(&self) -> Option<(Arc<str>, ResumePoint)> {
        let in_flight = self.in_flight.lock();
        Some((in_flight.replication_id.clone(), in_flight.handled?))
    }

    fn replication_id(&self) -> Option<Arc<str>> {
        Some(self.in_flight.lock().replication_id.clone()).filter(|id| !id.is_empty())
    }

    fn has_capacity(&self) -> bool {
        self.in_flight.lock().batches.len() < BATCHES_IN_FLIGHT_MAX
    }

    /// Everything up to `place` was sent before, or needed no message.
    fn advance(&self, place: ResumePoint) {
        let mut in_flight = self.in_flight.lock();
        match in_flight.batches.back_mut() {
            Some((_, behind)) => *behind = Some(place),
            None => in_flight.handled = Some(place),
        }
    }

    /// A full sync begins: no other link can continue from what was handled.
    fn forget_position(&self) {
        let mut in_flight = self.in_flight.lock();
        in_flight.handled = None;
        in_flight.batches.iter_mut().for_each(|(_, place)| *place = None);
    }

    fn send_batch(&self, place: Option<ResumePoint>, message: &terms::Commands<'_>) {
        let number = {
            let mut in_flight = self.in_flight.lock();
            in_flight.last += 1;
            let number = in_flight.last;
            in_flight.batches.push_back((number, place));
            number
        };
        self.recipient.send(|env| terms::commands_message(env, number, message));
    }

    /// Sends the current batch of a full sync.
    fn send_chunks(&self, replication_id: &str, load: &mut Load) {
        let batch = load.chunks.visit.batch();
        if !batch.is_empty() {
            self.send_batch(None, &terms::Commands { batch, replication_id, full_sync: true });
            batch.clear();
        }
    }
}

/// Feeds a process while its link is the current one.
pub struct HandlerFeed {
    inner: Arc<Inner>,
    link: u64,
    string_bytes_max: Option<u64>,
}

impl HandlerFeed {
    fn inbound<T>(&self, work: impl FnOnce(&Inner, &mut Inbound) -> T) -> Option<T> {
        let mut inbound = self.inner.inbound.lock();
        self.inner.slot.is_current(self.link).then(|| work(&self.inner, &mut inbound))
    }
}

impl Inbound {
    fn set_replication_id(&mut self, inner: &Inner, replication_id: &str) {
        self.replication_id = Arc::from(replication_id);
        inner.in_flight.lock().replication_id = self.replication_id.clone();
    }

    /// To be called between two links.
    fn set_string_limit(&mut self, change: impl FnOnce(&mut StringLimit)) {
        change(&mut self.string_limit);
        if let Some(follower) = &mut self.follower {
            follower.set_string_bytes_max(self.string_limit.bytes());
        }
    }

    fn cut(&mut self) {
        self.sync = None;
        if let Some(follower) = &mut self.follower {
            follower.cut();
        }
    }

    fn rdb(&mut self, inner: &Inner, bytes: &[u8]) -> Result<RdbStep, SinkError> {
        let Some(load) = &mut self.sync else {
            return Err(SinkError::soon("protocol", "a snapshot file that was not announced"));
        };
        let mut consumed = 0;
        for piece in bytes.chunks(RDB_STEP_BYTES) {
            let progress = load.loader.feed(piece, &mut load.chunks);
            match progress.map_err(|error| refused(&mut self.string_limit, Fault::from(&error)))? {
                Progress::Done { consumed: last } => return Ok(RdbStep::Done { consumed: consumed + last }),
                Progress::More => consumed += piece.len(),
            }
            if load.chunks.visit.is_full() {
                inner.send_chunks(&self.replication_id, load);
                if !inner.has_capacity() {
                    return Ok(RdbStep::Part { consumed });
                }
            }
        }
        Ok(RdbStep::More)
    }

    fn sync_finished(&mut self, inner: &Inner) -> Result<(), SinkError> {
        let Some(mut load) = self.sync.take() else { return Ok(()) };
        load.loader.finish().map_err(|error| SinkError::from(Fault::from(&error)))?;
        inner.send_chunks(&self.replication_id, &mut load);
        let summary = load.chunks.visit.summary();
        let offset = match (load.offset, &summary.replication_id, summary.offset) {
            (Some(offset), ..) => offset,
            (None, Some(replication_id), Some(offset)) => {
                self.set_replication_id(inner, replication_id);
                offset
            }
            _ => return Err(Fault::no_offset().into()),
        };
        let place = ResumePoint { offset, db: summary.repl_stream_db.unwrap_or(0) };
        let mut follower = StreamBatcher::new(place, inner.only.clone());
        follower.set_string_bytes_max(self.string_limit.bytes());
        self.follower = Some(follower);
        inner.advance(place);
        Ok(())
    }

    fn stream(&mut self, inner: &Inner, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        let Some(follower) = &mut self.follower else {
            return Err(SinkError::soon("protocol", "a command before any full sync"));
        };
        let taken = match follower.take(input) {
            Ok(taken) => taken,
            Err(error) => {
                // The position is lost: only a full sync helps.
                self.follower = None;
                return Err(refused(&mut self.string_limit, Fault::from(&error)));
            }
        };
        let place = follower.resume_point();
        let batch = follower.batch();
        if batch.is_empty() {
            inner.advance(place);
        } else {
            let message = terms::Commands { batch, replication_id: &self.replication_id, full_sync: false };
            inner.send_batch(Some(place), &message);
            batch.clear();
        }
        Ok(StreamStep { ack_wanted: taken.ack_wanted, left: taken.left })
    }
}

/// Notes a string above the limit: the next link asks the server for its own.
fn refused(limit: &mut StringLimit, fault: Fault) -> SinkError {
    let is_too_long = fault.is_too_long();
    let error = SinkError::from(fault);
    if !is_too_long {
        return error;
    }
    limit.meet();
    if limit.is_new() { SinkError { retry: Retry::Soon, ..error } } else { error }
}

fn superseded() -> SinkError {
    SinkError::soon("superseded", "")
}

impl Sink for HandlerFeed {
    fn position(&self) -> Option<Position> {
        self.inbound(|_, inbound| {
            // The previous link may not have had time to do this.
            inbound.cut();
            inbound.set_string_limit(|limit| limit.give(self.string_bytes_max));
            let offset = inbound.follower.as_ref()?.resume_point().offset;
            Some(Position { replication_id: inbound.replication_id.to_string(), offset })
        })?
    }

    fn asks_string_limit(&self) -> bool {
        self.inbound(|_, inbound| inbound.string_limit.asks()).unwrap_or(false)
    }

    fn string_limit(&mut self, bytes: Option<u64>) {
        self.inbound(|_, inbound| inbound.set_string_limit(|limit| limit.answered(bytes)));
    }

    fn continued(&mut self, replication_id: &str) {
        self.inbound(|inner, inbound| inbound.set_replication_id(inner, replication_id));
    }

    fn sync_started(&mut self, start: Option<&Position>) {
        self.inbound(|inner, inbound| {
            inbound.set_replication_id(inner, start.map_or("", |start| &start.replication_id));
            inbound.follower = None;
            let offset = start.map(|start| start.offset);
            let chunks = Filtered::new(inner.only.clone(), SnapshotBatcher::new(offset));
            let loader = Loader::new().with_string_bytes_max(inbound.string_limit.bytes());
            inbound.sync = Some(Load { loader, chunks, offset });
            inner.forget_position();
            inner.recipient.send(terms::replication_start);
        });
    }

    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError> {
        self.inbound(|inner, inbound| inbound.rdb(inner, bytes)).ok_or_else(superseded)?
    }

    fn sync_finished(&mut self) -> Result<(), SinkError> {
        self.inbound(|inner, inbound| inbound.sync_finished(inner)).ok_or_else(superseded)?
    }

    fn streaming(&mut self) {
        self.inbound(|inner, _inbound| inner.recipient.send(terms::streaming_start));
    }

    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        self.inbound(|inner, inbound| inbound.stream(inner, input)).ok_or_else(superseded)?
    }

    fn applied(&self) -> u64 {
        self.inner.in_flight.lock().handled.map_or(0, |place| place.offset)
    }

    fn ended(&mut self) {
        self.inbound(|inner, inbound| {
            inbound.cut();
            inner.recipient.send(terms::link_lost);
        });
    }

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            while !self.inner.has_capacity() {
                self.inner.capacity.notified().await;
            }
        })
    }
}
