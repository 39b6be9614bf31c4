//! Databases as wholes, and keys that move between them.

use crate::context::Apply;
use crate::cursor::Words;
use crate::error::{ApplyError, Written};
use crate::ops::databases::index;
use crate::row::{Part, Touch, Touches, Write};

pub const WRITES: &[Write] = &[
    Write { name: "move", shape: &[Part::Key, Part::Int], touches: Touches::Special(move_touches), run: move_key },
    Write { name: "swapdb", shape: &[Part::Int, Part::Int], touches: Touches::Special(swapdb_touches), run: swapdb },
    Write { name: "flushdb", shape: &[Part::Dropped], touches: Touches::Special(flushdb_touches), run: flushdb },
    Write { name: "flushall", shape: &[Part::Dropped], touches: Touches::Special(flushall_touches), run: flushall },
];

fn move_key(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, to) = (words.bytes()?, index(words)?);
    words.finish()?;
    let entry = apply.db().take(key).ok_or(ApplyError::Missing)?;
    apply.keyspace.db_mut(to).insert(key, entry);
    Ok(())
}

fn move_touches(db: u32, args: &[&[u8]], touch: &mut dyn FnMut(Touch<'_>)) {
    if let [key, to] = args {
        touch(Touch::Key { db, key });
        if let Ok(db) = index(&mut Words::new(&[to])) {
            touch(Touch::Key { db, key });
        }
    }
}

fn swapdb(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (a, b) = (index(words)?, index(words)?);
    words.finish()?;
    apply.keyspace.swap(a, b);
    Ok(())
}

fn swapdb_touches(_db: u32, args: &[&[u8]], touch: &mut dyn FnMut(Touch<'_>)) {
    for arg in args {
        if let Ok(db) = index(&mut Words::new(&[arg])) {
            touch(Touch::Db(db));
        }
    }
}

fn flushdb(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    flush_mode(words)?;
    apply.keyspace.clear_db(apply.db);
    Ok(())
}

fn flushdb_touches(db: u32, _args: &[&[u8]], touch: &mut dyn FnMut(Touch<'_>)) {
    touch(Touch::Db(db));
}

fn flushall(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    flush_mode(words)?;
    apply.keyspace.clear();
    Ok(())
}

fn flushall_touches(_db: u32, _args: &[&[u8]], touch: &mut dyn FnMut(Touch<'_>)) {
    touch(Touch::All);
}

/// Whether to free at once or in the background is the primary's affair.
fn flush_mode(words: &mut Words<'_>) -> Written {
    let _ = words.take_word("sync") || words.take_word("async");
    words.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Mirror;

    fn touches(command: &str) -> Vec<String> {
        let args = crate::harness::split(command);
        let Touches::Special(special) = crate::registry::write(args[0]).unwrap().touches else { panic!("{command}") };
        let mut seen = Vec::new();
        special(2, &args[1..], &mut |touch| {
            seen.push(match touch {
                Touch::Key { db, key } => format!("{db}:{}", key.escape_ascii()),
                Touch::Db(db) => format!("{db}:*"),
                Touch::All => "*".into(),
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
