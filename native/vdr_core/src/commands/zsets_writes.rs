//! Sorted sets: the writes to one key.
//!
//! A primary sends only what changed its data. So a removal that finds nothing to remove means that our data is not the
//! primary's, and is an error; single members that are not there are not, since their names are sent all the same.

use super::bounds::{LexRange, ScoreRange, rank_interval};
use super::write::{pairs, parse_float};
use super::{Apply, ApplyError, Part, Touch, Touches, Words, Write, Written};
use crate::blob::Blob;
use crate::value::{Score, Value, ZSet};
use std::ops::Range;

pub const WRITES: &[Write] = &[
    Write { name: "zadd", shape: &[Part::Key, Part::Scored], touches: Touches::Shape, run: zadd },
    Write { name: "zincrby", shape: &[Part::Key, Part::Float, Part::Bin], touches: Touches::Shape, run: zincrby },
    Write { name: "zrem", shape: &[Part::Key, Part::Bins], touches: Touches::Shape, run: zrem },
    Write {
        name: "zremrangebyrank",
        shape: &[Part::Key, Part::Int, Part::Int],
        touches: Touches::Shape,
        run: zremrangebyrank,
    },
    Write {
        name: "zremrangebyscore",
        shape: &[Part::Key, Part::Bin, Part::Bin],
        touches: Touches::Shape,
        run: zremrangebyscore,
    },
    Write {
        name: "zremrangebylex",
        shape: &[Part::Key, Part::Bin, Part::Bin],
        touches: Touches::Shape,
        run: zremrangebylex,
    },
    Write { name: "zpopmin", shape: &[Part::Key, Part::Options], touches: Touches::Shape, run: zpopmin },
    Write { name: "zpopmax", shape: &[Part::Key, Part::Options], touches: Touches::Shape, run: zpopmax },
    Write {
        name: "zmpop",
        shape: &[Part::CountedSources, Part::Options],
        touches: Touches::Special(zmpop_touches),
        run: zmpop,
    },
];

/// The flags of ZADD. They are about single members, so they hold here as they held on the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddFlags {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    incr: bool,
}

impl AddFlags {
    pub fn take(words: &mut Words<'_>) -> Result<Self, ApplyError> {
        let mut flags = AddFlags::default();
        loop {
            if words.take_word("nx") {
                flags.nx = true;
            } else if words.take_word("xx") {
                flags.xx = true;
            } else if words.take_word("gt") {
                flags.gt = true;
            } else if words.take_word("lt") {
                flags.lt = true;
            } else if words.take_word("incr") {
                flags.incr = true;
            } else if !words.take_word("ch") {
                break;
            }
        }
        let clash = flags.nx && (flags.xx || flags.gt || flags.lt) || flags.gt && flags.lt;
        if clash { Err(ApplyError::BadArguments) } else { Ok(flags) }
    }

    /// Puts one member as far as the flags let it.
    pub fn add(self, zset: &mut ZSet, member: &[u8], given: f64) -> Written {
        let old = if self == AddFlags::default() { None } else { zset.score(member).map(Score::get) };
        let score = match old {
            None if self.xx => return Ok(()),
            None => given,
            Some(_) if self.nx => return Ok(()),
            Some(old) => {
                let new = if self.incr { old + given } else { given };
                if self.gt && new <= old || self.lt && new >= old {
                    return Ok(());
                }
                new
            }
        };
        zset.insert(Blob::new(member), Score::new(score).ok_or(ApplyError::NotANumber)?);
        Ok(())
    }
}

fn zadd(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let key = words.bytes()?;
    let flags = AddFlags::take(words)?;
    let members = pairs(words.rest())?;
    let count = members.clone().count();
    if count == 0 || (flags.incr && count > 1) {
        return Err(ApplyError::BadArguments);
    }
    apply.zset(key, |zset| {
        for (score, member) in members {
            flags.add(zset, member, parse_float(score).ok_or(ApplyError::BadArguments)?)?;
        }
        Ok(())
    })
}

fn zincrby(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, by, member) = (words.bytes()?, words.float()?, words.bytes()?);
    words.finish()?;
    let flags = AddFlags { incr: true, ..AddFlags::default() };
    apply.zset(key, |zset| flags.add(zset, member, by))
}

fn zrem(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, members) = (words.bytes()?, words.rest());
    apply.zset(key, |zset| {
        let removed = members.iter().filter(|member| zset.remove(member).is_some()).count();
        if removed > 0 { Ok(()) } else { Err(ApplyError::Missing) }
    })
}

fn zremrangebyrank(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, start, stop) = (words.bytes()?, words.int()?, words.int()?);
    words.finish()?;
    remove(apply, key, |zset| rank_interval(start, stop, zset.len()))
}

fn zremrangebyscore(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, min, max) = (words.bytes()?, words.bytes()?, words.bytes()?);
    words.finish()?;
    let range = ScoreRange::from_text(min, max).ok_or(ApplyError::BadArguments)?;
    remove(apply, key, |zset| range.interval(zset))
}

fn zremrangebylex(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, min, max) = (words.bytes()?, words.bytes()?, words.bytes()?);
    words.finish()?;
    let range = LexRange::from_text(min, max).ok_or(ApplyError::BadArguments)?;
    remove(apply, key, |zset| range.interval(zset))
}

fn remove(apply: &mut Apply<'_>, key: &[u8], ranks: impl FnOnce(&ZSet) -> Range<usize>) -> Written {
    apply.zset(key, |zset| {
        let ranks = ranks(zset);
        if ranks.is_empty() {
            return Err(ApplyError::Missing);
        }
        zset.remove_range(ranks.start, ranks.end);
        Ok(())
    })
}

/// Which end a pop takes from.
#[derive(Clone, Copy)]
enum End {
    Min,
    Max,
}

fn zpopmin(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, count) = (words.bytes()?, optional_count(words)?);
    pop(apply, key, End::Min, count)
}

fn zpopmax(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, count) = (words.bytes()?, optional_count(words)?);
    pop(apply, key, End::Max, count)
}

fn optional_count(words: &mut Words<'_>) -> Result<usize, ApplyError> {
    let count = if words.is_empty() { 1 } else { words.int()? };
    words.finish()?;
    usize::try_from(count).map_err(|_| ApplyError::BadArguments)
}

fn pop(apply: &mut Apply<'_>, key: &[u8], end: End, count: usize) -> Written {
    remove(apply, key, |zset| match end {
        End::Min => 0..count.min(zset.len()),
        End::Max => zset.len().saturating_sub(count)..zset.len(),
    })
}

/// Primaries send it as ZPOPMIN or ZPOPMAX; modules may not.
fn zmpop(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let keys = words.counted()?;
    let end = match (words.take_word("min"), words.take_word("max")) {
        (true, false) => End::Min,
        (false, true) => End::Max,
        _ => return Err(ApplyError::BadArguments),
    };
    let count = if words.take_word("count") { words.int()? } else { 1 };
    words.finish()?;
    let count = usize::try_from(count).map_err(|_| ApplyError::BadArguments)?;
    for key in keys {
        match apply.get(key).map(|entry| &entry.value) {
            None => {}
            Some(Value::ZSet(_)) => return pop(apply, key, end, count),
            Some(_) => return Err(ApplyError::WrongType),
        }
    }
    Err(ApplyError::Missing)
}

/// Any of the keys may be the one that is popped from.
fn zmpop_touches(db: u32, args: &[&[u8]], touch: &mut dyn FnMut(Touch<'_>)) {
    for key in Words::new(args).counted().unwrap_or_default() {
        touch(Touch::Key { db, key });
    }
}
