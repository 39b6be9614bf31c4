//! Why a mirror cannot go on with a link.

use crate::resp::ProtocolError;
use crate::stream::Divergence;
use vdr_commands::ApplyError;
use vdr_rdb::RdbError;

/// The code of a string above the limit, as [`RdbError::code`] has it.
const TOO_LONG: &str = "string_too_long";

/// The code of a stream whose writes are wrapped, as an active replica of KeyDB sends them.
pub const ACTIVE_REPLICATION: &str = "active_replication";

/// The command that wraps a write, in lower case.
pub(super) const WRAPPER: &str = "rreplay";

/// An error that ends the link. The data stays as it was last published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A word for programs; [`Fault::detail`] is for people.
    pub code: &'static str,
    pub detail: String,
}

impl Fault {
    pub(super) fn protocol(detail: impl Into<String>) -> Self {
        Fault { code: "protocol", detail: detail.into() }
    }

    /// A snapshot file that was to say where its stream begins does not say it.
    pub fn no_offset() -> Self {
        let detail = "the snapshot file names no replication id and offset".to_owned();
        Fault { code: "rdb_no_offset", detail }
    }

    /// A full sync would replace the data by much less.
    pub(super) fn emptied(before: usize, keys: u64) -> Self {
        Fault { code: "primary_emptied", detail: format!("{keys} keys instead of {before}") }
    }

    /// A string is longer than the limit, in a file or in the stream.
    pub fn is_too_long(&self) -> bool {
        self.code == TOO_LONG
    }

    /// The command contradicted the data, so the data is no longer the primary's.
    pub(super) fn is_divergence(&self) -> bool {
        self.code == "diverged"
    }
}

impl From<&RdbError> for Fault {
    fn from(error: &RdbError) -> Self {
        Fault { code: error.code(), detail: error.to_string() }
    }
}

impl From<&ProtocolError> for Fault {
    fn from(error: &ProtocolError) -> Self {
        let code = if error.is_too_long() { TOO_LONG } else { "protocol" };
        Fault { code, detail: error.to_string() }
    }
}

impl From<&Divergence> for Fault {
    fn from(divergence: &Divergence) -> Self {
        let code = if divergence.error == ApplyError::NotMirrored { "not_mirrored" } else { "diverged" };
        Fault { code, detail: divergence.to_string() }
    }
}
