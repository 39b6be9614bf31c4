//! Strings that hold numbers.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use crate::number::parse_int;
use crate::ops::expiry::take_expiry;
use crate::ops::strings::stored_until;
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::Each;
use crate::row::Part::{Float, Int, Key, Options};
use crate::row::{Leaves, Write, row};
use vdr_data::expiry::Expiry;
use vdr_data::value::Kind;

const STRING: Leaves = Leaves::Kind(Kind::String);

pub const WRITES: &[Write] = &[
    row("incr", &[Key], InShape, STRING, Each, incr),
    row("decr", &[Key], InShape, STRING, Each, decr),
    row("incrby", &[Key, Int], InShape, STRING, Each, incrby),
    row("decrby", &[Key, Int], InShape, STRING, Each, decrby),
    row("incrbyfloat", &[Key, Float], InShape, STRING, Each, incrbyfloat),
    row("increx", &[Key, Options], InShape, STRING, Each, increx),
];

fn incr(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    add(apply, args.bytes()?, 1)
}

fn decr(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    add(apply, args.bytes()?, -1)
}

fn incrby(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    add(apply, args.bytes()?, args.int()?)
}

fn decrby(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, by) = (args.bytes()?, args.int()?);
    add(apply, key, by.checked_neg().ok_or(ApplyError::NotANumber)?)
}

/// No primary sends this command; it sends the result. The sum on the primary is a long double of
/// 80 or 128 bits, depending on its processor, which is not known here. Only sums of integers are
/// the same everywhere. Any other sum ends the link, and the full sync brings the primary's own
/// result.
fn incrbyfloat(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, by) = (args.bytes()?, args.bytes()?);
    add(apply, key, parse_int(by).ok_or(ApplyError::NotANumber)?)
}

/// INCREX (Redis 8.8, Valkey 9.2): adds within bounds, and sets or removes the expiry. A sum beyond
/// a bound changes nothing, or with SATURATE ends at the bound. A float sum is not known here, as
/// with INCRBYFLOAT; then the key is in doubt.
fn increx(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let options = IncrexOptions::take(args, apply.now_ms)?;
    let (old, expiry) = match stored_until(apply, key)? {
        Some((text, expiry)) => (parse_int(&text).ok_or(ApplyError::NotANumber)?, expiry),
        None => (0, Expiry::NEVER),
    };
    let sum = i128::from(old) + i128::from(options.by);
    let bounded = sum.clamp(i128::from(options.least), i128::from(options.most));
    if bounded != sum && !options.saturate {
        return Ok(());
    }
    let new = i64::try_from(bounded).map_err(|_| ApplyError::NotANumber)?;
    let expiry = match options.expiry {
        Some(new) if !options.only_without_expiry || !expiry.is_set() => new,
        _ => expiry,
    };
    apply.db().insert_string(key, itoa::Buffer::new().format(new).as_bytes(), expiry);
    Ok(())
}

struct IncrexOptions {
    by: i64,
    least: i64,
    most: i64,
    saturate: bool,
    /// The expiry to set, or none at all to remove it.
    expiry: Option<Expiry>,
    /// ENX: a key that has an expiry keeps it.
    only_without_expiry: bool,
}

impl IncrexOptions {
    fn take(args: &mut ArgCursor<'_>, now_ms: i64) -> Result<Self, ApplyError> {
        let (least, most) = (i64::MIN, i64::MAX);
        let mut options =
            IncrexOptions { by: 1, least, most, saturate: false, expiry: None, only_without_expiry: false };
        while !args.is_empty() {
            if let Some(at) = take_expiry(args, now_ms)? {
                options.expiry = Some(at);
            } else if args.take_word("byint") {
                options.by = args.int()?;
            } else if args.take_word("lbound") {
                options.least = args.int()?;
            } else if args.take_word("ubound") {
                options.most = args.int()?;
            } else if args.take_word("saturate") {
                options.saturate = true;
            } else if args.take_word("persist") {
                options.expiry = Some(Expiry::NEVER);
            } else if args.take_word("enx") {
                options.only_without_expiry = true;
            } else if !["nx", "xx"].iter().any(|word| args.take_word(word)) {
                return Err(ApplyError::BadArguments);
            }
        }
        if options.least > options.most { Err(ApplyError::BadArguments) } else { Ok(options) }
    }
}

fn add(apply: &mut Apply<'_>, key: &[u8], by: i64) -> ApplyResult {
    let (old, expiry) = match stored_until(apply, key)? {
        Some((text, expiry)) => (parse_int(&text), expiry),
        None => (Some(0), Expiry::NEVER),
    };
    let new = old.and_then(|old| old.checked_add(by)).ok_or(ApplyError::NotANumber)?;
    apply.db().insert_string(key, itoa::Buffer::new().format(new).as_bytes(), expiry);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Mirror;

    #[test]
    fn numbers_start_at_zero_and_keep_their_expiry() {
        let mut mirror = Mirror::new();
        mirror.run(&["incr a", "incrby a 41", "decr b", "decrby b 9"]);
        assert_eq!((mirror.ask("get a"), mirror.ask("get b")), ("42".into(), "-10".into()));
        mirror.run(&["pexpireat a 9000000", "incr a", "incrbyfloat a 7"]);
        assert_eq!((mirror.ask("get a"), mirror.expires("a")), ("50".into(), Some(9_000_000)));
    }

    #[test]
    fn increx_adds_within_bounds_and_sets_an_expiry() {
        let mut mirror = Mirror::new();
        for (command, value, at_ms) in [
            ("increx a", "1", None),
            ("increx a byint 5 ex 10", "6", Some(1_010_000)),
            ("increx a byint -2 px 5 enx", "4", Some(1_010_000)),
            ("increx a ubound 4", "4", Some(1_010_000)),
            ("increx a byint 9 ubound 10 saturate", "10", Some(1_010_000)),
            ("increx a byint -99 lbound -5 SATURATE pxat 1500000", "-5", Some(1_500_000)),
            ("increx a persist", "-4", None),
            ("increx a exat 8000 enx", "-3", Some(8_000_000)),
            ("increx a byint 9223372036854775807 saturate xx", "9223372036854775804", Some(8_000_000)),
            ("increx a byint 9223372036854775807 saturate", "9223372036854775807", Some(8_000_000)),
            ("increx a", "9223372036854775807", Some(8_000_000)),
            ("increx a byint -1 ubound 5 ex 9", "9223372036854775807", Some(8_000_000)),
        ] {
            mirror.run(&[command]);
            assert_eq!((mirror.ask("get a"), mirror.expires("a")), (value.into(), at_ms), "{command}");
        }
        mirror.run(&["increx none ubound 0", "sadd s x", "set b 1.5"]);
        assert!(!mirror.has("none"), "a sum that is refused makes no key");
        mirror.fails("increx s", ApplyError::WrongType);
        mirror.fails("increx b", ApplyError::NotANumber);
        mirror.fails("increx a byfloat 1.5", ApplyError::BadArguments);
        mirror.fails("increx a lbound 2 ubound 1", ApplyError::BadArguments);
    }

    #[test]
    fn what_is_no_number_or_would_not_fit_is_an_error_and_stays() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 9223372036854775807", "set b 1.5", "set c ''", "sadd d x"]);
        for (command, error) in [
            ("incr a", ApplyError::NotANumber),
            ("incr b", ApplyError::NotANumber),
            ("decr c", ApplyError::NotANumber),
            ("decrby a -9223372036854775808", ApplyError::NotANumber),
            ("incrbyfloat a 0.5", ApplyError::NotANumber),
            ("incrby a 1.0", ApplyError::BadArguments),
            ("incr d", ApplyError::WrongType),
            ("incrby e", ApplyError::BadArguments),
        ] {
            mirror.fails(command, error);
        }
        assert_eq!(mirror.ask("mget [a,b,c]"), "[9223372036854775807 1.5 ]");
    }
}
