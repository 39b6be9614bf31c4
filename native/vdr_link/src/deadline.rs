//! Deadlines that cannot overflow.

use std::time::Duration;
use tokio::time::Instant;

/// The longest wait, whatever a configuration says. No instant overflows by it, and its
/// milliseconds fit an `int` of the kernel.
pub const WAIT_MAX: Duration = Duration::from_secs(20 * 24 * 60 * 60);

/// The instant `wait` after `start`.
pub fn after(start: Instant, wait: Duration) -> Instant {
    start + wait.min(WAIT_MAX)
}
