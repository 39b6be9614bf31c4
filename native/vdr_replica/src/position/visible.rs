//! How far the published data goes, for those who wait for it. The publisher pays two atomic
//! operations for each publication, however many wait.

use super::history::{History, Located, Position};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nobody waits.
const NOBODY: u64 = u64::MAX;

/// See the module.
pub struct Visible {
    /// The offset of the published snapshot, in the numbers of the present id. It changes to
    /// smaller numbers only under the lock of `history`.
    offset: AtomicU64,
    /// The lowest offset that somebody waits for.
    awaited: AtomicU64,
    /// Counts the changes of the replication id.
    generation: AtomicU64,
    /// Counts the events after which the primary may have another id than before: ended links, and
    /// changes of the id.
    doubts: AtomicU64,
    history: Mutex<History>,
    /// Called by the publisher: it must not block.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Default for Visible {
    fn default() -> Self {
        Visible {
            offset: AtomicU64::new(0),
            awaited: AtomicU64::new(NOBODY),
            generation: AtomicU64::new(0),
            doubts: AtomicU64::new(0),
            history: Mutex::default(),
            wake: OnceLock::new(),
        }
    }
}

impl Visible {
    /// What to call when something is visible that somebody waits for, and when the id has changed.
    /// The first function stays.
    pub fn wake_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _first = self.wake.set(Box::new(wake));
    }

    /// For the publisher: a snapshot of this offset is published.
    pub fn publish(&self, offset: u64) {
        // Who comes to wait stores `awaited` and then looks at `offset`; here it is the other way
        // round. In one total order of these four, at least one of the two sees the other.
        self.offset.store(offset, Ordering::SeqCst);
        if self.awaited.load(Ordering::SeqCst) <= offset {
            self.wake();
        }
    }

    /// For the publisher: the stream goes on under another id; see [`History::continue_as`].
    pub fn continue_as(&self, id: &Arc<str>, applied: u64, resumed: u64) {
        self.change(|history| {
            history.continue_as(id, applied, resumed);
            // The published data may have keepalives of the id before, which the new one has not.
            self.offset.fetch_min(resumed, Ordering::SeqCst);
        });
    }

    /// For the publisher: the next snapshot is that of a full sync. Nothing of its id is visible
    /// yet.
    pub fn replace(&self, id: &Arc<str>) {
        self.change(|history| {
            history.replace(id);
            self.offset.store(0, Ordering::SeqCst);
        });
    }

    /// See [`History::learn`].
    pub fn learn(&self, id: &Arc<str>, former: &Arc<str>, shared: u64) {
        self.history.lock().learn(id, former, shared);
    }

    /// A link has ended: its primary may have another id the next time.
    pub fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that changes whenever the primary's id may have changed.
    pub fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut History)) {
        let mut history = self.history.lock();
        change(&mut history);
        self.generation.fetch_add(1, Ordering::SeqCst);
        drop(history);
        self.doubt();
        self.wake();
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// The published offset.
    pub(super) fn offset(&self) -> u64 {
        self.offset.load(Ordering::SeqCst)
    }

    pub(super) fn set_awaited(&self, lowest: Option<u64>) {
        self.awaited.store(lowest.unwrap_or(NOBODY), Ordering::SeqCst);
    }

    /// What a position means, and the published offset.
    pub fn locate(&self, position: &Position) -> (Located, u64) {
        let history = self.history.lock();
        let located = history.locate(&position.replication_id, position.offset);
        (located, self.offset.load(Ordering::SeqCst))
    }

    /// Whether somebody waits for what is published.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::SeqCst) <= self.offset.load(Ordering::SeqCst)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// See [`History::confirm`].
    pub(super) fn confirm(&self, id: &str) -> bool {
        self.history.lock().confirm(id)
    }
}
