//! Keys of any type: presence, type, order, removal, renaming and copying.

use crate::args::Args;
use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult, ReadError};
use crate::ops::databases::index;
use crate::reply::Reply;
use crate::row::AffectedKeys::{InShape, Special};
use crate::row::Effect::{Each, Moves};
use crate::row::Leaves::{AnyKind, Nothing};
use crate::row::Part::{Key, Keys, Options, Source};
use crate::row::{Affected, Cost, MEASURED_MAX, Read, Write, row};
use vdr_data::blob::Blob;
use vdr_data::keyspace::{EntryRef, View};

pub const READS: &[Read] = &[
    Read { name: "exists", args: &["key"], cost: Cost::Point, run: exists },
    Read { name: "type", args: &["key"], cost: Cost::Point, run: kind },
    Read { name: "dbsize", args: &[], cost: Cost::Point, run: dbsize },
    Read {
        name: "first",
        args: &["count"],
        cost: Cost::Keys(|view, args| cost(view, from_first(view, args))),
        run: first,
    },
    Read {
        name: "last",
        args: &["count"],
        cost: Cost::Keys(|view, args| cost(view, from_last(view, args))),
        run: last,
    },
    Read {
        name: "next",
        args: &["key", "count"],
        cost: Cost::Keys(|view, args| cost(view, after(view, args))),
        run: next,
    },
    Read {
        name: "prev",
        args: &["key", "count"],
        cost: Cost::Keys(|view, args| cost(view, before(view, args))),
        run: prev,
    },
];

fn exists<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::Bool(view.known_entry(args.bytes()?)?.is_some()))
}

fn kind<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let entry = view.known_entry(args.bytes()?)?;
    Ok(entry.map_or(Reply::Nil, |entry| Reply::Word(entry.value().kind().name())))
}

/// Expired keys count until the primary deletes them, as on a real replica.
fn dbsize<'s>(view: View<'s>, _args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.db.len()))
}

/// The path of a cursor: over the keys with ranks `from..to`, in byte order or against it, until it
/// has found `count` keys that have not expired.
struct Cursor {
    from: usize,
    to: usize,
    down: bool,
    count: usize,
}

impl Cursor {
    fn answer(self, view: View<'_>) -> Reply<'_> {
        let live = self.keys(view).filter(|key| view.entry(key).is_some());
        if self.down { Reply::blobs(live.rev().take(self.count)) } else { Reply::blobs(live.take(self.count)) }
    }

    fn keys<'s>(&self, view: View<'s>) -> impl DoubleEndedIterator<Item = &'s Blob> + use<'s> {
        view.db.keys(self.from, self.to).map(|(key, ())| key)
    }
}

fn from_first(view: View<'_>, args: &mut Args<'_>) -> Result<Cursor, ReadError> {
    Ok(Cursor { from: 0, to: view.db.len(), down: false, count: args.count()? })
}

fn from_last(view: View<'_>, args: &mut Args<'_>) -> Result<Cursor, ReadError> {
    Ok(Cursor { down: true, ..from_first(view, args)? })
}

fn after(view: View<'_>, args: &mut Args<'_>) -> Result<Cursor, ReadError> {
    let from = view.db.rank(args.bytes()?).map_or_else(|rank| rank, |rank| rank + 1);
    Ok(Cursor { from, ..from_first(view, args)? })
}

fn before(view: View<'_>, args: &mut Args<'_>) -> Result<Cursor, ReadError> {
    let to = view.db.rank(args.bytes()?).unwrap_or_else(|rank| rank);
    Ok(Cursor { to, ..from_last(view, args)? })
}

/// A cursor visits expired keys, too, and any number of them may stand in its way.
fn cost(view: View<'_>, cursor: Result<Cursor, ReadError>) -> Option<usize> {
    let cursor = cursor.ok()?;
    let most = cursor.count.min(cursor.to.saturating_sub(cursor.from));
    if most > MEASURED_MAX {
        return Some(most);
    }
    let live = cursor.keys(view).map(|key| view.entry(key).is_some());
    Some(if cursor.down { visited(live.rev(), most) } else { visited(live, most) })
}

/// How many keys a cursor visits until it has found `count` live ones. It stops counting when there
/// are too many.
fn visited(keys: impl Iterator<Item = bool>, count: usize) -> usize {
    let mut live = 0;
    let on_the_way = keys.take_while(|is_live| {
        let goes_on = live < count;
        live += usize::from(*is_live);
        goes_on
    });
    on_the_way.take(MEASURED_MAX + 1).count()
}

fn first<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(from_first(view, args)?.answer(view))
}

fn last<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(from_last(view, args)?.answer(view))
}

fn next<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(after(view, args)?.answer(view))
}

fn prev<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(before(view, args)?.answer(view))
}

pub const WRITES: &[Write] = &[
    row("del", &[Keys], InShape, Nothing, Each, del),
    row("unlink", &[Keys], InShape, Nothing, Each, del),
    row("rename", &[Key, Key], InShape, AnyKind, Moves, rename),
    row("renamenx", &[Key, Key], InShape, AnyKind, Moves, rename),
    row("copy", &[Source, Key, Options], Special(copy_affected), AnyKind, Moves, copy),
];

fn del(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    for key in args.rest() {
        apply.remove(key);
    }
    Ok(())
}

fn rename(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (from, to) = (args.bytes()?, args.bytes()?);
    args.finish()?;
    let entry = apply.db().take(from).ok_or(ApplyError::Missing)?;
    apply.db().insert(to, entry);
    Ok(())
}

fn copy(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (from, to) = (args.bytes()?, args.bytes()?);
    let db = copy_db(apply.db, args)?;
    let entry = apply.get(from).map(EntryRef::to_entry).ok_or(ApplyError::Missing)?;
    apply.keyspace.db_mut(db).insert(to, entry);
    Ok(())
}

/// The database that `[DB n] [REPLACE]` names, or else the selected one.
fn copy_db(selected: u32, args: &mut ArgCursor<'_>) -> Result<u32, ApplyError> {
    let mut db = selected;
    while !args.is_empty() {
        if args.take_word("db") {
            db = index(args)?;
        } else if !args.take_word("replace") {
            return Err(ApplyError::BadArguments);
        }
    }
    Ok(db)
}

fn copy_affected(db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    if let [_, key, options @ ..] = args
        && let Ok(db) = copy_db(db, &mut ArgCursor::new(options))
    {
        report(Affected::Key { db, key });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Mirror, affected};
    use vdr_data::keyspace::Entry;
    use vdr_data::value::{Stream, Value};

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
    fn a_cursor_costs_the_keys_that_it_passes_over_as_far_as_that_is_told() {
        let mut mirror = Mirror::new();
        for key in 1000..2000 {
            // The last key of each hundred stays.
            let expiry = if key % 100 == 99 { "" } else { " pxat 1" };
            mirror.run(&[&format!("set k{key} 1{expiry}")]);
        }
        for (command, elements) in [
            ("first 0", 0),
            ("first 1", 100),
            ("first 2", 200),
            ("first 3", MEASURED_MAX + 1),
            ("first 300", 300),
            ("first 5000", 1000),
            ("last 1", 1),
            ("last 2", 101),
            ("last 9", MEASURED_MAX + 1),
            ("next k1098 1", 1),
            ("next k1099 1", 100),
            ("next k1990 5", 9),
            ("next k1999 5", 0),
            ("prev k1150 1", 51),
            ("prev k1099 1", 99),
            ("prev k1000 1", 0),
            ("first -1", 1),
        ] {
            assert_eq!(mirror.elements(command), elements, "{command}");
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
        assert_eq!(affected("copy a b replace"), ["b"]);
        let mut seen = Vec::new();
        copy_affected(0, &[b"a", b"b", b"DB", b"3"], &mut |affected| {
            seen.push(matches!(affected, Affected::Key { db: 3, key: b"b" }));
        });
        assert_eq!(seen, [true]);
    }
}
