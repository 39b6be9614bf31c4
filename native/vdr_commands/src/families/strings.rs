//! Strings: whole values, ranges of them, and the commands that set many keys at once.

use crate::args::Args;
use crate::context::Apply;
use crate::cursor;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult, ReadError};
use crate::ops::expiry::after;
use crate::ops::expiry::take_expiry;
use crate::ops::strings::{BYTES_PER_ELEMENT, expiry_of, span, stored, write};
use crate::reply::Reply;
use crate::row::AffectedKeys::{InShape, Special};
use crate::row::Effect::{Each, Replaces, ReplacesOrKeepsExpiry};
use crate::row::Part::{Bin, CountedPairs, Dropped, Int, Key, KeyPairs, Options};
use crate::row::{Affected, Cost, Leaves, Read, Write, row};
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::{TypeError, View};
use vdr_data::value::{Kind, StringRef};

pub const READS: &[Read] = &[
    Read { name: "get", args: &["key"], cost: Cost::Point, run: get },
    Read { name: "mget", args: &["keys"], cost: Cost::Elements(keys_listed), run: mget },
    Read { name: "strlen", args: &["key"], cost: Cost::Point, run: strlen },
    Read { name: "getrange", args: &["key", "start", "stop"], cost: Cost::Elements(range_elements), run: getrange },
];

fn get<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::string_or_nil(view.string(args.bytes()?)?))
}

/// A key of another type gives nil, as on the server.
fn mget<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let value = |key| match view.string(key) {
        Err(TypeError::UnknownValue) => Err(ReadError::UnknownValue),
        value => Ok(Reply::string_or_nil(value.ok().flatten())),
    };
    Ok(Reply::List(args.byte_list()?.into_iter().map(value).collect::<Result<_, _>>()?))
}

fn keys_listed(_view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    args.byte_list().ok().map(|keys| keys.len())
}

fn strlen<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.string(args.bytes()?)?.map_or(0, |value| value.len())))
}

fn getrange<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, start, stop) = (args.bytes()?, args.int()?, args.int()?);
    let Some(value) = view.string(key)? else {
        return Ok(Reply::Bytes(Vec::new()));
    };
    let (from, to) = span(start, stop, value.len()).unwrap_or_default();
    if to - from == value.len() {
        return Ok(Reply::string(value));
    }
    let mut parts = value.parts(from, to);
    let first = parts.next().unwrap_or_default();
    Ok(if first.len() == to - from {
        Reply::Slice(first)
    } else {
        Reply::Bytes(value.parts(from, to).collect::<Vec<_>>().concat())
    })
}

fn range_elements(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let (key, start, stop) = (args.bytes().ok()?, args.int().ok()?, args.int().ok()?);
    let (from, to) = span(start, stop, view.string(key).ok()??.len())?;
    Some((to - from) / BYTES_PER_ELEMENT + 1)
}

const STRING: Leaves = Leaves::Kind(Kind::String);

pub const WRITES: &[Write] = &[
    row("set", &[Key, Bin, Dropped], InShape, STRING, ReplacesOrKeepsExpiry, set),
    row("setnx", &[Key, Bin], InShape, STRING, Each, set_plain),
    row("getset", &[Key, Bin], InShape, STRING, Each, set_plain),
    row("setex", &[Key, Int, Bin], InShape, STRING, Replaces, setex),
    row("psetex", &[Key, Int, Bin], InShape, STRING, Replaces, psetex),
    row("mset", &[KeyPairs], InShape, STRING, Replaces, mset),
    row("msetnx", &[KeyPairs], InShape, STRING, Each, mset),
    row("msetex", &[CountedPairs, Options], Special(msetex_affected), STRING, ReplacesOrKeepsExpiry, msetex),
    row("getdel", &[Key], InShape, STRING, Each, remove),
    row("delex", &[Key, Dropped], InShape, STRING, Each, remove),
    row("delifeq", &[Key, Bin], InShape, STRING, Each, remove),
    row("append", &[Key, Bin], InShape, STRING, Each, append),
    row("setrange", &[Key, Int, Bin], InShape, STRING, Each, setrange),
];

/// The conditions (NX, XX, IFEQ and others) held on the primary. Otherwise it would not have sent
/// the command.
fn set(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, value) = (args.bytes()?, args.bytes()?);
    let mut expiry = Expiry::NEVER;
    while !args.is_empty() {
        if let Some(at) = take_expiry(args, apply.now_ms)? {
            expiry = at;
        } else if args.take_word("keepttl") {
            expiry = expiry_of(apply, key);
        } else if ["ifeq", "ifne", "ifdeq", "ifdne"].iter().any(|word| args.take_word(word)) {
            args.bytes()?;
        } else if !["nx", "xx", "get"].iter().any(|word| args.take_word(word)) {
            return Err(ApplyError::BadArguments);
        }
    }
    put(apply, key, value, expiry);
    Ok(())
}

fn set_plain(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, value) = (args.bytes()?, args.bytes()?);
    args.finish()?;
    put(apply, key, value, Expiry::NEVER);
    Ok(())
}

fn setex(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    set_for(apply, args, 1000)
}

fn psetex(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    set_for(apply, args, 1)
}

fn set_for(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>, unit_ms: i64) -> ApplyResult {
    let key = args.bytes()?;
    let expiry = after(args.int()?, unit_ms, apply.now_ms)?;
    let value = args.bytes()?;
    args.finish()?;
    put(apply, key, value, expiry);
    Ok(())
}

fn mset(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    if args.is_empty() {
        return Err(ApplyError::BadArguments);
    }
    for (key, value) in args.pairs()? {
        put(apply, key, value, Expiry::NEVER);
    }
    Ok(())
}

fn msetex(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let pairs = counted_pairs(args)?;
    let (mut expiry, mut keep) = (Expiry::NEVER, false);
    while !args.is_empty() {
        if let Some(at) = take_expiry(args, apply.now_ms)? {
            expiry = at;
        } else if args.take_word("keepttl") {
            keep = true;
        } else if !["nx", "xx"].iter().any(|word| args.take_word(word)) {
            return Err(ApplyError::BadArguments);
        }
    }
    for (key, value) in cursor::pairs(pairs)? {
        let expiry = if keep { expiry_of(apply, key) } else { expiry };
        put(apply, key, value, expiry);
    }
    Ok(())
}

fn counted_pairs<'a>(args: &mut ArgCursor<'a>) -> Result<&'a [&'a [u8]], ApplyError> {
    let count = usize::try_from(args.int()?).map_err(|_| ApplyError::BadArguments)?;
    args.take(count.checked_mul(2).ok_or(ApplyError::BadArguments)?)
}

fn msetex_affected(db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    let pairs = counted_pairs(&mut ArgCursor::new(args)).unwrap_or_default();
    for key in pairs.iter().step_by(2) {
        report(Affected::Key { db, key });
    }
}

/// GETDEL and the conditional deletes. Their conditions held on the primary.
fn remove(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    apply.remove(args.bytes()?);
    Ok(())
}

fn append(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, tail) = (args.bytes()?, args.bytes()?);
    args.finish()?;
    let len = stored(apply, key)?.map_or(0, StringRef::len);
    write(apply, key, len, tail)
}

fn setrange(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, offset, part) = (args.bytes()?, args.int()?, args.bytes()?);
    args.finish()?;
    let from = usize::try_from(offset).map_err(|_| ApplyError::OutOfRange)?;
    if part.is_empty() {
        return Ok(());
    }
    write(apply, key, from, part)
}

fn put(apply: &mut Apply<'_>, key: &[u8], value: &[u8], expiry: Expiry) {
    apply.db().insert_string(key, value, expiry);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Mirror, affected};

    #[test]
    fn set_clears_the_expiry_unless_it_says_otherwise() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 1 pxat 5000000"]);
        assert_eq!(mirror.expires("a"), Some(5_000_000));
        mirror.run(&["set a 2 keepttl"]);
        assert_eq!(mirror.expires("a"), Some(5_000_000));
        mirror.run(&["set a 3 XX GET"]);
        assert_eq!((mirror.ask("get a"), mirror.expires("a")), ("3".into(), None));
        for (command, at_ms) in [
            ("set a 1 ex 5", 1_005_000),
            ("set a 1 PX 5 nx", 1_000_005),
            ("set a 1 exat 5000", 5_000_000),
            ("setex a 7 1", 1_007_000),
            ("psetex a 7 1", 1_000_007),
            ("getex a px 9", 1_000_009),
            ("msetex 1 a 1 exat 6000", 6_000_000),
            ("msetex 1 a 1 nx keepttl", 6_000_000),
        ] {
            mirror.run(&[command]);
            assert_eq!(mirror.expires("a"), Some(at_ms), "{command}");
        }
        mirror.run(&["getset a 2"]);
        assert_eq!(mirror.expires("a"), None);
    }

    #[test]
    fn conditions_held_on_the_primary() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 1", "set a 2 nx", "set b 3 xx", "set c 4 ifeq pxat", "set d 5 ifdne ex", "setnx a 6"]);
        assert_eq!(mirror.ask("mget [a,b,c,d]"), "[6 3 4 5]");
        mirror.run(&["delifeq a 0", "delex b ifeq 0", "delex c", "getdel d"]);
        assert_eq!(mirror.ask("mget [a,b,c,d]"), "[nil nil nil nil]");
    }

    #[test]
    fn arguments_that_are_missing_or_unknown_are_errors() {
        let mut mirror = Mirror::new();
        for command in
            ["set a", "set a 1 px", "set a 1 what", "mset a 1 b", "mset", "msetex 2 a 1 b", "msetex -1 a 1", "append a"]
        {
            mirror.fails(command, ApplyError::BadArguments);
        }
        mirror.fails("set a 1 ex 9223372036854775807", ApplyError::OutOfRange);
        mirror.fails("setrange a -1 x", ApplyError::OutOfRange);
        mirror.fails("setrange a 536870912 x", ApplyError::OutOfRange);
        mirror.fails("setrange a 9223372036854775807 x", ApplyError::OutOfRange);
    }

    #[test]
    fn the_longest_string_is_the_primarys() {
        let mut mirror = Mirror::new();
        let writes = ["setrange a 15 x", "setbit b 127 1", "bitfield c set u8 120 1", "append d 0123456789abcdef"];
        mirror.rules.string_bytes_max = 16;
        mirror.run(&writes);
        mirror.rules.string_bytes_max = 15;
        for write in ["setrange a 15 x", "setbit b 120 1", "bitfield c set u8 120 1", "append d x"] {
            mirror.fails(write, ApplyError::OutOfRange);
        }
        assert_eq!(mirror.ask("strlen d"), "16");
    }

    #[test]
    fn writes_into_a_string_pad_it_with_zeros_and_keep_its_expiry() {
        let mut mirror = Mirror::new();
        mirror.run(&["setrange a 3 xy", "setrange none 5 ''", "append b ''", "append c 12", "append c 34"]);
        assert_eq!(mirror.ask("get a"), "\0\0\0xy");
        assert_eq!(mirror.ask("mget [none,b,c]"), "[nil  1234]");
        mirror.run(&["pexpireat c 5000000", "setrange c 1 ab", "append c 5"]);
        assert_eq!((mirror.ask("get c"), mirror.expires("c")), ("1ab45".into(), Some(5_000_000)));
        mirror.run(&["sadd s x"]);
        mirror.fails("append s 1", ApplyError::WrongType);
        mirror.fails("setrange s 0 1", ApplyError::WrongType);
    }

    #[test]
    fn a_range_written_in_place_leaves_an_older_snapshot_alone() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 0123456789012345678901234567890123456789"]);
        let snapshot = mirror.keyspace.clone();
        mirror.run(&["setrange a 0 X"]);
        let old = snapshot.view(0, 0).string(b"a").unwrap().unwrap();
        assert_eq!((old[0], mirror.ask("getrange a 0 1")), (b'0', "X1".into()));
    }

    /// A real server returned each answer.
    #[test]
    fn ranges_clip_as_the_servers_do() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a Hello", "set e ''", "sadd s x"]);
        for (command, answer) in [
            ("getrange a 0 -1", "Hello"),
            ("getrange a 1 3", "ell"),
            ("getrange a -3 -2", "ll"),
            ("getrange a 3 100", "lo"),
            ("getrange a 5 9", ""),
            ("getrange a 3 2", ""),
            ("getrange a -1 -2", ""),
            ("getrange a -100 -50", "H"),
            ("getrange a -9223372036854775808 9223372036854775807", "Hello"),
            ("getrange e 0 -1", ""),
            ("getrange none 0 -1", ""),
            ("strlen a", "5"),
            ("strlen none", "0"),
            ("get s", "WrongType"),
            ("mget [a,s,none]", "[Hello nil nil]"),
        ] {
            assert_eq!(mirror.ask(command), answer, "{command}");
        }
    }

    #[test]
    fn the_estimate_of_a_range_follows_its_length() {
        let mut mirror = Mirror::new();
        mirror.run(&["setrange a 999999 x"]);
        assert!(mirror.elements("getrange a 0 -1") > 1000);
        assert_eq!(mirror.elements("getrange a 0 9"), 1);
        assert_eq!(mirror.elements("mget [a,b,c]"), 3);
    }

    #[test]
    fn counted_pairs_touch_their_keys() {
        assert_eq!(affected("msetex 2 a 1 b 2 ex 5"), ["a", "b"]);
        assert_eq!(affected("msetex 9 a 1"), [""; 0]);
    }
}
