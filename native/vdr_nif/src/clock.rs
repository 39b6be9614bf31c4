//! The steady clock of the links and of freshness.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The time since this library first asked. No change of the system's clock moves it.
pub fn steady() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

pub fn steady_ms() -> i64 {
    i64::try_from(steady().as_millis()).unwrap_or(i64::MAX)
}
