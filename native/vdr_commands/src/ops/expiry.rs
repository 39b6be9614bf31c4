//! Times in the arguments of writes.

use crate::cursor::ArgCursor;
use crate::error::ApplyError;
use vdr_data::expiry::Expiry;

/// Takes `EX n`, `PX n`, `EXAT n` or `PXAT n`, if one of them comes next.
pub fn take_expiry(args: &mut ArgCursor<'_>, now_ms: i64) -> Result<Option<Expiry>, ApplyError> {
    for (word, unit_ms, base_ms) in [("pxat", 1, 0), ("px", 1, now_ms), ("exat", 1000, 0), ("ex", 1000, now_ms)] {
        if args.take_word(word) {
            return after(args.int()?, unit_ms, base_ms).map(Some);
        }
    }
    Ok(None)
}

/// The time `count` units after `base_ms`.
pub fn after(count: i64, unit_ms: i64, base_ms: i64) -> Result<Expiry, ApplyError> {
    let at_ms = count.checked_mul(unit_ms).and_then(|ms| ms.checked_add(base_ms)).ok_or(ApplyError::OutOfRange)?;
    Ok(Expiry::at(at_ms))
}
