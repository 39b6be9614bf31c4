//! What can be wrong with a snapshot file, and where.

use std::fmt;
use vdr_data::limits::STRING_BYTES_LIMIT_MAX;

/// The most bytes of a key that an error text shows.
const SHOWN_KEY_BYTES: usize = 64;

/// What [`Fault::TooLarge`] says of a string, whose limit is the caller's.
pub(super) const STRING: &str = "string";

/// The fault that ended the walk, the byte of the file, and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RdbError {
    pub fault: Fault,
    /// Position in the file (in the payload, for DUMP) at which reading stopped.
    pub offset_bytes: u64,
    /// The key whose value was being read, truncated if it is very long.
    pub key: Option<Box<[u8]>>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Neither `REDIS` nor `VALKEY` and a number.
    BadMagic,
    /// A version that no server with this magic writes.
    UnsupportedVersion(u32),
    /// A byte that is neither an opcode nor a value type of this dialect, so it cannot be skipped.
    UnknownType(u8),
    /// The bytes contradict the format.
    Corrupt(&'static str),
    /// The trailer's CRC-64 is not that of the bytes.
    Checksum { stored: u64, computed: u64 },
    /// The input ended inside the file.
    Truncated,
    /// A length above a limit of this library.
    TooLarge { what: &'static str, length: u64, limit: u64 },
}

impl RdbError {
    /// A stable name for the border to Elixir.
    pub fn code(&self) -> &'static str {
        match self.fault {
            Fault::BadMagic => "rdb_bad_magic",
            Fault::UnsupportedVersion(_) => "rdb_unsupported_version",
            Fault::UnknownType(_) => "rdb_unknown_type",
            Fault::Corrupt(_) => "rdb_corrupt",
            Fault::Checksum { .. } => "rdb_checksum",
            Fault::Truncated => "rdb_truncated",
            Fault::TooLarge { what: STRING, length, .. } if length <= STRING_BYTES_LIMIT_MAX => "string_too_long",
            Fault::TooLarge { .. } => "rdb_too_large",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::BadMagic => write!(f, "not a snapshot file"),
            Fault::UnsupportedVersion(version) => write!(f, "unsupported version {version}"),
            Fault::UnknownType(byte) => write!(f, "unknown value type or opcode {byte}"),
            Fault::Corrupt(what) => write!(f, "{what}"),
            Fault::Checksum { stored, computed } => {
                write!(f, "checksum is {computed:016x}, the file says {stored:016x}")
            }
            Fault::Truncated => write!(f, "the input ends inside the file"),
            Fault::TooLarge { what, length, limit } => write!(f, "{what} of {length} bytes, the limit is {limit}"),
        }
    }
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.fault, self.offset_bytes)?;
        let Some(key) = &self.key else { return Ok(()) };
        let shown = key.get(..SHOWN_KEY_BYTES);
        let ellipsis = if shown.is_some() { "..." } else { "" };
        write!(f, " in key \"{}{ellipsis}\"", shown.unwrap_or(key).escape_ascii())
    }
}

impl std::error::Error for RdbError {}

/// Why one step of the walk did not finish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The item needs at least so many bytes, counted from its start. Nothing was consumed or
    /// reported.
    More(usize),
    Bad(Fault),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Halt::Bad(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_byte_and_the_key() {
        let error = RdbError {
            fault: Fault::Corrupt("duplicate set member"),
            offset_bytes: 17,
            key: Some(Box::from(&b"a\xffb"[..])),
        };
        assert_eq!(error.to_string(), "duplicate set member at byte 17 in key \"a\\xffb\"");
        assert_eq!(error.code(), "rdb_corrupt");
    }

    #[test]
    fn a_string_above_its_limit_has_a_code_of_its_own() {
        let code = |what, length| {
            RdbError { fault: Fault::TooLarge { what, length, limit: 1 }, offset_bytes: 0, key: None }.code()
        };
        assert_eq!((code(STRING, 2), code("contents", 2)), ("string_too_long", "rdb_too_large"));
        assert_eq!(code(STRING, STRING_BYTES_LIMIT_MAX + 1), "rdb_too_large", "no limit helps");
    }

    #[test]
    fn a_long_key_is_shown_in_part() {
        let error = RdbError { fault: Fault::Truncated, offset_bytes: 0, key: Some(vec![b'k'; 1000].into()) };
        assert!(error.to_string().len() < 200);
        assert!(error.to_string().ends_with("k...\""));
    }
}
