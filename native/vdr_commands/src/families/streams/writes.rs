//! Writes to the entries of a stream.
//!
//! A primary sends the resulting ids and lengths, so nothing here depends on a clock or on the
//! layout of entries in memory. Nothing is kept of idempotent producers (Redis 8.6): a new entry
//! arrives with its id, a duplicate with the literal `*`.

use crate::context::Apply;
use crate::cursor::{self, ArgCursor};
use crate::error::{ApplyError, ApplyResult};
use crate::ops::stream_ids::parse_id;
use crate::ops::stream_options::{AddOptions, Refs};
use vdr_data::blob::Blob;
use vdr_data::value::Stream;
use vdr_data::value::stream::{Fields, Id};

pub fn xadd(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let options = AddOptions::parse(args)?;
    let id = args.bytes()?;
    let pairs = cursor::pairs(args.some()?)?;
    if id == b"*" && options.idempotent {
        return apply.stream(key, |_| Ok(()));
    }
    let id = parse_id(id)?;
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
    if options.no_make { apply.stream(key, add) } else { apply.stream_or_new(key, add) }
}

pub fn xtrim(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let options = AddOptions::parse(args)?;
    args.finish()?;
    let trim = options.trim.ok_or(ApplyError::BadArguments)?;
    apply.stream(key, |stream| {
        trim.apply(stream, options.refs);
        Ok(())
    })
}

pub fn xdel(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, ids) = (args.bytes()?, all(args.some()?)?);
    apply.stream(key, |stream| {
        ids.into_iter().for_each(|id| delete(stream, id, Refs::Keep));
        Ok(())
    })
}

pub fn xdelex(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let (refs, ids) = refs_and_ids(args)?;
    apply.stream(key, |stream| {
        ids.into_iter().for_each(|id| delete(stream, id, refs));
        Ok(())
    })
}

/// Deletes one entry. Its pending references may be removed even if the entry is already gone.
pub fn delete(stream: &mut Stream, id: Id, refs: Refs) {
    match refs {
        Refs::Acked if stream.is_referenced(id) => return,
        Refs::Delete => stream.forget_pending(id),
        Refs::Keep | Refs::Acked => {}
    }
    stream.delete(id);
}

/// `[KEEPREF | DELREF | ACKED] IDS count id...`, with the keyword on either side.
pub fn refs_and_ids(args: &mut ArgCursor<'_>) -> Result<(Refs, Vec<Id>), ApplyError> {
    let [before, ids, after] = args.counted_after("ids", 1)?;
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
    ids.iter().map(|id| parse_id(id)).collect()
}

pub fn xsetid(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, last_id) = (args.bytes()?, parse_id(args.bytes()?)?);
    let (mut entries_added, mut max_deleted_id) = (None, None);
    while !args.is_empty() {
        if args.take_word("entriesadded") {
            entries_added = Some(args.count()? as u64);
        } else if args.take_word("maxdeletedid") {
            max_deleted_id = Some(parse_id(args.bytes()?)?);
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
        // 0-0 stands for no id here.
        stream.max_deleted_id = max_deleted_id.filter(|id| *id != Id::MIN).unwrap_or(stream.max_deleted_id);
        Ok(())
    })
}

/// How long the server remembers producers, which changes no data here.
pub fn xcfgset(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    args.some()?;
    apply.stream(key, |_| Ok(()))
}

/// A producer's message and its entry, which changes no data here.
pub fn xidmprecord(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    args.take(2)?;
    parse_id(args.bytes()?)?;
    args.finish()?;
    apply.stream(key, |_| Ok(()))
}
