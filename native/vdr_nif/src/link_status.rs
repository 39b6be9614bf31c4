//! The state of an instance's link, for those who ask, and what it means for freshness.

use crate::clock::steady_ms;
use crate::freshness::{Freshness, StaleReads};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use vdr_link::{LinkState, Role};

const NOT_YET: i64 = i64::MIN;

pub struct LinkStatus {
    state: Mutex<Option<LinkState>>,
    role: Mutex<Option<Role>>,
    freshness: Freshness,
    /// When the last bytes came, and when a link streamed last, by the steady clock, or
    /// [`NOT_YET`].
    last_message_ms: AtomicI64,
    last_streaming_ms: AtomicI64,
}

impl LinkStatus {
    pub fn new(stale_reads: StaleReads) -> Self {
        LinkStatus {
            state: Mutex::new(None),
            role: Mutex::new(None),
            freshness: Freshness::new(stale_reads),
            last_message_ms: AtomicI64::new(NOT_YET),
            last_streaming_ms: AtomicI64::new(NOT_YET),
        }
    }

    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// Bytes came. A snapshot file does not make the readable data fresher.
    pub fn received(&self) {
        self.last_message_ms.store(steady_ms(), Ordering::Relaxed);
        if self.freshness.may_refuse() && *self.state.lock() == Some(LinkState::Streaming) {
            self.freshness.renew();
        }
    }

    /// `None`: the server was not asked, or did not answer.
    pub fn role(&self) -> Option<Role> {
        *self.role.lock()
    }

    pub fn set_role(&self, role: Option<Role>) {
        *self.role.lock() = role;
    }

    /// `None`: there is no link.
    pub fn state(&self) -> Option<LinkState> {
        *self.state.lock()
    }

    pub fn set_state(&self, state: Option<LinkState>) {
        self.set_state_if(state, || true);
    }

    /// Decides under the lock of the state: a link that is ended meanwhile sets none after that.
    pub fn set_state_if(&self, state: Option<LinkState>, is_wanted: impl FnOnce() -> bool) {
        let mut current = self.state.lock();
        if !is_wanted() {
            return;
        }
        if *current == Some(LinkState::Streaming) {
            self.last_streaming_ms.store(steady_ms(), Ordering::Relaxed);
        }
        match state {
            Some(LinkState::Streaming) => self.freshness.renew(),
            _ => self.freshness.stop_streaming(),
        }
        *current = state;
    }

    /// The time since the last bytes came.
    pub fn silent_ms(&self) -> Option<i64> {
        elapsed_ms(&self.last_message_ms)
    }

    /// The time since the last stream ended.
    pub fn stale_ms(&self) -> Option<i64> {
        elapsed_ms(&self.last_streaming_ms)
    }
}

impl Default for LinkStatus {
    fn default() -> Self {
        LinkStatus::new(StaleReads::Allow)
    }
}

fn elapsed_ms(at_ms: &AtomicI64) -> Option<i64> {
    match at_ms.load(Ordering::Relaxed) {
        NOT_YET => None,
        at_ms => Some(steady_ms().saturating_sub(at_ms).max(0)),
    }
}
