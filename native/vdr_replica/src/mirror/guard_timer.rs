//! The time limit and the size limit of a guard window: beyond either, what it holds back is shown
//! anyway.

use super::status::Status;
use crate::stream::Applier;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a guard window may hold writes back before they are shown anyway.
pub const GUARD_WINDOW_MAX: Duration = Duration::from_secs(60);
/// How many bytes of the stream a guard window may hold back before they are shown anyway.
pub const GUARD_WINDOW_MAX_BYTES: u64 = 256 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct GuardTimer {
    open: Option<OpenWindow>,
}

#[derive(Clone, Copy)]
struct OpenWindow {
    /// By the steady clock: the wall clock may jump.
    since: Duration,
    /// The offset at which the window opened, which names it.
    offset: u64,
}

impl GuardTimer {
    /// Forgets the window: the data that it belonged to is replaced.
    pub(super) fn reset(&mut self, status: &Status) {
        self.open = None;
        status.guard_window_since_ms.store(0, Ordering::Relaxed);
    }

    /// Notices a window that has opened or closed, and closes one that reached a limit. `now` is
    /// the steady clock's time, `now_ms` the wall clock's, for the operator.
    pub(super) fn check(&mut self, applier: &mut Applier, status: &Status, now: Duration, now_ms: i64) {
        let offset = applier.guard_window();
        if self.open.map(|window| window.offset) != offset {
            let closed = self.open.map(|window| now.saturating_sub(window.since));
            closed.into_iter().for_each(|open| status.guard_windows_closed.note(open));
            self.open = offset.map(|offset| OpenWindow { since: now, offset });
            status.guard_window_since_ms.store(self.open.map_or(0, |_| now_ms), Ordering::Relaxed);
        }
        let Some(window) = self.open else { return };
        let is_too_long = now.saturating_sub(window.since) > GUARD_WINDOW_MAX;
        if is_too_long || applier.offset().saturating_sub(window.offset) > GUARD_WINDOW_MAX_BYTES {
            applier.give_up_guard();
            self.open = None;
            status.guard_window_since_ms.store(0, Ordering::Relaxed);
            status.guard_windows_given_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}
