//! The payload of RESTORE: a value as in a file, then two bytes of version and eight of checksum.

use crate::build::ValueBuilder;
use crate::checksum::Checksum;
use crate::error::{Fault, Halt, RdbError};
use crate::types::Dialect;
use crate::visit::Visit;
use crate::walk::Walk;
use vdr_data::limits::STRING_BYTES_MAX;
use vdr_data::value::Value;

/// Reports the contents of a payload. The key is empty and has no expiry, because both are
/// arguments of the command. For an aggregate without elements nothing is reported.
pub fn decode_dump(payload: &[u8], visit: &mut dyn Visit) -> Result<(), RdbError> {
    decode_up_to(payload, STRING_BYTES_MAX, visit)
}

fn decode_up_to(payload: &[u8], string_bytes_max: u64, visit: &mut dyn Visit) -> Result<(), RdbError> {
    let fail = |fault, offset: usize| RdbError { fault, offset_bytes: offset as u64, key: None };
    let (summed, stored) = payload.split_last_chunk().ok_or_else(|| fail(Fault::Truncated, payload.len()))?;
    let (body, version) = summed.split_last_chunk().ok_or_else(|| fail(Fault::Truncated, payload.len()))?;
    let (stored, computed) = (u64::from_le_bytes(*stored), Checksum::of(summed));
    if stored != 0 && stored != computed {
        return Err(fail(Fault::Checksum { stored, computed }, summed.len()));
    }
    let version = u32::from(u16::from_le_bytes(*version));
    let dialect = Dialect::of_version(version).map_err(|fault| fail(fault, body.len()))?;
    let mut walk = Walk::of_dump(dialect);
    walk.string_bytes_max = string_bytes_max;
    walk.received(payload.len());
    let mut at = 0;
    while !walk.is_at_end() {
        let mut cursor = walk.cursor(body.get(at..).unwrap_or_default());
        let result = walk.step(&mut cursor, visit);
        at += cursor.pos();
        match result {
            Ok(()) => {}
            Err(Halt::More(_)) => return Err(fail(Fault::Truncated, body.len())),
            Err(Halt::Bad(fault)) => return Err(fail(fault, at)),
        }
    }
    if at == body.len() { Ok(()) } else { Err(fail(Fault::Corrupt("bytes behind the value of a payload"), at)) }
}

/// The value of a payload; `None` for an aggregate without elements, which no server keeps.
pub fn restore(payload: &[u8]) -> Result<Option<Value>, RdbError> {
    restore_up_to(payload, STRING_BYTES_MAX)
}

/// As [`restore`], with strings up to this length.
pub fn restore_up_to(payload: &[u8], string_bytes_max: u64) -> Result<Option<Value>, RdbError> {
    let mut builder = ValueBuilder::default();
    decode_up_to(payload, string_bytes_max, &mut builder)?;
    builder.into_value().map_err(|fault| RdbError { fault, offset_bytes: payload.len() as u64, key: None })
}
