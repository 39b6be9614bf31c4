//! Which databases, keys and types a filter keeps, and which commands change one of them.

use vdr_commands::{Affected, Leaves, Write};
use vdr_data::value::Kind;

/// What is kept. `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    dbs: Option<Vec<u32>>,
    pub(super) prefixes: Option<Vec<Vec<u8>>>,
    pub(super) kinds: Option<Vec<Kind>>,
    /// A key that is kept in every database and with every type: the guard key.
    always: Option<Vec<u8>>,
}

impl Filter {
    pub fn new(dbs: Option<Vec<u32>>, prefixes: Option<Vec<Vec<u8>>>, kinds: Option<Vec<Kind>>) -> Self {
        Filter { dbs, prefixes, kinds, always: None }
    }

    /// Keeps this key as well.
    pub fn always(self, key: Option<Vec<u8>>) -> Self {
        Filter { always: key, ..self }
    }

    /// Whether a key with a value of this type is kept.
    pub fn keeps(&self, db: u32, key: &[u8], kind: Kind) -> bool {
        self.is_always(key) || self.has_place(db, key) && self.has_kind(kind)
    }

    /// Whether a key is kept if its value is of a type that is kept.
    pub fn may_keep(&self, db: u32, key: &[u8]) -> bool {
        self.is_always(key) || self.has_place(db, key)
    }

    /// Whether a handler gets a command. It does if the command may change a key that is kept, even
    /// if only by replacing it with a value of a type that is not kept.
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

    pub(super) fn has_place(&self, db: u32, key: &[u8]) -> bool {
        let begins = |prefixes: &Vec<Vec<u8>>| prefixes.iter().any(|prefix| key.starts_with(prefix));
        self.has_db(db) && self.prefixes.as_ref().is_none_or(begins)
    }

    pub(super) fn has_db(&self, db: u32) -> bool {
        self.dbs.as_ref().is_none_or(|dbs| dbs.contains(&db))
    }

    pub(super) fn has_kind(&self, kind: Kind) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }

    /// Whether a write leaves a type that is not kept.
    pub(super) fn drops(&self, row: &Write) -> bool {
        matches!(row.leaves, Leaves::Kind(kind) if !self.has_kind(kind))
    }

    pub(super) fn is_always(&self, key: &[u8]) -> bool {
        self.always.as_deref() == Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(filter: &Filter, db: u32, command: &str) -> bool {
        filter.wants(db, &command.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn a_handler_gets_each_command_that_may_change_a_key_that_it_keeps() {
        let filter = Filter::new(Some(vec![0, 2]), Some(vec![b"u:".to_vec()]), Some(vec![Kind::Hash]));
        for wanted in
            ["HSET u:1 f v", "DEL x u:1", "SET u:1 v", "RENAME x u:1", "FLUSHALL", "MOVE u:1 5", "X.UNKNOWN a"]
        {
            assert!(wants(&filter, 0, wanted), "{wanted}");
        }
        for unwanted in ["HSET x f v", "LPUSH u:1 v", "DEL x y", "COPY u:1 x", "INCR u:1"] {
            assert!(!wants(&filter, 0, unwanted), "{unwanted}");
        }
        assert!(
            !wants(&filter, 1, "HSET u:1 f v") && !wants(&filter, 1, "FLUSHDB") && !wants(&filter, 1, "X.UNKNOWN a")
        );
        assert!(wants(&filter, 1, "SWAPDB 1 2") && wants(&filter, 1, "COPY u:1 u:2 DB 2"));
    }

    #[test]
    fn the_guard_key_is_kept_whatever_it_is() {
        let filter = Filter::new(Some(vec![]), None, Some(vec![])).always(Some(b"guard".to_vec()));
        assert!(filter.keeps(3, b"guard", Kind::String) && !filter.keeps(3, b"other", Kind::String));
    }
}
