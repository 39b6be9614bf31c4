//! Hashes. What gives single fields a time to live stands in [`ttl`].
//!
//! A field past its time is absent for every reader (`HLEN` alone counts it, as the server does), and present for every
//! command of the stream: the primary's `HDEL` takes it away.

mod ttl;

#[cfg(test)]
mod tests;

use crate::args::Args;
use crate::context::Apply;
use crate::cursor::{self, Words};
use crate::error::{ApplyError, ReadError, Written};
use crate::number::parse_int;
use crate::ops::sample::{self, ranks};
use crate::reply::Reply;
use crate::row::{Cost, Part, Read, Touches, Write};
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::View;
use vdr_data::value::{Field, Hash, StringRef};

pub const READS: &[Read] = &[
    Read { name: "hget", args: &["key", "field"], cost: Cost::Point, run: hget },
    Read { name: "hmget", args: &["key", "fields"], cost: Cost::Elements(asked), run: hmget },
    Read { name: "hgetall", args: &["key"], cost: Cost::Elements(len), run: hgetall },
    Read { name: "hkeys", args: &["key"], cost: Cost::Elements(len), run: hkeys },
    Read { name: "hvals", args: &["key"], cost: Cost::Elements(len), run: hvals },
    Read { name: "hlen", args: &["key"], cost: Cost::Point, run: hlen },
    Read { name: "hexists", args: &["key", "field"], cost: Cost::Point, run: hexists },
    Read { name: "hstrlen", args: &["key", "field"], cost: Cost::Point, run: hstrlen },
    Read {
        name: "hrandfield",
        args: &["key", "count", "?with_values"],
        cost: Cost::Elements(sample_len),
        run: hrandfield,
    },
    Read { name: "hfirst", args: &["key", "count"], cost: Cost::Elements(edge_len), run: hfirst },
    Read { name: "hlast", args: &["key", "count"], cost: Cost::Elements(edge_len), run: hlast },
    Read { name: "hnext", args: &["key", "field", "count"], cost: Cost::Elements(step_len), run: hnext },
    Read { name: "hprev", args: &["key", "field", "count"], cost: Cost::Elements(step_len), run: hprev },
];

fn len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    view.hash(args.bytes().ok()?).ok()?.map(Hash::len)
}

fn asked(_: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    args.bytes().ok()?;
    Some(args.byte_list().ok()?.len())
}

/// With fields that expire all of them are looked at, to draw from those that are left.
fn sample_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let hash = view.hash(args.bytes().ok()?).ok()??;
    let drawn = sample::amount(args.int().ok()?, hash.len());
    Some(if hash.has_expiring_fields() { drawn.max(hash.len()) } else { drawn })
}

/// How far a cursor goes: to the end, when fields past their time may have to be passed over.
fn reach(hash: &Hash, count: usize) -> usize {
    if hash.has_expiring_fields() { hash.len() } else { count.min(hash.len()) }
}

fn edge_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let hash = view.hash(args.bytes().ok()?).ok()??;
    Some(reach(hash, args.count().ok()?))
}

fn step_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let hash = view.hash(args.bytes().ok()?).ok()??;
    args.bytes().ok()?;
    Some(reach(hash, args.count().ok()?))
}

/// The value of a field, unless its time has passed.
fn value<'s>(view: View<'s>, key: &[u8], field: &[u8]) -> Result<Option<StringRef<'s>>, ReadError> {
    Ok(view.hash(key)?.and_then(|hash| hash.live(field, |expiry| view.is_past(expiry))))
}

/// Fields with their values, those past their time left out.
fn live<'s>(
    fields: impl Iterator<Item = (StringRef<'s>, Field<'s>)>,
    now_ms: i64,
) -> impl Iterator<Item = (StringRef<'s>, StringRef<'s>)> {
    fields.filter(move |(_, field)| !field.expiry.is_past(now_ms)).map(|(name, field)| (name, field.value))
}

/// All of a hash that a reader sees, in one allocation.
fn all<'s, T>(
    view: View<'s>,
    key: &[u8],
    pick: impl Fn((StringRef<'s>, StringRef<'s>)) -> T,
) -> Result<Vec<T>, ReadError> {
    let Some(hash) = view.hash(key)? else {
        return Ok(Vec::new());
    };
    let mut picked = Vec::with_capacity(hash.len());
    picked.extend(live(hash.iter(), view.now_ms()).map(pick));
    Ok(picked)
}

fn pairs<'s>(fields: impl Iterator<Item = (StringRef<'s>, StringRef<'s>)>) -> Reply<'s> {
    Reply::Pairs(fields.map(|(name, value)| (Reply::string(name), Reply::string(value))).collect())
}

fn hget<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::string_or_nil(value(view, args.bytes()?, args.bytes()?)?))
}

fn hmget<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, fields) = (args.bytes()?, args.byte_list()?);
    let hash = view.hash(key)?;
    let value =
        |field: &[u8]| Reply::string_or_nil(hash.and_then(|hash| hash.live(field, |expiry| view.is_past(expiry))));
    Ok(Reply::List(fields.into_iter().map(value).collect()))
}

fn hgetall<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::Map(all(view, args.bytes()?, |field| field)?))
}

fn hkeys<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::List(all(view, args.bytes()?, |(name, _)| Reply::string(name))?))
}

fn hvals<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::List(all(view, args.bytes()?, |(_, value)| Reply::string(value))?))
}

fn hlen<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.hash(args.bytes()?)?.map_or(0, Hash::len)))
}

fn hexists<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::Bool(value(view, args.bytes()?, args.bytes()?)?.is_some()))
}

fn hstrlen<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(value(view, args.bytes()?, args.bytes()?)?.map_or(0, |value| value.len())))
}

fn hrandfield<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, count, with_values) = (args.bytes()?, args.int()?, args.flag_or(true)?);
    let hash = view.hash(key)?;
    let left: Option<Vec<_>> =
        hash.filter(|hash| hash.has_expiring_fields()).map(|hash| live(hash.iter(), view.now_ms()).collect());
    let len = left.as_ref().map_or(hash.map_or(0, Hash::len), Vec::len);
    let drawn = ranks(count, len, view.now_ms(), key)?.into_iter().filter_map(|rank| match &left {
        Some(left) => left.get(rank).copied(),
        None => hash?.at(rank).map(|(name, field)| (name, field.value)),
    });
    Ok(if with_values { pairs(drawn) } else { Reply::strings(drawn.map(|(name, _)| name)) })
}

/// What a cursor takes from a hash: the first `count` that a reader sees of the fields that `pick` walks.
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

fn hfirst<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, count) = (args.bytes()?, args.count()?);
    walk(view, key, count, Hash::iter)
}

fn hlast<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, count) = (args.bytes()?, args.count()?);
    walk(view, key, count, |hash| hash.iter().rev())
}

fn hnext<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, field, count) = (args.bytes()?, args.bytes()?, args.count()?);
    walk(view, key, count, |hash| {
        let from = hash.rank(field).map_or_else(|rank| rank, |rank| rank + 1);
        hash.range(from, hash.len())
    })
}

fn hprev<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, field, count) = (args.bytes()?, args.bytes()?, args.count()?);
    walk(view, key, count, |hash| hash.range(0, hash.rank(field).unwrap_or_else(|rank| rank)).rev())
}

pub const WRITES: &[Write] = &[
    row("hset", &[Part::Key, Part::Pairs], hset),
    row("hmset", &[Part::Key, Part::Pairs], hset),
    row("hsetnx", &[Part::Key, Part::Bin, Part::Bin], hsetnx),
    row("hdel", &[Part::Key, Part::Bins], hdel),
    row("hincrby", &[Part::Key, Part::Bin, Part::Int], hincrby),
    row("hincrbyfloat", &[Part::Key, Part::Bin, Part::Float], hincrbyfloat),
    row("hexpire", &[Part::Key, Part::Int, Part::Fields], ttl::hexpire),
    row("hpexpire", &[Part::Key, Part::Int, Part::Fields], ttl::hpexpire),
    row("hexpireat", &[Part::Key, Part::Int, Part::Fields], ttl::hexpireat),
    row("hpexpireat", &[Part::Key, Part::Int, Part::Fields], ttl::hpexpireat),
    row("hpersist", &[Part::Key, Part::Fields], ttl::hpersist),
    row("hgetdel", &[Part::Key, Part::Fields], ttl::hgetdel),
    row("hgetex", &[Part::Key, Part::Fields], ttl::hgetex),
    row("hsetex", &[Part::Key, Part::FieldPairs], ttl::hsetex),
];

const fn row(name: &'static str, shape: &'static [Part], run: fn(&mut Apply<'_>, &mut Words<'_>) -> Written) -> Write {
    Write { name, shape, touches: Touches::Shape, run }
}

/// A field that is set anew loses its time to live; the key keeps its own.
fn hset(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, pairs) = (words.bytes()?, cursor::pairs(words.some()?)?);
    apply.hash(key, |hash| {
        for (name, value) in pairs {
            hash.insert(name, value, Expiry::NEVER);
        }
        Ok(())
    })
}

fn hsetnx(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
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
fn hdel(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, names) = (words.bytes()?, words.some()?);
    delete(apply, key, names)
}

fn delete(apply: &mut Apply<'_>, key: &[u8], names: &[&[u8]]) -> Written {
    apply.hash(key, |hash| {
        names.iter().for_each(|name| {
            hash.remove(name);
        });
        Ok(())
    })
}

fn hincrby(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, name, by) = (words.bytes()?, words.bytes()?, words.int()?);
    words.finish()?;
    add(apply, key, name, by)
}

/// No primary from 7.0 on sends this: it sends the result. The sum is a long double there, 80 or 128 bits wide after the
/// primary's processor, which we cannot know; only of integers is it the same everywhere. Anything else ends the link,
/// and the full sync brings the primary's own result.
fn hincrbyfloat(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, name) = (words.bytes()?, words.bytes()?);
    let by = parse_int(words.bytes()?).ok_or(ApplyError::NotANumber)?;
    words.finish()?;
    add(apply, key, name, by)
}

/// The field keeps its time to live.
fn add(apply: &mut Apply<'_>, key: &[u8], name: &[u8], by: i64) -> Written {
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
