//! Expiry of keys: the reads of it, and the writes that change nothing else.
//!
//! A time in the past is stored like any other. Only the primary deletes expired keys, and it sends
//! a DEL.

use crate::args::Args;
use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult, ReadError};
use crate::ops::expiry::{after, take_expiry};
use crate::reply::Reply;
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::SetsExpiry;
use crate::row::Leaves::SameKind;
use crate::row::Part::{Dropped, Int, Key, Options};
use crate::row::{Cost, Read, Write, row};
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::View;
use vdr_data::value::ValueRef;

pub const READS: &[Read] = &[
    Read { name: "ttl", args: &["key"], cost: Cost::Point, run: ttl },
    Read { name: "pttl", args: &["key"], cost: Cost::Point, run: pttl },
    Read { name: "expiretime", args: &["key"], cost: Cost::Point, run: expiretime },
    Read { name: "pexpiretime", args: &["key"], cost: Cost::Point, run: pexpiretime },
];

fn ttl<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    time(view, args, |at_ms, now_ms| rounded_seconds(at_ms.saturating_sub(now_ms)))
}

fn pttl<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    time(view, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms))
}

fn expiretime<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    time(view, args, |at_ms, _| rounded_seconds(at_ms))
}

fn pexpiretime<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    time(view, args, |at_ms, _| at_ms)
}

fn time<'s>(view: View<'s>, args: &mut Args<'_>, of: impl Fn(i64, i64) -> i64) -> Result<Reply<'s>, ReadError> {
    let Some(entry) = view.db.get(args.bytes()?) else { return Ok(Reply::Nil) };
    if matches!(entry.value(), ValueRef::Unknown) {
        return Err(ReadError::UnknownValue);
    }
    let expiry = entry.expiry();
    let Some(at_ms) = expiry.get() else { return Ok(Reply::Word("infinity")) };
    // The clock is read once. At a second look the key's last millisecond could be over, and the
    // remaining time negative.
    let now_ms = view.now_ms();
    Ok(if expiry.is_past(now_ms) { Reply::Nil } else { Reply::Int(of(at_ms, now_ms)) })
}

/// Rounds half a second up, as the server does.
fn rounded_seconds(ms: i64) -> i64 {
    ms / 1000 + i64::from(ms % 1000 >= 500)
}

/// The flags NX, XX, GT, LT held on the primary, so they are left out.
pub const WRITES: &[Write] = &[
    row("pexpireat", &[Key, Int, Dropped], InShape, SameKind, SetsExpiry, pexpireat),
    row("expireat", &[Key, Int, Dropped], InShape, SameKind, SetsExpiry, expireat),
    row("pexpire", &[Key, Int, Dropped], InShape, SameKind, SetsExpiry, pexpire),
    row("expire", &[Key, Int, Dropped], InShape, SameKind, SetsExpiry, expire),
    row("persist", &[Key], InShape, SameKind, SetsExpiry, persist),
    row("getex", &[Key, Options], InShape, SameKind, SetsExpiry, getex),
];

fn pexpireat(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, at) = (args.bytes()?, args.int()?);
    expire_at(apply, key, Expiry::at(at), args)
}

fn expireat(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, at) = (args.bytes()?, after(args.int()?, 1000, 0)?);
    expire_at(apply, key, at, args)
}

fn pexpire(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, at) = (args.bytes()?, after(args.int()?, 1, apply.now_ms)?);
    expire_at(apply, key, at, args)
}

fn expire(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, at) = (args.bytes()?, after(args.int()?, 1000, apply.now_ms)?);
    expire_at(apply, key, at, args)
}

fn expire_at(apply: &mut Apply<'_>, key: &[u8], at: Expiry, args: &mut ArgCursor<'_>) -> ApplyResult {
    while ["nx", "xx", "gt", "lt"].iter().any(|word| args.take_word(word)) {}
    args.finish()?;
    set_expiry(apply, key, at)
}

fn persist(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    args.finish()?;
    set_expiry(apply, key, Expiry::NEVER)
}

fn getex(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let expiry = match take_expiry(args, apply.now_ms)? {
        Some(at) => at,
        None if args.take_word("persist") => Expiry::NEVER,
        None => return args.finish(),
    };
    args.finish()?;
    set_expiry(apply, key, expiry)
}

/// A primary sends an expiry command only if there was a key to change.
fn set_expiry(apply: &mut Apply<'_>, key: &[u8], expiry: Expiry) -> ApplyResult {
    if apply.db().set_expiry(key, expiry) { Ok(()) } else { Err(ApplyError::Missing) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arg;
    use crate::harness::Mirror;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn times_are_told_in_seconds_and_milliseconds() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 1 pxat 1002500", "set b 1"]);
        for (command, answer) in [
            ("ttl a", "3"),
            ("pttl a", "2500"),
            ("expiretime a", "1003"),
            ("pexpiretime a", "1002500"),
            ("ttl b", "infinity"),
            ("pexpiretime b", "infinity"),
            ("pttl none", "nil"),
        ] {
            assert_eq!(mirror.ask(command), answer, "{command}");
        }
        mirror.now_ms = 1_002_001;
        assert_eq!((mirror.ask("ttl a"), mirror.ask("pttl a")), ("0".into(), "499".into()));
        mirror.now_ms = 1_002_500;
        assert_eq!(mirror.ask("pttl a"), "0");
        mirror.now_ms = 1_002_501;
        assert_eq!(mirror.ask("pttl a"), "nil");
        mirror.run(&["set last 1 pxat 9223372036854775807"]);
        assert_eq!(mirror.ask("expiretime last"), "9223372036854776");
    }

    #[test]
    fn a_clock_that_goes_on_meanwhile_leaves_no_time_below_zero() {
        static CLOCK: AtomicI64 = AtomicI64::new(0);
        let mirror = Mirror::after(&["set a 1 pxat 1002500"]);
        let clock: fn() -> i64 = || CLOCK.fetch_add(1, Ordering::Relaxed);
        for (time_ms, expected) in [(1_002_499, Reply::Int(1)), (1_002_500, Reply::Int(0)), (1_002_501, Reply::Nil)] {
            CLOCK.store(time_ms, Ordering::Relaxed);
            let view = mirror.keyspace.view(0, clock);
            assert_eq!(
                crate::registry::read("pttl").unwrap().call(view, &[Arg::Bytes(b"a")]),
                Ok(expected),
                "{time_ms}"
            );
        }
    }

    #[test]
    fn every_form_sets_the_time_whatever_its_condition() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 1"]);
        for (command, at_ms) in [
            ("pexpireat a 5000000", Some(5_000_000)),
            ("pexpireat a 4000000 GT", Some(4_000_000)),
            ("expireat a 6000 nx", Some(6_000_000)),
            ("pexpire a 5", Some(1_000_005)),
            ("expire a 5 XX GT", Some(1_005_000)),
            ("getex a", Some(1_005_000)),
            ("getex a persist", None),
            ("getex a exat 7000", Some(7_000_000)),
            ("persist a", None),
        ] {
            mirror.run(&[command]);
            assert_eq!(mirror.expires("a"), at_ms, "{command}");
        }
    }

    #[test]
    fn a_past_time_hides_a_key_from_readers_and_from_nobody_else() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 1", "pexpireat a 1"]);
        assert_eq!(
            (mirror.ask("get a"), mirror.ask("exists a"), mirror.ask("dbsize")),
            ("nil".into(), "false".into(), "1".into())
        );
        mirror.run(&["append a 2", "persist a"]);
        assert_eq!(mirror.ask("get a"), "12");
    }

    #[test]
    fn a_missing_key_or_a_wrong_time_is_an_error() {
        let mut mirror = Mirror::new();
        for command in ["pexpireat none 1", "persist none", "getex none persist"] {
            mirror.fails(command, ApplyError::Missing);
        }
        mirror.run(&["set a 1"]);
        mirror.fails("expire a 9223372036854775807", ApplyError::OutOfRange);
        mirror.fails("pexpire a 9223372036854775807", ApplyError::OutOfRange);
        mirror.fails("pexpireat a 1 soon", ApplyError::BadArguments);
    }
}
