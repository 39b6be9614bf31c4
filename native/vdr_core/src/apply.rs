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

use crate::blob::Blob;
use crate::commands::{self, Apply, ApplyError, Touch, Words, Write};
use crate::keyspace::Keyspace;
use crate::only::{Only, Plan};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Most names of unknown commands that are counted one by one; further ones are counted together.
pub const MAX_UNKNOWN_NAMES: usize = 128;
/// Longest name of an unknown command that is kept.
const MAX_UNKNOWN_NAME_BYTES: usize = 64;
/// The name under which unknown commands beyond [`MAX_UNKNOWN_NAMES`] are counted.
const OTHER_UNKNOWN: &str = "...";

/// Traffic of the stream that changes no data that we keep.
const PASSED_OVER: &[&[u8]] = &[
    b"ping",
    b"publish",
    b"spublish",
    b"function",
    b"script",
    b"cluster",
    b"opinfo",
    b"wait",
    b"asking",
    b"readonly",
    b"pfselftest",
];

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
struct Window {
    /// What readers may see meanwhile; none when the window was open already in a full sync.
    before: Option<Checkpoint>,
}

/// Applies commands, one after the other.
pub struct Applier {
    keyspace: Keyspace,
    /// The database that SELECT chose.
    db: u32,
    /// The last byte of the stream that is applied.
    offset: u64,
    multi: Option<Checkpoint>,
    guard: Option<Window>,
    guard_key: Option<Vec<u8>>,
    only: Option<Arc<Only>>,
    unknown: BTreeMap<String, u64>,
    applied: u64,
}

/// Whether a command changes no data, as far as we keep any.
pub fn is_passed_over(name: &[u8]) -> bool {
    PASSED_OVER.iter().any(|word| name.eq_ignore_ascii_case(word))
}

/// The database that a SELECT with these arguments chooses.
pub fn selected(args: &[&[u8]]) -> Result<u32, ApplyError> {
    u32::try_from(Words::new(args).int()?).map_err(|_| ApplyError::OutOfRange)
}

impl Applier {
    /// Starts from the contents of a full sync: `db` is what the stream has selected at `offset`.
    pub fn new(keyspace: Keyspace, offset: u64, db: u32, guard_key: Option<Vec<u8>>) -> Self {
        let unknown = BTreeMap::new();
        let mut applier =
            Applier { keyspace, db, offset, multi: None, guard: None, guard_key, only: None, unknown, applied: 0 };
        if applier.guard_is_set() {
            applier.guard = Some(Window { before: None });
        }
        applier
    }

    /// Applies only what the filter keeps; `keyspace` holds no more.
    pub fn only(self, only: Option<Arc<Only>>) -> Self {
        Applier { only, ..self }
    }

    /// Applies one command of `len` bytes.
    pub fn command(&mut self, args: &[&[u8]], len: usize, now_ms: i64) -> Result<Applied, Divergence> {
        let Some((name, rest)) = args.split_first() else { return Ok(Applied::Control) };
        let applied = match commands::write(name) {
            Some(row) => self.write(row, rest, now_ms).map(|()| Applied::Write(row)),
            None => self.control(name, rest),
        };
        self.offset += len as u64;
        applied.map_err(|error| Divergence { error, command: shorten(args), offset: self.offset })
    }

    /// The state that readers may see now, and its offset; `None` while nothing may be shown (a full sync was taken
    /// inside a guard window).
    pub fn visible(&self) -> Option<(&Keyspace, u64)> {
        let checkpoint = match &self.guard {
            Some(window) => Some(window.before.as_ref()?),
            None => self.multi.as_ref(),
        };
        Some(match checkpoint {
            Some(checkpoint) => (&checkpoint.keyspace, checkpoint.offset),
            None => (&self.keyspace, self.offset),
        })
    }

    /// Whether a guard window is open: what was applied since it opened is not visible yet.
    pub fn in_guard_window(&self) -> bool {
        self.guard.is_some()
    }

    /// Shows what a guard window held back, although the guard key is still there.
    pub fn give_up_guard(&mut self) {
        self.guard = None;
    }

    /// The offset up to which the stream need not be sent again: MULTI units count when they are whole.
    pub fn resume_offset(&self) -> u64 {
        self.multi.as_ref().map_or(self.offset, |checkpoint| checkpoint.offset)
    }

    /// Forgets a MULTI that was cut off: the primary will send it again.
    pub fn rewind(&mut self) {
        let Some(checkpoint) = self.multi.take() else { return };
        let before = self.guard.as_ref().and_then(|window| window.before.as_ref());
        if before.is_some_and(|before| before.offset >= checkpoint.offset) {
            self.guard = None;
        }
        self.keyspace = checkpoint.keyspace;
        self.offset = checkpoint.offset;
        self.db = checkpoint.db;
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

    /// The selected database.
    pub fn db(&self) -> u32 {
        self.db
    }

    fn write(&mut self, row: &Write, args: &[&[u8]], now_ms: i64) -> Result<(), ApplyError> {
        let guarded = self.may_touch_guard(row, args);
        if guarded && self.guard.is_none() {
            let before = self.multi.clone().unwrap_or_else(|| self.checkpoint());
            self.guard = Some(Window { before: Some(before) });
        }
        let result = self.run(row, args, now_ms);
        if guarded && !self.guard_is_set() {
            self.guard = None;
        }
        self.applied += 1;
        result
    }

    fn run(&mut self, row: &Write, args: &[&[u8]], now_ms: i64) -> Result<(), ApplyError> {
        let only = self.only.clone();
        let plan = only.as_ref().map_or(Plan::Run, |only| only.plan(row, self.db, args, &self.keyspace));
        let mut apply = Apply { keyspace: &mut self.keyspace, db: self.db, now_ms };
        match plan {
            Plan::Pass => return Ok(()),
            Plan::Missing => return Err(ApplyError::NotMirrored),
            Plan::Run => return (row.run)(&mut apply, &mut Words::new(args)),
            Plan::Strip => match (row.run)(&mut apply, &mut Words::new(args)) {
                // A store of nothing, which removed a destination of a type that we do not keep.
                Err(ApplyError::Missing) if commands::replaces(row) => {}
                result => result?,
            },
            Plan::Join => {
                let [_source, destination, member] = args else { return Err(ApplyError::BadArguments) };
                return apply.set(destination, |set| {
                    set.insert(Blob::new(member));
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
        commands::touched(row, self.db, args, &mut |touch| {
            let Touch::Key { db, key } = touch else { return };
            let kind = keyspace.db(db).get(key).map(|entry| entry.value.kind());
            if kind.is_some_and(|kind| all || !only.keeps(db, key, kind)) {
                keyspace.db_mut(db).remove(key);
            }
        });
    }

    fn control(&mut self, name: &[u8], args: &[&[u8]]) -> Result<Applied, ApplyError> {
        let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
        if is(b"select") {
            self.db = selected(args)?;
        } else if is(b"multi") {
            self.multi = Some(self.checkpoint());
        } else if is(b"exec") {
            self.multi = None;
        } else if is(b"replconf") {
            let getack = args.first().is_some_and(|arg| arg.eq_ignore_ascii_case(b"getack"));
            return Ok(if getack { Applied::AckWanted } else { Applied::Control });
        } else if !is_passed_over(name) {
            self.count_unknown(name);
            return Ok(Applied::Unknown);
        }
        Ok(Applied::Control)
    }

    fn count_unknown(&mut self, name: &[u8]) {
        let name: String = String::from_utf8_lossy(name).chars().take(MAX_UNKNOWN_NAME_BYTES).collect();
        let name = name.to_ascii_lowercase();
        let full = self.unknown.len() >= MAX_UNKNOWN_NAMES && !self.unknown.contains_key(&name);
        *self.unknown.entry(if full { OTHER_UNKNOWN.to_owned() } else { name }).or_default() += 1;
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { keyspace: self.keyspace.clone(), offset: self.offset, db: self.db }
    }

    /// Cheap and never wrong the other way: a write that names the guard key, or that reaches whole databases.
    fn may_touch_guard(&self, row: &Write, args: &[&[u8]]) -> bool {
        let Some(guard_key) = &self.guard_key else { return false };
        let whole = self.guard.is_some() && matches!(row.touches, commands::Touches::Special(_));
        whole || args.contains(&guard_key.as_slice())
    }

    fn guard_is_set(&self) -> bool {
        let Some(guard_key) = &self.guard_key else { return false };
        self.keyspace.dbs().any(|(_, db)| db.get(guard_key).is_some())
    }
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
mod tests {
    use super::*;

    fn applier() -> Applier {
        Applier::new(Keyspace::default(), 100, 0, Some(b"__vdr_tx".to_vec()))
    }

    fn run(applier: &mut Applier, command: &str) -> Result<Applied, Divergence> {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        applier.command(&args, 10, 0)
    }

    fn visible(applier: &Applier, key: &str) -> Option<String> {
        let value = applier.visible().unwrap().0.view(0, 0).string(key.as_bytes()).unwrap()?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    #[test]
    fn a_multi_becomes_visible_with_its_exec() {
        let mut applier = applier();
        for command in ["SET a 1", "MULTI", "SET a 2", "SET b 2"] {
            run(&mut applier, command).unwrap();
        }
        assert_eq!((visible(&applier, "a").as_deref(), visible(&applier, "b")), (Some("1"), None));
        assert_eq!((applier.visible().unwrap().1, applier.resume_offset()), (110, 110));
        run(&mut applier, "EXEC").unwrap();
        assert_eq!((visible(&applier, "a").as_deref(), visible(&applier, "b").as_deref()), (Some("2"), Some("2")));
        assert_eq!((applier.visible().unwrap().1, applier.resume_offset()), (150, 150));
    }

    #[test]
    fn a_multi_that_is_cut_off_never_was() {
        let mut applier = applier();
        for command in ["SET a 1", "MULTI", "SELECT 3", "SET a 2", "SET __vdr_tx 1"] {
            run(&mut applier, command).unwrap();
        }
        applier.rewind();
        assert_eq!((visible(&applier, "a").as_deref(), applier.resume_offset(), applier.db()), (Some("1"), 110, 0));
        assert!(!applier.in_guard_window());
    }

    #[test]
    fn a_guard_window_outlives_the_link_and_multis() {
        let mut applier = applier();
        for command in ["SET a 1", "SET __vdr_tx x", "SET a 2", "MULTI", "SET a 3"] {
            run(&mut applier, command).unwrap();
        }
        assert_eq!((visible(&applier, "a").as_deref(), applier.visible().unwrap().1), (Some("1"), 110));
        applier.rewind();
        assert!(applier.in_guard_window());
        assert_eq!(applier.resume_offset(), 130);
        run(&mut applier, "SET a 4").unwrap();
        assert_eq!(visible(&applier, "a").as_deref(), Some("1"));
        run(&mut applier, "SET __vdr_tx y").unwrap();
        assert_eq!(visible(&applier, "a").as_deref(), Some("1"));
    }

    #[test]
    fn a_full_sync_inside_a_guard_window_shows_nothing_until_it_closes() {
        let mut keyspace = Keyspace::default();
        keyspace.db_mut(2).insert("__vdr_tx".into(), crate::keyspace::Entry::new(crate::blob::Blob::from("x")));
        let mut applier = Applier::new(keyspace, 5, 2, Some(b"__vdr_tx".to_vec()));
        run(&mut applier, "SET a 1").unwrap();
        assert!(applier.visible().is_none());
        applier.give_up_guard();
        assert_eq!(applier.visible().unwrap().1, 15);
    }

    #[test]
    fn unknown_commands_are_counted_and_bounded() {
        let mut applier = applier();
        for n in 0..MAX_UNKNOWN_NAMES + 10 {
            assert!(matches!(run(&mut applier, &format!("X.{n} a")), Ok(Applied::Unknown)));
        }
        assert!(matches!(run(&mut applier, "x.0 a"), Ok(Applied::Unknown)));
        assert_eq!(applier.unknown().get("x.0"), Some(&2));
        assert_eq!(applier.unknown().get(OTHER_UNKNOWN), Some(&10));
        assert!(applier.unknown().len() <= MAX_UNKNOWN_NAMES + 1);
    }

    #[test]
    fn a_write_that_contradicts_the_data_is_a_divergence() {
        let mut applier = applier();
        run(&mut applier, "SET a x").unwrap();
        let divergence = run(&mut applier, "INCRBY a 1").err().unwrap();
        assert_eq!(divergence.error, ApplyError::NotANumber);
        assert_eq!(divergence.command, "INCRBY a");
    }

    #[test]
    fn replconf_getack_wants_an_ack() {
        assert!(matches!(run(&mut applier(), "REPLCONF GETACK *"), Ok(Applied::AckWanted)));
        assert!(matches!(run(&mut applier(), "ping"), Ok(Applied::Control)));
    }
}
