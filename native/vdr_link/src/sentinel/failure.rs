//! Why a Sentinel gave no server, and what that means for the look-up.

use crate::address::Address;
use crate::client::{AccessError, ClientError};
use std::fmt;
use vdr_replica::handshake::Retry;

/// The longest text of a Sentinel that an error shows.
const TEXT_CHARS_MAX: usize = 160;

/// The first kind says most about the cause: a Sentinel that answers knows more than one that does
/// not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    NoUsableReplica,
    BadHostMap,
    UnknownGroup,
    Refused,
    Unreachable,
}

/// Why one Sentinel gave no server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    text: String,
}

/// Why no Sentinel gave a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFound {
    pub code: &'static str,
    pub detail: String,
    pub retry: Retry,
}

impl Failure {
    pub fn new(kind: FailureKind, text: impl fmt::Display) -> Self {
        Failure { kind, text: text.to_string() }
    }

    /// An error reply of a Sentinel.
    pub fn refused(text: &[u8]) -> Self {
        let shown: String = text.escape_ascii().to_string().chars().take(TEXT_CHARS_MAX).collect();
        Failure { kind: FailureKind::Refused, text: shown }
    }

    pub fn odd_answer() -> Self {
        Failure::new(FailureKind::Unreachable, "the answer makes no sense")
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let kind = match error {
            ClientError::BadCredentials => FailureKind::Refused,
            _ => FailureKind::Unreachable,
        };
        Failure::new(kind, error)
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        let kind = match error {
            AccessError::Password => FailureKind::Refused,
            AccessError::Host(_) => FailureKind::BadHostMap,
        };
        Failure::new(kind, error)
    }
}

impl NotFound {
    /// The failure that says most decides the code. The detail has all of them.
    pub fn new(failures: &[(Address, Failure)]) -> Self {
        let kind = failures.iter().map(|(_, failure)| failure.kind).min().unwrap_or(FailureKind::Unreachable);
        let (code, retry) = match kind {
            FailureKind::NoUsableReplica => ("no_usable_replica", Retry::Soon),
            FailureKind::BadHostMap => ("bad_host_map", Retry::Slowly),
            FailureKind::UnknownGroup => ("unknown_group", Retry::Slowly),
            FailureKind::Refused => ("sentinel_refused", Retry::Slowly),
            FailureKind::Unreachable => ("no_sentinel_reachable", Retry::Soon),
        };
        let detail: Vec<String> =
            failures.iter().map(|(sentinel, failure)| format!("{sentinel}: {}", failure.text)).collect();
        NotFound { code, detail: detail.join("; "), retry }
    }

    /// A bug of this library.
    pub fn panicked() -> Self {
        NotFound { code: "panicked", detail: String::new(), retry: Retry::Slowly }
    }
}
