//! Lists.
//!
//! A primary sends a list command only if it changed something. So a missing key, pivot or index
//! here means that the mirror's data differs from the primary's.

use crate::args::Args;
use crate::context::{Apply, must_exist};
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult, ReadError};
use crate::ops::costs;
use crate::reply::Reply;
use crate::row::AffectedKeys::{InShape, Special};
use crate::row::Effect::{Each, Moves, PicksOne};
use crate::row::Part::{Bin, Bins, CountedSources, Int, Key, Options, Word};
use crate::row::{Affected, Cost, Leaves, Read, Write, row};
use std::ops::Range;
use vdr_data::blob::Blob;
use vdr_data::keyspace::View;
use vdr_data::value::Kind;
use vdr_data::value::{List, StringRef};

#[cfg(test)]
mod tests;

pub const READS: &[Read] = &[
    Read { name: "llen", args: &["key"], cost: Cost::Point, run: llen },
    Read { name: "lrange", args: &["key", "start", "stop"], cost: Cost::Elements(range_len), run: lrange },
    Read { name: "lindex", args: &["key", "index"], cost: Cost::Point, run: lindex },
    Read { name: "lpos", args: &["key", "element"], cost: Cost::Elements(costs::len::<List>), run: lpos },
];

fn range_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let list = view.list(args.bytes().ok()?).ok()??;
    Some(span(args.int().ok()?, args.int().ok()?, list.len()).len())
}

fn llen<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.list(args.bytes()?)?.map_or(0, List::len)))
}

fn lrange<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, start, stop) = (args.bytes()?, args.int()?, args.int()?);
    let Some(list) = view.list(key)? else {
        return Ok(Reply::List(Vec::new()));
    };
    let span = span(start, stop, list.len());
    Ok(Reply::strings(list.range(span.start, span.end)))
}

fn lindex<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, at) = (args.bytes()?, args.int()?);
    let element = view.list(key)?.and_then(|list| list.get(index(at, list.len())?));
    Ok(Reply::string_or_nil(element))
}

fn lpos<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, element) = (args.bytes()?, args.bytes()?);
    let found = view.list(key)?.and_then(|list| position(list, element));
    Ok(found.map_or(Reply::Nil, Reply::int))
}

fn position(list: &List, element: &[u8]) -> Option<usize> {
    list.iter().position(|other| other.as_bytes() == element)
}

/// An index in the server's notation, negative ones from the end; `None` before the start. It may
/// lie beyond the end.
fn index(at: i64, len: usize) -> Option<usize> {
    usize::try_from(if at < 0 { at.checked_add(i64::try_from(len).ok()?)? } else { at }).ok()
}

/// The elements from `start` to `stop`, both included, by the server's rules: clipped to the list.
fn span(start: i64, stop: i64, len: usize) -> Range<usize> {
    let start = index(start, len).unwrap_or(0);
    let end = index(stop, len).map_or(0, |stop| stop.saturating_add(1).min(len));
    if start < end { start..end } else { 0..0 }
}

const LIST: Leaves = Leaves::Kind(Kind::List);

pub const WRITES: &[Write] = &[
    row("lpush", &[Key, Bins], InShape, LIST, Each, |apply, words| push(apply, words, End::Left)),
    row("rpush", &[Key, Bins], InShape, LIST, Each, |apply, words| push(apply, words, End::Right)),
    row("lpushx", &[Key, Bins], InShape, LIST, Each, |apply, words| pushx(apply, words, End::Left)),
    row("rpushx", &[Key, Bins], InShape, LIST, Each, |apply, words| pushx(apply, words, End::Right)),
    row("linsert", &[Key, Word, Bin, Bin], InShape, LIST, Each, linsert),
    row("lset", &[Key, Int, Bin], InShape, LIST, Each, lset),
    row("lrem", &[Key, Int, Bin], InShape, LIST, Each, lrem),
    row("ltrim", &[Key, Int, Int], InShape, LIST, Each, ltrim),
    row("lpop", &[Key, Options], InShape, LIST, Each, |apply, words| pop(apply, words, End::Left)),
    row("rpop", &[Key, Options], InShape, LIST, Each, |apply, words| pop(apply, words, End::Right)),
    row("lmove", &[Key, Key, Word, Word], InShape, LIST, Moves, lmove),
    row("lmovem", &[Key, Key, Word, Word, Options], InShape, LIST, Moves, lmovem),
    row("rpoplpush", &[Key, Key], InShape, LIST, Moves, rpoplpush),
    row("lmpop", &[CountedSources, Word, Options], Special(counted_keys_affected), LIST, PicksOne, lmpop),
];

fn counted_keys_affected(db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    if let Ok(keys) = ArgCursor::new(args).counted() {
        keys.iter().for_each(|key| report(Affected::Key { db, key }));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Right,
}

impl End {
    fn parse(args: &mut ArgCursor<'_>) -> Result<End, ApplyError> {
        if args.take_word("left") {
            Ok(End::Left)
        } else if args.take_word("right") {
            Ok(End::Right)
        } else {
            Err(ApplyError::BadArguments)
        }
    }

    fn push(self, list: &mut List, element: &[u8]) {
        match self {
            End::Left => list.push_front(element),
            End::Right => list.push_back(element),
        }
    }

    /// Returns whether there was an element.
    fn pop(self, list: &mut List) -> bool {
        match self {
            End::Left => list.pop_front(),
            End::Right => list.pop_back(),
        }
    }

    /// Pops an element and returns it.
    fn take(self, list: &mut List) -> Option<Blob> {
        let at = match self {
            End::Left => 0,
            End::Right => list.len().checked_sub(1)?,
        };
        let element = list.get(at)?.to_blob();
        self.pop(list);
        Some(element)
    }
}

fn push(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>, end: End) -> ApplyResult {
    let (key, elements) = (args.bytes()?, args.some()?);
    apply.list(key, |list| {
        elements.iter().for_each(|element| end.push(list, element));
        Ok(())
    })
}

fn pushx(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>, end: End) -> ApplyResult {
    let (key, elements) = (args.bytes()?, args.some()?);
    apply.list(key, |list| {
        must_exist(list)?;
        elements.iter().for_each(|element| end.push(list, element));
        Ok(())
    })
}

fn linsert(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let after = match (args.take_word("before"), args.take_word("after")) {
        (true, _) => 0,
        (_, true) => 1,
        _ => return Err(ApplyError::BadArguments),
    };
    let (pivot, element) = (args.bytes()?, args.bytes()?);
    args.finish()?;
    apply.list(key, |list| {
        let at = position(list, pivot).ok_or(ApplyError::Missing)?;
        list.insert(at + after, element);
        Ok(())
    })
}

fn lset(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, at, element) = (args.bytes()?, args.int()?, args.bytes()?);
    args.finish()?;
    // Newer servers ignore the upper half of the index, and older ones refuse it.
    let at = i64::from(at as i32);
    apply.list(key, |list| {
        must_exist(list)?;
        let done = index(at, list.len()).is_some_and(|at| list.set(at, element));
        if done { Ok(()) } else { Err(ApplyError::OutOfRange) }
    })
}

fn lrem(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, count, element) = (args.bytes()?, args.int()?, args.bytes()?);
    args.finish()?;
    let limit = if count == 0 { u64::MAX } else { count.unsigned_abs() };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    apply.list(key, |list| {
        let equal = |(at, other): (usize, StringRef<'_>)| (other.as_bytes() == element).then_some(at);
        let mut found: Vec<usize> = if count < 0 {
            list.iter().enumerate().rev().filter_map(equal).take(limit).collect()
        } else {
            list.iter().enumerate().filter_map(equal).take(limit).collect()
        };
        if found.is_empty() {
            return Err(ApplyError::Missing);
        }
        found.sort_unstable();
        list.remove_all(&found);
        Ok(())
    })
}

fn ltrim(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, start, stop) = (args.bytes()?, args.int()?, args.int()?);
    args.finish()?;
    apply.list(key, |list| {
        must_exist(list)?;
        let span = span(start, stop, list.len());
        list.keep(span.start, span.end);
        Ok(())
    })
}

fn pop(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>, end: End) -> ApplyResult {
    let key = args.bytes()?;
    let count = if args.is_empty() { 1 } else { args.count()? };
    args.finish()?;
    apply.list(key, |list| take(list, end, count))
}

fn take(list: &mut List, end: End, count: usize) -> ApplyResult {
    must_exist(list)?;
    let len = list.len();
    match (count, end) {
        (0, _) => {}
        (1, end) => {
            end.pop(list);
        }
        (_, End::Left) => list.keep(count, len),
        (_, End::Right) => list.keep(0, len.saturating_sub(count)),
    }
    Ok(())
}

fn lmove(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (source, destination) = (args.bytes()?, args.bytes()?);
    let (from, to) = (End::parse(args)?, End::parse(args)?);
    args.finish()?;
    shift(apply, source, destination, from, to)
}

/// LMOVEM (Redis 8.10): pops all elements, then pushes them. OBO leaves them as if they were pushed
/// one by one in the order in which they were popped; BULK leaves them in the order of the source.
fn lmovem(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (source, destination) = (args.bytes()?, args.bytes()?);
    let (from, to) = (End::parse(args)?, End::parse(args)?);
    let (mut count, mut exactly, mut bulk) = (1, false, false);
    if !args.is_empty() {
        exactly = args.take_word("exactly");
        if !exactly && !args.take_word("count") {
            return Err(ApplyError::BadArguments);
        }
        count = args.count()?;
        bulk = args.take_word("bulk");
        if !bulk && !args.take_word("obo") {
            return Err(ApplyError::BadArguments);
        }
    }
    args.finish()?;
    let pop = |list: &mut List| {
        if list.is_empty() || exactly && list.len() < count {
            return Err(ApplyError::Missing);
        }
        let mut popped: Vec<Blob> = Vec::new();
        while popped.len() < count
            && let Some(element) = from.take(list)
        {
            popped.push(element);
        }
        // A block of elements is pushed from its far end.
        let in_order = if from == End::Left { End::Right } else { End::Left };
        if bulk && to != in_order {
            popped.reverse();
        }
        Ok(popped)
    };
    let push = |list: &mut List, popped: Vec<Blob>| popped.iter().for_each(|element| to.push(list, element));
    if source == destination {
        return apply.list(source, |list| {
            let popped = pop(list)?;
            push(list, popped);
            Ok(())
        });
    }
    apply.stored::<List>(destination)?;
    let mut moved = Vec::new();
    apply.list(source, |list| {
        moved = pop(list)?;
        Ok(())
    })?;
    apply.list(destination, |list| {
        push(list, moved);
        Ok(())
    })
}

fn rpoplpush(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (source, destination) = (args.bytes()?, args.bytes()?);
    args.finish()?;
    shift(apply, source, destination, End::Right, End::Left)
}

fn shift(apply: &mut Apply<'_>, source: &[u8], destination: &[u8], from: End, to: End) -> ApplyResult {
    if source == destination {
        // In one step. Between two steps a list of one element would be gone, and its expiry with
        // it.
        return apply.list(source, |list| {
            let element = from.take(list).ok_or(ApplyError::Missing)?;
            to.push(list, &element);
            Ok(())
        });
    }
    apply.stored::<List>(destination)?;
    let mut moved = None;
    apply.list(source, |list| {
        moved = from.take(list);
        Ok(())
    })?;
    let element = moved.ok_or(ApplyError::Missing)?;
    apply.list(destination, |list| {
        to.push(list, &element);
        Ok(())
    })
}

fn lmpop(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let keys = args.counted()?;
    let end = End::parse(args)?;
    let count = if args.take_word("count") { args.count()? } else { 1 };
    args.finish()?;
    for key in keys {
        if apply.stored::<List>(key)?.is_some() {
            return apply.list(key, |list| take(list, end, count));
        }
    }
    Err(ApplyError::Missing)
}
