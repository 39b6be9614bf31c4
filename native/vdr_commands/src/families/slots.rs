//! Keys by cluster slot: after a slot has moved to another node, the replica deletes its keys.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::cursor::pairs;
use crate::error::{ApplyError, ApplyResult};
use crate::number::parse_int;
use crate::row::AffectedKeys::Special;
use crate::row::Effect::WholeDatabases;
use crate::row::Leaves::Nothing;
use crate::row::Part::{CountedPairs, Options, Word};
use crate::row::{Affected, Write, row};
use vdr_data::blob::Blob;
use vdr_data::keyspace::EntryRef;

const SLOTS: u16 = 16384;

pub const WRITES: &[Write] = &[
    row("trimslots", &[Word, CountedPairs], Special(every_key), Nothing, WholeDatabases, trimslots),
    row("cluster", &[Word, Options], Special(flushed_keys), Nothing, WholeDatabases, cluster),
];

/// `TRIMSLOTS RANGES n first last ...`: the primary sends no DEL for the keys of these slots.
fn trimslots(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    if !args.take_word("ranges") {
        return Err(ApplyError::BadArguments);
    }
    let count = usize::try_from(args.int()?).map_err(|_| ApplyError::BadArguments)?;
    let bounds = args.take(count.checked_mul(2).ok_or(ApplyError::BadArguments)?)?;
    args.finish()?;
    let mut gone = vec![false; usize::from(SLOTS)];
    for (first, last) in pairs(bounds)? {
        let (first, last) = (slot_argument(first)?, slot_argument(last)?);
        let range = if first <= last { gone.get_mut(first..=last) } else { None };
        range.ok_or(ApplyError::BadArguments)?.fill(true);
    }
    remove_slots(apply, &gone);
    Ok(())
}

/// `CLUSTER FLUSHSLOT slot [SYNC|ASYNC]` (Valkey 9) deletes keys. Any other CLUSTER command in a
/// stream is between the nodes of the cluster, and changes no data.
fn cluster(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    if !args.take_word("flushslot") {
        return Ok(());
    }
    let slot = slot_argument(args.bytes()?)?;
    let mut gone = vec![false; usize::from(SLOTS)];
    gone.get_mut(slot..=slot).ok_or(ApplyError::BadArguments)?.fill(true);
    remove_slots(apply, &gone);
    Ok(())
}

fn remove_slots(apply: &mut Apply<'_>, gone: &[bool]) {
    let dbs: Vec<u32> = apply.keyspace.dbs().map(|(index, _)| index).collect();
    for index in dbs {
        let db = apply.keyspace.db_mut(index);
        let in_slots = |key: &[u8]| gone.get(usize::from(slot(key))) == Some(&true);
        let keys: Vec<Blob> = db.iter().map(EntryRef::key).filter(|key| in_slots(key)).map(Blob::new).collect();
        for key in keys {
            db.remove(&key);
        }
    }
}

fn flushed_keys(_db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    if args.first().is_some_and(|word| word.eq_ignore_ascii_case(b"flushslot")) {
        report(Affected::All);
    }
}

fn every_key(_db: u32, _args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    report(Affected::All);
}

fn slot_argument(text: &[u8]) -> Result<usize, ApplyError> {
    let slot = parse_int(text).and_then(|slot| usize::try_from(slot).ok());
    slot.filter(|slot| *slot < usize::from(SLOTS)).ok_or(ApplyError::BadArguments)
}

/// The slot of a key: a hash of the part between its first `{` and the next `}`, if that part is
/// not empty, or else of the whole key.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Mirror;

    #[test]
    fn keys_of_trimmed_slots_go_and_others_stay() {
        let mut mirror = Mirror::new();
        mirror.run(&["mset foo 1 bar 1 {foo}x 1 123456789 1", "trimslots RANGES 2 0 5061 12182 12182"]);
        assert_eq!(mirror.ask("keys *"), "[123456789]");
        for command in
            ["trimslots ranges 1 5 4", "trimslots ranges 1 0 16384", "trimslots ranges 2 0 1", "trimslots 1 0 1"]
        {
            mirror.fails(command, ApplyError::BadArguments);
        }
    }

    #[test]
    fn a_flushed_slot_is_empty_and_other_words_of_the_cluster_change_nothing() {
        let mut mirror = Mirror::new();
        mirror.run(&["mset foo 1 bar 1", "cluster syncslots ack", "CLUSTER FLUSHSLOT 12182 ASYNC"]);
        assert_eq!(mirror.ask("keys *"), "[bar]");
        mirror.fails("cluster flushslot 16384", ApplyError::BadArguments);
    }

    #[test]
    fn slots_are_those_that_cluster_keyslot_answers() {
        for (key, expected) in [
            ("foo", 12182),
            ("bar", 5061),
            ("123456789", 12739),
            ("{user1000}.following", 3443),
            ("user1000", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
            ("", 0),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }
}
