//! The command table: every row of every family, found by its name. No other file lists the
//! families.

use crate::families::{
    bitfield, bitmaps, control, databases, expiry, geo, hashes, hll, keys, lists, modules, numbers, restore, scan,
    sets, slots, sort, streams, strings, zsets, zsets_stores, zsets_writes,
};
use crate::row::{Control, Read, Write};
use std::collections::HashMap;
use std::sync::LazyLock;

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
        modules::WRITES,
    ]
    .into_iter()
    .flatten()
}

/// Every command of the stream that changes no data.
pub fn controls() -> impl Iterator<Item = &'static Control> {
    control::CONTROLS.iter()
}

/// A command of the replication stream.
#[derive(Clone, Copy)]
pub enum Command {
    Write(&'static Write),
    Control(&'static Control),
}

impl Command {
    pub fn name(&self) -> &'static str {
        match self {
            Command::Write(row) => row.name,
            Command::Control(row) => row.name,
        }
    }
}

/// Every command of the stream.
pub fn commands() -> impl Iterator<Item = Command> {
    writes().map(Command::Write).chain(controls().map(Command::Control))
}

/// The row of a read.
pub fn read(name: &str) -> Option<&'static Read> {
    static ROWS: LazyLock<HashMap<&str, &Read, foldhash::fast::RandomState>> =
        LazyLock::new(|| reads().map(|row| (row.name, row)).collect());
    ROWS.get(name).copied()
}

/// The row of a command of the stream; its name may be in any case.
pub fn command(name: &[u8]) -> Option<Command> {
    static ROWS: LazyLock<Rows> = LazyLock::new(Rows::new);
    ROWS.get(name)
}

/// The row of a write; its name may be in any case.
pub fn write(name: &[u8]) -> Option<&'static Write> {
    match command(name)? {
        Command::Write(row) => Some(row),
        Command::Control(_) => None,
    }
}

/// The row of a command that changes no data; its name may be in any case.
pub fn control(name: &[u8]) -> Option<&'static Control> {
    match command(name)? {
        Command::Control(row) => Some(row),
        Command::Write(_) => None,
    }
}

/// A perfect hash table of the rows: one look-up and one comparison find a row.
struct Rows {
    seed: u64,
    slots: Box<[Option<Command>]>,
}

impl Rows {
    /// Large enough that some hundred tries find a seed without a collision.
    const SLOTS_LOG2: u32 = 11;

    fn new() -> Self {
        let next =
            |seed: &u64| Some(seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let seeds = std::iter::successors(Some(1), next);
        let with = |seed| {
            let mut slots = vec![None; 1 << Self::SLOTS_LOG2];
            for row in commands() {
                let slot = slots.get_mut(Self::slot(row.name().as_bytes(), seed))?;
                if slot.replace(row).is_some() {
                    return None;
                }
            }
            Some(Rows { seed, slots: slots.into() })
        };
        seeds.take(100_000).find_map(with).unwrap_or(Rows { seed: 0, slots: Box::default() })
    }

    /// Hashes the length, the first eight bytes and the last eight, whatever their case.
    fn slot(name: &[u8], seed: u64) -> usize {
        const LOWER: u64 = 0x2020_2020_2020_2020;
        let (head, tail) = match (name.first_chunk(), name.last_chunk()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            _ => (name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
        };
        let word = (head | LOWER) ^ (tail | LOWER).rotate_left(29) ^ name.len() as u64;
        (word.wrapping_mul(seed) >> (64 - Self::SLOTS_LOG2)) as usize
    }

    fn get(&self, name: &[u8]) -> Option<Command> {
        let row = *self.slots.get(Self::slot(name, self.seed))?;
        row.filter(|row| row.name().as_bytes().eq_ignore_ascii_case(name))
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
        for row in commands() {
            assert_eq!(commands().filter(|other| other.name() == row.name()).count(), 1, "{}", row.name());
            assert_eq!(command(row.name().to_ascii_uppercase().as_bytes()).unwrap().name(), row.name());
        }
        assert!(write(b"SET").is_some() && control(b"SET").is_none());
        assert!(write(b"SELECT").is_none() && control(b"SELECT").is_some());
        assert!(command(&[b'x'; 33]).is_none());
    }
}
