//! The errors of reads and of writes.

use vdr_data::keyspace::TypeError;

/// The error of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The key holds a value of another type.
    WrongType,
    /// A command that is not understood may have changed the value.
    UnknownValue,
    /// An argument is missing, superfluous, or of the wrong kind.
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

/// The error of a write of the stream. A real primary validated the command before it sent it. So
/// an error means that the mirror's data differs from the primary's: the link ends, and a full sync
/// follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyError {
    WrongType,
    /// Too few arguments, too many, or arguments of the wrong kind.
    BadArguments,
    /// A key or an element that must exist does not.
    Missing,
    /// A stored value is not the number that the command needs, or the result would not fit.
    NotANumber,
    /// The payload of RESTORE does not decode to a value.
    BadPayload,
    /// An index or an offset is outside the range that the server allows.
    OutOfRange,
    /// The command reads a key that is not mirrored, and changes one that is.
    NotMirrored,
}

/// The result of a write function.
pub type ApplyResult = Result<(), ApplyError>;
