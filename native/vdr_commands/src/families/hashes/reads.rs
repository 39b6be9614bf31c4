//! Reads of hashes.

use crate::args::Args;
use crate::error::ReadError;
use crate::ops::sample::{self, ranks};
use crate::reply::Reply;
use vdr_data::keyspace::View;
use vdr_data::value::{Field, Hash, StringRef};

/// If fields have expiries, all fields are visited, to draw from the live ones.
pub fn sample_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let hash = view.hash(args.bytes().ok()?).ok()??;
    let drawn = if args.is_empty() { 1 } else { sample::amount(args.int().ok()?, hash.len()) };
    Some(if hash.has_expiring_fields() { drawn.max(hash.len()) } else { drawn })
}

/// The value of a field that has not expired.
fn value<'s>(view: View<'s>, key: &[u8], field: &[u8]) -> Result<Option<StringRef<'s>>, ReadError> {
    Ok(view.hash(key)?.and_then(|hash| hash.live(field, |expiry| view.is_past(expiry))))
}

/// Fields with their values, without the expired ones.
fn live<'s>(
    fields: impl Iterator<Item = (StringRef<'s>, Field<'s>)>,
    now_ms: i64,
) -> impl Iterator<Item = (StringRef<'s>, StringRef<'s>)> {
    fields.filter(move |(_, field)| !field.expiry.is_past(now_ms)).map(|(name, field)| (name, field.value))
}

/// All live fields of a hash, in one allocation.
fn all<'s, T>(
    view: View<'s>,
    key: &[u8],
    pick: impl Fn((StringRef<'s>, StringRef<'s>)) -> T,
) -> Result<Vec<T>, ReadError> {
    let Some(hash) = view.hash(key)? else {
        return Ok(Vec::new());
    };
    let mut picked = Vec::with_capacity(hash.len());
    live(hash.iter(), view.now_ms()).for_each(|field| picked.push(pick(field)));
    Ok(picked)
}

fn pairs<'s>(fields: impl Iterator<Item = (StringRef<'s>, StringRef<'s>)>) -> Reply<'s> {
    Reply::Pairs(fields.map(|(name, value)| (Reply::string(name), Reply::string(value))).collect())
}

pub fn hget<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::string_or_nil(value(view, args.bytes()?, args.bytes()?)?))
}

pub fn hmget<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, fields) = (args.bytes()?, args.byte_list()?);
    let hash = view.hash(key)?;
    let value =
        |field: &[u8]| Reply::string_or_nil(hash.and_then(|hash| hash.live(field, |expiry| view.is_past(expiry))));
    Ok(Reply::List(fields.into_iter().map(value).collect()))
}

pub fn hgetall<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::Map(all(view, args.bytes()?, |field| field)?))
}

pub fn hkeys<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::Strings(all(view, args.bytes()?, |(name, _)| name)?))
}

pub fn hvals<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::Strings(all(view, args.bytes()?, |(_, value)| value)?))
}

pub fn hlen<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.hash(args.bytes()?)?.map_or(0, Hash::len)))
}

pub fn hexists<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::Bool(value(view, args.bytes()?, args.bytes()?)?.is_some()))
}

pub fn hstrlen<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(value(view, args.bytes()?, args.bytes()?)?.map_or(0, |value| value.len())))
}

/// Without a count the answer is one field, or nil.
pub fn hrandfield<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, alone) = (args.bytes()?, args.is_empty());
    let count = if alone { 1 } else { args.int()? };
    let with_values = args.flag("with_values", true)?;
    let hash = view.hash(key)?;
    let left: Option<Vec<_>> =
        hash.filter(|hash| hash.has_expiring_fields()).map(|hash| live(hash.iter(), view.now_ms()).collect());
    let len = left.as_ref().map_or(hash.map_or(0, Hash::len), Vec::len);
    let mut drawn = ranks(count, len, view.now_ms(), key)?.into_iter().filter_map(|rank| match &left {
        Some(left) => left.get(rank).copied(),
        None => hash?.at(rank).map(|(name, field)| (name, field.value)),
    });
    if alone {
        return Ok(Reply::string_or_nil(drawn.next().map(|(name, _)| name)));
    }
    Ok(if with_values { pairs(drawn) } else { Reply::strings(drawn.map(|(name, _)| name)) })
}

/// The reply of a cursor: the first `count` live fields of those that `pick` walks.
fn walk<'s, I>(
    view: View<'s>,
    key: &[u8],
    count: usize,
    pick: impl FnOnce(&'s Hash) -> I,
) -> Result<Reply<'s>, ReadError>
where
    I: Iterator<Item = (StringRef<'s>, Field<'s>)>,
{
    let hash = view.hash(key)?;
    Ok(hash.map_or_else(|| Reply::Pairs(Vec::new()), |hash| pairs(live(pick(hash), view.now_ms()).take(count))))
}

pub fn hfirst<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, count) = (args.bytes()?, args.count()?);
    walk(view, key, count, Hash::iter)
}

pub fn hlast<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, count) = (args.bytes()?, args.count()?);
    walk(view, key, count, |hash| hash.iter().rev())
}

pub fn hnext<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, field, count) = (args.bytes()?, args.bytes()?, args.count()?);
    walk(view, key, count, |hash| {
        let from = hash.rank(field).map_or_else(|rank| rank, |rank| rank + 1);
        hash.range(from, hash.len())
    })
}

pub fn hprev<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, field, count) = (args.bytes()?, args.bytes()?, args.count()?);
    walk(view, key, count, |hash| hash.range(0, hash.rank(field).unwrap_or_else(|rank| rank)).rev())
}
