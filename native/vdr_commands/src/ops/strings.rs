//! Operations on strings that several families share.

use crate::context::Apply;
use crate::error::{ApplyError, ApplyResult};
use vdr_data::blob::Blob;
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::Entry;
use vdr_data::value::{StringRef, Value, ValueRef};

/// The number of bytes whose copying or counting costs about as much as one element of an
/// aggregate.
pub const BYTES_PER_ELEMENT: usize = 256;

/// The server's inclusive range over `len` positions, as `from..to`. Two negative ends before the
/// beginning clip to the first position, unless they stand in the wrong order.
pub fn span(start: i64, stop: i64, len: usize) -> Option<(usize, usize)> {
    if start < 0 && stop < 0 && start > stop {
        return None;
    }
    clipped_span(start, stop, len)
}

/// As [`span`], without the rule on the order of negative ends, which BITPOS does not have.
pub fn clipped_span(start: i64, stop: i64, len: usize) -> Option<(usize, usize)> {
    let place = |index: i64| match usize::try_from(index) {
        Ok(index) => index,
        Err(_) => len.saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let (from, last) = (place(start), place(stop).min(len.checked_sub(1)?));
    (from <= last).then_some((from, last + 1))
}

pub fn expiry_of(apply: &Apply<'_>, key: &[u8]) -> Expiry {
    apply.get(key).map_or(Expiry::NEVER, |entry| entry.expiry())
}

/// A stored string, expired or not; `None` if there is no such key.
pub fn stored<'a>(apply: &'a Apply<'_>, key: &[u8]) -> Result<Option<StringRef<'a>>, ApplyError> {
    Ok(stored_until(apply, key)?.map(|(string, _expiry)| string))
}

/// As [`stored`], with its expiry.
pub fn stored_until<'a>(apply: &'a Apply<'_>, key: &[u8]) -> Result<Option<(StringRef<'a>, Expiry)>, ApplyError> {
    let Some(entry) = apply.get(key) else { return Ok(None) };
    match entry.value() {
        ValueRef::String(string) => Ok(Some((string, entry.expiry()))),
        _ => Err(ApplyError::WrongType),
    }
}

/// Stores a string in place of one or of nothing; an expiry stays.
pub fn overwrite(apply: &mut Apply<'_>, key: &[u8], value: Blob) {
    let expiry = expiry_of(apply, key);
    apply.db().insert(key, Entry { value: Value::String(value), expiry });
}

/// Writes bytes into a string. A shorter string first grows with zeros.
pub fn write(apply: &mut Apply<'_>, key: &[u8], at: usize, bytes: &[u8]) -> ApplyResult {
    let end = at.checked_add(bytes.len()).ok_or(ApplyError::OutOfRange)?;
    if end as u64 > apply.rules.string_bytes_max {
        return Err(ApplyError::OutOfRange);
    }
    apply.write_string(key, at, bytes)
}

/// The bytes of a short string to change in place.
pub fn in_place<'a>(apply: &'a mut Apply<'_>, key: &[u8]) -> Result<&'a mut [u8], ApplyError> {
    apply.db().string_mut(key).ok_or(ApplyError::WrongType)
}
