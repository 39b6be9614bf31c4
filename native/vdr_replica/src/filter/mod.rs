//! A part of the data instead of all of it: some databases, keys of some prefixes, values of some types.
//!
//! What is left out is never built: a key of a full sync is stepped over, a write to it is not run. The difficulty is
//! a write that reads a key which is left out and changes one which is not; [`plan`] knows them, and where the result
//! cannot be had from what is there, the answer is a full sync, never a wrong value.

mod plan;
mod visit;

pub use plan::Plan;
pub use visit::Filtered;

use vdr_commands::{Affected, Leaves, Write};
use vdr_data::value::Kind;

/// See the module. `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    dbs: Option<Vec<u32>>,
    prefixes: Option<Vec<Vec<u8>>>,
    kinds: Option<Vec<Kind>>,
    /// A key that stays, wherever it is and whatever it holds: the guard key.
    always: Option<Vec<u8>>,
}

impl Only {
    pub fn new(dbs: Option<Vec<u32>>, prefixes: Option<Vec<Vec<u8>>>, kinds: Option<Vec<Kind>>) -> Self {
        Only { dbs, prefixes, kinds, always: None }
    }

    /// Keeps this key, too.
    pub fn always(self, key: Option<Vec<u8>>) -> Self {
        Only { always: key, ..self }
    }

    /// Whether a key with such a value is kept.
    pub fn keeps(&self, db: u32, key: &[u8], kind: Kind) -> bool {
        self.is_always(key) || self.has_place(db, key) && self.has_kind(kind)
    }

    /// Whether a handler hears of a command. It does when the command may change a key that it keeps, be it by replacing
    /// it with a value of a type that it does not keep.
    pub fn wants(&self, db: u32, args: &[&[u8]]) -> bool {
        let Some((name, args)) = args.split_first() else { return false };
        let Some(row) = vdr_commands::write(name) else { return self.has_db(db) };
        if self.drops(row) && !row.effect.replaces() {
            return false;
        }
        let mut wanted = false;
        vdr_commands::for_each_affected(row, db, args, &mut |touch| wanted |= self.has(touch));
        wanted
    }

    fn has(&self, touch: Affected<'_>) -> bool {
        match touch {
            Affected::Key { db, key } => self.is_always(key) || self.has_place(db, key),
            Affected::Db(db) => self.has_db(db),
            Affected::All => true,
        }
    }

    fn has_place(&self, db: u32, key: &[u8]) -> bool {
        let begins = |prefixes: &Vec<Vec<u8>>| prefixes.iter().any(|prefix| key.starts_with(prefix));
        self.has_db(db) && self.prefixes.as_ref().is_none_or(begins)
    }

    fn has_db(&self, db: u32) -> bool {
        self.dbs.as_ref().is_none_or(|dbs| dbs.contains(&db))
    }

    fn has_kind(&self, kind: Kind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    /// Whether a write leaves a type that is not kept.
    fn drops(&self, row: &Write) -> bool {
        matches!(row.leaves, Leaves::Kind(kind) if !self.has_kind(kind))
    }

    fn is_always(&self, key: &[u8]) -> bool {
        self.always.as_deref() == Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(only: &Only, db: u32, command: &str) -> bool {
        only.wants(db, &command.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn a_handler_hears_of_what_may_change_a_key_that_it_keeps() {
        let only = Only::new(Some(vec![0, 2]), Some(vec![b"u:".to_vec()]), Some(vec![Kind::Hash]));
        for wanted in
            ["HSET u:1 f v", "DEL x u:1", "SET u:1 v", "RENAME x u:1", "FLUSHALL", "MOVE u:1 5", "X.UNKNOWN a"]
        {
            assert!(wants(&only, 0, wanted), "{wanted}");
        }
        for unwanted in ["HSET x f v", "LPUSH u:1 v", "DEL x y", "COPY u:1 x", "INCR u:1"] {
            assert!(!wants(&only, 0, unwanted), "{unwanted}");
        }
        assert!(!wants(&only, 1, "HSET u:1 f v") && !wants(&only, 1, "FLUSHDB") && !wants(&only, 1, "X.UNKNOWN a"));
        assert!(wants(&only, 1, "SWAPDB 1 2") && wants(&only, 1, "COPY u:1 u:2 DB 2"));
    }

    #[test]
    fn the_guard_key_is_kept_whatever_it_is() {
        let only = Only::new(Some(vec![]), None, Some(vec![])).always(Some(b"guard".to_vec()));
        assert!(only.keeps(3, b"guard", Kind::String) && !only.keeps(3, b"other", Kind::String));
    }
}
