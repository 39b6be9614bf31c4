//! RESTORE: a value in the format of a snapshot file.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::Replaces;
use crate::row::Leaves::AnyKind;
use crate::row::Part::{Bin, Int, Key, Options};
use crate::row::{Write, row};
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::Entry;
use vdr_data::value::Value;

pub const WRITES: &[Write] = &[
    row("restore", &[Key, Int, Bin, Options], InShape, AnyKind, Replaces, restore),
    row("restore-asking", &[Key, Int, Bin, Options], InShape, AnyKind, Replaces, restore),
];

/// The primary has checked whether the key may exist. The time is absolute in every stream since
/// 5.0.
fn restore(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, ttl, payload) = (args.bytes()?, args.int()?, args.bytes()?);
    let mut absolute = false;
    while !args.is_empty() {
        if args.take_word("absttl") {
            absolute = true;
        } else if args.take_word("idletime") || args.take_word("freq") {
            args.int()?;
        } else if !args.take_word("replace") {
            return Err(ApplyError::BadArguments);
        }
    }
    let mut value =
        vdr_rdb::restore_up_to(payload, apply.rules.string_bytes_max).ok().flatten().ok_or(ApplyError::BadPayload)?;
    if let Value::ZSet(zset) = &mut value {
        zset.reencode();
    }
    let expiry = match ttl {
        0 => Expiry::NEVER,
        at if absolute => Expiry::at(at),
        after => Expiry::at(apply.now_ms.checked_add(after).ok_or(ApplyError::OutOfRange)?),
    };
    apply.db().insert(key, Entry { value, expiry });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rules;
    use vdr_data::keyspace::Keyspace;
    use vdr_data::value::Score;

    /// The answer of `DUMP k` after `SET k hello` on Redis 7.0.
    const HELLO: &[u8] = b"\x00\x05hello\n\x00cr\xdfve4 \n";

    fn run(keyspace: &mut Keyspace, args: &[&[u8]]) -> ApplyResult {
        restore(&mut Apply { keyspace, db: 0, now_ms: 1000, rules: Rules::default() }, &mut ArgCursor::new(args))
    }

    #[test]
    fn a_payload_becomes_a_value_with_its_time() {
        let mut keyspace = Keyspace::default();
        for (ttl, options, expiry) in [
            (&b"0"[..], &[&b"REPLACE"[..]][..], None),
            (b"5000", &[b"ABSTTL", b"IDLETIME", b"3"], Some(5000)),
            (b"5000", &[b"FREQ", b"1"], Some(6000)),
        ] {
            let mut args: Vec<&[u8]> = vec![b"k", ttl, HELLO];
            args.extend(options);
            run(&mut keyspace, &args).unwrap();
            assert_eq!(keyspace.view(0, 0).string(b"k").unwrap().unwrap().as_bytes(), b"hello");
            assert_eq!(keyspace.db(0).get(b"k").unwrap().expiry().get(), expiry);
        }
    }

    /// A skiplist of two elements, after `SORT ... STORE`. RESTORE makes it a listpack again on the
    /// server, where -0 becomes 0.
    #[test]
    fn a_short_skiplist_becomes_a_listpack() {
        let dumped = b"\x05\x02\x01n\0\0\0\0\0\0\xe0?\x01m\0\0\0\0\0\0\xf0\xbf\n\0\xcdR2\xa27\xf0o9";
        let mut keyspace = Keyspace::default();
        run(&mut keyspace, &[b"k", b"0", dumped]).unwrap();
        let Some(Value::ZSet(mut zset)) = keyspace.db_mut(0).take(b"k").map(|entry| entry.value) else {
            panic!("a sorted set")
        };
        assert!(zset.is_listpack());
        zset.insert(b"o", Score::new(-0.0).unwrap());
        assert_eq!(zset.score(b"o").unwrap().get().to_bits(), 0);
    }

    #[test]
    fn a_broken_payload_or_option_changes_nothing() {
        let mut keyspace = Keyspace::default();
        let mut broken = HELLO.to_vec();
        broken[3] ^= 1;
        assert_eq!(run(&mut keyspace, &[b"k", b"0", &broken]), Err(ApplyError::BadPayload));
        assert_eq!(run(&mut keyspace, &[b"k", b"0", b""]), Err(ApplyError::BadPayload));
        assert_eq!(run(&mut keyspace, &[b"k", b"0", HELLO, b"NOSUCH"]), Err(ApplyError::BadArguments));
        assert!(keyspace.db(0).is_empty());
    }
}
