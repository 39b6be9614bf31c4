//! The command table: one row and one function per command, in the file of its data type.
//!
//! Reads serve the BEAM and Lua alike: arguments come from a neutral cursor ([`Args`]), answers are a [`Reply`] that
//! borrows from the snapshot. Writes are reached only from the replication stream.

mod args;
mod bitfield;
mod bitmaps;
mod bounds;
mod databases;
mod expiry;
mod geo;
mod geo_area;
mod glob;
#[cfg(test)]
pub(crate) mod harness;
mod hashes;
mod hll;
mod hll_bytes;
mod keys;
mod lists;
mod numbers;
mod partial_sort;
mod reply;
mod restore;
mod rules;
mod sample;
mod scan;
mod sets;
mod slots;
mod sort;
mod streams;
mod strings;
mod tuple;
mod write;
mod zsets;
#[cfg(test)]
mod zsets_model;
mod zsets_stores;
mod zsets_writes;

pub use args::{Arg, Args};
pub use reply::Reply;
pub use rules::Rules;
pub use scan::{Portion, Wanted, walk};
pub use tuple::{Field, Tuple, generic, touched, tuple};
pub use write::{Apply, ApplyError, Part, Touch, Touches, Words, Write, Written};

use crate::keyspace::View;
use crate::value::Kind;
use std::collections::HashMap;
use std::sync::LazyLock;

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
const MEASURED_MAX: usize = 256;

/// Why a read has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The key holds another type.
    WrongType,
    /// An argument is missing, left over, or not what the command takes.
    BadArgument,
}

/// Every read, in the order of the documentation.
pub fn reads() -> impl Iterator<Item = &'static Read> {
    [
        strings::READS,
        bitmaps::READS,
        lists::READS,
        sets::READS,
        hashes::READS,
        zsets::READS,
        streams::READS,
        keys::READS,
        expiry::READS,
        scan::READS,
    ]
    .into_iter()
    .flatten()
}

/// Every write that changes data.
pub fn writes() -> impl Iterator<Item = &'static Write> {
    [
        strings::WRITES,
        numbers::WRITES,
        bitmaps::WRITES,
        bitfield::WRITES,
        hll::WRITES,
        lists::WRITES,
        sets::WRITES,
        hashes::WRITES,
        zsets_writes::WRITES,
        zsets_stores::WRITES,
        geo::WRITES,
        streams::WRITES,
        keys::WRITES,
        expiry::WRITES,
        databases::WRITES,
        sort::WRITES,
        slots::WRITES,
        restore::WRITES,
    ]
    .into_iter()
    .flatten()
}

/// The type of what a write leaves behind; `None` for those that work on keys of any type.
pub fn kind(row: &Write) -> Option<Kind> {
    static KINDS: LazyLock<HashMap<&str, Kind, foldhash::fast::RandomState>> = LazyLock::new(|| {
        let of = |rows: &'static [Write], kind| rows.iter().map(move |row| (row.name, kind));
        let strings = [strings::WRITES, numbers::WRITES, bitmaps::WRITES, bitfield::WRITES, hll::WRITES];
        let zsets = [zsets_writes::WRITES, zsets_stores::WRITES, geo::WRITES];
        let kinds = strings.into_iter().flat_map(|rows| of(rows, Kind::String));
        let kinds = kinds.chain(zsets.into_iter().flat_map(|rows| of(rows, Kind::ZSet)));
        let kinds = kinds.chain(of(lists::WRITES, Kind::List)).chain(of(sort::WRITES, Kind::List));
        let kinds = kinds.chain(of(sets::WRITES, Kind::Set)).chain(of(hashes::WRITES, Kind::Hash));
        let kinds = kinds.chain(of(streams::WRITES, Kind::Stream));
        kinds.collect()
    });
    KINDS.get(row.name).copied()
}

/// Whether a write puts its value in the place of whatever was there, of any type.
pub fn replaces(row: &Write) -> bool {
    const REPLACING: &[&str] = &["set", "setex", "psetex", "mset", "msetex", "bitop", "sort", "georadius"];
    row.name.ends_with("store") || row.name == "georadiusbymember" || REPLACING.contains(&row.name)
}

/// The row of a read by its name.
pub fn read(name: &str) -> Option<&'static Read> {
    static ROWS: LazyLock<HashMap<&str, &Read, foldhash::fast::RandomState>> =
        LazyLock::new(|| reads().map(|row| (row.name, row)).collect());
    ROWS.get(name).copied()
}

/// The row of a write by its name, in any case.
pub fn write(name: &[u8]) -> Option<&'static Write> {
    static ROWS: LazyLock<Rows> = LazyLock::new(Rows::new);
    ROWS.get(name)
}

/// The writes by a hash that no two of them share: one look and one comparison tell which it is.
struct Rows {
    seed: u64,
    slots: Box<[Option<&'static Write>]>,
}

impl Rows {
    /// So many that a seed which keeps all names apart is found within some hundred tries.
    const SLOTS_LOG2: u32 = 11;

    fn new() -> Self {
        let next =
            |seed: &u64| Some(seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let seeds = std::iter::successors(Some(1), next);
        let with = |seed| {
            let mut slots = vec![None; 1 << Self::SLOTS_LOG2];
            for row in writes() {
                let slot = slots.get_mut(Self::slot(row.name.as_bytes(), seed))?;
                if slot.replace(row).is_some() {
                    return None;
                }
            }
            Some(Rows { seed, slots: slots.into() })
        };
        seeds.take(100_000).find_map(with).unwrap_or(Rows { seed: 0, slots: Box::default() })
    }

    /// By its length, its first eight bytes and its last eight, in either case.
    fn slot(name: &[u8], seed: u64) -> usize {
        const LOWER: u64 = 0x2020_2020_2020_2020;
        let (head, tail) = match (name.first_chunk(), name.last_chunk()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            _ => (name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
        };
        let word = (head | LOWER) ^ (tail | LOWER).rotate_left(29) ^ name.len() as u64;
        (word.wrapping_mul(seed) >> (64 - Self::SLOTS_LOG2)) as usize
    }

    fn get(&self, name: &[u8]) -> Option<&'static Write> {
        let row = *self.slots.get(Self::slot(name, self.seed))?;
        row.filter(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_and_only_once() {
        for row in reads() {
            assert_eq!(reads().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            assert_eq!(read(row.name).unwrap().name, row.name);
        }
        for row in writes() {
            assert_eq!(writes().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            assert_eq!(write(row.name.to_ascii_uppercase().as_bytes()).unwrap().name, row.name);
        }
        assert!(write(&[b'x'; 33]).is_none());
    }
}
