//! Expiry of single fields of hashes.
//!
//! Primaries send `HPEXPIREAT`, `HPERSIST`, `HSETEX` with `PXAT` or `KEEPTTL`, and Valkey sends
//! `HGETDEL`. The conditions of `HPEXPIREAT` hold for some of the fields that Valkey lists and not
//! for others, so this code checks them. Those of `HSETEX` held for the whole command. A time in
//! the past is stored like any other; the primary's `HDEL` removes the field.

use super::writes::delete;
use crate::context::{Apply, must_exist};
use crate::cursor;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use vdr_data::expiry::Expiry;

/// Converts a command's time, with the present time, to Unix milliseconds.
type Clock = fn(time: i64, now_ms: i64) -> Option<i64>;

const IN_S: Clock = |time, now_ms| time.checked_mul(1000)?.checked_add(now_ms);
const IN_MS: Clock = |time, now_ms| time.checked_add(now_ms);
const AT_S: Clock = |time, _| time.checked_mul(1000);
const AT_MS: Clock = |time, _| Some(time);

const CLOCKS: [(&str, Clock); 4] = [("ex", IN_S), ("px", IN_MS), ("exat", AT_S), ("pxat", AT_MS)];

fn expiry(time: i64, now_ms: i64, clock: Clock) -> Result<Expiry, ApplyError> {
    let at_ms = clock(time, now_ms).ok_or(ApplyError::OutOfRange)?;
    // Valkey accepts any 64-bit time. The greatest one means "never" here, so it is stored as one
    // millisecond less.
    Ok(Expiry::at(at_ms.min(i64::MAX - 1)))
}

/// `EX 5` and the like, if it comes next.
fn clocked(args: &mut ArgCursor<'_>, now_ms: i64) -> Result<Option<Expiry>, ApplyError> {
    for (word, clock) in CLOCKS {
        if args.take_word(word) {
            return expiry(args.int()?, now_ms, clock).map(Some);
        }
    }
    Ok(None)
}

#[derive(Clone, Copy)]
enum Condition {
    Nx,
    Xx,
    Gt,
    Lt,
}

impl Condition {
    const WORDS: [(&str, Condition); 4] =
        [("nx", Condition::Nx), ("xx", Condition::Xx), ("gt", Condition::Gt), ("lt", Condition::Lt)];

    /// One condition for each word; Valkey accepts `XX` together with `GT` or `LT`.
    fn parse_all(options: &[&[u8]]) -> Result<Vec<Condition>, ApplyError> {
        let parse = |option: &&[u8]| {
            let known = Condition::WORDS.iter().find(|(word, _)| option.eq_ignore_ascii_case(word.as_bytes()));
            known.map(|(_, condition)| *condition).ok_or(ApplyError::BadArguments)
        };
        options.iter().map(parse).collect()
    }

    /// A field without an expiry counts as one that never expires.
    fn holds(self, old: Expiry, new: Expiry) -> bool {
        match self {
            Condition::Nx => !old.is_set(),
            Condition::Xx => old.is_set(),
            Condition::Gt => new > old,
            Condition::Lt => new < old,
        }
    }
}

pub fn hexpire(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    expire(apply, args, IN_S)
}

pub fn hpexpire(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    expire(apply, args, IN_MS)
}

pub fn hexpireat(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    expire(apply, args, AT_S)
}

pub fn hpexpireat(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    expire(apply, args, AT_MS)
}

fn expire(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>, clock: Clock) -> ApplyResult {
    let (key, time) = (args.bytes()?, args.int()?);
    let new = expiry(time, apply.now_ms, clock)?;
    let [before, names, after] = args.fields(1)?;
    let mut conditions = Condition::parse_all(before)?;
    conditions.extend(Condition::parse_all(after)?);
    apply.hash(key, |hash| {
        must_exist(hash)?;
        for name in names {
            let old = hash.get(name).map(|field| field.expiry);
            if old.is_some_and(|old| conditions.iter().all(|condition| condition.holds(old, new))) {
                hash.set_expiry(name, new);
            }
        }
        Ok(())
    })
}

pub fn hpersist(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    set_all(apply, key, plain_fields(args)?, Expiry::NEVER)
}

fn set_all(apply: &mut Apply<'_>, key: &[u8], names: &[&[u8]], new: Expiry) -> ApplyResult {
    apply.hash(key, |hash| {
        must_exist(hash)?;
        names.iter().for_each(|name| {
            hash.set_expiry(name, new);
        });
        Ok(())
    })
}

/// `FIELDS n f ...` without options.
fn plain_fields<'a>(args: &mut ArgCursor<'a>) -> Result<&'a [&'a [u8]], ApplyError> {
    match args.fields(1)? {
        [[], names, []] => Ok(names),
        _ => Err(ApplyError::BadArguments),
    }
}

/// Valkey sends HGETDEL as the client wrote it, missing fields included.
pub fn hgetdel(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    delete(apply, key, plain_fields(args)?)
}

/// A primary sends the effect of HGETEX: `HPEXPIREAT`, `HPERSIST` or `HDEL`. Without an option it
/// changes nothing.
pub fn hgetex(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let [before, names, after] = args.fields(1)?;
    let mut new = None;
    for options in [before, after] {
        let mut options = ArgCursor::new(options);
        while !options.is_empty() {
            new = match clocked(&mut options, apply.now_ms)? {
                None if options.take_word("persist") => Some(Expiry::NEVER),
                None => return Err(ApplyError::BadArguments),
                some => some,
            };
        }
    }
    new.map_or(Ok(()), |new| set_all(apply, key, names, new))
}

/// Without a time the fields lose their expiry; with `KEEPTTL` they keep it.
pub fn hsetex(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let [before, pairs, after] = args.fields(2)?;
    let (mut new, mut keep) = (Expiry::NEVER, false);
    for options in [before, after] {
        let mut options = ArgCursor::new(options);
        while !options.is_empty() {
            if let Some(expiry) = clocked(&mut options, apply.now_ms)? {
                new = expiry;
            } else if options.take_word("keepttl") {
                keep = true;
            } else if !["nx", "xx", "fnx", "fxx"].iter().any(|word| options.take_word(word)) {
                return Err(ApplyError::BadArguments);
            }
        }
    }
    let pairs = cursor::pairs(pairs)?;
    apply.hash(key, |hash| {
        for (name, value) in pairs {
            let old = if keep { hash.get(name).map(|field| field.expiry) } else { None };
            hash.insert(name, value, old.unwrap_or(new));
        }
        Ok(())
    })
}
