//! Sorted sets: the commands that compute a whole sorted set and store it.
//!
//! Scores are floats, so what a sum gives depends on its order. The server adds up its inputs by ascending cardinality,
//! not as they are named, and so do we.

use super::bounds::{LexRange, ScoreRange, mirrored, rank_interval};
use super::write::parse_int;
use super::{Apply, ApplyError, Part, Touches, Words, Write, Written};
use crate::blob::Blob;
use crate::value::{Score, Set, Value, ZSet};
use std::ops::Range;
use std::sync::Arc;

pub const WRITES: &[Write] = &[
    Write {
        name: "zunionstore",
        shape: &[Part::Key, Part::CountedSources, Part::Options],
        touches: Touches::Shape,
        run: zunionstore,
    },
    Write {
        name: "zinterstore",
        shape: &[Part::Key, Part::CountedSources, Part::Options],
        touches: Touches::Shape,
        run: zinterstore,
    },
    Write { name: "zdiffstore", shape: &[Part::Key, Part::CountedSources], touches: Touches::Shape, run: zdiffstore },
    Write {
        name: "zrangestore",
        shape: &[Part::Key, Part::Source, Part::Bin, Part::Bin, Part::Options],
        touches: Touches::Shape,
        run: zrangestore,
    },
];

fn zunionstore(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, combine) = (words.bytes()?, Combine::take(apply, words)?);
    store(apply, key, ZSet::from_stored(scored(combine.union())?))
}

fn zinterstore(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, combine) = (words.bytes()?, Combine::take(apply, words)?);
    store(apply, key, ZSet::from_stored(scored(combine.intersection())?))
}

fn zdiffstore(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, inputs) = (words.bytes()?, inputs(apply, words)?);
    words.finish()?;
    let (first, others) = inputs.split_first().ok_or(ApplyError::BadArguments)?;
    let left = |(member, _): &(&Blob, f64)| others.iter().all(|other| other.score(member).is_none());
    let members = first.members().filter(left).map(|(member, score)| (member.clone(), score)).collect();
    store(apply, key, ZSet::from_stored(scored(members)?))
}

/// Puts a result. An empty one deletes the destination, and is only sent when there was one.
pub fn store(apply: &mut Apply<'_>, key: &[u8], zset: ZSet) -> Written {
    if zset.is_empty() {
        return apply.remove(key).map(drop).ok_or(ApplyError::Missing);
    }
    apply.replace(key, zset);
    Ok(())
}

fn scored(members: Vec<(Blob, f64)>) -> Result<Vec<(Blob, Score)>, ApplyError> {
    let scored = |(member, score)| Some((member, Score::new(score)?));
    members.into_iter().map(scored).collect::<Option<_>>().ok_or(ApplyError::NotANumber)
}

/// A source: in a set every score is 1, and a missing key is empty.
enum Input {
    Missing,
    Set(Set),
    ZSet(Arc<ZSet>),
}

impl Input {
    fn read(apply: &Apply<'_>, key: &[u8]) -> Result<Self, ApplyError> {
        match apply.get(key).map(|entry| &entry.value) {
            None => Ok(Input::Missing),
            Some(Value::Set(set)) => Ok(Input::Set(set.clone())),
            Some(Value::ZSet(zset)) => Ok(Input::ZSet(zset.clone())),
            Some(_) => Err(ApplyError::WrongType),
        }
    }

    fn len(&self) -> usize {
        match self {
            Input::Missing => 0,
            Input::Set(set) => set.len(),
            Input::ZSet(zset) => zset.len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Input::Missing => None,
            Input::Set(set) => set.contains(member).then_some(1.0),
            Input::ZSet(zset) => zset.score(member).map(Score::get),
        }
    }

    fn members(&self) -> Box<dyn Iterator<Item = (&Blob, f64)> + '_> {
        match self {
            Input::Missing => Box::new(std::iter::empty()),
            Input::Set(set) => Box::new(set.iter().map(|member| (member, 1.0))),
            Input::ZSet(zset) => Box::new(zset.iter().map(|(member, score)| (member, score.get()))),
        }
    }
}

fn inputs(apply: &Apply<'_>, words: &mut Words<'_>) -> Result<Vec<Input>, ApplyError> {
    words.counted()?.iter().map(|key| Input::read(apply, key)).collect()
}

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
    /// Redis 8.8: the sum of the weights, the scores ignored.
    Count,
}

impl Aggregate {
    fn take(words: &mut Words<'_>) -> Result<Self, ApplyError> {
        for (word, aggregate) in
            [("sum", Aggregate::Sum), ("min", Aggregate::Min), ("max", Aggregate::Max), ("count", Aggregate::Count)]
        {
            if words.take_word(word) {
                return Ok(aggregate);
            }
        }
        Err(ApplyError::BadArguments)
    }

    fn weighted(self, score: f64, weight: f64) -> f64 {
        match self {
            Aggregate::Count => weight,
            Aggregate::Sum | Aggregate::Min | Aggregate::Max => weight * score,
        }
    }

    /// Of equal values the one that was there stays: they may be zeros of different signs.
    fn join(self, so_far: f64, next: f64) -> f64 {
        match self {
            Aggregate::Sum | Aggregate::Count => number_or_zero(so_far + next),
            Aggregate::Min if next < so_far => next,
            Aggregate::Max if next > so_far => next,
            Aggregate::Min | Aggregate::Max => so_far,
        }
    }
}

/// The server's answer to `0 * inf` and `inf - inf`.
fn number_or_zero(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// What ZUNIONSTORE and ZINTERSTORE are asked to do: weighted inputs by ascending cardinality, and how to join scores.
struct Combine {
    inputs: Vec<(Input, f64)>,
    aggregate: Aggregate,
}

impl Combine {
    fn take(apply: &Apply<'_>, words: &mut Words<'_>) -> Result<Self, ApplyError> {
        let mut inputs: Vec<(Input, f64)> = inputs(apply, words)?.into_iter().map(|input| (input, 1.0)).collect();
        let mut aggregate = Aggregate::Sum;
        while !words.is_empty() {
            if words.take_word("weights") {
                for (_, weight) in &mut inputs {
                    *weight = words.float()?;
                }
            } else if words.take_word("aggregate") {
                aggregate = Aggregate::take(words)?;
            } else {
                return Err(ApplyError::BadArguments);
            }
        }
        inputs.sort_by_key(|(input, _)| input.len());
        Ok(Combine { inputs, aggregate })
    }

    fn union(&self) -> Vec<(Blob, f64)> {
        let mut members: Vec<(Blob, f64)> = Vec::new();
        for (input, weight) in &self.inputs {
            let weighted = |score| number_or_zero(self.aggregate.weighted(score, *weight));
            members.extend(input.members().map(|(member, score)| (member.clone(), weighted(score))));
        }
        // Stable: what one member is given stays in the order of the inputs.
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members.dedup_by(|next, first| {
            let same = next.0 == first.0;
            if same {
                first.1 = self.aggregate.join(first.1, next.1);
            }
            same
        });
        members
    }

    fn intersection(&self) -> Vec<(Blob, f64)> {
        let Some(((smallest, weight), others)) = self.inputs.split_first() else { return Vec::new() };
        let joined = |(member, score): (&Blob, f64)| {
            let first = number_or_zero(self.aggregate.weighted(score, *weight));
            let join = |so_far, (other, weight): &(Input, f64)| {
                let next = self.aggregate.weighted(other.score(member)?, *weight);
                Some(self.aggregate.join(so_far, next))
            };
            Some((member.clone(), others.iter().try_fold(first, join)?))
        };
        smallest.members().filter_map(joined).collect()
    }
}

/// What the bounds of a ZRANGESTORE are about.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Rank,
    Score,
    Lex,
}

struct RangeOptions {
    by: By,
    rev: bool,
    /// Members to skip, then members to take; a negative number of the latter takes all.
    limit: Option<(i64, i64)>,
}

impl RangeOptions {
    fn take(words: &mut Words<'_>) -> Result<Self, ApplyError> {
        let mut options = RangeOptions { by: By::Rank, rev: false, limit: None };
        while !words.is_empty() {
            if words.take_word("byscore") {
                options.by = By::Score;
            } else if words.take_word("bylex") {
                options.by = By::Lex;
            } else if words.take_word("rev") {
                options.rev = true;
            } else if words.take_word("limit") {
                options.limit = Some((words.int()?, words.int()?));
            } else {
                return Err(ApplyError::BadArguments);
            }
        }
        Ok(options)
    }

    /// The ranks asked for. With REV the first bound is the upper one, and LIMIT counts from above.
    fn ranks(&self, zset: &ZSet, first: &[u8], second: &[u8]) -> Option<Range<usize>> {
        let (min, max) = if self.rev { (second, first) } else { (first, second) };
        let ranks = match self.by {
            By::Rank => {
                let ranks = rank_interval(parse_int(first)?, parse_int(second)?, zset.len());
                return Some(if self.rev { mirrored(ranks, zset.len()) } else { ranks });
            }
            By::Score => ScoreRange::from_text(min, max)?.interval(zset),
            By::Lex => LexRange::from_text(min, max)?.interval(zset),
        };
        let Some((offset, count)) = self.limit else { return Some(ranks) };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX).min(ranks.len());
        let taken = usize::try_from(count).unwrap_or(usize::MAX).min(ranks.len() - skipped);
        Some(if self.rev {
            ranks.end - skipped - taken..ranks.end - skipped
        } else {
            ranks.start + skipped..ranks.start + skipped + taken
        })
    }
}

fn zrangestore(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, source, first, second) = (words.bytes()?, words.bytes()?, words.bytes()?, words.bytes()?);
    let options = RangeOptions::take(words)?;
    let mut stored = ZSet::default();
    match apply.get(source).map(|entry| &entry.value) {
        None => {}
        Some(Value::ZSet(zset)) => {
            let ranks = options.ranks(zset, first, second).ok_or(ApplyError::BadArguments)?;
            // One by one in the server's order: its result starts as a listpack, which decides the sign of zeros.
            let mut put = |(member, score): (&Blob, Score)| {
                stored.insert(member.clone(), score);
            };
            let members = zset.range(ranks.start, ranks.end);
            if options.rev { members.rev().for_each(&mut put) } else { members.for_each(&mut put) }
        }
        Some(_) => return Err(ApplyError::WrongType),
    }
    store(apply, key, stored)
}
