//! Keys whatever they hold: presence, type, order, removal, renaming and copying.

use super::{Apply, ApplyError, Args, Cost, Part, Read, ReadError, Reply, Touch, Touches, Words, Write, Written};
use crate::blob::Blob;
use crate::keyspace::{EntryRef, View};

pub const READS: &[Read] = &[
    Read { name: "exists", args: &["key"], cost: Cost::Point, run: exists },
    Read { name: "type", args: &["key"], cost: Cost::Point, run: kind },
    Read { name: "dbsize", args: &[], cost: Cost::Point, run: dbsize },
    Read { name: "first", args: &["count"], cost: Cost::Keys(count_first), run: first },
    Read { name: "last", args: &["count"], cost: Cost::Keys(count_first), run: last },
    Read { name: "next", args: &["key", "count"], cost: Cost::Keys(count_second), run: next },
    Read { name: "prev", args: &["key", "count"], cost: Cost::Keys(count_second), run: prev },
];

fn exists<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::Bool(view.entry(args.bytes()?).is_some()))
}

fn kind<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(view.kind(args.bytes()?).map_or(Reply::Nil, |kind| Reply::Word(kind.name())))
}

/// Keys past their time count until the primary deletes them, as on a real replica.
fn dbsize<'s>(view: View<'s>, _args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.db.len()))
}

fn first<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::blobs(live_keys(view, 0, view.db.len()).take(args.count()?)))
}

fn last<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(last_of(view, view.db.len(), args.count()?))
}

fn next<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, count) = (args.bytes()?, args.count()?);
    let from = view.db.rank(key).map_or_else(|rank| rank, |rank| rank + 1);
    Ok(Reply::blobs(live_keys(view, from, view.db.len()).take(count)))
}

fn prev<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, count) = (args.bytes()?, args.count()?);
    let to = view.db.rank(key).unwrap_or_else(|rank| rank);
    Ok(last_of(view, to, count))
}

/// The `count` live keys that stand last before rank `to`, the nearest to it first, as the other cursors have it.
fn last_of(view: View<'_>, to: usize, count: usize) -> Reply<'_> {
    Reply::blobs(live_keys(view, 0, to).rev().take(count))
}

/// Keys with ranks `from..to` whose time has not passed, in byte order.
fn live_keys<'s>(view: View<'s>, from: usize, to: usize) -> impl DoubleEndedIterator<Item = &'s Blob> {
    view.db.keys(from, to).map(|(key, ())| key).filter(move |key| view.entry(key).is_some())
}

fn count_first(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    args.count().ok().map(|count| count.min(view.db.len()))
}

fn count_second(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    args.bytes().ok()?;
    count_first(view, args)
}

pub const WRITES: &[Write] = &[
    Write { name: "del", shape: &[Part::Keys], touches: Touches::Shape, run: del },
    Write { name: "unlink", shape: &[Part::Keys], touches: Touches::Shape, run: del },
    Write { name: "rename", shape: &[Part::Key, Part::Key], touches: Touches::Shape, run: rename },
    Write { name: "renamenx", shape: &[Part::Key, Part::Key], touches: Touches::Shape, run: rename },
    Write {
        name: "copy",
        shape: &[Part::Source, Part::Key, Part::Options],
        touches: Touches::Special(copy_touches),
        run: copy,
    },
];

fn del(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    for key in words.rest() {
        apply.remove(key);
    }
    Ok(())
}

fn rename(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (from, to) = (words.bytes()?, words.bytes()?);
    words.finish()?;
    let entry = apply.db().take(from).ok_or(ApplyError::Missing)?;
    apply.db().insert(to, entry);
    Ok(())
}

fn copy(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (from, to) = (words.bytes()?, words.bytes()?);
    let db = copy_db(apply.db, words)?;
    let entry = apply.get(from).map(EntryRef::to_entry).ok_or(ApplyError::Missing)?;
    apply.keyspace.db_mut(db).insert(to, entry);
    Ok(())
}

/// The database that `[DB n] [REPLACE]` names, the selected one otherwise.
fn copy_db(selected: u32, words: &mut Words<'_>) -> Result<u32, ApplyError> {
    let mut db = selected;
    while !words.is_empty() {
        if words.take_word("db") {
            db = super::databases::index(words)?;
        } else if !words.take_word("replace") {
            return Err(ApplyError::BadArguments);
        }
    }
    Ok(db)
}

fn copy_touches(db: u32, args: &[&[u8]], touch: &mut dyn FnMut(Touch<'_>)) {
    if let [_, key, options @ ..] = args
        && let Ok(db) = copy_db(db, &mut Words::new(options))
    {
        touch(Touch::Key { db, key });
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{Mirror, touched};
    use super::*;
    use crate::keyspace::Entry;
    use crate::value::{Stream, Value};

    #[test]
    fn types_are_told_by_the_servers_names() {
        let mut mirror = Mirror::new();
        mirror.run(&["set s 1", "rpush l 1", "sadd m 1", "zadd z 1 1", "hset h a b"]);
        mirror.keyspace.db_mut(0).insert(b"x", Entry::new(Stream::default()));
        mirror.keyspace.db_mut(0).insert(b"o", Entry::new(Value::Other));
        for (key, kind) in [
            ("s", "string"),
            ("l", "list"),
            ("m", "set"),
            ("z", "zset"),
            ("h", "hash"),
            ("x", "stream"),
            ("o", "other"),
            ("n", "nil"),
        ] {
            assert_eq!(mirror.ask(&format!("type {key}")), kind);
        }
    }

    #[test]
    fn cursors_walk_live_keys_in_byte_order() {
        let mut mirror = Mirror::new();
        mirror.run(&["mset d 1 b 1 a 1 c 1 ab 1", "pexpireat b 1"]);
        for (command, answer) in [
            ("first 2", "[a ab]"),
            ("first 9", "[a ab c d]"),
            ("first 0", "[]"),
            ("last 2", "[d c]"),
            ("next a 2", "[ab c]"),
            ("next aa 1", "[ab]"),
            ("next b 1", "[c]"),
            ("next d 1", "[]"),
            ("prev d 2", "[c ab]"),
            ("prev zz 1", "[d]"),
            ("prev a 5", "[]"),
            ("first -1", "BadArgument"),
        ] {
            assert_eq!(mirror.ask(command), answer, "{command}");
        }
    }

    #[test]
    fn a_renamed_or_copied_key_takes_its_expiry_along() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 1 pxat 5000000", "set b 2 pxat 6000000", "copy a c", "rename a b", "renamenx b d"]);
        assert_eq!(mirror.ask("mget [a,b,c,d]"), "[nil nil 1 1]");
        assert_eq!((mirror.expires("c"), mirror.expires("d")), (Some(5_000_000), Some(5_000_000)));
        mirror.run(&["set e 3", "rename e d", "rename d d"]);
        assert_eq!((mirror.ask("get d"), mirror.expires("d")), ("3".into(), None));
        mirror.run(&["copy d x db 4 replace"]);
        assert!(mirror.keyspace.db(4).get(b"x").is_some() && !mirror.has("x"));
    }

    #[test]
    fn values_that_are_not_understood_are_keys_all_the_same() {
        let mut mirror = Mirror::new();
        mirror.keyspace.db_mut(0).insert(b"s", Entry::new(Stream::default()));
        mirror.run(&["copy s t", "rename s u", "pexpireat u 5000000", "move t 1", "unlink u none"]);
        assert_eq!((mirror.ask("dbsize"), mirror.keyspace.db(1).len()), ("0".into(), 1));
    }

    #[test]
    fn a_missing_source_is_an_error() {
        let mut mirror = Mirror::new();
        for command in ["rename a b", "renamenx a b", "copy a b", "move a 1"] {
            mirror.fails(command, ApplyError::Missing);
        }
        mirror.run(&["set a 1"]);
        mirror.fails("copy a b db", ApplyError::BadArguments);
        mirror.fails("copy a b db -1", ApplyError::OutOfRange);
        mirror.fails("move a 4294967296", ApplyError::OutOfRange);
    }

    #[test]
    fn a_copy_touches_its_destination_where_it_is() {
        assert_eq!(touched("copy a b replace"), ["b"]);
        let mut seen = Vec::new();
        copy_touches(0, &[b"a", b"b", b"DB", b"3"], &mut |touch| {
            seen.push(matches!(touch, Touch::Key { db: 3, key: b"b" }));
        });
        assert_eq!(seen, [true]);
    }
}
