//! Why a read or a write has no result.

use vdr_data::keyspace::TypeError;

/// Why a read has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The key holds another type.
    WrongType,
    /// A command that is not understood may have changed the value.
    UnknownValue,
    /// An argument is missing, left over, or not what the command takes.
    BadArgument,
}

impl From<TypeError> for ReadError {
    fn from(error: TypeError) -> Self {
        match error {
            TypeError::WrongType => ReadError::WrongType,
            TypeError::UnknownValue => ReadError::UnknownValue,
        }
    }
}

/// Why a command of the stream could not be applied. A real primary validated it before it sent it, so each of these
/// means that our data is not the primary's: the link ends and a full sync follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyError {
    WrongType,
    /// Too few, too many, or not what the command takes.
    BadArguments,
    /// A key or element that must be there is not.
    Missing,
    /// A stored value is not the number that the command needs, or the result would not fit.
    NotANumber,
    /// RESTORE's payload is not a value.
    BadPayload,
    /// An index or offset outside of what the server allows.
    OutOfRange,
    /// The command reads a key that is not mirrored, and changes one that is.
    NotMirrored,
}

/// What a write function answers.
pub type ApplyResult = Result<(), ApplyError>;
