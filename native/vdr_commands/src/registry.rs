//! The command table: every row of every family, found by its name. No other file lists the families.

use crate::families::{
    bitfield, bitmaps, databases, expiry, geo, hashes, hll, keys, lists, numbers, restore, scan, sets, slots, sort,
    streams, strings, zsets, zsets_stores, zsets_writes,
};
use crate::row::{Read, Write};
use std::collections::HashMap;
use std::sync::LazyLock;
use vdr_data::value::Kind;

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
