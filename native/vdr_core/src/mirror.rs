//! One instance's whole data path: bytes of a link in, snapshots and watch events out.
//!
//! A mirror outlives its links. What it has applied stays when a link ends, and [`Mirror::position`] tells the next link
//! where to go on. Publishing comes first, then the events of what was published: who is woken reads at least the state
//! that it was told of.

use crate::apply::{Applied, Applier, Divergence, unknown_name};
use crate::commands::{self, ApplyError, Rules, Tuple};
use crate::keyspace::Keyspace;
use crate::live::{Live, Snapshot};
use crate::only::Only;
use crate::rdb::{Builder, Loader, Progress, RdbError, Seen, Server};
use crate::resp::{Decoder, Frame, ProtocolError};
use crate::watch::{Delivery, Event, Watches};
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// How long a guard-key window may hold writes back before they are shown anyway.
pub const GUARD_WINDOW_MAX_MS: i64 = 60_000;
/// How many bytes of the stream a guard-key window may hold back before they are shown anyway.
pub const GUARD_WINDOW_MAX_BYTES: u64 = 256 << 20;

/// How many commands are understood before the first of them is applied: more than memory can fetch at once.
const COMMANDS_AHEAD: usize = 16;

/// About how many commands are shown together at most, however many came at once, unless the primary wants more of them to be. What
/// they replace is given back when they are shown, and is still in the cache for the next ones: of some thousands it would not be.
const COMMANDS_SHOWN: u64 = 256;

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
    builder: Builder,
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

/// See the module.
pub struct Mirror {
    shared: Shared,
    reap: Reap,
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
    on_unknown: OnUnknown,
}

impl Mirror {
    pub fn new(shared: Shared, guard_key: Option<Vec<u8>>, reap: Reap) -> Self {
        Mirror {
            shared,
            reap,
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
            on_unknown: OnUnknown::default(),
        }
    }

    /// Mirrors only what the filter keeps, and the guard key. To be called before any link.
    pub fn only(mut self, only: Only) -> Self {
        self.only = Some(Arc::new(only.always(self.guard_key.clone())));
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
        self.sync =
            Some(Sync { loader: Loader::new(), builder: Builder::only(self.only.clone()), replication_id, offset });
        self.note_loading(&Seen::default(), 0);
    }

    /// The next bytes of the file.
    pub fn rdb(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        let Some(sync) = &mut self.sync else {
            return Err(Fault { code: "protocol", detail: "a snapshot file that was not announced".to_owned() });
        };
        let progress = sync.loader.feed(bytes, &mut sync.builder).map_err(|error| Fault::from(&error))?;
        let (seen, at) = (sync.builder.seen().clone(), sync.loader.offset_bytes());
        self.note_loading(&seen, at);
        Ok(progress)
    }

    /// The file was whole and its framing right.
    pub fn sync_finished(&mut self, now_ms: i64) -> Result<(), Fault> {
        let Some(sync) = self.sync.take() else { return Ok(()) };
        sync.loader.finish().map_err(|error| Fault::from(&error))?;
        let seen = sync.builder.seen().clone();
        let loaded = Loaded {
            keyspace: sync.builder.into_keyspace(),
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
        loop {
            let error = ahead.look(&mut self.decoder, input, *at);
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
            if ahead.is_empty() || applier.applied() >= enough {
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
    /// Takes the next commands of the input, and what is wrong behind them.
    fn look(&mut self, decoder: &mut Decoder, input: &'i [u8], mut at: usize) -> Option<ProtocolError> {
        self.args.clear();
        self.frames.clear();
        while self.frames.len() < COMMANDS_AHEAD {
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
fn deliveries(watches: &Watches, row: &commands::Write, db: u32, args: &[&[u8]], offset: u64) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    let tuple: std::cell::OnceCell<Arc<Tuple>> = std::cell::OnceCell::new();
    let event = |(db, key): &(u32, crate::blob::Blob)| Event::Update {
        command: tuple.get_or_init(|| Arc::new(commands::tuple(args))).clone(),
        db: *db,
        key: key.clone(),
        offset,
    };
    let rest = args.get(1..).unwrap_or_default();
    commands::touched(row, db, rest, &mut |touch| watches.touched(touch, &event, &mut deliveries));
    deliveries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;
    use crate::keyspace::Entry;
    use crate::resp;
    use crate::watch::Watcher;

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl Watcher for Log {
        fn notify(&self, event: &Event) {
            self.0.lock().push(match event {
                Event::Update { command, key, offset, .. } => format!("{} {:?} {offset}", command.name, key),
                Event::Init { offset } => format!("init {offset}"),
            });
        }
    }

    impl Log {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock())
        }
    }

    fn mirror() -> (Mirror, Shared) {
        let shared = Shared::default();
        let mut mirror = Mirror::new(shared.clone(), Some(b"__vdr_tx".to_vec()), Box::new(drop));
        mirror.install(loaded(&[("a", "0")]), 0);
        (mirror, shared)
    }

    fn loaded(strings: &[(&str, &str)]) -> Loaded {
        let mut keyspace = Keyspace::default();
        for (key, value) in strings {
            keyspace.db_mut(0).insert(key.as_bytes(), Entry::new(Blob::from(*value)));
        }
        Loaded { keyspace, replication_id: Arc::from("id"), offset: 0, db: 0, server: None }
    }

    fn feed(mirror: &mut Mirror, commands: &[&str]) -> Result<bool, Fault> {
        let mut stream = Vec::new();
        for command in commands {
            resp::encode(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut stream);
        }
        mirror.stream(&mut BytesMut::from(&stream[..]), 0)
    }

    fn get(shared: &Shared, key: &str) -> Option<String> {
        let snapshot = shared.live.snapshot()?;
        let value = snapshot.view(0, 0).string(key.as_bytes()).unwrap()?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn an_order_of_keys_that_a_reader_made_is_kept_from_then_on() {
        let (mut mirror, shared) = mirror();
        let keys = || {
            let snapshot = shared.live.snapshot().unwrap();
            let keys = snapshot.keyspace.db(0).keys(0, 10).map(|(key, ())| key.escape_ascii().to_string());
            keys.collect::<Vec<_>>().join(" ")
        };
        let ordered = || shared.live.snapshot().unwrap().keyspace.ordered();
        let asked = shared.live.snapshot().unwrap();
        feed(&mut mirror, &["SET c 1", "SET b 1"]).unwrap();
        assert_eq!((asked.keyspace.db(0).rank(b"a"), ordered()), (Ok(0), 0));
        // The reader brings what is shown up to date, and the publisher what follows.
        feed(&mut mirror, &["MULTI", "SET d 1"]).unwrap();
        shared.live.offer_order(asked);
        assert_eq!((ordered(), keys()), (1, "a b c".into()));
        feed(&mut mirror, &["DEL b", "EXEC", "SET e 1"]).unwrap();
        assert_eq!((ordered(), keys()), (1, "a c d e".into()));
        // Nobody holds on to what was offered.
        assert!(shared.live.take_ordered().is_none());
        mirror.install(loaded(&[("z", "0"), ("y", "0")]), 0);
        assert_eq!((ordered(), keys()), (1, "y z".into()));
        mirror.close();
    }

    #[test]
    fn what_is_offered_when_nothing_comes_any_more_goes_with_the_instance() {
        let (mut mirror, shared) = mirror();
        let asked = shared.live.snapshot().unwrap();
        asked.keyspace.db(0).rank(b"a").unwrap();
        shared.live.offer_order(asked.clone());
        mirror.close();
        assert_eq!(Arc::strong_count(&asked), 1);
        // Nor is it kept when it comes too late.
        shared.live.offer_order(asked.clone());
        assert_eq!(Arc::strong_count(&asked), 1);
    }

    #[test]
    fn what_is_offered_of_data_that_a_full_sync_replaces_goes_with_it() {
        let (mut mirror, shared) = mirror();
        let asked = shared.live.snapshot().unwrap();
        asked.keyspace.db(0).rank(b"a").unwrap();
        shared.live.offer_order(asked.clone());
        mirror.install(loaded(&[("b", "0")]), 0);
        assert_eq!((Arc::strong_count(&asked), shared.live.snapshot().unwrap().keyspace.ordered()), (1, 1));
    }

    #[test]
    fn a_watcher_hears_of_a_write_once_it_is_visible() {
        let (mut mirror, shared) = mirror();
        let log = Arc::new(Log::default());
        shared.watches.add(0, b"a", 1, log.clone()).unwrap();
        feed(&mut mirror, &["SET a 1", "SET b 1"]).unwrap();
        assert_eq!(log.take().len(), 1);
        feed(&mut mirror, &["MULTI", "SET a 2"]).unwrap();
        assert_eq!((log.take().len(), get(&shared, "a").as_deref()), (0, Some("1")));
        feed(&mut mirror, &["EXEC"]).unwrap();
        assert_eq!((log.take().len(), get(&shared, "a").as_deref()), (1, Some("2")));
    }

    #[test]
    fn what_comes_at_once_is_shown_in_parts_but_never_a_part_of_a_unit() {
        /// What is shown when somebody is woken: its offset, and whether `last` is in it.
        struct Seen(Arc<Live>, Mutex<Vec<(u64, bool)>>);
        impl Watcher for Seen {
            fn notify(&self, _: &Event) {
                let shown = self.0.snapshot().unwrap();
                let last = shown.view(0, 0).string(b"last").unwrap().is_some();
                self.1.lock().push((shown.offset, last));
            }
        }
        let many: Vec<String> = (0..COMMANDS_SHOWN * 3).map(|n| format!("SET k{n} 1")).collect();
        let many = || many.iter().map(String::as_str);
        let (mut mirror, shared) = mirror();
        let seen = Arc::new(Seen(shared.live.clone(), Mutex::default()));
        shared.watches.add(0, b"a", 1, seen.clone()).unwrap();
        let parts: Vec<&str> = ["SET a 1"].into_iter().chain(many()).chain(["SET a 2", "SET last 1"]).collect();
        feed(&mut mirror, &parts).unwrap();
        let end = shared.status.offset.load(Ordering::Relaxed);
        let shown = std::mem::take(&mut *seen.1.lock());
        assert!(matches!(shown[..], [(first, false), (second, true)] if first < second && second == end), "{shown:?}");

        feed(&mut mirror, &["DEL last"]).unwrap();
        let unit: Vec<&str> = ["MULTI", "SET a 3"].into_iter().chain(many()).chain(["SET last 1", "EXEC"]).collect();
        feed(&mut mirror, &unit).unwrap();
        assert_eq!(*seen.1.lock(), [(shared.status.offset.load(Ordering::Relaxed), true)]);
        // Where a command contradicts the data, what was shown before it stays.
        let broken: Vec<&str> = ["SET a 4"].into_iter().chain(many()).chain(["INCRBY last x", "SET a 5"]).collect();
        assert_eq!(feed(&mut mirror, &broken).err().unwrap().code, "diverged");
        assert_eq!(get(&shared, "a").as_deref(), Some("4"));
    }

    #[test]
    fn who_reads_on_what_was_replaced_leaves_it_to_the_reaper_and_who_is_done_by_then_to_the_writer() {
        /// Holds what is shown at the first event until the second.
        struct Holder(Arc<Live>, Mutex<Option<Arc<Snapshot>>>);
        impl Watcher for Holder {
            fn notify(&self, _: &Event) {
                let mut held = self.1.lock();
                *held = if held.is_some() { None } else { self.0.snapshot() };
            }
        }
        let (shared, reaped) = (Shared::default(), Arc::new(AtomicU64::new(0)));
        let count = reaped.clone();
        let reap = move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let mut mirror = Mirror::new(shared.clone(), None, Box::new(reap));
        mirror.install(loaded(&[("a", "0")]), 0);
        shared.watches.add(0, b"a", 1, Arc::new(Holder(shared.live.clone(), Mutex::default()))).unwrap();
        let keys: Vec<String> = (0..COMMANDS_SHOWN).map(|n| format!("SET k{n} 1")).collect();
        let keys = || keys.iter().map(String::as_str);
        let touches = |times: usize| -> Vec<&str> {
            std::iter::repeat_with(|| ["SET a 1"].into_iter().chain(keys()))
                .take(times)
                .flatten()
                .chain(keys())
                .collect()
        };
        feed(&mut mirror, &touches(2)).unwrap();
        assert_eq!((reaped.load(Ordering::Relaxed), mirror.replaced.len()), (0, 0));
        feed(&mut mirror, &touches(1)).unwrap();
        assert_eq!((reaped.load(Ordering::Relaxed), mirror.replaced.len()), (1, 0));
    }

    #[test]
    fn a_watch_that_comes_between_a_write_and_its_publication_hears_init() {
        let (mut mirror, shared) = mirror();
        feed(&mut mirror, &["MULTI", "SET a 2", "SET c 2"]).unwrap();
        let (on_a, on_b) = (Arc::new(Log::default()), Arc::new(Log::default()));
        shared.watches.add(0, b"a", 1, on_a.clone()).unwrap();
        shared.watches.add(0, b"b", 1, on_b.clone()).unwrap();
        feed(&mut mirror, &["EXEC"]).unwrap();
        assert_eq!((on_a.take().len(), on_b.take().len()), (1, 0));
        feed(&mut mirror, &["SET c 3"]).unwrap();
        assert_eq!((on_a.take().len(), on_b.take().len()), (0, 0));
    }

    #[test]
    fn a_full_sync_sends_one_init_to_each_watch() {
        let (mut mirror, shared) = mirror();
        let log = Arc::new(Log::default());
        shared.watches.add(0, b"a", 1, log.clone()).unwrap();
        shared.watches.add(0, b"zz", 1, log.clone()).unwrap();
        mirror.install(loaded(&[("a", "9")]), 0);
        assert_eq!(log.take(), ["init 0", "init 0"]);
        assert_eq!(get(&shared, "a").as_deref(), Some("9"));
    }

    #[test]
    fn a_divergence_keeps_what_is_served_and_asks_for_a_full_sync() {
        let (mut mirror, shared) = mirror();
        feed(&mut mirror, &["SET a x"]).unwrap();
        let fault = feed(&mut mirror, &["SET a y", "INCRBY a 1"]).err().unwrap();
        assert_eq!(fault.code, "diverged");
        assert_eq!(shared.status.divergences.load(Ordering::Relaxed), 1);
        assert_eq!(get(&shared, "a").as_deref(), Some("x"));
        assert!(mirror.position().is_none());
    }

    #[test]
    fn a_command_that_no_row_knows_is_counted_and_ends_the_link_when_that_is_wanted() {
        let (mut mirror, shared) = mirror();
        feed(&mut mirror, &["FROB a", "frob b", "SET a 1"]).unwrap();
        assert_eq!(shared.status.unknown_commands.lock().get("frob"), Some(&2));
        assert_eq!(get(&shared, "a").as_deref(), Some("1"));
        mirror.set_on_unknown(OnUnknown::Stop);
        let fault = feed(&mut mirror, &["SET a 2", "FROB a", "SET a 3"]).err().unwrap();
        assert_eq!((fault.code, fault.detail.as_str()), ("unknown_command", "frob"));
        assert_eq!(get(&shared, "a").as_deref(), Some("1"));
    }

    #[test]
    fn a_cut_off_multi_is_forgotten_with_its_events() {
        let (mut mirror, shared) = mirror();
        let log = Arc::new(Log::default());
        shared.watches.add(0, b"a", 1, log.clone()).unwrap();
        feed(&mut mirror, &["MULTI", "SET a 2"]).unwrap();
        let before = mirror.position().unwrap();
        mirror.ended();
        assert_eq!(mirror.position().unwrap(), before);
        feed(&mut mirror, &["MULTI", "SET a 3", "EXEC"]).unwrap();
        assert_eq!((log.take().len(), get(&shared, "a").as_deref()), (1, Some("3")));
    }

    #[test]
    fn what_a_panic_left_half_applied_is_not_gone_on_with() {
        let (mut mirror, shared) = mirror();
        feed(&mut mirror, &["SET a 1"]).unwrap();
        mirror.applying = true;
        mirror.ended();
        assert!(mirror.position().is_none());
        assert_eq!(get(&shared, "a").as_deref(), Some("1"), "what was visible stays");
        assert_eq!(feed(&mut mirror, &["SET a 2"]).unwrap_err().code, "protocol");
        mirror.ended();
        assert!(mirror.position().is_none());
    }

    #[test]
    fn a_guard_window_holds_writes_back_up_to_its_limit() {
        let (mut mirror, shared) = mirror();
        feed(&mut mirror, &["SET __vdr_tx 1", "SET a 1"]).unwrap();
        feed(&mut mirror, &["SET b 1"]).unwrap();
        assert_eq!((get(&shared, "a").as_deref(), get(&shared, "b")), (Some("0"), None));
        feed(&mut mirror, &["SET a 5"]).unwrap();
        mirror.tick(GUARD_WINDOW_MAX_MS + 1);
        assert_eq!(get(&shared, "a").as_deref(), Some("5"));
        assert_eq!(shared.status.guard_windows_given_up.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn windows_one_after_the_other_do_not_add_up() {
        let (mut mirror, shared) = mirror();
        let (mut now_ms, mut stream) = (0, Vec::new());
        for n in 0..10 {
            stream.clear();
            // Each batch ends inside of the next window.
            let (a, b) = (format!("SET a {n}"), "DEL __vdr_tx");
            for command in [b, "SET __vdr_tx 1", &a] {
                resp::encode(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut stream);
            }
            mirror.stream(&mut BytesMut::from(&stream[..]), now_ms).unwrap();
            now_ms += GUARD_WINDOW_MAX_MS / 2;
        }
        assert_eq!(get(&shared, "a").as_deref(), Some("8"));
        assert_eq!(shared.status.guard_windows_given_up.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_sync_inside_of_a_window_leaves_the_old_data_visible_until_it_closes() {
        let (mut mirror, shared) = mirror();
        mirror.install(loaded(&[("a", "9"), ("__vdr_tx", "1")]), 0);
        assert_eq!(get(&shared, "a").as_deref(), Some("0"));
        feed(&mut mirror, &["SET a 10"]).unwrap();
        assert_eq!(get(&shared, "a").as_deref(), Some("0"));
        feed(&mut mirror, &["DEL __vdr_tx"]).unwrap();
        assert_eq!(get(&shared, "a").as_deref(), Some("10"));
        mirror.install(loaded(&[("a", "11"), ("__vdr_tx", "1")]), 0);
        mirror.tick(GUARD_WINDOW_MAX_MS + 1);
        assert_eq!(get(&shared, "a").as_deref(), Some("11"));
        assert_eq!(shared.status.guard_windows_given_up.load(Ordering::Relaxed), 1);
    }

    /// What the writer itself frees comes back to it warm; what may be much, or is still read, goes to the reaper.
    #[test]
    fn the_writer_frees_what_is_little_and_read_by_nobody() {
        let buried = Arc::new(AtomicU64::new(0));
        let shared = Shared::default();
        let reap = buried.clone();
        let mut mirror = Mirror::new(
            shared.clone(),
            None,
            Box::new(move |_| {
                reap.fetch_add(1, Ordering::Relaxed);
            }),
        );
        mirror.install(loaded(&[("a", "0")]), 0);
        let mut sent = |commands: &[&str]| {
            feed(&mut mirror, commands).unwrap();
            buried.swap(0, Ordering::Relaxed)
        };
        assert_eq!(sent(&["SET a 1"]), 0);
        let held = shared.live.snapshot();
        assert_eq!(sent(&["SET a 2"]), 1, "somebody reads it");
        drop(held);
        assert_eq!(sent(&["SET a 3", "DEL a"]), 0);
        let members: Vec<String> = (0..=UNLINKED_MAX).map(|n| n.to_string()).collect();
        let members = members.join(" ");
        assert_eq!(sent(&[&format!("SADD s {members}"), &format!("SADD t {members}")]), 0);
        assert_eq!(sent(&["SREM s 1 2 3", "SADD s x 1 2 3"]), 0);
        assert_eq!(sent(&["SET s x"]), 1, "a large set was replaced");
        assert_eq!(sent(&["DEL t"]), 1, "a large set is gone");
        assert_eq!(sent(&["SET a 4"]), 0);
        assert_eq!(sent(&["FLUSHDB"]), 1, "nobody counted how much it was");
        mirror.install(loaded(&[("a", "0")]), 0);
        assert_eq!(buried.load(Ordering::Relaxed), 1, "a full sync replaces everything");
    }
}
