//! Writes to the fields of hashes.

use crate::context::Apply;
use crate::cursor::{self, ArgCursor};
use crate::error::{ApplyError, ApplyResult};
use crate::number::parse_int;
use vdr_data::expiry::Expiry;

/// A field that is set anew loses its time to live; the key keeps its own.
pub fn hset(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, pairs) = (words.bytes()?, cursor::pairs(words.some()?)?);
    apply.hash(key, |hash| {
        for (name, value) in pairs {
            hash.insert(name, value, Expiry::NEVER);
        }
        Ok(())
    })
}

pub fn hsetnx(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, name, value) = (words.bytes()?, words.bytes()?, words.bytes()?);
    words.finish()?;
    apply.hash(key, |hash| {
        if hash.get(name).is_none() {
            hash.insert(name, value, Expiry::NEVER);
        }
        Ok(())
    })
}

/// Missing fields and a missing key are in order: clients name fields that are not there, and primaries send what they
/// expire more than once.
pub fn hdel(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, names) = (words.bytes()?, words.some()?);
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

pub fn hincrby(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, name, by) = (words.bytes()?, words.bytes()?, words.int()?);
    words.finish()?;
    add(apply, key, name, by)
}

/// No primary from 7.0 on sends this: it sends the result. The sum is a long double there, 80 or 128 bits wide after the
/// primary's processor, which we cannot know; only of integers is it the same everywhere. Anything else ends the link,
/// and the full sync brings the primary's own result.
pub fn hincrbyfloat(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, name) = (words.bytes()?, words.bytes()?);
    let by = parse_int(words.bytes()?).ok_or(ApplyError::NotANumber)?;
    words.finish()?;
    add(apply, key, name, by)
}

/// The field keeps its time to live.
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
