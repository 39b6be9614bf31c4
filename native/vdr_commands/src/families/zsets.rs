//! Sorted sets: the reads. Every range first becomes an interval of ranks, whose length is also its
//! cost.

use crate::args::{Arg, Args};
use crate::error::ReadError;
use crate::ops::bounds::{LexBound, LexRange, ScoreBound, ScoreRange, mirrored, rank_interval};
use crate::ops::costs;
use crate::reply::{Reply, collected};
use crate::row::{Cost, Read};
use std::ops::Range;
use vdr_data::keyspace::View;
use vdr_data::value::{Score, StringRef, ZSet};

pub const READS: &[Read] = &[
    Read { name: "zscore", args: &["key", "member"], cost: Cost::Point, run: zscore },
    Read { name: "zmscore", args: &["key", "members"], cost: Cost::Elements(costs::names), run: zmscore },
    Read { name: "zcard", args: &["key"], cost: Cost::Point, run: zcard },
    Read { name: "zcount", args: &["key", "min", "max"], cost: Cost::Point, run: zcount },
    Read { name: "zlexcount", args: &["key", "min", "max"], cost: Cost::Point, run: zlexcount },
    Read {
        name: "zrange",
        args: &["key", "start", "stop", "?with_scores"],
        cost: Cost::Elements(|view, args| cost(by_rank(view, args))),
        run: zrange,
    },
    Read {
        name: "zrevrange",
        args: &["key", "start", "stop", "?with_scores"],
        cost: Cost::Elements(|view, args| cost(by_rank_from_the_end(view, args))),
        run: zrevrange,
    },
    Read {
        name: "zrangebyscore",
        args: &["key", "min", "max", "?with_scores"],
        cost: Cost::Elements(|view, args| cost(by_score(view, args))),
        run: zrangebyscore,
    },
    Read {
        name: "zrevrangebyscore",
        args: &["key", "max", "min", "?with_scores"],
        cost: Cost::Elements(|view, args| cost(by_score_downward(view, args))),
        run: zrevrangebyscore,
    },
    Read {
        name: "zrangebylex",
        args: &["key", "min", "max"],
        cost: Cost::Elements(|view, args| cost(by_lex(view, args))),
        run: zrangebylex,
    },
    Read { name: "zrank", args: &["key", "member"], cost: Cost::Point, run: zrank },
    Read { name: "zrevrank", args: &["key", "member"], cost: Cost::Point, run: zrevrank },
    Read {
        name: "zfirst",
        args: &["key", "n"],
        cost: Cost::Elements(|view, args| cost(first(view, args))),
        run: zfirst,
    },
    Read { name: "zlast", args: &["key", "n"], cost: Cost::Elements(|view, args| cost(last(view, args))), run: zlast },
    Read {
        name: "znext",
        args: &["key", "place", "n"],
        cost: Cost::Elements(|view, args| cost(after(view, args))),
        run: znext,
    },
    Read {
        name: "zprev",
        args: &["key", "place", "n"],
        cost: Cost::Elements(|view, args| cost(before(view, args))),
        run: zprev,
    },
];

fn zscore<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, member) = (args.bytes()?, args.bytes()?);
    Ok(score_or_nil(view.zset(key)?, member))
}

fn zmscore<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, members) = (args.bytes()?, args.byte_list()?);
    let zset = view.zset(key)?;
    Ok(Reply::List(members.into_iter().map(|member| score_or_nil(zset, member)).collect()))
}

fn score_or_nil<'s>(zset: Option<&ZSet>, member: &[u8]) -> Reply<'s> {
    zset.and_then(|zset| zset.score(member)).map_or(Reply::Nil, |score| Reply::score(score.get()))
}

fn zcard<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.zset(args.bytes()?)?.map_or(0, ZSet::len)))
}

fn zcount<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(by_score(view, args)?.len()))
}

fn zlexcount<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(by_lex(view, args)?.len()))
}

fn zrange<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let picked = by_rank(view, args)?;
    Ok(picked.upward(args.flag("with_scores", true)?))
}

fn zrevrange<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let picked = by_rank_from_the_end(view, args)?;
    Ok(picked.downward(args.flag("with_scores", true)?))
}

fn zrangebyscore<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let picked = by_score(view, args)?;
    Ok(picked.upward(args.flag("with_scores", true)?))
}

fn zrevrangebyscore<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let picked = by_score_downward(view, args)?;
    Ok(picked.downward(args.flag("with_scores", true)?))
}

fn zrangebylex<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(by_lex(view, args)?.upward(false))
}

fn zrank<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, member) = (args.bytes()?, args.bytes()?);
    let rank = view.zset(key)?.and_then(|zset| zset.rank(member));
    Ok(rank.map_or(Reply::Nil, Reply::int))
}

fn zrevrank<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, member) = (args.bytes()?, args.bytes()?);
    let rank = view.zset(key)?.and_then(|zset| zset.len().checked_sub(zset.rank(member)? + 1));
    Ok(rank.map_or(Reply::Nil, Reply::int))
}

fn zfirst<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(first(view, args)?.scores_first(false))
}

fn zlast<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(last(view, args)?.scores_first(true))
}

fn znext<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(after(view, args)?.scores_first(false))
}

fn zprev<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(before(view, args)?.scores_first(true))
}

/// Adjacent members of a sorted set; none of a missing key.
struct Picked<'s> {
    zset: Option<&'s ZSet>,
    ranks: Range<usize>,
}

impl<'s> Picked<'s> {
    fn new(zset: Option<&'s ZSet>, ranks: impl FnOnce(&'s ZSet) -> Range<usize>) -> Self {
        Picked { zset, ranks: zset.map_or(0..0, ranks) }
    }

    fn len(&self) -> usize {
        self.ranks.len()
    }

    fn upward(self, with_scores: bool) -> Reply<'s> {
        match self.zset {
            None => Reply::List(Vec::new()),
            Some(zset) => list(zset.range(self.ranks.start, self.ranks.end), with_scores),
        }
    }

    fn downward(self, with_scores: bool) -> Reply<'s> {
        match self.zset {
            None => Reply::List(Vec::new()),
            Some(zset) => list(zset.range(self.ranks.start, self.ranks.end).rev(), with_scores),
        }
    }

    /// `{score, member}`, as the cursors return them.
    fn scores_first(self, downward: bool) -> Reply<'s> {
        match if downward { self.downward(true) } else { self.upward(true) } {
            Reply::Pairs(mut pairs) => {
                pairs.iter_mut().for_each(|(member, score)| std::mem::swap(member, score));
                Reply::Pairs(pairs)
            }
            empty => empty,
        }
    }
}

fn list<'s>(members: impl Iterator<Item = (StringRef<'s>, Score)>, with_scores: bool) -> Reply<'s> {
    if with_scores {
        Reply::Pairs(collected(members.map(|(member, score)| (Reply::string(member), Reply::score(score.get())))))
    } else {
        Reply::strings(members.map(|(member, _)| member))
    }
}

fn cost(picked: Result<Picked<'_>, ReadError>) -> Option<usize> {
    picked.ok().map(|picked| picked.len())
}

fn by_rank<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Picked<'s>, ReadError> {
    let (key, start, stop) = (args.bytes()?, args.int()?, args.int()?);
    Ok(Picked::new(view.zset(key)?, |zset| rank_interval(start, stop, zset.len())))
}

fn by_rank_from_the_end<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Picked<'s>, ReadError> {
    let (key, start, stop) = (args.bytes()?, args.int()?, args.int()?);
    Ok(Picked::new(view.zset(key)?, |zset| mirrored(rank_interval(start, stop, zset.len()), zset.len())))
}

fn by_score<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Picked<'s>, ReadError> {
    let (key, min, max) = (args.bytes()?, args.value()?, args.value()?);
    let range = ScoreRange { min: ScoreBound::from_arg(min)?, max: ScoreBound::from_arg(max)? };
    Ok(Picked::new(view.zset(key)?, |zset| range.interval(zset)))
}

fn by_score_downward<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Picked<'s>, ReadError> {
    let (key, max, min) = (args.bytes()?, args.value()?, args.value()?);
    let range = ScoreRange { min: ScoreBound::from_arg(min)?, max: ScoreBound::from_arg(max)? };
    Ok(Picked::new(view.zset(key)?, |zset| range.interval(zset)))
}

fn by_lex<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Picked<'s>, ReadError> {
    let (key, min, max) = (args.bytes()?, args.value()?, args.value()?);
    let range = LexRange { min: LexBound::from_arg(min)?, max: LexBound::from_arg(max)? };
    Ok(Picked::new(view.zset(key)?, |zset| range.interval(zset)))
}

fn first<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Picked<'s>, ReadError> {
    let (key, n) = (args.bytes()?, args.count()?);
    Ok(Picked::new(view.zset(key)?, |zset| 0..n.min(zset.len())))
}

fn last<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Picked<'s>, ReadError> {
    let (key, n) = (args.bytes()?, args.count()?);
    Ok(Picked::new(view.zset(key)?, |zset| zset.len().saturating_sub(n)..zset.len()))
}

/// The place from which a cursor goes on.
enum Place<'a> {
    /// The member's place; a member that is not in the set has none.
    Member(&'a [u8]),
    /// The place in score order, whether the member is in the set or not.
    Order(f64, &'a [u8]),
}

impl<'a> Place<'a> {
    /// `member`, or `{score, member}`.
    fn parse(args: &mut Args<'a>) -> Result<Self, ReadError> {
        match args.value()? {
            Arg::Bytes(member) => Ok(Place::Member(member)),
            Arg::Tuple(pair) | Arg::List(pair) => {
                let mut pair = Args::new(pair);
                let place = Place::Order(ScoreBound::score(pair.value()?)?, pair.bytes()?);
                if pair.is_empty() { Ok(place) } else { Err(ReadError::BadArgument) }
            }
            _ => Err(ReadError::BadArgument),
        }
    }

    /// How many members stand before the place.
    fn before(&self, zset: &ZSet) -> usize {
        match self {
            Place::Member(member) => zset.rank(member).unwrap_or(0),
            Place::Order(score, member) => zset.partition(|other, name| (other.get(), name) < (*score, member)),
        }
    }

    /// The rank of the first member after the place.
    fn after(&self, zset: &ZSet) -> usize {
        match self {
            Place::Member(member) => zset.rank(member).map_or(zset.len(), |rank| rank + 1),
            Place::Order(score, member) => zset.partition(|other, name| (other.get(), name) <= (*score, member)),
        }
    }
}

fn after<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Picked<'s>, ReadError> {
    let (key, place, n) = (args.bytes()?, Place::parse(args)?, args.count()?);
    let ranks = |zset: &ZSet| {
        let from = place.after(zset);
        from..from.saturating_add(n).min(zset.len())
    };
    Ok(Picked::new(view.zset(key)?, ranks))
}

fn before<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Picked<'s>, ReadError> {
    let (key, place, n) = (args.bytes()?, Place::parse(args)?, args.count()?);
    let ranks = |zset: &ZSet| {
        let to = place.before(zset);
        to.saturating_sub(n)..to
    };
    Ok(Picked::new(view.zset(key)?, ranks))
}

#[cfg(test)]
mod tests {
    use crate::args::Arg;
    use crate::error::ReadError;
    use crate::harness::Mirror;
    use crate::reply::Reply;

    fn five() -> Mirror {
        Mirror::after(&["zadd z -inf low 1 a 1 b 2.5 c inf high", "zadd same 0 a 0 b 0 c 0 d"])
    }

    fn bytes(text: &str) -> Arg<'_> {
        Arg::Bytes(text.as_bytes())
    }

    /// A reply on one line.
    fn line(reply: &Reply<'_>) -> String {
        let list = |items: Vec<String>| format!("[{}]", items.join(" "));
        match reply {
            Reply::Nil => "nil".into(),
            Reply::Int(int) => int.to_string(),
            Reply::Float(float) => format!("{float:?}"),
            Reply::Word(word) => format!(":{word}"),
            Reply::Blob(blob) => String::from_utf8_lossy(blob).into_owned(),
            Reply::Slice(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Reply::List(items) => list(items.iter().map(line).collect()),
            Reply::Strings(strings) => list(strings.iter().map(|string| line(&Reply::string(*string))).collect()),
            Reply::Pairs(pairs) => list(pairs.iter().map(|(a, b)| format!("{}={}", line(a), line(b))).collect()),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn answers(name: &str, args: &[Arg<'_>], expected: &str) {
        assert_eq!(line(&five().read(name, args).unwrap()), expected);
    }

    #[test]
    fn scores_and_ranks_of_members() {
        answers("zscore", &[bytes("z"), bytes("c")], "2.5");
        answers("zscore", &[bytes("z"), bytes("low")], ":neg_inf");
        answers("zscore", &[bytes("z"), bytes("no")], "nil");
        answers("zscore", &[bytes("none"), bytes("a")], "nil");
        let members = Arg::List(vec![bytes("high"), bytes("no"), bytes("a")]);
        answers("zmscore", &[bytes("z"), members.clone()], "[:pos_inf nil 1.0]");
        answers("zmscore", &[bytes("none"), members], "[nil nil nil]");
        answers("zrank", &[bytes("z"), bytes("a")], "1");
        answers("zrevrank", &[bytes("z"), bytes("a")], "3");
        answers("zrevrank", &[bytes("z"), bytes("no")], "nil");
        answers("zrank", &[bytes("none"), bytes("a")], "nil");
        answers("zcard", &[bytes("z")], "5");
        answers("zcard", &[bytes("none")], "0");
    }

    #[test]
    fn ranges_by_rank_from_either_end() {
        answers("zrange", &[bytes("z"), Arg::Int(0), Arg::Int(1)], "[low=:neg_inf a=1.0]");
        answers("zrange", &[bytes("z"), Arg::Int(-2), Arg::Int(-1), Arg::Bool(false)], "[c high]");
        answers("zrange", &[bytes("z"), Arg::Int(3), Arg::Int(1)], "[]");
        answers("zrange", &[bytes("none"), Arg::Int(0), Arg::Int(-1)], "[]");
        answers("zrevrange", &[bytes("z"), Arg::Int(0), Arg::Int(1), Arg::Bool(true)], "[high=:pos_inf c=2.5]");
        answers("zrevrange", &[bytes("z"), Arg::Int(-1), Arg::Int(9), Arg::Bool(false)], "[low]");
    }

    #[test]
    fn ranges_by_score_take_the_bounds_of_terms_and_of_scripts() {
        let over_one = Arg::Tuple(vec![Arg::Word("exclusive"), Arg::Int(1)]);
        answers("zrangebyscore", &[bytes("z"), Arg::Int(1), Arg::Float(2.5)], "[a=1.0 b=1.0 c=2.5]");
        answers("zrangebyscore", &[bytes("z"), over_one.clone(), Arg::Word("pos_inf"), Arg::Bool(false)], "[c high]");
        answers("zrangebyscore", &[bytes("z"), bytes("(1"), bytes("(+inf"), Arg::Bool(false)], "[c]");
        answers("zrangebyscore", &[bytes("z"), Arg::Int(2), Arg::Int(1)], "[]");
        answers("zrevrangebyscore", &[bytes("z"), Arg::Int(2), Arg::Word("neg_inf"), Arg::Bool(false)], "[b a low]");
        answers("zrevrangebyscore", &[bytes("z"), Arg::Int(1), Arg::Int(2)], "[]");
        answers("zcount", &[bytes("z"), over_one, Arg::Word("pos_inf")], "2");
        answers("zcount", &[bytes("none"), Arg::Int(1), Arg::Int(2)], "0");
    }

    #[test]
    fn ranges_by_member() {
        answers("zrangebylex", &[bytes("same"), bytes("(a"), bytes("[c")], "[b c]");
        answers("zrangebylex", &[bytes("same"), bytes("-"), bytes("(c")], "[a b]");
        answers("zrangebylex", &[bytes("same"), Arg::Word("neg_inf"), Arg::Word("pos_inf")], "[a b c d]");
        answers("zrangebylex", &[bytes("same"), bytes("+"), bytes("-")], "[]");
        answers("zlexcount", &[bytes("same"), bytes("[b"), bytes("+")], "3");
        answers("zlexcount", &[bytes("none"), bytes("-"), bytes("+")], "0");
    }

    #[test]
    fn cursors_walk_by_score_and_give_the_score_first() {
        answers("zfirst", &[bytes("z"), Arg::Int(2)], "[:neg_inf=low 1.0=a]");
        answers("zlast", &[bytes("z"), Arg::Int(2)], "[:pos_inf=high 2.5=c]");
        answers("znext", &[bytes("z"), bytes("a"), Arg::Int(2)], "[1.0=b 2.5=c]");
        answers("znext", &[bytes("z"), bytes("high"), Arg::Int(2)], "[]");
        answers("zprev", &[bytes("z"), bytes("c"), Arg::Int(2)], "[1.0=b 1.0=a]");
        answers("zprev", &[bytes("z"), bytes("a"), Arg::Int(9)], "[:neg_inf=low]");
        let place = |score, member| Arg::Tuple(vec![score, bytes(member)]);
        let gone = [Arg::Float(1.5), Arg::Int(1), Arg::Word("pos_inf")];
        let [between, equal, last] = gone.map(|score| place(score, "bb"));
        answers("znext", &[bytes("z"), between.clone(), Arg::Int(2)], "[2.5=c :pos_inf=high]");
        answers("zprev", &[bytes("z"), between, Arg::Int(2)], "[1.0=b 1.0=a]");
        answers("znext", &[bytes("z"), equal.clone(), Arg::Int(1)], "[2.5=c]");
        answers("zprev", &[bytes("z"), equal, Arg::Int(1)], "[1.0=b]");
        answers("znext", &[bytes("z"), last, Arg::Int(1)], "[:pos_inf=high]");
        let there = Arg::List(vec![Arg::Int(1), bytes("b")]);
        answers("znext", &[bytes("z"), there.clone(), Arg::Int(1)], "[2.5=c]");
        answers("zprev", &[bytes("z"), there, Arg::Int(1)], "[1.0=a]");
        for cursor in ["znext", "zprev"] {
            answers(cursor, &[bytes("z"), bytes("no"), Arg::Int(2)], "[]");
            answers(cursor, &[bytes("none"), bytes("a"), Arg::Int(2)], "[]");
        }
        answers("zfirst", &[bytes("z"), Arg::Int(0)], "[]");
        answers("zlast", &[bytes("z"), Arg::Int(i64::MAX)], "[:pos_inf=high 2.5=c 1.0=b 1.0=a :neg_inf=low]");
    }

    #[test]
    fn a_read_costs_what_it_will_touch() {
        let mirror = five();
        let cost = |name, args: &[Arg<'_>]| mirror.cost(name, args);
        assert_eq!(cost("zrange", &[bytes("z"), Arg::Int(1), Arg::Int(99)]), 4);
        assert_eq!(cost("zrangebyscore", &[bytes("z"), Arg::Int(1), Arg::Int(2), Arg::Bool(true)]), 2);
        assert_eq!(cost("zlast", &[bytes("z"), Arg::Int(i64::MAX)]), 5);
        assert_eq!(cost("znext", &[bytes("z"), bytes("c"), Arg::Int(9)]), 1);
        assert_eq!(cost("zmscore", &[bytes("z"), Arg::List(vec![bytes("a"), bytes("b")])]), 2);
        assert_eq!(cost("zcount", &[bytes("z"), Arg::Word("neg_inf"), Arg::Word("pos_inf")]), 1);
    }

    #[test]
    fn what_no_read_takes_is_a_bad_argument() {
        let mirror = five();
        for (name, args) in [
            ("zfirst", vec![bytes("z"), Arg::Int(-1)]),
            ("zrange", vec![bytes("z"), Arg::Int(0), bytes("1")]),
            ("zrange", vec![bytes("z"), Arg::Int(0), Arg::Int(1), Arg::Nil]),
            ("zrangebyscore", vec![bytes("z"), bytes("x"), Arg::Int(1)]),
            ("zrangebylex", vec![bytes("z"), bytes("a"), bytes("b")]),
            ("zrangebylex", vec![bytes("z"), bytes("-")]),
            ("zscore", vec![bytes("z"), Arg::Int(1)]),
        ] {
            assert_eq!(mirror.read(name, &args), Err(ReadError::BadArgument), "{name} {args:?}");
        }
    }

    #[test]
    fn another_type_is_refused_by_every_read() {
        let mirror = Mirror::after(&["set s x"]);
        for row in super::READS {
            let args: Vec<Arg<'_>> = row
                .args
                .iter()
                .filter(|name| !name.starts_with('?'))
                .map(|name| match *name {
                    "key" => bytes("s"),
                    "member" | "place" => bytes("m"),
                    "members" => Arg::List(vec![bytes("m")]),
                    "min" | "max" => Arg::Word("neg_inf"),
                    _ => Arg::Int(1),
                })
                .collect();
            assert_eq!(mirror.read(row.name, &args), Err(ReadError::WrongType), "{}", row.name);
        }
    }
}
