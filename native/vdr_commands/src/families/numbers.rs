//! Strings that hold numbers.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use crate::number::parse_int;
use crate::ops::strings::stored_until;
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::Each;
use crate::row::Part::{Float, Int, Key};
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
