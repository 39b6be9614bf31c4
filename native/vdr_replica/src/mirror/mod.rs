//! One instance's whole data path: bytes of a link in, snapshots and watch events out.
//!
//! A mirror outlives its links. What it has applied stays when a link ends, and [`Mirror::position`] tells the next link
//! where to go on. Publishing comes first, then the events of what was published: who is woken reads at least the state
//! that it was told of.

use crate::filter::{Filtered, Only};
use crate::live::{Live, Snapshot};
use crate::resp::{Decoder, Frame, ProtocolError};
use crate::stream::{Applied, Applier, Divergence, unknown_name};
use crate::watch::{Delivery, Event, Watches};
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use vdr_commands::{ApplyError, Rules, Tuple};
use vdr_data::keyspace::Keyspace;
use vdr_rdb::{Builder, Loader, Progress, RdbError, Seen, Server};

/// How long a guard-key window may hold writes back before they are shown anyway.
pub const GUARD_WINDOW_MAX_MS: i64 = 60_000;
/// How many bytes of the stream a guard-key window may hold back before they are shown anyway.
pub const GUARD_WINDOW_MAX_BYTES: u64 = 256 << 20;

/// How many commands are understood before the first of them is applied: more than memory can fetch at once.
const COMMANDS_AHEAD: usize = 16;

/// About how many commands are shown together at most, however many came at once, unless the primary wants more of them to be. What
/// they replace is given back when they are shown, and is still in the cache for the next ones: of some thousands it would not be.
const COMMANDS_SHOWN: u64 = 256;

/// For how long commands are applied before they are shown, however few they are: some are as dear as a million others.
const SHOWN_AFTER: Duration = Duration::from_millis(1);

/// Up to how many elements the writer frees itself, when nobody reads the state that it has replaced: memory that it has in its
/// cache, for the next writes. Whatever may be more is for the reaper.
const UNLINKED_MAX: u64 = 4096;

/// Why a mirror cannot go on with a link. The data stays as it was last published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: &'static str,
    pub detail: String,
}

impl From<&RdbError> for Fault {
    fn from(error: &RdbError) -> Self {
        Fault { code: error.code(), detail: error.to_string() }
    }
}

impl From<&Divergence> for Fault {
    fn from(divergence: &Divergence) -> Self {
        let code = if divergence.error == ApplyError::NotMirrored { "not_mirrored" } else { "diverged" };
        Fault { code, detail: divergence.to_string() }
    }
}

/// What an operator may ask at any time without waiting for the writer.
#[derive(Default)]
pub struct Status {
    /// The last byte of the stream that is applied.
    pub offset: AtomicU64,
    /// The last byte of the stream that has come, applied or not.
    pub received: AtomicU64,
    pub commands_applied: AtomicU64,
    pub full_syncs: AtomicU64,
    pub partial_syncs: AtomicU64,
    /// How far the full sync under way is: bytes of the file, and keys.
    pub loading_bytes: AtomicU64,
    pub loading_keys: AtomicU64,
    /// Since when a guard window is open, in Unix ms; 0: none is.
    pub guard_window_since_ms: AtomicI64,
    /// Commands that contradicted the data: each ended its link and led to a full sync.
    pub divergences: AtomicU64,
    /// Guard windows that ran into a limit and were shown anyway.
    pub guard_windows_given_up: AtomicU64,
    pub replication_id: Mutex<Arc<str>>,
    pub unknown_commands: Mutex<BTreeMap<String, u64>>,
}

/// What to do about a command that no row knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// Count it and go on: what it changed is missing from then on.
    #[default]
    Continue,
    /// End the link, for good.
    Stop,
}

/// A full sync under way.
struct Sync {
    loader: Loader,
    builder: Filtered<Builder>,
    replication_id: Arc<str>,
    offset: u64,
}

/// The contents of a full sync, ready to be shown.
pub struct Loaded {
    pub keyspace: Keyspace,
    pub replication_id: Arc<str>,
    pub offset: u64,
    /// The database that the stream has selected at `offset`.
    pub db: u32,
    pub server: Option<Server>,
}

/// What the mirror shares with readers, watchers and operators.
#[derive(Clone, Default)]
pub struct Shared {
    pub live: Arc<Live>,
    pub watches: Arc<Watches>,
    pub status: Arc<Status>,
}

/// An order of keys that a reader has made is taken over when no more entries than so many were written since, some milliseconds' work.
const ORDER_CHANGES_MAX: usize = 10_000;

/// Takes snapshots that are no longer current; readers may still hold them.
pub type Reap = Box<dyn Fn(Arc<Snapshot>) + Send>;

/// Tells times that can be compared with each other.
pub type Clock = fn() -> Duration;

/// See the module.
pub struct Mirror {
    shared: Shared,
    reap: Reap,
    clock: Clock,
    guard_key: Option<Vec<u8>>,
    only: Option<Arc<Only>>,
    decoder: Decoder,
    sync: Option<Sync>,
    /// None before the first full sync, and after a divergence.
    applier: Option<Applier>,
    replication_id: Arc<str>,
    server: Option<Arc<Server>>,
    /// Events of writes that are applied but not visible yet, with their offsets.
    pending: VecDeque<(u64, Vec<Delivery>)>,
    /// A full sync is applied but not visible yet: its watchers still need their Init.
    init_due: bool,
    published_offset: Option<u64>,
    /// [`Keyspace::unlinked`] of what is published; none when that is not of one origin with what we apply to.
    published_unlinked: Option<u64>,
    /// Versions that were shown until just now, little to free each, oldest first: the writer ends them as soon as nobody reads them.
    replaced: Vec<Arc<Snapshot>>,
    /// The guard window that is open: since when, and the offset at which it opened.
    guard_since: Option<(i64, u64)>,
    /// Commands are being applied. Still true when the link has ended: a panic left one of them half applied.
    applying: bool,
    /// The commands that came last took longer than what is shown at once may take: the next is applied alone.
    dear: bool,
    on_unknown: OnUnknown,
}

impl Mirror {
    pub fn new(shared: Shared, guard_key: Option<Vec<u8>>, reap: Reap) -> Self {
        Mirror {
            shared,
            reap,
            clock: || Duration::ZERO,
            guard_key,
            only: None,
            decoder: Decoder::new(),
            sync: None,
            applier: None,
            replication_id: Arc::from(""),
            server: None,
            pending: VecDeque::new(),
            init_due: false,
            published_offset: None,
            published_unlinked: None,
            replaced: Vec::new(),
            guard_since: None,
            applying: false,
            dear: false,
            on_unknown: OnUnknown::default(),
        }
    }

    /// Mirrors only what the filter keeps, and the guard key. To be called before any link.
    pub fn only(mut self, only: Only) -> Self {
        self.only = Some(Arc::new(only.always(self.guard_key.clone())));
        self
    }

    /// With a clock, dear commands are not shown later for having come together. Without one, time stands still.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// From the next command on.
    pub fn set_on_unknown(&mut self, policy: OnUnknown) {
        self.on_unknown = policy;
    }

    /// Where a partial resync can go on: replication id, and the last byte that need not be sent again.
    pub fn position(&self) -> Option<(Arc<str>, u64)> {
        self.applier.as_ref().map(|applier| (self.replication_id.clone(), applier.resume_offset()))
    }

    /// The next link is to another server, which may have heard less of its old primary's idle talk than we have (in a planned
    /// failover it always has): so we go on from where our data was first what it is now.
    pub fn moved(&mut self) {
        if let Some(applier) = &mut self.applier {
            applier.step_back();
        }
    }

    /// The offset to acknowledge.
    pub fn applied(&self) -> u64 {
        self.applier.as_ref().map_or(0, Applier::resume_offset)
    }

    /// A partial resync was granted, under the replication id that holds from now on.
    pub fn continued(&mut self, replication_id: &str) {
        self.replication_id = Arc::from(replication_id);
        *self.shared.status.replication_id.lock() = self.replication_id.clone();
        self.shared.status.partial_syncs.fetch_add(1, Ordering::Relaxed);
        self.decoder = Decoder::new();
    }

    /// A snapshot file begins that holds everything up to `offset`. What is served stays until it is whole.
    pub fn sync_started(&mut self, replication_id: &str, offset: u64) {
        let replication_id = Arc::from(replication_id);
        self.sync = Some(Sync {
            loader: Loader::new(),
            builder: Filtered::new(self.only.clone(), Builder::new()),
            replication_id,
            offset,
        });
        self.note_loading(&Seen::default(), 0);
    }

    /// The next bytes of the file.
    pub fn rdb(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        let Some(sync) = &mut self.sync else {
            return Err(Fault { code: "protocol", detail: "a snapshot file that was not announced".to_owned() });
        };
        let progress = sync.loader.feed(bytes, &mut sync.builder).map_err(|error| Fault::from(&error))?;
        let (seen, at) = (sync.builder.visit.seen().clone(), sync.loader.offset_bytes());
        self.note_loading(&seen, at);
        Ok(progress)
    }

    /// The file was whole and its framing right.
    pub fn sync_finished(&mut self, now_ms: i64) -> Result<(), Fault> {
        let Some(sync) = self.sync.take() else { return Ok(()) };
        sync.loader.finish().map_err(|error| Fault::from(&error))?;
        let seen = sync.builder.visit.seen().clone();
        let loaded = Loaded {
            keyspace: sync.builder.visit.into_keyspace(),
            replication_id: sync.replication_id,
            offset: sync.offset,
            db: seen.repl_stream_db.unwrap_or(0),
            server: seen.server,
        };
        self.install(loaded, now_ms);
        Ok(())
    }

    fn note_loading(&self, seen: &Seen, bytes: u64) {
        self.shared.status.loading_bytes.store(bytes, Ordering::Relaxed);
        self.shared.status.loading_keys.store(seen.keys, Ordering::Relaxed);
    }

    /// A full sync is complete and verified: from now on it is the data.
    pub fn install(&mut self, loaded: Loaded, now_ms: i64) {
        if let Some(before) = self.shared.live.load().as_deref() {
            loaded.keyspace.order_as(&before.keyspace);
        }
        let applier = Applier::new(loaded.keyspace, loaded.offset, loaded.db, self.guard_key.clone());
        let rules = loaded.server.as_ref().map(|server| Rules::of(server.name, &server.version)).unwrap_or_default();
        self.applier = Some(applier.only(self.only.clone()).rules(rules));
        self.replication_id = loaded.replication_id;
        self.server = loaded.server.map(Arc::new);
        self.decoder = Decoder::new();
        self.pending.clear();
        self.init_due = true;
        self.published_offset = None;
        self.published_unlinked = None;
        self.guard_since = None;
        // Of the data before, if there is one: it would be kept for nothing.
        self.take_order();
        *self.shared.status.replication_id.lock() = self.replication_id.clone();
        self.shared.status.offset.store(loaded.offset, Ordering::Relaxed);
        self.shared.status.received.store(loaded.offset, Ordering::Relaxed);
        self.shared.status.full_syncs.fetch_add(1, Ordering::Relaxed);
        self.publish(now_ms);
    }

    /// Applies the whole commands at the front of `input` and takes them off it, publishing on the way and at the end. Answers
    /// whether the primary wants to hear our offset now.
    pub fn stream(&mut self, input: &mut BytesMut, now_ms: i64) -> Result<bool, Fault> {
        let (mut at, mut ack_wanted) = (0, false);
        if let Some(applier) = &self.applier {
            let received = applier.offset().saturating_add(input.len() as u64);
            self.shared.status.received.store(received, Ordering::Relaxed);
        }
        self.take_order();
        let result = self.apply_and_show(input, &mut at, &mut ack_wanted, now_ms);
        input.advance(at);
        self.bury_replaced();
        if result.is_err() {
            // Our data is no longer the primary's, or we lost our place: only a full sync helps.
            self.applier = None;
            self.pending.clear();
        }
        result.map(|()| ack_wanted)
    }

    /// Keeps the order of keys that a reader has made from now on.
    fn take_order(&mut self) {
        let Some(ordered) = self.shared.live.take_ordered() else { return };
        if let Some(applier) = &self.applier {
            applier.keyspace().take_order(&ordered.keyspace, ORDER_CHANGES_MAX);
        }
        (self.reap)(ordered);
    }

    /// The link is over. What was half received is forgotten.
    pub fn ended(&mut self) {
        self.sync = None;
        self.decoder = Decoder::new();
        if std::mem::take(&mut self.applying) {
            self.applier = None;
            self.pending.clear();
        }
        if let Some(applier) = &mut self.applier {
            applier.rewind();
            let resume = applier.resume_offset();
            self.pending.retain(|(offset, _)| *offset <= resume);
        }
    }

    /// Shows what a guard window held back for too long. To be called now and then while nothing comes.
    pub fn tick(&mut self, now_ms: i64) {
        self.publish(now_ms);
    }

    /// Ends the instance: nothing is readable any more. Everything large goes to the reaper.
    pub fn close(&mut self) {
        self.applier = None;
        self.pending.clear();
        self.shared.live.clear().into_iter().chain(self.shared.live.take_ordered()).for_each(&self.reap);
    }

    fn apply_and_show(&mut self, input: &[u8], at: &mut usize, ack: &mut bool, now_ms: i64) -> Result<(), Fault> {
        let mut more = true;
        while more {
            self.applying = true;
            let applied = self.apply_some(input, at, ack, now_ms);
            self.applying = false;
            more = applied?;
            self.show(now_ms);
        }
        Ok(())
    }

    /// Applies commands until they are enough to be shown, or all: `false` then.
    fn apply_some(&mut self, input: &[u8], at: &mut usize, ack: &mut bool, now_ms: i64) -> Result<bool, Fault> {
        let Some(applier) = &mut self.applier else {
            return Err(Fault { code: "protocol", detail: "a command before any full sync".to_owned() });
        };
        let status = &self.shared.status;
        let mut ahead = Ahead::default();
        let enough = applier.applied().saturating_add(COMMANDS_SHOWN);
        let begun = (self.clock)();
        let mut now = begun;
        loop {
            let error = ahead.look(&mut self.decoder, input, *at, if self.dear { 1 } else { COMMANDS_AHEAD });
            applier.prefetch(ahead.keys());
            for (args, frame) in ahead.commands() {
                *at += frame.skipped + frame.len;
                let applied = applier.command(args, frame.len, now_ms);
                let applied = applied.map_err(|divergence| {
                    let fault = Fault::from(&divergence);
                    status.divergences.fetch_add(u64::from(fault.code == "diverged"), Ordering::Relaxed);
                    fault
                });
                match applied? {
                    Applied::Write(row) if !self.shared.watches.is_empty() => {
                        let deliveries = deliveries(&self.shared.watches, row, applier.db(), args, applier.offset());
                        if !deliveries.is_empty() {
                            self.pending.push_back((applier.offset(), deliveries));
                        }
                    }
                    Applied::AckWanted => *ack = true,
                    Applied::Unknown => {
                        unknown(status, applier, args.first().copied().unwrap_or_default(), self.on_unknown)?
                    }
                    Applied::Write(_) | Applied::Control => {}
                }
            }
            error.map_or(Ok(()), |error| Err(Fault { code: "protocol", detail: error.to_string() }))?;
            let since = std::mem::replace(&mut now, (self.clock)());
            self.dear = now.saturating_sub(since) >= SHOWN_AFTER;
            if ahead.is_empty() || applier.applied() >= enough || now.saturating_sub(begun) >= SHOWN_AFTER {
                break;
            }
        }
        status.offset.store(applier.resume_offset(), Ordering::Relaxed);
        status.commands_applied.store(applier.applied(), Ordering::Relaxed);
        Ok(!ahead.is_empty())
    }

    /// Shows the newest state that may be seen, then tells those whom it concerns.
    fn publish(&mut self, now_ms: i64) {
        self.show(now_ms);
        self.bury_replaced();
    }

    /// As [`Mirror::publish`], for who calls [`Mirror::bury_replaced`] in the end.
    fn show(&mut self, now_ms: i64) {
        let Some(applier) = &mut self.applier else { return };
        watch_guard(applier, &mut self.guard_since, &self.shared.status, now_ms);
        let Some((keyspace, offset)) = applier.visible() else { return };
        if self.published_offset == Some(offset) {
            return;
        }
        let snapshot = Snapshot {
            keyspace: keyspace.clone(),
            offset,
            replication_id: self.replication_id.clone(),
            server: self.server.clone(),
        };
        self.published_offset = Some(offset);
        let unlinked = snapshot.keyspace.unlinked();
        let before = self.published_unlinked.replace(unlinked);
        let is_light = before.is_some_and(|before| unlinked.wrapping_sub(before) <= UNLINKED_MAX);
        let old = self.shared.live.publish(snapshot);
        self.notify(old.as_deref(), offset);
        match old {
            Some(old) if !is_light => (self.reap)(old),
            old => self.replaced.extend(old),
        }
        // One that a reader was still at when it was replaced is mostly free by the next time.
        let unread = |old| Arc::try_unwrap(old).err();
        self.replaced = std::mem::take(&mut self.replaced).into_iter().filter_map(unread).collect();
    }

    /// Leaves what somebody still reads to the reaper.
    fn bury_replaced(&mut self) {
        self.replaced.drain(..).for_each(&self.reap);
    }

    fn notify(&mut self, old: Option<&Snapshot>, offset: u64) {
        let visible = self.pending.partition_point(|(at, _)| *at <= offset);
        let mut told: Vec<Delivery> = self.pending.drain(..visible).flat_map(|(_, deliveries)| deliveries).collect();
        if std::mem::take(&mut self.init_due) {
            told = self.shared.watches.init(offset);
        } else if !self.shared.watches.is_empty()
            && let Some(new) = self.shared.live.snapshot()
        {
            told.extend(self.shared.watches.settle(old, &new, &told));
        }
        for (watcher, event) in &told {
            watcher.notify(event);
        }
    }
}

/// A few commands that are understood before the first of them is applied, so that the memory of all of them is on its way.
#[derive(Default)]
struct Ahead<'i> {
    args: Vec<&'i [u8]>,
    /// With where its arguments end.
    frames: Vec<(Frame, usize)>,
}

impl<'i> Ahead<'i> {
    /// Takes so many of the next commands of the input, and what is wrong behind them.
    fn look(&mut self, decoder: &mut Decoder, input: &'i [u8], mut at: usize, most: usize) -> Option<ProtocolError> {
        self.args.clear();
        self.frames.clear();
        while self.frames.len() < most {
            let rest = input.get(at..).unwrap_or_default();
            match decoder.decode(rest) {
                Ok(Some(frame)) => {
                    self.args.extend(decoder.args(rest));
                    self.frames.push((frame, self.args.len()));
                    at += frame.skipped + frame.len;
                }
                Ok(None) => break,
                Err(error) => return Some(error),
            }
        }
        None
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn commands(&self) -> impl Iterator<Item = (&[&'i [u8]], Frame)> + Clone {
        let mut from = 0;
        self.frames.iter().map(move |(frame, to)| {
            let args = self.args.get(from..*to).unwrap_or_default();
            from = *to;
            (args, *frame)
        })
    }

    /// What nearly all commands name first. A wrong guess costs a little time and nothing else.
    fn keys(&self) -> impl Iterator<Item = &'i [u8]> + Clone {
        self.commands().filter_map(|(args, _)| args.get(1).copied())
    }
}

/// Keeps the time of the guard window that is open, and gives it up when it is open for too long or holds back too much.
fn watch_guard(applier: &mut Applier, since: &mut Option<(i64, u64)>, status: &Status, now_ms: i64) {
    let opened = applier.guard_window();
    if since.map(|(_, at)| at) != opened {
        *since = opened.map(|at| (now_ms, at));
        status.guard_window_since_ms.store(since.map_or(0, |(ms, _)| ms), Ordering::Relaxed);
    }
    let Some((since_ms, since_offset)) = *since else { return };
    let too_long = now_ms.saturating_sub(since_ms) > GUARD_WINDOW_MAX_MS;
    if too_long || applier.offset().saturating_sub(since_offset) > GUARD_WINDOW_MAX_BYTES {
        applier.give_up_guard();
        *since = None;
        status.guard_window_since_ms.store(0, Ordering::Relaxed);
        status.guard_windows_given_up.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts a command that no row knows, or refuses to go on.
fn unknown(status: &Status, applier: &Applier, name: &[u8], policy: OnUnknown) -> Result<(), Fault> {
    *status.unknown_commands.lock() = applier.unknown().clone();
    match policy {
        OnUnknown::Continue => Ok(()),
        OnUnknown::Stop => Err(Fault { code: "unknown_command", detail: unknown_name(name) }),
    }
}

/// Who must hear of one command, once it is visible. The tuple is made once for all of them.
fn deliveries(watches: &Watches, row: &vdr_commands::Write, db: u32, args: &[&[u8]], offset: u64) -> Vec<Delivery> {
    let tuple: std::cell::OnceCell<Arc<Tuple>> = std::cell::OnceCell::new();
    let command = || tuple.get_or_init(|| Arc::new(vdr_commands::tuple(args))).clone();
    let event = |db, key| Event::Update { command: command(), db, key, offset };
    let rest = args.get(1..).unwrap_or_default();
    watches.told(|tell| vdr_commands::for_each_affected(row, db, rest, tell), &event)
}

#[cfg(test)]
mod tests;
