//! Whole databases, and keys that move between them.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use crate::ops::databases::index;
use crate::row::AffectedKeys::Special;
use crate::row::Effect::{MovesToDatabase, SwapsDatabases, WholeDatabases};
use crate::row::Leaves::{AnyKind, Nothing};
use crate::row::Part::{Dropped, Int, Key};
use crate::row::{Affected, Write, row};

pub const WRITES: &[Write] = &[
    row("move", &[Key, Int], Special(move_affected), AnyKind, MovesToDatabase, move_key),
    row("swapdb", &[Int, Int], Special(swapdb_affected), AnyKind, SwapsDatabases, swapdb),
    row("flushdb", &[Dropped], Special(flushdb_affected), Nothing, WholeDatabases, flushdb),
    row("flushall", &[Dropped], Special(flushall_affected), Nothing, WholeDatabases, flushall),
];

fn move_key(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, to) = (args.bytes()?, index(args)?);
    args.finish()?;
    let entry = apply.db().take(key).ok_or(ApplyError::Missing)?;
    apply.keyspace.db_mut(to).insert(key, entry);
    Ok(())
}

fn move_affected(db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    if let [key, to] = args {
        report(Affected::Key { db, key });
        if let Ok(db) = index(&mut ArgCursor::new(&[to])) {
            report(Affected::Key { db, key });
        }
    }
}

fn swapdb(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (a, b) = (index(args)?, index(args)?);
    args.finish()?;
    apply.keyspace.swap(a, b);
    Ok(())
}

fn swapdb_affected(_db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    for arg in args {
        if let Ok(db) = index(&mut ArgCursor::new(&[arg])) {
            report(Affected::Db(db));
        }
    }
}

fn flushdb(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    flush_mode(args)?;
    apply.keyspace.clear_db(apply.db);
    Ok(())
}

fn flushdb_affected(db: u32, _args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    report(Affected::Db(db));
}

fn flushall(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    flush_mode(args)?;
    apply.keyspace.clear();
    Ok(())
}

fn flushall_affected(_db: u32, _args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    report(Affected::All);
}

/// Takes SYNC or ASYNC. Whether the primary frees memory at once or in the background makes no
/// difference here.
fn flush_mode(args: &mut ArgCursor<'_>) -> ApplyResult {
    let _ = args.take_word("sync") || args.take_word("async");
    args.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Mirror;

    fn touches(command: &str) -> Vec<String> {
        let args = crate::harness::split(command);
        let Special(special) = crate::registry::write(args[0]).unwrap().affected else { panic!("{command}") };
        let mut seen = Vec::new();
        special(2, &args[1..], &mut |affected| {
            seen.push(match affected {
                Affected::Key { db, key } => format!("{db}:{}", key.escape_ascii()),
                Affected::Db(db) => format!("{db}:*"),
                Affected::All => "*".into(),
            });
        });
        seen
    }

    #[test]
    fn a_moved_key_takes_its_expiry_along() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 1 pxat 5000000", "move a 9"]);
        assert!(!mirror.has("a"));
        assert_eq!(mirror.keyspace.db(9).get(b"a").unwrap().expiry().get(), Some(5_000_000));
    }

    #[test]
    fn whole_databases_are_swapped_and_flushed() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 1", "swapdb 0 0", "swapdb 0 3", "set b 2"]);
        assert_eq!((mirror.ask("keys *"), mirror.keyspace.db(3).get(b"a").is_some()), ("[b]".into(), true));
        mirror.run(&["flushdb ASYNC"]);
        assert_eq!((mirror.keyspace.db(0).len(), mirror.keyspace.db(3).len()), (0, 1));
        mirror.run(&["flushall"]);
        assert_eq!(mirror.keyspace.dbs().count(), 0);
        mirror.fails("flushall now", ApplyError::BadArguments);
        mirror.fails("swapdb 0 -1", ApplyError::OutOfRange);
    }

    #[test]
    fn watchers_of_both_sides_are_told() {
        assert_eq!(touches("move a 3"), ["2:a", "3:a"]);
        assert_eq!(touches("swapdb 0 5"), ["0:*", "5:*"]);
        assert_eq!(touches("flushdb"), ["2:*"]);
        assert_eq!(touches("flushall sync"), ["*"]);
    }
}
