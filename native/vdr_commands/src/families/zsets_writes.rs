//! Sorted sets: the writes to one key.
//!
//! A primary sends only commands that changed its data. So a removal that finds nothing to remove
//! is an error: the mirror's data differs from the primary's. A single missing member is no error,
//! because the primary sends all names that the client gave.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::cursor::pairs;
use crate::error::{ApplyError, ApplyResult};
use crate::number::parse_float;
use crate::ops::bounds::{LexRange, ScoreRange, rank_interval};
use crate::ops::zsets::AddFlags;
use crate::row::AffectedKeys::{InShape, Special};
use crate::row::Effect::{Each, PicksOne};
use crate::row::Part::{Bin, Bins, CountedSources, Float, Int, Key, Options, Scored, Word};
use crate::row::{Affected, Leaves, Write, row};
use crate::rules::ZaddEncoding;
use std::ops::Range;
use vdr_data::keyspace::EntryRef;
use vdr_data::value::Kind;
use vdr_data::value::{ValueRef, ZSet};

const ZSET: Leaves = Leaves::Kind(Kind::ZSet);

pub const WRITES: &[Write] = &[
    row("zadd", &[Key, Scored], InShape, ZSET, Each, zadd),
    row("zincrby", &[Key, Float, Bin], InShape, ZSET, Each, zincrby),
    row("zrem", &[Key, Bins], InShape, ZSET, Each, zrem),
    row("zremrangebyrank", &[Key, Int, Int], InShape, ZSET, Each, zremrangebyrank),
    row("zremrangebyscore", &[Key, Bin, Bin], InShape, ZSET, Each, zremrangebyscore),
    row("zremrangebylex", &[Key, Bin, Bin], InShape, ZSET, Each, zremrangebylex),
    row("zpopmin", &[Key, Options], InShape, ZSET, Each, zpopmin),
    row("zpopmax", &[Key, Options], InShape, ZSET, Each, zpopmax),
    row("zmpop", &[CountedSources, Word, Options], Special(zmpop_affected), ZSET, PicksOne, zmpop),
];

fn zadd(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let flags = AddFlags::take(args)?;
    let members = pairs(args.rest())?;
    let count = members.clone().count();
    if count == 0 || (flags.is_incr() && count > 1) {
        return Err(ApplyError::BadArguments);
    }
    let longest = || members.clone().map(|(_, member)| member.len()).max().unwrap_or(0);
    let (expected, longest) = match apply.rules.zadd_encoding {
        ZaddEncoding::AtMember => (0, 0),
        ZaddEncoding::ByCount => (count, 0),
        ZaddEncoding::ByCountAndLength => (count, longest()),
    };
    apply.zset(key, |zset| {
        zset.expect(expected, longest);
        for (score, member) in members {
            flags.add(zset, member, parse_float(score).ok_or(ApplyError::BadArguments)?)?;
        }
        Ok(())
    })
}

fn zincrby(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, by, member) = (args.bytes()?, args.float()?, args.bytes()?);
    args.finish()?;
    apply.zset(key, |zset| AddFlags::INCR.add(zset, member, by))
}

fn zrem(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, members) = (args.bytes()?, args.rest());
    apply.zset(key, |zset| {
        let removed = members.iter().filter(|member| zset.remove(member).is_some()).count();
        if removed > 0 { Ok(()) } else { Err(ApplyError::Missing) }
    })
}

fn zremrangebyrank(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, start, stop) = (args.bytes()?, args.int()?, args.int()?);
    args.finish()?;
    remove(apply, key, |zset| rank_interval(start, stop, zset.len()))
}

fn zremrangebyscore(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, min, max) = (args.bytes()?, args.bytes()?, args.bytes()?);
    args.finish()?;
    let range = ScoreRange::from_text(min, max).ok_or(ApplyError::BadArguments)?;
    remove(apply, key, |zset| range.interval(zset))
}

fn zremrangebylex(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, min, max) = (args.bytes()?, args.bytes()?, args.bytes()?);
    args.finish()?;
    let range = LexRange::from_text(min, max).ok_or(ApplyError::BadArguments)?;
    remove(apply, key, |zset| range.interval(zset))
}

fn remove(apply: &mut Apply<'_>, key: &[u8], ranks: impl FnOnce(&ZSet) -> Range<usize>) -> ApplyResult {
    apply.zset(key, |zset| {
        let ranks = ranks(zset);
        if ranks.is_empty() {
            return Err(ApplyError::Missing);
        }
        zset.remove_range(ranks.start, ranks.end);
        Ok(())
    })
}

/// The end that a pop takes from.
#[derive(Clone, Copy)]
enum End {
    Min,
    Max,
}

fn zpopmin(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, count) = (args.bytes()?, optional_count(args)?);
    pop(apply, key, End::Min, count)
}

fn zpopmax(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, count) = (args.bytes()?, optional_count(args)?);
    pop(apply, key, End::Max, count)
}

fn optional_count(args: &mut ArgCursor<'_>) -> Result<usize, ApplyError> {
    let count = if args.is_empty() { 1 } else { args.int()? };
    args.finish()?;
    usize::try_from(count).map_err(|_| ApplyError::BadArguments)
}

fn pop(apply: &mut Apply<'_>, key: &[u8], end: End, count: usize) -> ApplyResult {
    remove(apply, key, |zset| match end {
        End::Min => 0..count.min(zset.len()),
        End::Max => zset.len().saturating_sub(count)..zset.len(),
    })
}

/// A primary sends ZMPOP as ZPOPMIN or ZPOPMAX. Modules may not.
fn zmpop(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let keys = args.counted()?;
    let end = match (args.take_word("min"), args.take_word("max")) {
        (true, false) => End::Min,
        (false, true) => End::Max,
        _ => return Err(ApplyError::BadArguments),
    };
    let count = if args.take_word("count") { args.int()? } else { 1 };
    args.finish()?;
    let count = usize::try_from(count).map_err(|_| ApplyError::BadArguments)?;
    for key in keys {
        match apply.get(key).map(EntryRef::value) {
            None => {}
            Some(ValueRef::ZSet(_)) => return pop(apply, key, end, count),
            Some(_) => return Err(ApplyError::WrongType),
        }
    }
    Err(ApplyError::Missing)
}

/// The pop may take from any of the keys.
fn zmpop_affected(db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    for key in ArgCursor::new(args).counted().unwrap_or_default() {
        report(Affected::Key { db, key });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Mirror, affected};

    /// The value of `z` after these writes, whether they fail or not.
    #[track_caller]
    fn leaves(lines: &[&str], expected: &str) {
        assert_eq!(Mirror::after(lines).show("z"), expected);
    }

    #[test]
    fn zadd_puts_members_in_order_of_score_and_then_of_bytes() {
        leaves(&["zadd z 2 b 1 c 1 a -inf z", "ZADD z 5 c +INF y 1e1 x"], "z=-inf a=1.0 b=2.0 c=5.0 x=10.0 y=inf");
        leaves(&["zadd z 0x10 hex .5 half 5. five"], "half=0.5 five=5.0 hex=16.0");
    }

    #[test]
    fn the_flags_of_zadd_hold_for_each_member_of_its_own() {
        let old = "zadd z 1 a 5 b";
        leaves(&[old, "zadd z nx 3 a 3 new"], "a=1.0 new=3.0 b=5.0");
        leaves(&[old, "zadd z XX ch 3 a 3 new"], "a=3.0 b=5.0");
        leaves(&[old, "zadd z gt 3 a 3 b 3 new"], "a=3.0 new=3.0 b=5.0");
        leaves(&[old, "zadd z lt 3 a 3 b 3 new"], "a=1.0 b=3.0 new=3.0");
        leaves(&[old, "zadd z xx gt 3 a 3 b 3 new"], "a=3.0 b=5.0");
        leaves(&[old, "zadd z gt incr -3 b"], "a=1.0 b=5.0");
        leaves(&[old, "zadd z gt incr 3 b"], "a=1.0 b=8.0");
        leaves(&["zadd z xx 1 a"], "-");
    }

    /// The sign of `m`'s zero after these commands, by the rule of each kind of server.
    #[track_caller]
    fn signs(lines: &[&str], negative: [bool; 3]) {
        let found = [ZaddEncoding::AtMember, ZaddEncoding::ByCount, ZaddEncoding::ByCountAndLength].map(|rule| {
            let mut mirror = Mirror::new();
            mirror.rules.zadd_encoding = rule;
            mirror.run(lines);
            let members = mirror.members(b"z");
            members.iter().any(|(member, score)| member == "m" && score.is_sign_negative())
        });
        assert_eq!(found, negative, "{lines:?}");
    }

    #[test]
    fn the_sign_of_zero_follows_the_encoding_that_each_server_chooses() {
        let (old, long) = ("zadd z 1 old", "x".repeat(65));
        let others = |count| (0..count).map(|n| format!(" 1 m{n}")).collect::<String>();
        let (few, many) = (others(127), others(128));
        signs(&[old, &format!("zadd z -0 m{few}")], [false; 3]);
        signs(&[old, &format!("zadd z -0 m{many}")], [false, true, true]);
        signs(&[&format!("zadd z -0 m{many}")], [false, true, true]);
        signs(&[old, &format!("zadd z{many} -0 m")], [true; 3]);
        signs(&[old, &format!("zadd z -0 m 1 {long}")], [false, false, true]);
        signs(&[&format!("zadd z -0 m 1 {long}")], [false, false, true]);
        signs(&[&format!("zadd z 1 {long} -0 m")], [true; 3]);
        // The long member is left out, but the command changed something, so it was sent.
        signs(&[old, &format!("zadd z xx 2 old 1 {long}"), "zadd z -0 m"], [false, false, true]);
        signs(&[old, "zadd z -0 m"], [false; 3]);
        signs(&[old, &format!("zincrby z 1 {long}"), "zincrby z -0 m"], [true; 3]);
        signs(&[&format!("zadd a -0 m{many}"), "zrangestore z a 0 -1"], [false, true, true]);
    }

    #[test]
    fn increments_add_to_what_is_there() {
        leaves(&["zincrby z 1.5 a", "zincrby z -0.5 a", "zadd z incr 2 b"], "a=1.0 b=2.0");
        let mut mirror = Mirror::after(&["zadd z inf a"]);
        mirror.fails("zincrby z -inf a", ApplyError::NotANumber);
        mirror.fails("zadd z incr -inf a", ApplyError::NotANumber);
    }

    #[test]
    fn removals_take_ranges_by_rank_score_and_member() {
        let old = "zadd z 1 a 2 b 3 c 4 d";
        leaves(&[old, "zrem z a no d"], "b=2.0 c=3.0");
        leaves(&[old, "zremrangebyrank z 1 -2"], "a=1.0 d=4.0");
        leaves(&[old, "zremrangebyscore z (1 3"], "a=1.0 d=4.0");
        leaves(&[old, "zremrangebyscore z -inf +inf"], "-");
        leaves(&["zadd z 0 a 0 b 0 c", "zremrangebylex z (a +"], "a=0.0");
        leaves(&[old, "zpopmin z"], "b=2.0 c=3.0 d=4.0");
        leaves(&[old, "zpopmax z 2"], "a=1.0 b=2.0");
        leaves(&[old, "zpopmax z 9"], "-");
        leaves(&["zadd z 2 b 3 c", "zmpop 2 none z MAX COUNT 1"], "b=2.0");
        leaves(&["zadd z 2 b 3 c", "zmpop 1 z min"], "c=3.0");
    }

    #[test]
    fn a_removal_that_finds_nothing_could_not_have_been_sent() {
        let mut mirror = Mirror::after(&["zadd z 1 a"]);
        for line in [
            "zrem z no",
            "zrem none a",
            "zremrangebyrank z 1 2",
            "zremrangebyscore z 2 3",
            "zremrangebylex z [b +",
            "zpopmin none",
            "zpopmax z 0",
            "zmpop 2 none other MIN",
        ] {
            mirror.fails(line, ApplyError::Missing);
        }
        assert_eq!(mirror.show("z"), "a=1.0");
    }

    #[test]
    fn another_type_and_arguments_that_no_primary_sends_are_errors() {
        let mut mirror = Mirror::after(&["set s x"]);
        for line in ["zadd s 1 a", "zincrby s 1 a", "zrem s a", "zpopmin s", "zmpop 1 s MIN", "zremrangebyrank s 0 1"] {
            mirror.fails(line, ApplyError::WrongType);
        }
        for line in [
            "zadd z",
            "zadd z nx",
            "zadd z 1",
            "zadd z 1 a 2",
            "zadd z nx xx 1 a",
            "zadd z gt lt 1 a",
            "zadd z incr 1 a 2 b",
            "zadd z nan a",
            "zincrby z 1 a more",
            "zremrangebyscore z x 1",
            "zremrangebylex z a b",
            "zremrangebyrank z 0",
            "zpopmin z -1",
            "zmpop 1 z",
            "zmpop 2 z MIN",
        ] {
            mirror.fails(line, ApplyError::BadArguments);
        }
    }

    #[test]
    fn zmpop_may_touch_any_of_its_keys() {
        assert_eq!(affected("zmpop 2 a b MIN"), ["a", "b"]);
        assert!(affected("zmpop 9 a").is_empty());
    }

    #[test]
    fn the_expiry_of_a_changed_key_stays() {
        let mut mirror = Mirror::after(&["zadd z 1 a"]);
        let expiry = vdr_data::expiry::Expiry::at(5);
        mirror.keyspace.db_mut(0).set_expiry(b"z", expiry);
        assert_eq!(mirror.attempt("zadd z 2 b"), Ok(()));
        assert_eq!(mirror.keyspace.db(0).get(b"z").unwrap().expiry(), expiry);
    }

    /// Watchers do not get `{:generic, ...}`.
    #[test]
    fn every_write_of_a_sorted_set_has_a_tuple() {
        for line in [
            "zadd z nx ch 1 a inf b",
            "zincrby z 1.5 a",
            "zrem z a b",
            "zremrangebyrank z 0 -1",
            "zremrangebyscore z (1 +inf",
            "zremrangebylex z - [a",
            "zpopmin z",
            "zpopmax z 2",
            "zmpop 2 a b MIN COUNT 2",
            "zunionstore d 2 a b WEIGHTS 1 2 AGGREGATE MAX",
            "zinterstore d 1 a",
            "zdiffstore d 2 a b",
            "zrangestore d s 0 5 BYSCORE LIMIT 0 1",
            "geoadd g 1 2 m",
            "georadius g 1 2 3 km STORE d",
            "georadiusbymember g m 3 km STORE d",
            "geosearchstore d g FROMLONLAT 1 2 BYBOX 1 2 m",
        ] {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let tuple = crate::tuple::tuple(&words);
            assert_eq!(Some(tuple.name), line.split(' ').next());
        }
    }
}
