//! The longest string that a replica accepts, of a file and of the stream alike.
//!
//! ```text
//! given by the user  -> holds
//! the default        -> a longer string comes: the link ends -> the next link asks the server for its own limit
//! ```
//!
//! Only a link that has met a longer string asks. The right to CONFIG is an administrator's, and a
//! user without it leaves an entry in the server's log of refusals each time.

use vdr_data::limits::STRING_BYTES_MAX;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringLimit {
    bytes: u64,
    is_given: bool,
    is_met: bool,
    was_asked: bool,
}

impl Default for StringLimit {
    fn default() -> Self {
        StringLimit { bytes: STRING_BYTES_MAX, is_given: false, is_met: false, was_asked: false }
    }
}

impl StringLimit {
    /// The user's limit; `None` for the server's.
    pub fn new(given: Option<u64>) -> Self {
        let limit = StringLimit::default();
        StringLimit { bytes: given.unwrap_or(limit.bytes), is_given: given.is_some(), ..limit }
    }

    /// Another link begins, perhaps with another option.
    pub fn give(&mut self, given: Option<u64>) {
        match given {
            Some(bytes) => *self = StringLimit::new(Some(bytes)),
            None if self.is_given => *self = StringLimit::default(),
            None => {}
        }
    }

    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// A longer string has come.
    pub fn meet(&mut self) {
        self.is_met = true;
    }

    /// Whether the next link asks the server.
    pub fn asks(self) -> bool {
        self.is_met && !self.is_given
    }

    /// Whether it is worth while to connect again at once: the server was not asked before.
    pub fn is_new(self) -> bool {
        self.asks() && !self.was_asked
    }

    /// The server has answered; `None` if it did not say.
    pub fn answered(&mut self, bytes: Option<u64>) {
        (self.is_met, self.was_asked) = (false, true);
        self.bytes = self.bytes.max(bytes.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_asked_once_a_longer_string_has_come() {
        let mut limit = StringLimit::new(None);
        assert!(!limit.asks());
        limit.meet();
        assert!(limit.asks() && limit.is_new());
        limit.answered(Some(1 << 30));
        assert_eq!((limit.bytes(), limit.asks()), (1 << 30, false));
        limit.meet();
        assert!(limit.asks() && !limit.is_new(), "again, but not in a hurry");
        limit.answered(None);
        assert_eq!(limit.bytes(), 1 << 30);
    }

    #[test]
    fn a_limit_that_is_given_holds() {
        let mut limit = StringLimit::new(Some(7));
        limit.meet();
        assert_eq!((limit.bytes(), limit.asks()), (7, false));
        limit.give(None);
        assert_eq!(limit, StringLimit::default());
        limit.answered(Some(1 << 40));
        limit.give(None);
        assert_eq!(limit.bytes(), 1 << 40);
    }
}
