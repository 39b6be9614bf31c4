//! One alarm for all deadlines of a session, and the instants from which they count.

use std::pin::Pin;
use tokio::time::{Instant, Sleep, sleep_until};

pub struct Timer {
    pub alarm: Pin<Box<Sleep>>,
    pub connected: Instant,
    /// When the last bytes of the primary arrived.
    pub last_received: Instant,
    /// The sink is not ready, so the link does not read: silence is not the primary's fault.
    pub paused: bool,
    /// When the link last sent a keepalive, or acknowledged without being asked.
    pub last_sent: Instant,
}

impl Timer {
    pub fn new() -> Self {
        let now = Instant::now();
        Timer { alarm: Box::pin(sleep_until(now)), connected: now, last_received: now, paused: false, last_sent: now }
    }

    /// Sets the alarm to `due`. An alarm that rings earlier is left as it is: it is set again after
    /// it rang.
    pub fn set(&mut self, due: Option<Instant>) {
        if let Some(due) = due
            && (self.alarm.is_elapsed() || due < self.alarm.deadline())
        {
            self.alarm.as_mut().reset(due);
        }
    }
}
