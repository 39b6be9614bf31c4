//! The rows of the command table: what is known of a read, and of a write.

use crate::args::{Arg, Args};
use crate::context::Apply;
use crate::cursor::Words;
use crate::error::{ReadError, Written};
use crate::reply::Reply;
use vdr_data::keyspace::View;

/// A read: what users call, what `read_tx` lists name, what Lua finds in `ts`.
#[derive(Clone, Copy)]
pub struct Read {
    /// The server's word, in lower case.
    pub name: &'static str,
    /// The arguments by name, optional ones with a leading `?`: for arity checks, docs and the tests that hold the Elixir functions and the rows
    /// together.
    pub args: &'static [&'static str],
    pub cost: Cost,
    pub run: for<'s> fn(View<'s>, &mut Args<'_>) -> Result<Reply<'s>, ReadError>,
}

impl Read {
    pub fn min_args(&self) -> usize {
        self.args.iter().filter(|name| !name.starts_with('?')).count()
    }

    pub fn max_args(&self) -> usize {
        self.args.len()
    }

    /// Runs the row with its arity checked and no argument left over.
    pub fn call<'s>(&self, view: View<'s>, args: &[Arg<'_>]) -> Result<Reply<'s>, ReadError> {
        if args.len() < self.min_args() || args.len() > self.max_args() {
            return Err(ReadError::BadArgument);
        }
        (self.run)(view, &mut Args::new(args))
    }

    /// How many elements the call will touch, roughly: the border sends large calls to dirty schedulers.
    pub fn elements(&self, view: View<'_>, args: &[Arg<'_>]) -> usize {
        match self.cost {
            Cost::Point => 1,
            Cost::Elements(estimate) | Cost::Keys(estimate) => estimate(view, &mut Args::new(args)).unwrap_or(1),
        }
    }

    /// Whether the call would first put all keys in order: see [`Db::is_ordered`](crate::keyspace::Db::is_ordered). Asked before
    /// [`Read::elements`], which needs the order as well.
    pub fn orders_keys(&self, view: View<'_>) -> bool {
        matches!(self.cost, Cost::Keys(_)) && !view.db.is_ordered()
    }
}

/// How the work of a read grows.
#[derive(Clone, Copy)]
pub enum Cost {
    /// O(1) or O(log n).
    Point,
    /// Grows with data: an estimate of the elements touched, itself cheap. `None`: bad arguments, so next to nothing.
    Elements(fn(View<'_>, &mut Args<'_>) -> Option<usize>),
    /// As `Elements`, of keys that are found by their order.
    Keys(fn(View<'_>, &mut Args<'_>) -> Option<usize>),
}

/// What an estimate may look at itself before it gives up: a read that touches more is a large one, however much more it is.
pub(crate) const MEASURED_MAX: usize = 256;

/// A write: how it changes data, and what its arguments mean to those who watch.
#[derive(Clone, Copy)]
pub struct Write {
    /// The server's word, in lower case.
    pub name: &'static str,
    /// The arguments in the server's order: gives the command tuple of `api.md` §5 and the keys affected.
    pub shape: &'static [Part],
    pub touches: Touches,
    pub run: fn(&mut Apply<'_>, &mut Words<'_>) -> Written,
}

/// One argument, or the rest of them, of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A key that the command changes.
    Key,
    /// A key that the command only reads.
    Source,
    /// All that follows: keys that the command changes, as one list.
    Keys,
    /// All that follows: keys that the command only reads, as one list.
    Sources,
    /// A count, then that many keys that are only read, as one list.
    CountedSources,
    /// All that follows: `{key, value}` pairs, as one list; the keys are changed.
    KeyPairs,
    /// Bytes.
    Bin,
    /// All that follows: bytes, as one list.
    Bins,
    /// All that follows: pairs of bytes, as one list.
    Pairs,
    /// A count, then that many bytes, as one list.
    CountedBins,
    /// A count, then that many pairs, as one list.
    CountedPairs,
    /// An integer.
    Int,
    /// A score or increment.
    Float,
    /// A word of the command's own language, as an atom in lower case: `before`, `left` ...
    Word,
    /// ZADD's tail: flags, then score-member pairs. In the tuple: `[{score, member}]`, then the flags as a list of atoms.
    Scored,
    /// All that follows: options, as one list; words as atoms, numbers as numbers, anything else as bytes.
    Options,
    /// All that follows: options, with `FIELDS`, a count and that many fields among them ([`Words::fields`]). In the
    /// tuple: the options as one list, then the fields as one.
    Fields,
    /// As [`Part::Fields`], with `{field, value}` pairs.
    FieldPairs,
    /// All that follows: options, with `IDS`, a count and that many ids among them. In the tuple: the options as one
    /// list, then the ids as one.
    Ids,
    /// What stands before the id of XADD: left out of the tuple.
    AddOptions,
    /// All that follows is left out of the tuple (options of SET).
    Dropped,
}

/// Which keys a write may change.
#[derive(Clone, Copy)]
pub enum Touches {
    /// Those that the shape names, in the selected database.
    Shape,
    /// What this function pushes: for commands that reach other databases or whole ones.
    Special(TouchFn),
}

/// From the selected database and the arguments to what is touched.
pub type TouchFn = fn(db: u32, args: &[&[u8]], touch: &mut dyn FnMut(Touch<'_>));

/// Something touched by a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch<'a> {
    Key {
        db: u32,
        key: &'a [u8],
    },
    /// Every key of one database.
    Db(u32),
    /// Every key of every database.
    All,
}
