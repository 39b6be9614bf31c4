//! A process as a sink: batches of commands as messages, and no more of them than it handles.
//!
//! ```text
//! link: take -> batch -> message --> process: handle_commands --> ack --> room for another
//!        \-- not ready while BATCHES_IN_FLIGHT_MAX wait: nothing is read, so the primary slows down
//! ```
//!
//! What was sent is handled, or the process is gone and all of this with it: so the next link goes on behind what was sent
//! last, and nothing comes twice. What is acknowledged to the primary is only what the process has handled.

use crate::seat::Seat;
use crate::terms;
use crate::watcher::Recipient;
use bytes::BytesMut;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;
use vdr_link::{Position, RdbStep, Sink, SinkError, StreamStep};
use vdr_rdb::{Loader, Progress};
use vdr_replica::batch::{ResumePoint, SnapshotBatcher, StreamBatcher};
use vdr_replica::filter::{Filter, Filtered};
use vdr_replica::mirror::Fault;

/// How many batches the process may have before it: one that it works on, and the next. What a batch holds at most is
/// told in `vdr_replica::batch`: together they are what is in flight.
const BATCHES_IN_FLIGHT_MAX: usize = 2;

/// How much of a snapshot file is read before it is looked whether a batch is full. Packed values may be a hundred times
/// as large as they were in the file.
const RDB_STEP_BYTES: usize = 16 << 10;

/// What the resource holds.
pub struct Handler {
    inner: Arc<Inner>,
}

pub struct Inner {
    pub seat: Arc<Seat>,
    recipient: Recipient,
    only: Option<Arc<Filter>>,
    course: Mutex<Course>,
    flight: Mutex<Flight>,
    room: Notify,
}

/// How far the bytes of the links have been understood and sent.
#[derive(Default)]
struct Course {
    replication_id: Arc<str>,
    sync: Option<Load>,
    /// None before the first full sync and during one.
    follower: Option<StreamBatcher>,
}

struct Load {
    loader: Loader,
    chunks: Filtered<SnapshotBatcher>,
    offset: u64,
}

/// What the process has before it, and what it has handled.
#[derive(Default)]
struct Flight {
    last: u64,
    /// Each batch that is not acknowledged, with the place behind it; none within a full sync.
    batches: VecDeque<(u64, Option<ResumePoint>)>,
    handled: Option<ResumePoint>,
    /// The course's, for those who ask: they are on schedulers, and the course may be at work for long.
    replication_id: Arc<str>,
}

impl Handler {
    /// `initial` is where an earlier life of the process ended.
    pub fn new(recipient: Recipient, only: Option<Filter>, initial: Option<(String, ResumePoint)>) -> Self {
        let (only, mut course) = (only.map(Arc::new), Course::default());
        let mut flight = Flight { handled: initial.as_ref().map(|(_, place)| *place), ..Flight::default() };
        if let Some((replication_id, place)) = initial {
            course.replication_id = Arc::from(replication_id);
            flight.replication_id = course.replication_id.clone();
            course.follower = Some(StreamBatcher::new(place, only.clone()));
        }
        let (seat, room) = (Arc::default(), Notify::new());
        let (course, flight) = (Mutex::new(course), Mutex::new(flight));
        Handler { inner: Arc::new(Inner { seat, recipient, only, course, flight, room }) }
    }

    pub fn inner(&self) -> &Inner {
        &self.inner
    }

    pub fn feed(&self, link: u64) -> HandlerFeed {
        HandlerFeed { inner: self.inner.clone(), link }
    }

    /// The process has handled the batches up to this one.
    pub fn handled(&self, number: u64) {
        let mut flight = self.inner.flight.lock();
        while let Some((first, place)) = flight.batches.front().copied()
            && first <= number
        {
            flight.batches.pop_front();
            flight.handled = place;
        }
        drop(flight);
        self.inner.room.notify_one();
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // The link holds what it feeds, so nothing but this ends it.
        self.inner.seat.unlink();
    }
}

impl Inner {
    /// The id and the place up to which everything is handled. None within a full sync.
    pub fn position(&self) -> Option<(Arc<str>, ResumePoint)> {
        let flight = self.flight.lock();
        Some((flight.replication_id.clone(), flight.handled?))
    }

    pub fn replication_id(&self) -> Option<Arc<str>> {
        Some(self.flight.lock().replication_id.clone()).filter(|id| !id.is_empty())
    }

    fn has_room(&self) -> bool {
        self.flight.lock().batches.len() < BATCHES_IN_FLIGHT_MAX
    }

    /// Everything up to `place` was sent before, or was nothing to send.
    fn passed(&self, place: ResumePoint) {
        let mut flight = self.flight.lock();
        match flight.batches.back_mut() {
            Some((_, behind)) => *behind = Some(place),
            None => flight.handled = Some(place),
        }
    }

    /// Nothing that was handled is worth anything for another link: a full sync begins.
    fn forget(&self) {
        let mut flight = self.flight.lock();
        flight.handled = None;
        flight.batches.iter_mut().for_each(|(_, place)| *place = None);
    }

    fn send_batch(&self, place: Option<ResumePoint>, message: &terms::Commands<'_>) {
        let number = {
            let mut flight = self.flight.lock();
            flight.last += 1;
            let number = flight.last;
            flight.batches.push_back((number, place));
            number
        };
        self.recipient.send(|env| terms::commands_message(env, number, message));
    }

    /// Sends what a full sync has brought so far.
    fn send_chunks(&self, replication_id: &str, load: &mut Load) {
        let batch = load.chunks.visit.batch();
        if !batch.is_empty() {
            self.send_batch(None, &terms::Commands { batch, replication_id, full_sync: true });
            batch.clear();
        }
    }
}

/// Feeds a process, as long as this is its link.
pub struct HandlerFeed {
    inner: Arc<Inner>,
    link: u64,
}

impl HandlerFeed {
    fn course<T>(&self, work: impl FnOnce(&Inner, &mut Course) -> T) -> Option<T> {
        let mut course = self.inner.course.lock();
        self.inner.seat.is_current(self.link).then(|| work(&self.inner, &mut course))
    }
}

impl Course {
    fn name(&mut self, inner: &Inner, replication_id: &str) {
        self.replication_id = Arc::from(replication_id);
        inner.flight.lock().replication_id = self.replication_id.clone();
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
            match progress.map_err(|error| SinkError::from(Fault::from(&error)))? {
                Progress::Done { consumed: last } => return Ok(RdbStep::Done { consumed: consumed + last }),
                Progress::More => consumed += piece.len(),
            }
            if load.chunks.visit.is_full() {
                inner.send_chunks(&self.replication_id, load);
                if !inner.has_room() {
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
        let place = ResumePoint { offset: load.offset, db: load.chunks.visit.seen().repl_stream_db.unwrap_or(0) };
        self.follower = Some(StreamBatcher::new(place, inner.only.clone()));
        inner.passed(place);
        Ok(())
    }

    fn stream(&mut self, inner: &Inner, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        let Some(follower) = &mut self.follower else {
            return Err(SinkError::soon("protocol", "a command before any full sync"));
        };
        let taken = match follower.take(input) {
            Ok(taken) => taken,
            Err(error) => {
                // We lost our place: only a full sync helps.
                self.follower = None;
                return Err(SinkError::soon("protocol", error.to_string()));
            }
        };
        let place = follower.resume_point();
        let batch = follower.batch();
        if batch.is_empty() {
            inner.passed(place);
        } else {
            let message = terms::Commands { batch, replication_id: &self.replication_id, full_sync: false };
            inner.send_batch(Some(place), &message);
            batch.clear();
        }
        Ok(StreamStep { ack_wanted: taken.ack_wanted, left: taken.left })
    }
}

fn superseded() -> SinkError {
    SinkError::soon("superseded", "")
}

impl Sink for HandlerFeed {
    fn position(&self) -> Option<Position> {
        self.course(|_, course| {
            // The link before may not have had the time to say so.
            course.cut();
            let offset = course.follower.as_ref()?.resume_point().offset;
            Some(Position { replication_id: course.replication_id.to_string(), offset })
        })?
    }

    fn continued(&mut self, replication_id: &str) {
        self.course(|inner, course| course.name(inner, replication_id));
    }

    fn sync_started(&mut self, replication_id: &str, offset: u64) {
        self.course(|inner, course| {
            course.name(inner, replication_id);
            course.follower = None;
            let chunks = Filtered::new(inner.only.clone(), SnapshotBatcher::new(offset));
            course.sync = Some(Load { loader: Loader::new(), chunks, offset });
            inner.forget();
            inner.recipient.send(terms::replication_start);
        });
    }

    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError> {
        self.course(|inner, course| course.rdb(inner, bytes)).ok_or_else(superseded)?
    }

    fn sync_finished(&mut self) -> Result<(), SinkError> {
        self.course(|inner, course| course.sync_finished(inner)).ok_or_else(superseded)?
    }

    fn streaming(&mut self) {
        self.course(|inner, _course| inner.recipient.send(terms::streaming_start));
    }

    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        self.course(|inner, course| course.stream(inner, input)).ok_or_else(superseded)?
    }

    fn applied(&self) -> u64 {
        self.inner.flight.lock().handled.map_or(0, |place| place.offset)
    }

    fn ended(&mut self) {
        self.course(|inner, course| {
            course.cut();
            inner.recipient.send(terms::link_lost);
        });
    }

    async fn ready(&mut self) {
        while !self.inner.has_room() {
            self.inner.room.notified().await;
        }
    }
}
