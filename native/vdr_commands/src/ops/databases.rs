//! Databases as arguments.

use crate::cursor::ArgCursor;
use crate::error::ApplyError;

/// The server's `databases` setting is an int. The stream does not say how many databases there
/// are.
const DB_INDEX_MAX: i64 = i32::MAX as i64;

/// A database index as an argument.
pub fn index(args: &mut ArgCursor<'_>) -> Result<u32, ApplyError> {
    let index = args.int()?;
    if index > DB_INDEX_MAX {
        return Err(ApplyError::OutOfRange);
    }
    u32::try_from(index).map_err(|_| ApplyError::OutOfRange)
}
