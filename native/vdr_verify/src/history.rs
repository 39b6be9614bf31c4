//! The states of the mirror by offset, and the commands that led to them.

use crate::command::show;
use crate::filtered::Filtered;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use vdr_commands::Affected;
use vdr_replica::live::Snapshot;
use vdr_replica::stream;
use vdr_testkit::Command;

/// How many states and commands are kept.
const KEPT: usize = 20_000;
/// How many commands a report shows.
const SHOWN: usize = 12;

/// A command of the stream, with the offset after it and the selected database.
struct Entry {
    offset: u64,
    db: u32,
    command: Command,
}

#[derive(Default)]
pub struct History {
    states: BTreeMap<u64, Arc<Snapshot>>,
    log: VecDeque<Entry>,
    /// The selected database of the stream.
    db: u32,
    pub commands: u64,
    /// What the last full sync brought. None: commands that came since are no longer in the log.
    synced: Option<Arc<Snapshot>>,
    pub ends: Vec<String>,
    /// Only framewise: within a batch not every state is visible.
    pub filtered: Option<Filtered>,
}

impl History {
    pub fn new(filtered: Option<Filtered>) -> Self {
        History { filtered, ..Self::default() }
    }

    pub fn keep(&mut self, snapshot: Option<Arc<Snapshot>>) {
        self.states.extend(snapshot.map(|snapshot| (snapshot.offset, snapshot)));
        while self.states.len() > KEPT {
            self.states.pop_first();
        }
    }

    pub fn at(&self, offset: u64) -> Option<Arc<Snapshot>> {
        self.states.get(&offset).cloned()
    }

    /// A full sync starts a new stream with no selected database.
    pub fn synced(&mut self, snapshot: Option<Arc<Snapshot>>) {
        self.db = 0;
        self.states.clear();
        self.synced = snapshot.clone();
        self.keep(snapshot);
    }

    pub fn record(&mut self, offset: u64, command: Command) {
        let args: Vec<&[u8]> = command.iter().skip(1).map(Vec::as_slice).collect();
        if command.first().is_some_and(|name| name.eq_ignore_ascii_case(b"select")) {
            self.db = stream::selected(&args).unwrap_or(self.db);
        }
        self.commands += 1;
        self.log.push_back(Entry { offset, db: self.db, command });
        if self.log.len() > KEPT {
            let lost = self.log.pop_front();
            self.synced.take_if(|synced| lost.is_some_and(|lost| lost.offset > synced.offset));
        }
    }

    /// The last commands of the stream that may have changed a key of a database, newest first.
    pub fn about(&self, db: u32, key: &[u8]) -> Vec<String> {
        let entries = self.affecting(self.log.len(), db, key).take(SHOWN);
        entries.map(|entry| format!("@{} db {} {}", entry.offset, entry.db, show(&entry.command))).collect()
    }

    /// Whether the command at this offset names a key that neither the last full sync nor the
    /// stream since then made, or that the last command about it may have removed. If the primary
    /// has that key, it made it and did not send how.
    pub fn is_unsent(&self, offset: u64) -> bool {
        let Some(at) = self.log.iter().rposition(|entry| entry.offset == offset) else { return false };
        let Some((entry, key)) = self.log.get(at).and_then(|entry| Some((entry, entry.command.get(1)?))) else {
            return false;
        };
        let is_later = |entry: &&Entry| self.synced.as_ref().is_none_or(|synced| entry.offset > synced.offset);
        match self.affecting(at, entry.db, key).next().filter(is_later) {
            Some(last) => may_remove(&last.command, key),
            None => self.synced.as_ref().is_some_and(|synced| synced.keyspace.db(entry.db).get(key).is_none()),
        }
    }

    /// The commands among the first so many of the log that may have changed a key of a database,
    /// newest first. SWAPDB is followed.
    fn affecting<'h>(&'h self, before: usize, db: u32, key: &'h [u8]) -> impl Iterator<Item = &'h Entry> {
        let mut db = db;
        self.log.range(..before).rev().filter(move |entry| {
            let args: Vec<&[u8]> = entry.command.iter().skip(1).map(Vec::as_slice).collect();
            let Some(row) = entry.command.first().and_then(|name| vdr_commands::write(name)) else { return false };
            let mut touches = false;
            vdr_commands::for_each_affected(row, entry.db, &args, &mut |touch| {
                touches |= match touch {
                    Affected::Key { db: of, key: name } => of == db && name == key,
                    Affected::Db(of) => of == db,
                    Affected::All => true,
                }
            });
            if touches && row.name == "swapdb" {
                db = other(&args, db);
            }
            touches
        })
    }

    /// The last commands up to an offset.
    pub fn before(&self, offset: u64) -> String {
        let last: Vec<_> = self.log.iter().rev().filter(|entry| entry.offset <= offset).take(SHOWN).collect();
        last.iter()
            .rev()
            .map(|entry| format!("\n    @{} db {} {}", entry.offset, entry.db, show(&entry.command)))
            .collect()
    }
}

/// Whether a command that names a key may leave nothing there: it removes what it names, or moves
/// it away, or stores a result that may be empty.
fn may_remove(command: &Command, key: &[u8]) -> bool {
    let Some(name) = command.first().map(|name| name.to_ascii_lowercase()) else { return false };
    match name.as_slice() {
        b"del" | b"unlink" | b"getdel" | b"flushdb" | b"flushall" | b"bitop" => true,
        b"rename" | b"renamenx" | b"move" => command.get(1).is_some_and(|source| source == key),
        _ => name.ends_with(b"store"),
    }
}

/// The database that held these contents before a SWAPDB.
fn other(args: &[&[u8]], db: u32) -> u32 {
    let number = |at: usize| std::str::from_utf8(args.get(at)?).ok()?.parse().ok();
    match (number(0), number(1)) {
        (Some(one), Some(two)) if one == db => two,
        (Some(one), Some(two)) if two == db => one,
        _ => db,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdr_data::expiry::Expiry;
    use vdr_testkit::command;

    fn history(lines: &[&str]) -> History {
        let mut history = History::default();
        for (at, line) in lines.iter().enumerate() {
            history.record(at as u64, command(&line.split(' ').collect::<Vec<_>>()));
        }
        history
    }

    #[test]
    fn only_what_may_have_changed_the_key_in_its_database_is_told() {
        let history = history(&[
            "SET k 0",
            "SELECT 3",
            "SET k 1",
            "SET other k",
            "MOVE k 0",
            "SELECT 0",
            "APPEND k x",
            "FLUSHDB",
            "SET v k",
            "COPY v k DB 3",
        ]);
        assert_eq!(history.about(3, b"k"), ["@9 db 0 COPY v k DB 3", "@4 db 3 MOVE k 0", "@2 db 3 SET k 1"]);
        assert_eq!(
            history.about(0, b"k"),
            ["@7 db 0 FLUSHDB", "@6 db 0 APPEND k x", "@4 db 3 MOVE k 0", "@0 db 0 SET k 0"]
        );
    }

    #[test]
    fn what_nothing_in_the_stream_made_was_not_sent() {
        let lines =
            ["SET k 0", "DEL k", "RENAME k x", "SETBIT k 1 1", "PERSIST k", "SELECT 1", "SWAPDB 0 1", "COPY k y"];
        let history = history(&lines);
        let unsent: Vec<u64> = (0..8).filter(|offset| history.is_unsent(*offset)).collect();
        assert_eq!(unsent, [2, 3], "DEL and RENAME removed it; of what the log does not have, nothing is known");
    }

    #[test]
    fn a_key_of_the_full_sync_was_sent() {
        let mut synced = Snapshot::default();
        synced.keyspace.db_mut(0).insert_string(b"k", b"v", Expiry::NEVER);
        let mut history = history(&["DEL k"]);
        history.synced(Some(Arc::new(synced)));
        history.record(1, command(&["PERSIST", "k"]));
        history.record(2, command(&["PERSIST", "other"]));
        assert!(!history.is_unsent(1));
        assert!(history.is_unsent(2));
    }

    #[test]
    fn a_key_is_followed_through_swapdb() {
        let history = history(&["SELECT 1", "SET k 1", "SWAPDB 1 2", "SET k 2"]);
        assert_eq!(history.about(2, b"k"), ["@2 db 1 SWAPDB 1 2", "@1 db 1 SET k 1"]);
        assert_eq!(history.about(1, b"k"), ["@3 db 1 SET k 2", "@2 db 1 SWAPDB 1 2"]);
    }
}
