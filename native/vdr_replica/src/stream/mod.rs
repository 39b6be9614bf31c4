//! The command stream onto the keyspace: SELECT, MULTI/EXEC, the guard key, and the offset.
//!
//! ```text
//!            SET k v      MULTI ......... EXEC      SET __vdr_tx ....... DEL __vdr_tx
//! current  ──●────────────●───●───●───●───●─────────●────●────●────●────●──
//! visible  ──●────────────┤               ●─────────┤                   ●──
//! ```
//!
//! Commands are applied as they come. While a MULTI or a guard-key window is open, readers are offered the state from
//! before it: a checkpoint, which a persistent keyspace gives for nothing. When the link ends inside a MULTI, the
//! checkpoint is also what we go back to, because the primary sends the whole unit again.
//!
//! A guard window opens when a write leaves the guard key in the database that it names it in, and closes when the key is no
//! longer in any database where that happened. It holds back all databases, since what a reader sees is one state of all.
//! A key that SWAPDB or MOVE carries into another database is gone from its own and opens nothing there. What happens to a
//! window inside of a MULTI counts from its EXEC on.

use crate::filter::{Only, Plan};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use vdr_commands::{Affected, AffectedKeys, Apply, ApplyError, ArgCursor, Command, Effect, Role, Rules, Write};
use vdr_data::keyspace::Keyspace;

/// Most names of unknown commands that are counted one by one; further ones are counted together.
pub const MAX_UNKNOWN_NAMES: usize = 128;
/// Longest name of an unknown command that is kept.
const MAX_UNKNOWN_NAME_BYTES: usize = 64;
/// The name under which unknown commands beyond [`MAX_UNKNOWN_NAMES`] are counted.
const OTHER_UNKNOWN: &str = "...";

/// How much idle talk is asked for once more from another server: so little that any backlog has it.
pub const STEP_BACK_MAX_BYTES: u64 = 64 << 10;

/// What a command turned out to be.
#[derive(Clone, Copy)]
pub enum Applied {
    /// A write, applied.
    Write(&'static Write),
    /// Part of the stream's own language, or nothing to us.
    Control,
    /// The primary wants to hear our offset now.
    AckWanted,
    /// No row knows it. Counted in [`Applier::unknown`].
    Unknown,
}

/// A command that cannot be applied to our data: it is no longer the primary's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    pub error: ApplyError,
    /// The command's name and its first argument (a key, for nearly all), shortened.
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
    /// What readers may see meanwhile; none when the window was open already in a full sync.
    before: Option<Checkpoint>,
    /// The offset before the write that opened it.
    opened: u64,
    /// Databases in which the guard key was set.
    dbs: Vec<u32>,
}

/// An open MULTI, and how things stood before it.
struct Multi {
    before: Checkpoint,
    window: Option<Window>,
}

/// Applies commands, one after the other.
pub struct Applier {
    keyspace: Keyspace,
    /// The database that SELECT chose.
    db: u32,
    /// The last byte of the stream that is applied.
    offset: u64,
    /// The last byte of the stream that changed anything: data, or which database is selected.
    changed: u64,
    multi: Option<Multi>,
    guard: Option<Window>,
    guard_key: Option<Vec<u8>>,
    only: Option<Arc<Only>>,
    rules: Rules,
    unknown: BTreeMap<String, u64>,
    applied: u64,
}

/// The database that a SELECT with these arguments chooses.
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
            only: None,
            rules: Rules::default(),
            unknown: BTreeMap::new(),
            applied: 0,
        };
        let all = applier.keyspace.dbs().map(|(index, _)| index).collect();
        let dbs = applier.with_guard(all);
        applier.guard = (!dbs.is_empty()).then_some(Window { before: None, opened: offset, dbs });
        applier
    }

    /// Applies only what the filter keeps; `keyspace` holds no more.
    pub fn only(self, only: Option<Arc<Only>>) -> Self {
        Applier { only, ..self }
    }

    /// Applies commands as this primary does.
    pub fn rules(self, rules: Rules) -> Self {
        Applier { rules, ..self }
    }

    /// Applies one command of `len` bytes.
    pub fn command(&mut self, args: &[&[u8]], len: usize, now_ms: i64) -> Result<Applied, Divergence> {
        let Some((name, rest)) = args.split_first() else { return Ok(Applied::Control) };
        let (applied, idle) = match vdr_commands::command(name) {
            Some(Command::Write(row)) => (self.write(row, rest, now_ms).map(|()| Applied::Write(row)), false),
            Some(Command::Control(row)) => {
                (self.control(row.role, rest), self.multi.is_none() && row.role.is_keepalive())
            }
            None => {
                self.count_unknown(name);
                (Ok(Applied::Unknown), false)
            }
        };
        self.offset += len as u64;
        if !idle {
            self.changed = self.offset;
        }
        applied.map_err(|error| Divergence { error, command: shorten(args), offset: self.offset })
    }

    /// The state that readers may see now, and its offset; `None` while nothing may be shown (a full sync was taken
    /// inside a guard window).
    pub fn visible(&self) -> Option<(&Keyspace, u64)> {
        let checkpoint = match (self.window(), &self.multi) {
            (Some(window), _) => window.before.as_ref()?,
            (None, Some(multi)) => &multi.before,
            (None, None) => return Some((&self.keyspace, self.offset)),
        };
        Some((&checkpoint.keyspace, checkpoint.offset))
    }

    /// The guard window that is open, by the offset at which it opened: what was applied since is not visible yet.
    pub fn guard_window(&self) -> Option<u64> {
        self.window().map(|window| window.opened)
    }

    /// Shows what a guard window held back, although the guard key is still there.
    pub fn give_up_guard(&mut self) {
        let given_up = self.guard_window();
        if self.guard.as_ref().map(|window| window.opened) == given_up {
            self.guard = None;
        }
        if let Some(multi) = &mut self.multi {
            multi.window = None;
        }
    }

    /// The window that counts: inside of a MULTI, the one from before it.
    fn window(&self) -> Option<&Window> {
        match &self.multi {
            Some(multi) => multi.window.as_ref(),
            None => self.guard.as_ref(),
        }
    }

    /// The offset up to which the stream need not be sent again: MULTI units count when they are whole.
    pub fn resume_offset(&self) -> u64 {
        self.multi.as_ref().map_or(self.offset, |multi| multi.before.offset)
    }

    /// Forgets a MULTI that was cut off: the primary will send it again.
    pub fn rewind(&mut self) {
        let Some(Multi { before, window }) = self.multi.take() else { return };
        self.guard = window;
        self.keyspace = before.keyspace;
        self.offset = before.offset;
        self.changed = before.offset;
        self.db = before.db;
    }

    /// Goes back to the offset at which everything was as it is now: behind it came idle talk alone. Not further than
    /// [`STEP_BACK_MAX_BYTES`]. To be called between two links.
    pub fn step_back(&mut self) {
        if self.multi.is_none() && self.offset.saturating_sub(self.changed) <= STEP_BACK_MAX_BYTES {
            self.offset = self.changed;
        }
    }

    pub fn unknown(&self) -> &BTreeMap<String, u64> {
        &self.unknown
    }

    /// Writes applied so far.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The last byte of the stream that is applied, visible or not.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Keys of the selected database that commands to come will probably name.
    pub fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k [u8]> + Clone) {
        self.keyspace.db(self.db).prefetch(keys);
    }

    /// As it is after the last command, visible or not.
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The selected database.
    pub fn db(&self) -> u32 {
        self.db
    }

    fn write(&mut self, row: &Write, args: &[&[u8]], now_ms: i64) -> Result<(), ApplyError> {
        let guarded = self.may_touch_guard(row, args);
        let before = (guarded && self.guard.is_none()).then(|| match &self.multi {
            Some(multi) => multi.before.clone(),
            None => self.checkpoint(),
        });
        let result = self.run(row, args, now_ms);
        if guarded {
            self.guard(row, args, before);
        }
        self.applied += 1;
        result
    }

    fn run(&mut self, row: &Write, args: &[&[u8]], now_ms: i64) -> Result<(), ApplyError> {
        let only = self.only.clone();
        let plan = only.as_ref().map_or(Plan::Run, |only| only.plan(row, self.db, args, &self.keyspace));
        let mut apply = Apply { keyspace: &mut self.keyspace, db: self.db, now_ms, rules: self.rules };
        match plan {
            Plan::Pass => return Ok(()),
            Plan::Missing => return Err(ApplyError::NotMirrored),
            Plan::Run => return (row.run)(&mut apply, &mut ArgCursor::new(args)),
            Plan::Strip => match (row.run)(&mut apply, &mut ArgCursor::new(args)) {
                // A store of nothing, which removed a destination of a type that we do not keep.
                Err(ApplyError::Missing) if row.effect.replaces() => {}
                result => result?,
            },
            Plan::Join => {
                let [_source, destination, member] = args else { return Err(ApplyError::BadArguments) };
                return apply.set(destination, |set| {
                    set.insert(member);
                    Ok(())
                });
            }
            Plan::Drop => {}
        }
        self.strip(row, args, plan == Plan::Drop);
        Ok(())
    }

    /// Removes what a write touched and the filter does not keep; with `all`, whatever it touched.
    fn strip(&mut self, row: &Write, args: &[&[u8]], all: bool) {
        let Some(only) = &self.only else { return };
        let keyspace = &mut self.keyspace;
        vdr_commands::for_each_affected(row, self.db, args, &mut |touch| {
            let Affected::Key { db, key } = touch else { return };
            let kind = keyspace.db(db).get(key).map(|entry| entry.value().kind());
            if kind.is_some_and(|kind| all || !only.keeps(db, key, kind)) {
                keyspace.db_mut(db).remove(key);
            }
        });
    }

    /// Opens, extends or closes the guard window after a write that may have touched the guard key.
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

    fn count_unknown(&mut self, name: &[u8]) {
        let name = unknown_name(name);
        let full = self.unknown.len() >= MAX_UNKNOWN_NAMES && !self.unknown.contains_key(&name);
        *self.unknown.entry(if full { OTHER_UNKNOWN.to_owned() } else { name }).or_default() += 1;
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { keyspace: self.keyspace.clone(), offset: self.offset, db: self.db }
    }

    /// Cheap and never wrong the other way: a write that names the guard key, or that reaches whole databases.
    fn may_touch_guard(&self, row: &Write, args: &[&[u8]]) -> bool {
        let Some(guard_key) = &self.guard_key else { return false };
        let whole = self.guard.is_some() && matches!(row.affected, AffectedKeys::Special(_));
        whole || args.contains(&guard_key.as_slice())
    }

    /// Those of the databases that hold the guard key.
    fn with_guard(&self, mut dbs: Vec<u32>) -> Vec<u32> {
        dbs.retain(|db| self.guard_key.as_ref().is_some_and(|key| self.keyspace.db(*db).get(key).is_some()));
        dbs
    }
}

/// The name of an unknown command as it is counted and told.
pub fn unknown_name(name: &[u8]) -> String {
    let name: String = String::from_utf8_lossy(name).chars().take(MAX_UNKNOWN_NAME_BYTES).collect();
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
