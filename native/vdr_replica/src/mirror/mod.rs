//! One instance's whole data path: bytes of a link in, snapshots and watch events out.
//!
//! A mirror outlives its links. What it has applied stays when a link ends, and
//! [`Mirror::position`] is where the next link resumes.
//!
//! The modules stand in reading order: each uses those above it.

mod fault;
mod status;
mod full_sync;
mod lookahead;
mod guard_timer;
mod pending;
mod recent;
mod publish;
mod played;
mod apply;

pub use fault::{ACTIVE_REPLICATION, Fault};
pub use full_sync::{FullSync, Loaded};
pub use guard_timer::{GUARD_WINDOW_MAX, GUARD_WINDOW_MAX_BYTES};
pub use pending::{PENDING_BYTES_MAX, PENDING_EVENTS_MAX};
pub use publish::{DeferDrop, Garbage};
pub use recent::{RECENT_BYTES_MAX, Recent};
pub use status::{ClosedWindows, Status, UNKNOWN_NAMES_MAX, WindowTimes};

use crate::filter::Filter;
use crate::live::{Live, Snapshot};
use crate::position::Visible;
use crate::resp::Decoder;
use crate::stream::Applier;
use crate::string_limit::StringLimit;
use crate::watch::finder::Finder;
use crate::watch::{Hit, Watches};
use bytes::{Buf, BytesMut};
use guard_timer::GuardTimer;
use publish::Publisher;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use vdr_commands::Rules;
use vdr_rdb::{FileSummary, Progress, Server};
use vdr_snapmap::published::Replaced;

/// A key index that a reader has built is adopted when at most this many entries were written
/// since: some milliseconds' work.
const INDEX_CHANGES_MAX: usize = 10_000;

/// What one call of [`Mirror::stream`] leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The primary wants to hear our offset now.
    pub ack_wanted: bool,
    /// Whole commands may be left: the time was up.
    pub left: bool,
}

/// What to do about a command that no row knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// Count it and go on. The keys that it names are in doubt: their reads answer an error.
    #[default]
    Continue,
    /// End the link, for good.
    Stop,
}

/// What the mirror shares with readers, watchers and operators.
#[derive(Clone, Default)]
pub struct Shared {
    pub live: Arc<Live>,
    pub watches: Arc<Watches>,
    pub recent: Arc<Recent>,
    pub status: Arc<Status>,
    pub visible: Arc<Visible>,
}

/// A steady clock: its times can be compared with each other, and it never jumps.
pub type Clock = fn() -> Duration;

/// Runs a job elsewhere.
pub type Background = Box<dyn Fn(Box<dyn FnOnce() + Send>) + Send>;

/// See the module.
pub struct Mirror {
    shared: Shared,
    publisher: Publisher,
    finder: Finder,
    clock: Clock,
    guard_key: Option<Vec<u8>>,
    filter: Option<Arc<Filter>>,
    decoder: Decoder,
    full_sync: Option<Box<FullSync>>,
    /// `None` before the first full sync, and after a divergence.
    applier: Option<Applier>,
    replication_id: Arc<str>,
    /// Up to here, everything of the replication id is applied; keepalives that the next primary
    /// may never have received count.
    passed: u64,
    server: Option<Arc<Server>>,
    guard_timer: GuardTimer,
    background: Background,
    /// Databases whose keys readers asked for in order before the full sync: their key index is
    /// built once the full sync is visible.
    index_due: BTreeSet<u32>,
    /// Commands are being applied. Still true when the link has ended: a panic left one of them
    /// half applied.
    applying: bool,
    /// The last commands took longer than a publish interval, so the next one is decoded and
    /// applied alone.
    slow: bool,
    on_unknown: OnUnknown,
    /// The time that a played primary has set.
    time_ms: Option<i64>,
    string_limit: StringLimit,
    /// A full sync is refused that brings less than this part of the keys.
    keep_below: f64,
    /// Whom the current command affects: kept for its memory.
    hits: Vec<Hit>,
}

impl Mirror {
    pub fn new(shared: Shared, guard_key: Option<Vec<u8>>, defer_drop: DeferDrop) -> Self {
        Mirror {
            publisher: Publisher::new(&shared.live, &shared.watches, &shared.visible, defer_drop),
            finder: Finder::new(&shared.watches),
            shared,
            clock: || Duration::ZERO,
            guard_key,
            filter: None,
            decoder: Decoder::new(),
            full_sync: None,
            applier: None,
            replication_id: Arc::from(""),
            passed: 0,
            server: None,
            guard_timer: GuardTimer::default(),
            background: Box::new(|job| job()),
            index_due: BTreeSet::new(),
            applying: false,
            slow: false,
            on_unknown: OnUnknown::default(),
            time_ms: None,
            string_limit: StringLimit::default(),
            keep_below: 0.0,
            hits: Vec::new(),
        }
    }

    /// Mirrors only what the filter keeps, and the guard key. To be called before any link.
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(Arc::new(filter.always(self.guard_key.clone())));
        self
    }

    /// With a clock, slow commands do not delay the publication of those before them, and guard
    /// windows have a time limit. Without one, time stands still.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Where long computations run that nobody waits for. Without it they run on the caller's
    /// thread.
    pub fn with_background(mut self, background: Background) -> Self {
        self.background = background;
        self
    }

    /// From the next command on.
    pub fn set_on_unknown(&mut self, policy: OnUnknown) {
        self.on_unknown = policy;
    }

    /// For the next full syncs: one that brings less than this part of the keys is refused, and the
    /// data stays. Zero accepts any.
    pub fn set_keep_below(&mut self, part: f64) {
        self.keep_below = part;
    }

    /// The longest string that is accepted, the user's or the server's. To be called between two
    /// links.
    pub fn set_string_limit(&mut self, change: impl FnOnce(&mut StringLimit)) {
        change(&mut self.string_limit);
        self.decoder = self.new_decoder();
        if let Some(applier) = &mut self.applier {
            applier.set_rules(rules_of(self.server.as_deref(), self.string_limit));
        }
    }

    pub fn string_limit(&self) -> StringLimit {
        self.string_limit
    }

    fn new_decoder(&self) -> Decoder {
        Decoder::up_to(self.string_limit.bytes())
    }

    /// Notes a string above the limit.
    fn noted<T>(&mut self, result: Result<T, Fault>) -> Result<T, Fault> {
        if result.as_ref().is_err_and(Fault::is_too_long) {
            self.string_limit.meet();
        }
        result
    }

    /// Where a partial resync can resume: replication id, and the last byte that need not be sent
    /// again.
    pub fn position(&self) -> Option<(Arc<str>, u64)> {
        self.applier.as_ref().map(|applier| (self.replication_id.clone(), applier.resume_offset()))
    }

    /// Call before linking to a different server. It may never have received the trailing PINGs and
    /// GETACKs that we counted (in a planned failover it never has), so resume from the offset of
    /// the last effective command.
    pub fn change_server(&mut self) {
        if let Some(applier) = &mut self.applier {
            self.passed = self.passed.max(applier.resume_offset());
            applier.rewind_keepalives();
        }
    }

    /// The offset to acknowledge.
    pub fn applied(&self) -> u64 {
        self.applier.as_ref().map_or(0, Applier::resume_offset)
    }

    /// A partial resync was granted, under the replication id that holds from now on.
    pub fn continued(&mut self, replication_id: &str) {
        let resumed = self.applied();
        let applied = std::mem::take(&mut self.passed).max(resumed);
        if *self.replication_id != *replication_id {
            self.replication_id = Arc::from(replication_id);
            self.shared.visible.continue_as(&self.replication_id, applied, resumed);
            // The next state is another one, even at an equal offset.
            self.publisher.publish_again();
        }
        *self.shared.status.replication_id.lock() = self.replication_id.clone();
        self.shared.status.partial_syncs.fetch_add(1, Ordering::Relaxed);
        self.decoder = self.new_decoder();
    }

    /// The server that the link is to, which need not be the one that wrote the snapshot file:
    /// commands are applied by the rules of its version.
    pub fn linked_to(&mut self, server: Server) {
        if let Some(applier) = &mut self.applier {
            applier.set_rules(rules_of(Some(&server), self.string_limit));
        }
        self.server = Some(Arc::new(server));
    }

    /// A snapshot file begins that holds everything up to `offset`.
    pub fn sync_started(&mut self, replication_id: &str, offset: u64) {
        self.start_sync(Some((Arc::from(replication_id), offset)));
    }

    /// A snapshot file begins, and only the file says what it holds everything up to.
    pub fn bare_sync_started(&mut self) {
        self.start_sync(None);
    }

    fn start_sync(&mut self, start: Option<(Arc<str>, u64)>) {
        self.drop_full_sync();
        let full_sync = FullSync::new(start, self.filter.clone(), self.string_limit.bytes());
        self.full_sync = Some(Box::new(full_sync));
        self.note_loading(&FileSummary::default(), 0);
    }

    /// The next bytes of the file.
    pub fn rdb(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        let Some(sync) = &mut self.full_sync else {
            return Err(Fault::protocol("a snapshot file that was not announced"));
        };
        let fed = sync.feed(bytes);
        let progress = self.noted(fed)?;
        if let Some(sync) = &self.full_sync {
            self.note_loading(sync.summary(), sync.bytes());
        }
        Ok(progress)
    }

    /// The file was whole and its framing right.
    pub fn sync_finished(&mut self, now_ms: i64) -> Result<(), Fault> {
        if let Some(sync) = &self.full_sync {
            let published = self.shared.live.load();
            let before = published.get().map_or(0, |all| all.keyspace.dbs().map(|(_, db)| db.len()).sum());
            sync.compare(before, self.keep_below)?;
        }
        let Some(sync) = self.full_sync.take() else { return Ok(()) };
        let loaded = sync.finish()?;
        self.install(loaded, now_ms);
        Ok(())
    }

    fn note_loading(&self, summary: &FileSummary, bytes: u64) {
        self.shared.status.loading_bytes.store(bytes, Ordering::Relaxed);
        self.shared.status.loading_keys.store(summary.keys, Ordering::Relaxed);
    }

    /// A full sync is complete and verified: from now on it is the data.
    pub fn install(&mut self, loaded: Loaded, now_ms: i64) {
        let indexed_dbs = self.shared.live.load().get().map(|before| before.keyspace.indexed_numbers());
        let applier = Applier::new(loaded.keyspace, loaded.offset, loaded.db, self.guard_key.clone());
        let rules = rules_of(loaded.server.as_ref(), self.string_limit);
        self.drop_applier();
        self.applier = Some(applier.with_filter(self.filter.clone()).rules(rules));
        self.replication_id = loaded.replication_id;
        self.passed = 0;
        self.shared.visible.replace(&self.replication_id);
        self.server = loaded.server.map(Arc::new);
        self.decoder = self.new_decoder();
        self.publisher.begin_anew();
        self.shared.recent.clear();
        self.index_due.extend(indexed_dbs.unwrap_or_default());
        self.guard_timer.reset(&self.shared.status);
        // An index of the data before, if one was offered, is of no use any more.
        self.adopt_key_index();
        *self.shared.status.replication_id.lock() = self.replication_id.clone();
        self.shared.status.offset.store(loaded.offset, Ordering::Relaxed);
        self.shared.status.received.store(loaded.offset, Ordering::Relaxed);
        self.shared.status.full_syncs.fetch_add(1, Ordering::Relaxed);
        self.shared.status.incomplete.store(false, Ordering::Relaxed);
        self.shared.status.miscounted_streams.store(loaded.miscounted_streams, Ordering::Relaxed);
        self.tick(now_ms);
    }

    /// Applies the whole commands at the front of `input` and takes them off it, publishing on the
    /// way and at the end. With a clock it leaves some after a while; call it again then.
    pub fn stream(&mut self, input: &mut BytesMut, now_ms: i64) -> Result<Turn, Fault> {
        let (mut at, mut turn) = (0, Turn::default());
        let now_ms = self.time_or(now_ms);
        if let Some(applier) = &self.applier {
            let received = applier.offset().saturating_add(input.len() as u64);
            self.shared.status.received.store(received, Ordering::Relaxed);
        }
        self.adopt_key_index();
        let before = self.applier.as_ref().map(|applier| (applier.offset(), applier.db()));
        let result = self.apply_and_publish(input, &mut at, &mut turn, now_ms);
        if let (Some((from, db)), Some(applier)) = (before, &self.applier) {
            self.shared.recent.push(input.get(..at).unwrap_or_default(), from, applier.offset(), db);
        }
        input.advance(at);
        self.publisher.defer_replaced();
        if result.is_err() {
            // Our data is no longer the primary's, or we lost our place: only a full sync helps.
            self.drop_applier();
        }
        self.noted(result.map(|()| turn))
    }

    /// Keeps the key index that a reader has built up to date from now on.
    fn adopt_key_index(&mut self) {
        let Some(indexed) = self.shared.live.take_key_index() else { return };
        if let Some(applier) = &self.applier {
            applier.keyspace().adopt_index(&indexed.keyspace, INDEX_CHANGES_MAX);
        }
        self.publisher.defer_drop(Garbage::Snapshot(Replaced::unread(indexed)));
    }

    /// The link is over. What was half received is forgotten.
    pub fn ended(&mut self) {
        self.shared.visible.doubt();
        self.drop_full_sync();
        self.decoder = self.new_decoder();
        if std::mem::take(&mut self.applying) {
            self.drop_applier();
        }
        if let Some(applier) = &mut self.applier {
            applier.rewind();
            self.publisher.pending.rewind(applier.resume_offset());
        }
        self.publisher.make_up();
    }

    /// Publishes what a guard window held back for too long, and notifies whom a panic kept from
    /// being notified. To be called now and then while nothing comes.
    pub fn tick(&mut self, now_ms: i64) {
        self.publish(self.time_or(now_ms));
        self.publisher.defer_replaced();
    }

    /// Ends the instance: nothing is readable any more.
    pub fn close(&mut self) {
        self.drop_full_sync();
        self.drop_applier();
        let indexed = self.shared.live.take_key_index().map(Replaced::unread);
        let published = self.shared.live.clear().into_iter().chain(indexed);
        published.for_each(|snapshot| self.publisher.defer_drop(Garbage::Snapshot(snapshot)));
    }

    fn drop_full_sync(&mut self) {
        if let Some(sync) = self.full_sync.take() {
            self.publisher.defer_drop(Garbage::FullSync(sync));
        }
    }

    /// The data that commands were applied to is of no use any more; what is published stays.
    fn drop_applier(&mut self) {
        self.publisher.pending = Default::default();
        if let Some(applier) = self.applier.take() {
            self.publisher.defer_drop(Garbage::Applier(Box::new(applier)));
        }
    }

    /// Publishes the newest state that readers may see. The caller calls
    /// [`Publisher::defer_replaced`] in the end.
    fn publish(&mut self, now_ms: i64) {
        let Some(applier) = &mut self.applier else { return };
        self.guard_timer.check(applier, &self.shared.status, (self.clock)(), now_ms);
        if let Some((keyspace, offset)) = applier.visible()
            && self.publisher.wants(offset)
        {
            let snapshot = Snapshot {
                keyspace: keyspace.clone(),
                offset,
                replication_id: self.replication_id.clone(),
                server: self.server.clone(),
                time_ms: self.time_ms,
            };
            self.publisher.publish(snapshot, applier.offset());
            if !self.index_due.is_empty() {
                let (live, dbs) = (self.shared.live.clone(), std::mem::take(&mut self.index_due));
                (self.background)(Box::new(move || live.build_key_index(&Vec::from_iter(dbs))));
            }
        }
        if self.publisher.shows(applier.offset()) {
            self.shared.watches.end();
        }
        self.publisher.pending.bound();
    }
}

fn rules_of(server: Option<&Server>, string_limit: StringLimit) -> Rules {
    Rules::of_server(server).with_string_bytes_max(string_limit.bytes())
}

#[cfg(test)]
mod tests;
