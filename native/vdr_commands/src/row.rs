//! The rows of the command table: all facts about a read, and about a write.

use crate::args::{Arg, Args};
use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyResult, ReadError};
use crate::reply::Reply;
use vdr_data::keyspace::View;
use vdr_data::value::Kind;

/// A read: a function of the public API, an entry of a `read_tx` list, a function of `ts` in Lua.
#[derive(Clone, Copy)]
pub struct Read {
    /// The server's name for the command, in lower case.
    pub name: &'static str,
    /// The arguments by name, optional ones with a leading `?`. Arity checks and docs use them, and
    /// so do the tests that compare the Elixir functions with the rows.
    pub args: &'static [&'static str],
    pub cost: Cost,
    pub run: for<'s> fn(View<'s>, &mut Args<'_>) -> Result<Reply<'s>, ReadError>,
}

impl Read {
    #[inline]
    pub fn min_args(&self) -> usize {
        self.args.iter().filter(|name| !name.starts_with('?')).count()
    }

    #[inline]
    pub fn max_args(&self) -> usize {
        self.args.len()
    }

    /// Checks the arity, and runs the row.
    #[inline]
    pub fn call<'s>(&self, view: View<'s>, args: &[Arg<'_>]) -> Result<Reply<'s>, ReadError> {
        if args.len() < self.min_args() || args.len() > self.max_args() {
            return Err(ReadError::BadArgument);
        }
        (self.run)(view, &mut Args::new(args))
    }

    /// Estimates how many elements the call will read: the NIF layer sends large calls to dirty
    /// schedulers.
    #[inline]
    pub fn elements(&self, view: View<'_>, args: &[Arg<'_>]) -> usize {
        match self.cost {
            Cost::Point => 1,
            Cost::Elements(estimate) | Cost::Keys(estimate) => estimate(view, &mut Args::new(args)).unwrap_or(1),
        }
    }

    /// Whether the call would first build the key index: see
    /// [`Db::is_indexed`](vdr_data::keyspace::Db::is_indexed). Ask this before [`Read::elements`],
    /// which needs the index as well.
    pub fn builds_index(&self, view: View<'_>) -> bool {
        matches!(self.cost, Cost::Keys(_)) && !view.db.is_indexed()
    }
}

/// How the cost of a read grows.
#[derive(Clone, Copy)]
pub enum Cost {
    /// O(1) or O(log n).
    Point,
    /// Grows with the data. The function estimates the number of elements, at low cost itself.
    /// `None` stands for bad arguments, which cost next to nothing.
    Elements(fn(View<'_>, &mut Args<'_>) -> Option<usize>),
    /// As `Elements`, for reads that use the key index.
    Keys(fn(View<'_>, &mut Args<'_>) -> Option<usize>),
}

/// The most elements that an estimate may visit itself. A read that visits more counts as a large
/// one, however large it is.
pub(crate) const MEASURED_MAX: usize = 256;

/// A write, with all facts about it. A fact about a command stands in its row or in the row's
/// function, and nowhere else.
///
/// No fact has a default. A row that lacks one does not compile:
///
/// ```compile_fail
/// use vdr_commands::{AffectedKeys, Leaves, Part, Write};
///
/// // What it does to keys is missing.
/// const ROW: Write = Write {
///     name: "frobnicate",
///     shape: &[Part::Key],
///     affected: AffectedKeys::InShape,
///     leaves: Leaves::AnyKind,
///     run: |_, _| Ok(()),
/// };
/// ```
///
/// ```
/// use vdr_commands::{AffectedKeys, Effect, Leaves, Part, Write};
///
/// const ROW: Write = Write {
///     name: "frobnicate",
///     shape: &[Part::Key],
///     affected: AffectedKeys::InShape,
///     leaves: Leaves::AnyKind,
///     effect: Effect::Each,
///     run: |_, _| Ok(()),
/// };
/// assert_eq!(ROW.name, "frobnicate");
/// ```
#[derive(Clone, Copy)]
pub struct Write {
    /// The server's name for the command, in lower case.
    pub name: &'static str,
    /// The arguments in the server's order. They give the command tuple that watchers get, and the
    /// keys affected.
    pub shape: &'static [Part],
    pub affected: AffectedKeys,
    pub leaves: Leaves,
    pub effect: Effect,
    pub run: fn(&mut Apply<'_>, &mut ArgCursor<'_>) -> ApplyResult,
}

/// Makes a row. The facts stand in the order of [`Write`]'s fields.
pub const fn row(
    name: &'static str,
    shape: &'static [Part],
    affected: AffectedKeys,
    leaves: Leaves,
    effect: Effect,
    run: fn(&mut Apply<'_>, &mut ArgCursor<'_>) -> ApplyResult,
) -> Write {
    Write { name, shape, affected, leaves, effect, run }
}

/// The type of the values that a write leaves in the keys that it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// This type, or nothing.
    Kind(Kind),
    /// The type that was there before.
    SameKind,
    /// A type that the row does not determine: another key's, or a payload's.
    AnyKind,
    /// It only deletes.
    Nothing,
}

/// What a write does to keys. The plan of a filtered write follows from it: whether a copy that
/// lacks some keys can apply the write at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes each affected key by itself. The result depends on no other key.
    Each,
    /// Replaces the value of each affected key, whatever its type was.
    Replaces,
    /// As [`Effect::Replaces`]; with the word KEEPTTL it keeps the expiry of what it replaces.
    ReplacesOrKeepsExpiry,
    /// Sets or removes the expiry of a key, and does nothing when there is no such key.
    SetsExpiry,
    /// Takes from the key of the first argument, and gives to another affected key.
    Moves,
    /// As [`Effect::Moves`], for the one member that the last argument names.
    MovesMember,
    /// Moves a key out of the selected database into another one.
    MovesToDatabase,
    /// Changes the first of the affected keys that has something to give, and leaves the others as
    /// they are.
    PicksOne,
    /// Reads its sources, of these types, and replaces the destination with the result.
    StoresFrom(&'static [Kind]),
    /// Reads its sources, of these types, and changes the destination by them.
    MergesFrom(&'static [Kind]),
    /// SORT: as [`Effect::StoresFrom`], and reads keys that match its patterns, too.
    Sorts,
    /// Exchanges two databases.
    SwapsDatabases,
    /// Deletes keys across a whole database, or across all of them.
    WholeDatabases,
}

impl Effect {
    /// Whether the write puts its value in the place of whatever was there, of any type.
    pub fn replaces(self) -> bool {
        match self {
            Effect::Replaces | Effect::ReplacesOrKeepsExpiry | Effect::StoresFrom(_) | Effect::Sorts => true,
            Effect::Each
            | Effect::SetsExpiry
            | Effect::Moves
            | Effect::MovesMember
            | Effect::MovesToDatabase
            | Effect::PicksOne
            | Effect::MergesFrom(_)
            | Effect::SwapsDatabases
            | Effect::WholeDatabases => false,
        }
    }
}

/// A command of the replication stream that changes no data.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// The server's name for the command, in lower case.
    pub name: &'static str,
    pub role: Role,
}

/// What a command that changes no data does in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Selects the database that the commands after it work on.
    Select,
    /// Begins a unit that becomes visible as a whole.
    Multi,
    /// Ends the unit.
    Exec,
    /// The replica's own affairs: GETACK asks for the offset.
    Replconf,
    /// Keeps the link alive.
    Ping,
    /// Changes nothing that the mirror keeps.
    Ignored,
}

impl Role {
    /// Whether the command leaves everything as it was, the selected database included.
    pub fn is_keepalive(self) -> bool {
        match self {
            Role::Replconf | Role::Ping | Role::Ignored => true,
            Role::Select | Role::Multi | Role::Exec => false,
        }
    }
}

/// One argument of a write, or all remaining ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A key that the command changes.
    Key,
    /// A key that the command only reads.
    Source,
    /// All remaining arguments: keys that the command changes, as one list.
    Keys,
    /// All remaining arguments: keys that the command only reads, as one list.
    Sources,
    /// A count, then that many keys that are only read, as one list.
    CountedSources,
    /// All remaining arguments: `{key, value}` pairs, as one list. The command changes the keys.
    KeyPairs,
    /// Bytes.
    Bin,
    /// All remaining arguments: bytes, as one list.
    Bins,
    /// All remaining arguments: pairs of bytes, as one list.
    Pairs,
    /// A count, then that many bytes, as one list.
    CountedBins,
    /// A count, then that many pairs, as one list.
    CountedPairs,
    /// An integer.
    Int,
    /// A score or increment.
    Float,
    /// A keyword of the command, as an atom in lower case: `before`, `left`, and so on.
    Word,
    /// The tail of ZADD: flags, then score-member pairs. In the tuple: `[{score, member}]`, then
    /// the flags as a list of atoms.
    Scored,
    /// All remaining arguments: options, as one list. Keywords become atoms, numbers become
    /// numbers, and anything else stays bytes.
    Options,
    /// All remaining arguments: options, with `FIELDS`, a count and that many fields among them
    /// ([`ArgCursor::fields`]). In the tuple: the options as one list, then the fields as one list.
    Fields,
    /// As [`Part::Fields`], for a command without options: the fields only.
    PlainFields,
    /// As [`Part::Fields`], with `{field, value}` pairs.
    FieldPairs,
    /// All remaining arguments: options, with `IDS`, a count and that many ids among them. In the
    /// tuple: the options as one list, then the ids as one list.
    Ids,
    /// The options before the id of XADD. The tuple leaves them out.
    AddOptions,
    /// All remaining arguments, which the tuple leaves out (the options of SET).
    Dropped,
}

/// The keys that a write may change.
#[derive(Clone, Copy)]
pub enum AffectedKeys {
    /// The keys that the shape names, in the selected database.
    InShape,
    /// The keys that this function reports: for commands that reach other databases, or whole ones.
    Special(AffectedFn),
}

/// Reports everything that a write with these arguments may change. `db` is the selected database.
pub type AffectedFn = fn(db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>));

/// A key, or more, that a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affected<'a> {
    Key {
        db: u32,
        key: &'a [u8],
    },
    /// Every key of one database.
    Db(u32),
    /// Every key of every database.
    All,
}
