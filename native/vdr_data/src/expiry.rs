//! When a key or a field expires.

/// An absolute time in Unix milliseconds, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry(i64);

impl Expiry {
    pub const NEVER: Expiry = Expiry(i64::MAX);

    /// Stored minus one, so that the last possible millisecond differs from `NEVER`: a server
    /// accepts it.
    pub fn at(ms: i64) -> Self {
        Expiry(ms.saturating_sub(1))
    }

    #[inline]
    pub fn of(ms: Option<i64>) -> Self {
        ms.map_or(Expiry::NEVER, Expiry::at)
    }

    #[inline]
    pub fn get(self) -> Option<i64> {
        self.is_set().then_some(self.0.saturating_add(1))
    }

    pub fn is_set(self) -> bool {
        self != Expiry::NEVER
    }

    /// The server's rule: a key exists in its last millisecond, and no longer.
    pub fn is_past(self, now_ms: i64) -> bool {
        now_ms.saturating_sub(1) > self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_millisecond_that_a_server_takes_is_a_time() {
        for ms in [i64::MAX, i64::MAX - 1, 1, 0, -1] {
            let expiry = Expiry::at(ms);
            assert_eq!(expiry.get(), Some(ms));
            assert!(!expiry.is_past(ms) && expiry < Expiry::NEVER);
            assert_eq!(expiry.is_past(ms.saturating_add(1)), ms != i64::MAX);
        }
        assert_eq!(Expiry::NEVER.get(), None);
        assert!(!Expiry::NEVER.is_past(i64::MAX));
    }
}
