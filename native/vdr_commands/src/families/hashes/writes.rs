//! Writes to the fields of hashes.

use crate::context::Apply;
use crate::cursor::{self, ArgCursor};
use crate::error::{ApplyError, ApplyResult};
use crate::number::parse_int;
use vdr_data::expiry::Expiry;
use vdr_data::value::Hash;

/// A field that is set again loses its expiry; the key keeps its own.
pub fn hset(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, pairs) = (args.bytes()?, cursor::pairs(args.some()?)?);
    apply.hash(key, |hash| {
        for (name, value) in pairs {
            hash.insert(name, value, Expiry::NEVER);
        }
        Ok(())
    })
}

/// HSETC, which development versions of Redis 8.10 sent for HIMPORT SET: all fields, then all
/// values. It replaces the key, whatever it held. 8.10 itself sends RESTORE.
pub fn hsetc(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, words) = (args.bytes()?, args.some()?);
    let (names, values) = words.split_at(words.len() / 2);
    if names.len() != values.len() {
        return Err(ApplyError::BadArguments);
    }
    let mut hash = Hash::default();
    for (name, value) in names.iter().zip(values) {
        hash.insert(name, value, Expiry::NEVER);
    }
    apply.store(key, hash);
    Ok(())
}

pub fn hsetnx(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, name, value) = (args.bytes()?, args.bytes()?, args.bytes()?);
    args.finish()?;
    apply.hash(key, |hash| {
        if hash.get(name).is_none() {
            hash.insert(name, value, Expiry::NEVER);
        }
        Ok(())
    })
}

/// Missing fields and a missing key are no error: clients name fields that do not exist, and
/// primaries send more than one HDEL for a field that expired.
pub fn hdel(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, names) = (args.bytes()?, args.some()?);
    delete(apply, key, names)
}

pub fn delete(apply: &mut Apply<'_>, key: &[u8], names: &[&[u8]]) -> ApplyResult {
    apply.hash(key, |hash| {
        names.iter().for_each(|name| {
            hash.remove(name);
        });
        Ok(())
    })
}

pub fn hincrby(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, name, by) = (args.bytes()?, args.bytes()?, args.int()?);
    args.finish()?;
    add(apply, key, name, by)
}

/// No primary from 7.0 on sends this command; it sends the result. The sum on the primary is a long
/// double of 80 or 128 bits, depending on its processor, which is not known here. Only sums of
/// integers are the same everywhere. Any other sum ends the link, and the full sync brings the
/// primary's own result.
pub fn hincrbyfloat(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, name) = (args.bytes()?, args.bytes()?);
    let by = parse_int(args.bytes()?).ok_or(ApplyError::NotANumber)?;
    args.finish()?;
    add(apply, key, name, by)
}

/// The field keeps its expiry.
fn add(apply: &mut Apply<'_>, key: &[u8], name: &[u8], by: i64) -> ApplyResult {
    apply.hash(key, |hash| {
        let (old, expiry) = match hash.get(name) {
            Some(field) => (parse_int(&field.value), field.expiry),
            None => (Some(0), Expiry::NEVER),
        };
        let new = old.and_then(|old| old.checked_add(by)).ok_or(ApplyError::NotANumber)?;
        hash.insert(name, new.to_string().as_bytes(), expiry);
        Ok(())
    })
}
