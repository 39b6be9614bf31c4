//! Between one link and the instance that it feeds: the sink that takes its bytes, the reporter that tells the process
//! which keeps it.

use crate::seat::Seat;
use crate::store::Inner;
use crate::terms;
use crate::watcher::Recipient;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use vdr_link::{Endpoint, LinkEnd, LinkState, MirrorHooks, MirrorSink, Observer, Role};
use vdr_replica::mirror::{Mirror, OnUnknown};

/// How old data may be that is still read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReads {
    Allow,
    /// Until nothing has been heard of the primary for so long.
    MaxMs(i64),
    /// Only while a link streams.
    Deny,
}

const NEVER: i64 = i64::MAX;
const ALWAYS: i64 = i64::MIN;
const NOT_YET: i64 = i64::MIN;

/// How the link stands, for those who ask.
pub struct Standing {
    state: Mutex<Option<LinkState>>,
    role: Mutex<Option<Role>>,
    stale_reads: StaleReads,
    /// From when on reads are refused, by the clock that nobody sets. It is all that a read looks at.
    refuse_at_ms: AtomicI64,
    /// When something came last, and when a link streamed last, by the same clock, or [`NOT_YET`].
    last_message_ms: AtomicI64,
    last_streaming_ms: AtomicI64,
}

impl Standing {
    pub fn new(stale_reads: StaleReads) -> Self {
        let refuse_at_ms = if stale_reads == StaleReads::Allow { NEVER } else { ALWAYS };
        Standing {
            state: Mutex::new(None),
            role: Mutex::new(None),
            stale_reads,
            refuse_at_ms: AtomicI64::new(refuse_at_ms),
            last_message_ms: AtomicI64::new(NOT_YET),
            last_streaming_ms: AtomicI64::new(NOT_YET),
        }
    }

    /// Reads are to be refused.
    pub fn refuses(&self) -> bool {
        let refuse_at_ms = self.refuse_at_ms.load(Ordering::Relaxed);
        refuse_at_ms != NEVER && steady_ms() >= refuse_at_ms
    }

    /// Reads may be refused at times.
    pub fn may_refuse(&self) -> bool {
        self.stale_reads != StaleReads::Allow
    }

    /// What is read is the primary's data of now.
    fn fresh(&self) {
        let refuse_at_ms = match self.stale_reads {
            StaleReads::Allow | StaleReads::Deny => NEVER,
            StaleReads::MaxMs(bound) => steady_ms().saturating_add(bound),
        };
        self.refuse_at_ms.store(refuse_at_ms, Ordering::Relaxed);
    }

    /// Something came. While a snapshot file comes, what is read does not get any fresher.
    fn heard(&self) {
        self.last_message_ms.store(steady_ms(), Ordering::Relaxed);
        if self.may_refuse() && *self.state.lock() == Some(LinkState::Streaming) {
            self.fresh();
        }
    }

    /// None: the server was not asked, or did not tell.
    pub fn role(&self) -> Option<Role> {
        *self.role.lock()
    }

    /// None: there is no link.
    pub fn state(&self) -> Option<LinkState> {
        *self.state.lock()
    }

    pub fn no_link(&self) {
        self.set(None);
    }

    /// How long ago something came.
    pub fn silent_ms(&self) -> Option<i64> {
        since(&self.last_message_ms)
    }

    /// How long ago the last stream ended.
    pub fn stale_ms(&self) -> Option<i64> {
        since(&self.last_streaming_ms)
    }

    fn set(&self, state: Option<LinkState>) {
        let mut current = self.state.lock();
        if *current == Some(LinkState::Streaming) {
            self.last_streaming_ms.store(steady_ms(), Ordering::Relaxed);
        }
        match state {
            Some(LinkState::Streaming) => self.fresh(),
            _ if self.stale_reads == StaleReads::Deny => self.refuse_at_ms.store(ALWAYS, Ordering::Relaxed),
            _ => {}
        }
        *current = state;
    }
}

impl Default for Standing {
    fn default() -> Self {
        Standing::new(StaleReads::Allow)
    }
}

/// Time that no clock setting moves.
pub fn steady() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

fn steady_ms() -> i64 {
    i64::try_from(steady().as_millis()).unwrap_or(NEVER)
}

fn since(at_ms: &AtomicI64) -> Option<i64> {
    match at_ms.load(Ordering::Relaxed) {
        NOT_YET => None,
        at_ms => Some(steady_ms().saturating_sub(at_ms).max(0)),
    }
}

/// Tells the process that keeps the link.
pub struct Reporter {
    seat: Arc<Seat>,
    link: u64,
    recipient: Arc<Recipient>,
}

impl Reporter {
    /// Of the next link, which from now on is the one that feeds.
    pub fn new(seat: Arc<Seat>, recipient: Recipient) -> Self {
        let link = seat.next_link();
        seat.standing.set(Some(LinkState::Init));
        *seat.standing.role.lock() = None;
        Reporter { seat, link, recipient: Arc::new(recipient) }
    }

    pub fn link(&self) -> u64 {
        self.link
    }

    pub fn feed(&self, inner: Arc<Inner>, endpoint: Endpoint, on_unknown: OnUnknown) -> MirrorSink<Teller> {
        let told_given_up = inner.shared.status.guard_windows_given_up.load(Ordering::Relaxed);
        let (mirror, recipient, told_unknown) = (inner.mirror.clone(), self.recipient.clone(), HashSet::new());
        let (link, told_ready) = (self.link, false);
        let teller = Teller { inner, endpoint, link, recipient, told_ready, told_given_up, told_unknown, on_unknown };
        MirrorSink::new(mirror, teller)
    }
}

impl Observer for Reporter {
    fn state(&self, state: LinkState) {
        if self.seat.is_current(self.link) {
            self.seat.standing.set(Some(state));
            self.recipient.send(|env| terms::link_state(env, state));
        }
    }

    fn role(&self, role: Role) {
        if self.seat.is_current(self.link) {
            *self.seat.standing.role.lock() = Some(role);
        }
    }

    fn received(&self, _bytes: usize) {
        if self.seat.is_current(self.link) {
            self.seat.standing.heard();
        }
    }

    fn ended(&self, end: &LinkEnd) {
        if self.seat.is_current(self.link) {
            self.seat.standing.no_link();
        }
        self.recipient.send(|env| terms::link_end(env, end));
    }
}

/// What the link of an instance tells of the mirror that it feeds.
pub struct Teller {
    inner: Arc<Inner>,
    endpoint: Endpoint,
    link: u64,
    recipient: Arc<Recipient>,
    told_ready: bool,
    /// Guard windows given up that the recipient knows of.
    told_given_up: u64,
    /// Unknown commands that the process has heard of; the mirror's own count of names is bounded.
    told_unknown: HashSet<String>,
    on_unknown: OnUnknown,
}

impl Teller {
    fn tell_given_up(&mut self) {
        let given_up = self.inner.shared.status.guard_windows_given_up.load(Ordering::Relaxed);
        if given_up != self.told_given_up {
            self.told_given_up = given_up;
            self.recipient.send(terms::guard_given_up);
        }
    }

    fn tell_ready(&mut self) {
        if !self.told_ready && self.inner.shared.live.load().is_some() {
            self.told_ready = true;
            // Who is told must not be refused.
            if self.is_current() {
                self.inner.seat.standing.fresh();
            }
            self.recipient.send(terms::ready);
        }
    }

    /// Tells each name once: who logs or counts them need not look at the counters.
    fn tell_unknown(&mut self) {
        let unknown = self.inner.shared.status.unknown_commands.lock();
        if unknown.len() > self.told_unknown.len() {
            let new: Vec<String> = unknown.keys().filter(|name| !self.told_unknown.contains(*name)).cloned().collect();
            drop(unknown);
            for name in new {
                self.recipient.send(|env| terms::unknown_command(env, &name));
                self.told_unknown.insert(name);
            }
        }
    }
}

impl MirrorHooks for Teller {
    fn is_current(&self) -> bool {
        self.inner.seat.is_current(self.link)
    }

    fn before_feed(&self, mirror: &mut Mirror) {
        mirror.set_on_unknown(self.on_unknown);
        let before = self.inner.followed.lock().replace(self.endpoint.clone());
        if before.as_ref() != Some(&self.endpoint) {
            mirror.change_server();
        }
    }

    fn after_feed(&mut self) {
        self.tell_unknown();
        self.tell_given_up();
        self.tell_ready();
    }
}
