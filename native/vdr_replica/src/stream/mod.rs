//! The command stream applied to the keyspace: SELECT, MULTI/EXEC, the guard key, and the
//! replication offset.
//!
//! ```text
//!            SET k v      MULTI ......... EXEC      SET __vdr_tx ....... DEL __vdr_tx
//! current  ──●────────────●───●───●───●───●─────────●────●────●────●────●──
//! visible  ──●────────────┤               ●─────────┤                   ●──
//! ```
//!
//! Commands are applied as they arrive. While a MULTI or a guard window is open, readers see the
//! state from before it: a checkpoint, which costs nothing with a persistent keyspace. If the link
//! ends inside a MULTI, the applier goes back to the checkpoint, because the primary sends the
//! whole transaction again.
//!
//! A guard window opens when a write sets the guard key in a database, and closes when none of the
//! databases where that happened has the key any more. It holds back all databases, since a reader
//! sees one state of all. A guard key that SWAPDB or MOVE carries into another database is gone
//! from its own, and opens no window there. A window that opens or closes inside a MULTI does so
//! with its EXEC.

mod doubt;

use crate::filter::{Filter, FilteredWrite};
use std::fmt;
use std::sync::Arc;
use vdr_commands::{Affected, AffectedKeys, Apply, ApplyError, ArgCursor, Command, Effect, Role, Rules, Write};
use vdr_data::keyspace::{HashedKey, Keyspace};
use vdr_data::value::ValueRef;

/// Longest name of an unknown command that is kept.
const UNKNOWN_NAME_CHARS_MAX: usize = 64;

/// How far we may rewind over keepalives when switching servers; small enough to be inside any
/// backlog.
pub const KEEPALIVE_REWIND_MAX_BYTES: u64 = 64 << 10;

/// The kind of a command that was applied.
#[derive(Clone, Copy)]
pub enum Applied {
    /// A write, applied.
    Write(&'static Write),
    /// A command of the stream's own, or one that changes no data.
    Control,
    /// The primary wants to hear our offset now.
    AckWanted,
    /// No row knows it, or not all of its options. The keys that it names are in doubt now.
    Unknown,
}

/// A command that cannot be applied: our data is no longer the primary's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    pub error: ApplyError,
    /// The command's name and its first argument (nearly always a key), shortened.
    pub command: String,
    pub offset: u64,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at offset {} on {}", self.error, self.offset, self.command)
    }
}

/// A state that readers may see.
#[derive(Clone)]
struct Checkpoint {
    keyspace: Keyspace,
    offset: u64,
    db: u32,
}

/// An open guard-key window.
#[derive(Clone)]
struct Window {
    /// The state that readers see meanwhile; `None` if the window was already open in the full
    /// sync.
    before: Option<Checkpoint>,
    /// The offset before the write that opened it.
    opened: u64,
    /// Databases in which the guard key was set.
    dbs: Vec<u32>,
}

/// An open MULTI, with the state and the guard window from before it.
struct Multi {
    before: Checkpoint,
    window: Option<Window>,
}

/// Applies one command after the other; see the module.
pub struct Applier {
    keyspace: Keyspace,
    /// The selected database.
    db: u32,
    /// The last byte of the stream that is applied.
    offset: u64,
    /// The last byte of the stream that changed the data or the selected database.
    changed: u64,
    multi: Option<Multi>,
    guard: Option<Window>,
    guard_key: Option<Vec<u8>>,
    filter: Option<Arc<Filter>>,
    rules: Rules,
    applied: u64,
    /// See [`Applier::is_complete`].
    complete: bool,
    names: doubt::Names,
}

/// The database that SELECT with these arguments selects.
pub fn selected(args: &[&[u8]]) -> Result<u32, ApplyError> {
    u32::try_from(ArgCursor::new(args).int()?).map_err(|_| ApplyError::OutOfRange)
}

impl Applier {
    /// Starts from the contents of a full sync: `db` is what the stream has selected at `offset`.
    pub fn new(keyspace: Keyspace, offset: u64, db: u32, guard_key: Option<Vec<u8>>) -> Self {
        let mut applier = Applier {
            keyspace,
            db,
            offset,
            changed: offset,
            multi: None,
            guard: None,
            guard_key,
            filter: None,
            rules: Rules::default(),
            applied: 0,
            complete: true,
            names: doubt::Names::default(),
        };
        let all = applier.keyspace.dbs().map(|(index, _)| index).collect();
        let dbs = applier.with_guard(all);
        applier.guard = (!dbs.is_empty()).then_some(Window { before: None, opened: offset, dbs });
        applier
    }

    /// Applies only what the filter keeps. The keyspace must hold no more.
    pub fn with_filter(self, filter: Option<Arc<Filter>>) -> Self {
        Applier { filter, ..self }
    }

    /// Follows the rules of this primary's version.
    pub fn rules(self, rules: Rules) -> Self {
        Applier { rules, ..self }
    }

    /// Follows the rules of another version from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Applies one command of `len` bytes.
    pub fn command(&mut self, args: &[&[u8]], len: usize, now_ms: i64) -> Result<Applied, Divergence> {
        let Some((name, rest)) = args.split_first() else { return Ok(Applied::Control) };
        let (applied, idle) = match vdr_commands::command(name) {
            Some(Command::Write(row)) => (self.write(row, rest, now_ms), false),
            Some(Command::Control(row)) => {
                (self.control(row.role, rest), self.multi.is_none() && row.role.is_keepalive())
            }
            None => {
                self.complete = false;
                self.names.mark(&mut self.keyspace, self.db, rest, self.filter.as_deref());
                (Ok(Applied::Unknown), false)
            }
        };
        self.offset += len as u64;
        if !idle {
            self.changed = self.offset;
        }
        applied.map_err(|error| Divergence { error, command: shorten(args), offset: self.offset })
    }

    /// The state that readers may see now, and its offset. `None` while a guard window is open that
    /// was already open in the full sync.
    pub fn visible(&self) -> Option<(&Keyspace, u64)> {
        let checkpoint = match (self.window(), &self.multi) {
            (Some(window), _) => window.before.as_ref()?,
            (None, Some(multi)) => &multi.before,
            (None, None) => return Some((&self.keyspace, self.offset)),
        };
        Some((&checkpoint.keyspace, checkpoint.offset))
    }

    /// The offset at which the open guard window opened. Writes since then are not visible yet.
    pub fn guard_window(&self) -> Option<u64> {
        self.window().map(|window| window.opened)
    }

    /// Closes the guard window although the guard key is still there.
    pub fn give_up_guard(&mut self) {
        let given_up = self.guard_window();
        if self.guard.as_ref().map(|window| window.opened) == given_up {
            self.guard = None;
        }
        if let Some(multi) = &mut self.multi {
            multi.window = None;
        }
    }

    /// The window that is in force: inside a MULTI, the one from before it.
    fn window(&self) -> Option<&Window> {
        match &self.multi {
            Some(multi) => multi.window.as_ref(),
            None => self.guard.as_ref(),
        }
    }

    /// The offset up to which the stream need not be sent again. A MULTI counts only when it is
    /// whole.
    pub fn resume_offset(&self) -> u64 {
        self.multi.as_ref().map_or(self.offset, |multi| multi.before.offset)
    }

    /// Undoes a MULTI that was cut off: the primary will send it again.
    pub fn rewind(&mut self) {
        let Some(Multi { before, window }) = self.multi.take() else { return };
        self.guard = window;
        self.keyspace = before.keyspace;
        self.offset = before.offset;
        self.changed = before.offset;
        self.db = before.db;
    }

    /// Rewinds the offset over trailing keepalives, which changed nothing, by at most
    /// [`KEEPALIVE_REWIND_MAX_BYTES`]. To be called between two links.
    pub fn rewind_keepalives(&mut self) {
        if self.multi.is_none() && self.offset.saturating_sub(self.changed) <= KEEPALIVE_REWIND_MAX_BYTES {
            self.offset = self.changed;
        }
    }

    /// Whether every command since the full sync was understood. If not, keys may be in doubt.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Writes applied so far.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The last byte of the stream that is applied, visible or not.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Prefetches keys of the selected database that the next commands probably name.
    pub fn prefetch(&self, keys: &[HashedKey<'_>]) {
        self.keyspace.db(self.db).prefetch(keys);
    }

    /// The state after the last command, visible or not.
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The selected database.
    pub fn db(&self) -> u32 {
        self.db
    }

    fn write(&mut self, row: &'static Write, args: &[&[u8]], now_ms: i64) -> Result<Applied, ApplyError> {
        let guarded = self.may_touch_guard(row, args);
        let before = (guarded && self.guard.is_none()).then(|| match &self.multi {
            Some(multi) => multi.before.clone(),
            None => self.checkpoint(),
        });
        let result = match self.run(row, args, now_ms) {
            Ok(()) => Ok(Applied::Write(row)),
            Err(error) => self.doubt(row, args, error),
        };
        if guarded {
            self.guard(row, args, before);
        }
        self.applied += 1;
        result
    }

    /// A write could not be applied. It is a contradiction, unless it has an option that the row
    /// does not know, or a key that it names is not followed: then the keys that it affects are in
    /// doubt.
    fn doubt(&mut self, row: &'static Write, args: &[&[u8]], error: ApplyError) -> Result<Applied, ApplyError> {
        let is_unknown_option = error == ApplyError::BadArguments;
        if !is_unknown_option && !doubt::explains(&self.keyspace, self.db, args, error, self.complete) {
            return Err(error);
        }
        doubt::mark_affected(&mut self.keyspace, row, self.db, args, self.filter.as_deref())?;
        if !is_unknown_option {
            return Ok(Applied::Write(row));
        }
        self.complete = false;
        doubt::mark_existing(&mut self.keyspace, self.db, args);
        Ok(Applied::Unknown)
    }

    fn run(&mut self, row: &Write, args: &[&[u8]], now_ms: i64) -> Result<(), ApplyError> {
        let filter = self.filter.clone();
        let plan = filter.as_ref().map_or(FilteredWrite::Run, |filter| filter.plan(row, self.db, args, &self.keyspace));
        let mut apply = Apply { keyspace: &mut self.keyspace, db: self.db, now_ms, rules: self.rules };
        match plan {
            FilteredWrite::Pass => return Ok(()),
            FilteredWrite::Missing => return Err(ApplyError::NotMirrored),
            FilteredWrite::Run => return (row.run)(&mut apply, &mut ArgCursor::new(args)),
            FilteredWrite::Strip => match (row.run)(&mut apply, &mut ArgCursor::new(args)) {
                // A STORE with an empty result removed a destination of a type that is not kept.
                Err(ApplyError::Missing) if row.effect.replaces() => {}
                result => result?,
            },
            FilteredWrite::Join => {
                let [_source, destination, member] = args else { return Err(ApplyError::BadArguments) };
                return apply.set(destination, |set| {
                    set.insert(member);
                    Ok(())
                });
            }
            FilteredWrite::Drop => {}
        }
        self.strip(row, args, plan == FilteredWrite::Drop);
        Ok(())
    }

    /// Removes the keys that a write affected and the filter does not keep; with `all`, every key
    /// that it affected.
    fn strip(&mut self, row: &Write, args: &[&[u8]], all: bool) {
        let Some(filter) = &self.filter else { return };
        let keyspace = &mut self.keyspace;
        vdr_commands::for_each_affected(row, self.db, args, &mut |touch| {
            let Affected::Key { db, key } = touch else { return };
            let is_kept = |value| match value {
                // Its type may be any.
                ValueRef::Unknown => filter.may_keep(db, key),
                value => filter.keeps(db, key, value.kind()),
            };
            if keyspace.db(db).get(key).is_some_and(|entry| all || !is_kept(entry.value())) {
                keyspace.db_mut(db).remove(key);
            }
        });
    }

    /// Opens, extends or closes the guard window after a write that may have affected the guard
    /// key.
    fn guard(&mut self, row: &Write, args: &[&[u8]], before: Option<Checkpoint>) {
        let mut dbs = self.guard.as_ref().map(|window| window.dbs.clone()).unwrap_or_default();
        // A key that is moved into another database is not set there.
        if row.effect != Effect::MovesToDatabase {
            vdr_commands::for_each_affected(row, self.db, args, &mut |touch| match touch {
                Affected::Key { db, key } if Some(key) == self.guard_key.as_deref() && !dbs.contains(&db) => {
                    dbs.push(db)
                }
                _ => {}
            });
        }
        let dbs = self.with_guard(dbs);
        self.guard = match self.guard.take() {
            _ if dbs.is_empty() => None,
            Some(window) => Some(Window { dbs, ..window }),
            None => Some(Window { before, opened: self.offset, dbs }),
        };
    }

    fn control(&mut self, role: Role, args: &[&[u8]]) -> Result<Applied, ApplyError> {
        match role {
            Role::Select => self.db = selected(args)?,
            Role::Multi => self.multi = Some(Multi { before: self.checkpoint(), window: self.guard.clone() }),
            Role::Exec => self.multi = None,
            Role::Replconf if is_getack(args) => return Ok(Applied::AckWanted),
            Role::Replconf | Role::Ping | Role::Ignored => {}
        }
        Ok(Applied::Control)
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { keyspace: self.keyspace.clone(), offset: self.offset, db: self.db }
    }

    /// Whether a write names the guard key or affects whole databases. Cheap, with false positives
    /// only.
    fn may_touch_guard(&self, row: &Write, args: &[&[u8]]) -> bool {
        let Some(guard_key) = &self.guard_key else { return false };
        let whole = self.guard.is_some() && matches!(row.affected, AffectedKeys::Special(_));
        whole || args.contains(&guard_key.as_slice())
    }

    /// The databases among `dbs` that hold the guard key.
    fn with_guard(&self, mut dbs: Vec<u32>) -> Vec<u32> {
        dbs.retain(|db| self.guard_key.as_ref().is_some_and(|key| self.keyspace.db(*db).get(key).is_some()));
        dbs
    }
}

/// The name of an unknown command as it is counted and reported.
pub fn unknown_name(name: &[u8]) -> String {
    let name: String = String::from_utf8_lossy(name).chars().take(UNKNOWN_NAME_CHARS_MAX).collect();
    name.to_ascii_lowercase()
}

/// Whether a REPLCONF with these arguments asks for the replica's offset.
pub fn is_getack(args: &[&[u8]]) -> bool {
    args.first().is_some_and(|arg| arg.eq_ignore_ascii_case(b"getack"))
}

fn shorten(args: &[&[u8]]) -> String {
    const MAX_ARG_BYTES: usize = 64;
    let shown = args.iter().take(2).map(|arg| {
        let head = arg.get(..MAX_ARG_BYTES).unwrap_or(arg);
        head.escape_ascii().to_string()
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
