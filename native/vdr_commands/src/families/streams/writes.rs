//! Writes to the entries of a stream.
//!
//! Primaries send the ids and lengths that they came to, so nothing here hangs on a clock or on how entries lie in
//! memory. Of idempotent producers (Redis 8.6) nothing is kept: an entry that was new comes with its id, a duplicate with
//! the literal `*`.

use crate::context::Apply;
use crate::cursor::{self, ArgCursor};
use crate::error::{ApplyError, ApplyResult};
use crate::ops::stream_ids::written;
use crate::ops::stream_options::{AddOptions, Refs};
use vdr_data::blob::Blob;
use vdr_data::value::Stream;
use vdr_data::value::stream::{Fields, Id};

pub fn xadd(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let key = words.bytes()?;
    let options = AddOptions::parse(words)?;
    let id = words.bytes()?;
    let pairs = cursor::pairs(words.some()?)?;
    if id == b"*" && options.idempotent {
        return apply.stream(key, |_| Ok(()));
    }
    let id = written(id)?;
    let fields: Fields = pairs.map(|(name, value)| (Blob::new(name), Blob::new(value))).collect();
    let add = |stream: &mut Stream| {
        if !stream.add(id, fields) {
            return Err(ApplyError::OutOfRange);
        }
        if let Some(trim) = options.trim {
            trim.apply(stream, options.refs);
        }
        Ok(())
    };
    if options.no_make { apply.stream(key, add) } else { apply.made_stream(key, add) }
}

pub fn xtrim(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let key = words.bytes()?;
    let options = AddOptions::parse(words)?;
    words.finish()?;
    let trim = options.trim.ok_or(ApplyError::BadArguments)?;
    apply.stream(key, |stream| {
        trim.apply(stream, options.refs);
        Ok(())
    })
}

pub fn xdel(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, ids) = (words.bytes()?, all(words.some()?)?);
    apply.stream(key, |stream| {
        ids.into_iter().for_each(|id| delete(stream, id, Refs::Keep));
        Ok(())
    })
}

pub fn xdelex(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let key = words.bytes()?;
    let (refs, ids) = refs_and_ids(words)?;
    apply.stream(key, |stream| {
        ids.into_iter().for_each(|id| delete(stream, id, refs));
        Ok(())
    })
}

/// Deletes one entry by name. What waits for an acknowledgement may be forgotten though the entry is gone already.
pub fn delete(stream: &mut Stream, id: Id, refs: Refs) {
    match refs {
        Refs::Acked if stream.is_referenced(id) => return,
        Refs::Delete => stream.forget_pending(id),
        Refs::Keep | Refs::Acked => {}
    }
    stream.delete(id);
}

/// `[KEEPREF | DELREF | ACKED] IDS count id...`, the word on either side.
pub fn refs_and_ids(words: &mut ArgCursor<'_>) -> Result<(Refs, Vec<Id>), ApplyError> {
    let [before, ids, after] = words.counted_after("ids", 1)?;
    let mut refs = Refs::default();
    for options in [before, after] {
        let mut options = ArgCursor::new(options);
        while !options.is_empty() {
            refs = Refs::take(&mut options).ok_or(ApplyError::BadArguments)?;
        }
    }
    Ok((refs, all(ids)?))
}

pub fn all(ids: &[&[u8]]) -> Result<Vec<Id>, ApplyError> {
    ids.iter().map(|id| written(id)).collect()
}

pub fn xsetid(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, last_id) = (words.bytes()?, written(words.bytes()?)?);
    let (mut entries_added, mut max_deleted_id) = (None, None);
    while !words.is_empty() {
        if words.take_word("entriesadded") {
            entries_added = Some(words.count()? as u64);
        } else if words.take_word("maxdeletedid") {
            max_deleted_id = Some(written(words.bytes()?)?);
        } else {
            return Err(ApplyError::BadArguments);
        }
    }
    apply.stream(key, |stream| {
        if stream.last().is_some_and(|(last, _)| *last > last_id) {
            return Err(ApplyError::OutOfRange);
        }
        stream.last_id = last_id;
        stream.entries_added = entries_added.unwrap_or(stream.entries_added);
        // 0-0 says nothing here.
        stream.max_deleted_id = max_deleted_id.filter(|id| *id != Id::MIN).unwrap_or(stream.max_deleted_id);
        Ok(())
    })
}

/// How long producers are remembered: nothing to us.
pub fn xcfgset(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let key = words.bytes()?;
    words.some()?;
    apply.stream(key, |_| Ok(()))
}

/// A producer's message and the entry that it became: nothing to us.
pub fn xidmprecord(apply: &mut Apply<'_>, words: &mut ArgCursor<'_>) -> ApplyResult {
    let key = words.bytes()?;
    words.take(2)?;
    written(words.bytes()?)?;
    words.finish()?;
    apply.stream(key, |_| Ok(()))
}
