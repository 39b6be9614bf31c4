//! Sorted sets: the commands that compute a whole sorted set and store it.
//!
//! Scores are floats, so a sum depends on its order. The server adds its inputs by ascending
//! cardinality, not in the order of the command, and so does this code.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use crate::number::parse_int;
use crate::ops::bounds::{LexRange, ScoreRange, mirrored, rank_interval};
use crate::ops::zsets::store;
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::StoresFrom;
use crate::row::Part::{Bin, CountedSources, Key, Options, Source};
use crate::row::{Leaves, Write, row};
use crate::rules::{NegativeOffset, Rules, ZaddEncoding};
use std::ops::Range;
use vdr_data::blob::Blob;
use vdr_data::keyspace::EntryRef;
use vdr_data::value::Kind;
use vdr_data::value::{Score, Set, StringRef, ValueRef, ZSet};

const ZSET: Leaves = Leaves::Kind(Kind::ZSet);

pub const WRITES: &[Write] = &[
    row(
        "zunionstore",
        &[Key, CountedSources, Options],
        InShape,
        ZSET,
        StoresFrom(&[Kind::ZSet, Kind::Set]),
        zunionstore,
    ),
    row(
        "zinterstore",
        &[Key, CountedSources, Options],
        InShape,
        ZSET,
        StoresFrom(&[Kind::ZSet, Kind::Set]),
        zinterstore,
    ),
    row("zdiffstore", &[Key, CountedSources], InShape, ZSET, StoresFrom(&[Kind::ZSet, Kind::Set]), zdiffstore),
    row("zrangestore", &[Key, Source, Bin, Bin, Options], InShape, ZSET, StoresFrom(&[Kind::ZSet]), zrangestore),
];

fn zunionstore(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, combine) = (args.bytes()?, Combine::take(apply, args)?);
    store(apply, key, ZSet::from_stored(scored(combine.union())?))
}

fn zinterstore(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, combine) = (args.bytes()?, Combine::take(apply, args)?);
    store(apply, key, ZSet::from_stored(scored(combine.intersection())?))
}

fn zdiffstore(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, inputs) = (args.bytes()?, inputs(apply, args)?);
    args.finish()?;
    let (first, others) = inputs.split_first().ok_or(ApplyError::BadArguments)?;
    let left = |(member, _): &(StringRef<'_>, f64)| others.iter().all(|other| other.score(member).is_none());
    let members = first.members().filter(left).map(|(member, score)| (member.to_blob(), score)).collect();
    store(apply, key, ZSet::from_stored(scored(members)?))
}

fn scored(members: Vec<(Blob, f64)>) -> Result<Vec<(Blob, Score)>, ApplyError> {
    let scored = |(member, score)| Some((member, Score::new(score)?));
    members.into_iter().map(scored).collect::<Option<_>>().ok_or(ApplyError::NotANumber)
}

/// A source. In a set every score is 1, and a missing key is empty.
enum Input {
    Missing,
    Set(Set),
    ZSet(ZSet),
}

impl Input {
    fn read(apply: &Apply<'_>, key: &[u8]) -> Result<Self, ApplyError> {
        match apply.get(key).map(EntryRef::value) {
            None => Ok(Input::Missing),
            Some(ValueRef::Set(set)) => Ok(Input::Set(set.clone())),
            Some(ValueRef::ZSet(zset)) => Ok(Input::ZSet(zset.clone())),
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

    fn members(&self) -> Box<dyn Iterator<Item = (StringRef<'_>, f64)> + '_> {
        match self {
            Input::Missing => Box::new(std::iter::empty()),
            Input::Set(set) => Box::new(set.iter().map(|member| (member, 1.0))),
            Input::ZSet(zset) => Box::new(zset.iter().map(|(member, score)| (member, score.get()))),
        }
    }
}

fn inputs(apply: &Apply<'_>, args: &mut ArgCursor<'_>) -> Result<Vec<Input>, ApplyError> {
    args.counted()?.iter().map(|key| Input::read(apply, key)).collect()
}

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
    /// Redis 8.8: the sum of the weights; it ignores the scores.
    Count,
}

impl Aggregate {
    fn take(args: &mut ArgCursor<'_>) -> Result<Self, ApplyError> {
        for (word, aggregate) in
            [("sum", Aggregate::Sum), ("min", Aggregate::Min), ("max", Aggregate::Max), ("count", Aggregate::Count)]
        {
            if args.take_word(word) {
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

    /// Of equal values the older one stays: they may be zeros of different signs.
    fn join(self, so_far: f64, next: f64) -> f64 {
        match self {
            Aggregate::Sum | Aggregate::Count => number_or_zero(so_far + next),
            Aggregate::Min if next < so_far => next,
            Aggregate::Max if next > so_far => next,
            Aggregate::Min | Aggregate::Max => so_far,
        }
    }
}

/// The server's result of `0 * inf` and `inf - inf`.
fn number_or_zero(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// The arguments of ZUNIONSTORE and ZINTERSTORE: weighted inputs by ascending cardinality, and the
/// function that joins scores.
struct Combine {
    inputs: Vec<(Input, f64)>,
    aggregate: Aggregate,
}

impl Combine {
    fn take(apply: &Apply<'_>, args: &mut ArgCursor<'_>) -> Result<Self, ApplyError> {
        let mut inputs: Vec<(Input, f64)> = inputs(apply, args)?.into_iter().map(|input| (input, 1.0)).collect();
        let mut aggregate = Aggregate::Sum;
        while !args.is_empty() {
            if args.take_word("weights") {
                for (_, weight) in &mut inputs {
                    *weight = args.float()?;
                }
            } else if args.take_word("aggregate") {
                aggregate = Aggregate::take(args)?;
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
            members.extend(input.members().map(|(member, score)| (member.to_blob(), weighted(score))));
        }
        // A stable sort: the scores of one member stay in the order of the inputs.
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
        let joined = |(member, score): (StringRef<'_>, f64)| {
            let first = number_or_zero(self.aggregate.weighted(score, *weight));
            let join = |so_far, (other, weight): &(Input, f64)| {
                let next = self.aggregate.weighted(other.score(&member)?, *weight);
                Some(self.aggregate.join(so_far, next))
            };
            Some((member.to_blob(), others.iter().try_fold(first, join)?))
        };
        smallest.members().filter_map(joined).collect()
    }
}

/// The order that the bounds of a ZRANGESTORE refer to.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Rank,
    Score,
    Lex,
}

struct RangeOptions {
    by: By,
    rev: bool,
    /// The number of members to skip, then the number to take; a negative number takes all.
    limit: Option<(i64, i64)>,
}

impl RangeOptions {
    fn take(args: &mut ArgCursor<'_>) -> Result<Self, ApplyError> {
        let mut options = RangeOptions { by: By::Rank, rev: false, limit: None };
        while !args.is_empty() {
            if args.take_word("byscore") {
                options.by = By::Score;
            } else if args.take_word("bylex") {
                options.by = By::Lex;
            } else if args.take_word("rev") {
                options.rev = true;
            } else if args.take_word("limit") {
                options.limit = Some((args.int()?, args.int()?));
            } else {
                return Err(ApplyError::BadArguments);
            }
        }
        Ok(options)
    }

    /// The selected ranks. With REV the first bound is the upper one, and LIMIT counts from above.
    ///
    /// `None` if the result depends on a server whose version is not known: see [`NegativeOffset`].
    fn ranks(
        &self,
        zset: &ZSet,
        first: &[u8],
        second: &[u8],
        rules: Rules,
    ) -> Result<Option<Range<usize>>, ApplyError> {
        let (min, max) = if self.rev { (second, first) } else { (first, second) };
        let ranks = match self.by {
            By::Rank => {
                let (start, stop) = parse_int(first).zip(parse_int(second)).ok_or(ApplyError::BadArguments)?;
                let ranks = rank_interval(start, stop, zset.len());
                return Ok(Some(if self.rev { mirrored(ranks, zset.len()) } else { ranks }));
            }
            By::Score => ScoreRange::from_text(min, max).map(|range| range.interval(zset)),
            By::Lex => LexRange::from_text(min, max).map(|range| range.interval(zset)),
        };
        let ranks = ranks.ok_or(ApplyError::BadArguments)?;
        let Some((offset, count)) = self.limit else { return Ok(Some(ranks)) };
        if offset < 0 && !zset.is_listpack() {
            return Ok(match rules.negative_offset {
                NegativeOffset::Unknown => None,
                NegativeOffset::Nothing => Some(0..0),
                NegativeOffset::FromTheEnd => Some(self.last_ones(ranks, offset, count)),
            });
        }
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX).min(ranks.len());
        let taken = usize::try_from(count).unwrap_or(usize::MAX).min(ranks.len() - skipped);
        Ok(Some(if self.rev {
            ranks.end - skipped - taken..ranks.end - skipped
        } else {
            ranks.start + skipped..ranks.start + skipped + taken
        }))
    }

    /// The last `-offset` of the selected members, in the order of the command, and of these the
    /// first `count`. Nothing if fewer are selected.
    fn last_ones(&self, ranks: Range<usize>, offset: i64, count: i64) -> Range<usize> {
        let back = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
        if back > ranks.len() {
            return 0..0;
        }
        let taken = usize::try_from(count).unwrap_or(usize::MAX).min(back);
        if self.rev {
            ranks.start + back - taken..ranks.start + back
        } else {
            ranks.end - back..ranks.end - back + taken
        }
    }
}

fn zrangestore(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, source, first, second) = (args.bytes()?, args.bytes()?, args.bytes()?, args.bytes()?);
    let options = RangeOptions::take(args)?;
    let mut stored = ZSet::default();
    if let Some(zset) = apply.stored::<ZSet>(source)? {
        let Some(ranks) = options.ranks(zset, first, second, apply.rules)? else {
            apply.doubt(key);
            return Ok(());
        };
        // Members are inserted one by one in the server's order, into the encoding that the server
        // starts with: this decides the sign of zeros. For ranks newer servers know the count in
        // advance.
        if options.by == By::Rank && apply.rules.zadd_encoding != ZaddEncoding::AtMember {
            stored.expect(ranks.len(), 0);
        }
        let mut put = |(member, score): (StringRef<'_>, Score)| {
            stored.insert(&member, score);
        };
        let members = zset.range(ranks.start, ranks.end);
        if options.rev { members.rev().for_each(&mut put) } else { members.for_each(&mut put) }
    }
    store(apply, key, stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Mirror;

    fn mirror() -> Mirror {
        let mut mirror =
            Mirror::after(&["zadd a 1 x 2 y", "zadd b 10 x 20 y 30 z", "zadd inf inf x -inf y", "set str v"]);
        let set: Set = ["x", "w"].into_iter().map(Blob::from).collect();
        mirror.keyspace.db_mut(0).insert(b"s", vdr_data::keyspace::Entry::new(set));
        mirror
    }

    #[track_caller]
    fn stores(line: &str, expected: &str) {
        let mut mirror = mirror();
        assert_eq!(mirror.attempt(line), Ok(()), "{line}");
        assert_eq!(mirror.show("d"), expected, "{line}");
    }

    #[test]
    fn unions_and_intersections_weigh_and_join_scores() {
        stores("zunionstore d 2 a b", "x=11.0 y=22.0 z=30.0");
        stores("zunionstore d 3 a none s", "w=1.0 x=2.0 y=2.0");
        stores("zunionstore d 2 a b WEIGHTS 2 -1", "z=-30.0 y=-16.0 x=-8.0");
        stores("zunionstore d 2 a b aggregate max", "x=10.0 y=20.0 z=30.0");
        stores("ZUNIONSTORE d 2 b a AGGREGATE MIN WEIGHTS 1 1", "x=1.0 y=2.0 z=30.0");
        stores("zunionstore d 2 a b weights 2 3 aggregate count", "z=3.0 x=5.0 y=5.0");
        stores("zunionstore d 2 a a", "x=2.0 y=4.0");
        stores("zinterstore d 2 b a", "x=11.0 y=22.0");
        stores("zinterstore d 2 a s weights 1 5", "x=6.0");
        stores("zinterstore d 2 a b aggregate count", "x=2.0 y=2.0");
        stores("zinterstore d 3 a b s aggregate min", "x=1.0");
    }

    #[test]
    fn what_is_not_a_number_becomes_zero() {
        stores("zunionstore d 1 inf weights 0", "x=0.0 y=0.0");
        stores("zunionstore d 2 inf inf weights 1 -1", "x=0.0 y=0.0");
        stores("zinterstore d 2 inf a weights 0 1", "x=1.0 y=2.0");
    }

    #[test]
    fn sums_are_taken_by_ascending_cardinality() {
        let mut mirror = Mirror::after(&["zadd big 1e16 x 0 y 0 z", "zadd mid 1 x 0 y", "zadd small 1 x"]);
        assert_eq!(mirror.attempt("zunionstore d 3 big mid small"), Ok(()));
        // In the order of the command, 1e16 would swallow each 1.
        assert_eq!(mirror.members(b"d").last(), Some(&("x".to_string(), 1.0000000000000002e16)));
    }

    #[test]
    fn differences_keep_the_scores_of_the_first() {
        stores("zdiffstore d 2 b a", "z=30.0");
        stores("zdiffstore d 2 s a", "w=1.0");
        stores("zdiffstore d 1 a", "x=1.0 y=2.0");
    }

    #[test]
    fn ranges_are_stored_by_rank_score_and_member() {
        stores("zrangestore d b 0 1", "x=10.0 y=20.0");
        stores("zrangestore d b 0 0 rev", "z=30.0");
        stores("zrangestore d b (10 +inf byscore", "y=20.0 z=30.0");
        stores("zrangestore d b 30 (10 BYSCORE REV LIMIT 1 1", "y=20.0");
        stores("zrangestore d b -inf +inf byscore limit 1 -1", "y=20.0 z=30.0");
        stores("zrangestore d b [y + bylex limit 0 1", "y=20.0");
        stores("zrangestore d b + - bylex rev limit 0 2", "y=20.0 z=30.0");
    }

    /// Redis 7.0, 8.0 and 8.6, Valkey 8.1 and 9.1 gave these results.
    #[test]
    fn a_negative_offset_into_a_skiplist_follows_the_servers_version() {
        let long = "x".repeat(65);
        let stored = |rules: Rules, line: &str| {
            let mut mirror = Mirror::new();
            mirror.rules = rules;
            mirror.run(&[&format!("zadd a 1 a 2 b 3 c 4 d 99 {long}"), "set d old ex 5"]);
            match mirror.attempt(line) {
                Ok(()) => mirror.ask("exists d") + " " + &mirror.ask("zrange d 0 -1 true"),
                Err(error) => format!("{error:?}"),
            }
        };
        let (old, new) = (Rules::of("redis", "7.2.9"), Rules::of("valkey", "9.1.0"));
        for (options, expected) in [
            ("1 4 byscore limit -1 5", "[d:4]"),
            ("1 4 byscore limit -3 2", "[b:2 c:3]"),
            ("1 4 byscore limit -4 -1", "[a:1 b:2 c:3 d:4]"),
            ("1 4 byscore limit -5 9", "[]"),
            ("4 1 byscore rev limit -1 5", "[a:1]"),
            ("4 1 byscore rev limit -3 2", "[b:2 c:3]"),
            ("4 1 byscore rev limit -5 2", "[]"),
        ] {
            let line = format!("zrangestore d a {options}");
            assert!(stored(new, &line).ends_with(expected), "{line}: {}", stored(new, &line));
            assert!(stored(old, &line).ends_with("[]"), "{line}");
            assert_eq!(stored(Rules::default(), &line), "UnknownValue UnknownValue", "{line}");
        }
    }

    #[test]
    fn a_result_replaces_whatever_was_there_and_its_expiry() {
        let mut mirror = mirror();
        mirror.keyspace.db_mut(0).set_expiry(b"str", vdr_data::expiry::Expiry::at(5));
        assert_eq!(mirror.attempt("zunionstore str 1 a"), Ok(()));
        assert_eq!(mirror.show("str"), "x=1.0 y=2.0");
        assert!(!mirror.keyspace.db(0).get(b"str").unwrap().expiry().is_set());
        assert_eq!(mirror.attempt("zunionstore a 2 a b"), Ok(()));
        assert_eq!(mirror.show("a"), "x=11.0 y=22.0 z=30.0");
    }

    #[test]
    fn an_empty_result_deletes_and_is_not_sent_when_there_is_nothing_to_delete() {
        for line in [
            "zunionstore str 1 none",
            "zinterstore str 2 a none",
            "zdiffstore str 2 a b",
            "zrangestore str a 5 6",
            "zrangestore str a -inf +inf byscore limit -1 5",
            "zrangestore str none 0 -1",
        ] {
            let mut mirror = mirror();
            assert_eq!(mirror.attempt(line), Ok(()), "{line}");
            assert!(mirror.keyspace.db(0).get(b"str").is_none(), "{line}");
            mirror.fails(line, ApplyError::Missing);
        }
    }

    #[test]
    fn another_type_and_arguments_that_no_primary_sends_are_errors() {
        let mut mirror = mirror();
        for line in
            ["zunionstore d 2 a str", "zinterstore d 2 none str", "zdiffstore d 2 a str", "zrangestore d str 0 1"]
        {
            mirror.fails(line, ApplyError::WrongType);
        }
        for line in [
            "zunionstore d 3 a b",
            "zunionstore d -1 a",
            "zunionstore d 2 a b weights 1",
            "zunionstore d 1 a weights x",
            "zunionstore d 1 a aggregate mean",
            "zdiffstore d 0",
            "zdiffstore d 1 a weights 1",
            "zrangestore d a 0",
            "zrangestore d a 0 x",
            "zrangestore d a (0 x byscore",
            "zrangestore d a 0 1 limit 0",
            "zrangestore d a 0 1 withscores",
        ] {
            mirror.fails(line, ApplyError::BadArguments);
        }
    }
}
