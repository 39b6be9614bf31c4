//! Bounds of sorted-set ranges, as callers and the stream write them, and the ranks between them.
//!
//! Reads and writes share this file, so a bound means the same for both. Nothing here knows a
//! command.

use crate::args::{Arg, Args};
use crate::error::ReadError;
use crate::number::parse_float;
use std::ops::Range;
use vdr_data::value::ZSet;

/// Ranks `start..=stop` as the server counts them (negative from the end), as a half-open interval
/// within `len`.
pub fn rank_interval(start: i64, stop: i64, len: usize) -> Range<usize> {
    let from_end = |index: i64| if index < 0 { index.saturating_add_unsigned(len as u64) } else { index };
    let from = usize::try_from(from_end(start).max(0)).unwrap_or(usize::MAX);
    // A stop before the first element leaves nothing.
    let to = usize::try_from(from_end(stop).saturating_add(1)).unwrap_or(0).min(len);
    if from < to { from..to } else { 0..0 }
}

/// The same elements, counted from the other end.
pub fn mirrored(interval: Range<usize>, len: usize) -> Range<usize> {
    len.saturating_sub(interval.end)..len.saturating_sub(interval.start)
}

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    score: f64,
    exclusive: bool,
}

impl ScoreBound {
    /// A number, `neg_inf`, `pos_inf` or `infinity`, or `{exclusive, one of these}`. Lua scripts
    /// may pass the server's text instead.
    pub fn from_arg(arg: &Arg<'_>) -> Result<Self, ReadError> {
        let (Arg::Tuple(parts) | Arg::List(parts)) = arg else { return Self::plain(arg) };
        let mut parts = Args::new(parts);
        let exclusive = parts.word()? == "exclusive";
        let bound = Self::plain(parts.value()?)?;
        if !exclusive || bound.exclusive || !parts.is_empty() {
            return Err(ReadError::BadArgument);
        }
        Ok(ScoreBound { exclusive, ..bound })
    }

    fn plain(arg: &Arg<'_>) -> Result<Self, ReadError> {
        match arg {
            Arg::Int(int) => Ok(Self::inclusive(*int as f64)),
            Arg::Float(float) if !float.is_nan() => Ok(Self::inclusive(*float)),
            Arg::Word("neg_inf") | Arg::Bytes(b"neg_inf") => Ok(Self::inclusive(f64::NEG_INFINITY)),
            Arg::Word("pos_inf" | "infinity") | Arg::Bytes(b"pos_inf") => Ok(Self::inclusive(f64::INFINITY)),
            Arg::Bytes(text) => Self::from_text(text).ok_or(ReadError::BadArgument),
            _ => Err(ReadError::BadArgument),
        }
    }

    /// A score as callers write it: a number, or an infinite one as bounds take it.
    pub fn score(arg: &Arg<'_>) -> Result<f64, ReadError> {
        let bound = Self::plain(arg)?;
        if bound.exclusive { Err(ReadError::BadArgument) } else { Ok(bound.score) }
    }

    /// The server's text: a float, after `(` if the bound is exclusive. The server accepts more for
    /// a bound than for a score: an empty text is 0, it skips leading blanks, and the text ends at
    /// a zero byte.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let (exclusive, text) = match text.strip_prefix(b"(") {
            Some(text) => (true, text),
            None => (false, text),
        };
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
        let score = if text.is_empty() { 0.0 } else { parse_float(text.get(blanks..)?)? };
        Some(ScoreBound { score, exclusive })
    }

    fn inclusive(score: f64) -> Self {
        ScoreBound { score, exclusive: false }
    }
}

/// A range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    pub min: ScoreBound,
    pub max: ScoreBound,
}

impl ScoreRange {
    pub fn from_text(min: &[u8], max: &[u8]) -> Option<Self> {
        Some(ScoreRange { min: ScoreBound::from_text(min)?, max: ScoreBound::from_text(max)? })
    }

    /// The ranks of the members inside. O(log n).
    pub fn interval(&self, zset: &ZSet) -> Range<usize> {
        let (min, max) = (self.min, self.max);
        let from = zset.partition(|score, _| score.get() < min.score || (min.exclusive && score.get() == min.score));
        let to = zset.partition(|score, _| score.get() < max.score || (!max.exclusive && score.get() == max.score));
        from..to.max(from)
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LexBound<'a> {
    Lowest,
    Highest,
    Inclusive(&'a [u8]),
    Exclusive(&'a [u8]),
}

impl<'a> LexBound<'a> {
    /// The server's text, or the words `neg_inf` and `pos_inf`.
    pub fn from_arg(arg: &Arg<'a>) -> Result<Self, ReadError> {
        match arg {
            Arg::Word("neg_inf") | Arg::Bytes(b"neg_inf") => Ok(LexBound::Lowest),
            Arg::Word("pos_inf") | Arg::Bytes(b"pos_inf") => Ok(LexBound::Highest),
            Arg::Bytes(text) => Self::from_text(text).ok_or(ReadError::BadArgument),
            _ => Err(ReadError::BadArgument),
        }
    }

    /// `-`, `+`, `[member` or `(member`.
    pub fn from_text(text: &'a [u8]) -> Option<Self> {
        match text {
            b"-" => Some(LexBound::Lowest),
            b"+" => Some(LexBound::Highest),
            [b'[', member @ ..] => Some(LexBound::Inclusive(member)),
            [b'(', member @ ..] => Some(LexBound::Exclusive(member)),
            _ => None,
        }
    }

    /// Whether a member is not below this bound, as the lower one.
    fn is_below(&self, member: &[u8]) -> bool {
        match *self {
            LexBound::Lowest => true,
            LexBound::Highest => false,
            LexBound::Inclusive(bound) => bound <= member,
            LexBound::Exclusive(bound) => bound < member,
        }
    }

    /// Whether a member is not above this bound, as the upper one.
    fn is_above(&self, member: &[u8]) -> bool {
        match *self {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Inclusive(bound) => member <= bound,
            LexBound::Exclusive(bound) => member < bound,
        }
    }
}

/// A range of members. It is only defined while all scores are equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LexRange<'a> {
    pub min: LexBound<'a>,
    pub max: LexBound<'a>,
}

impl<'a> LexRange<'a> {
    pub fn from_text(min: &'a [u8], max: &'a [u8]) -> Option<Self> {
        Some(LexRange { min: LexBound::from_text(min)?, max: LexBound::from_text(max)? })
    }

    /// The ranks of the members inside. O(log n) for a skiplist. A listpack is walked from its
    /// front, as on the server, which gives the same answer even if the scores differ.
    pub fn interval(&self, zset: &ZSet) -> Range<usize> {
        if zset.is_listpack() {
            return self.walk(zset);
        }
        let from = zset.partition(|_, member| !self.min.is_below(member));
        let to = zset.partition(|_, member| self.max.is_above(member));
        from..to.max(from)
    }

    fn walk(&self, zset: &ZSet) -> Range<usize> {
        let ends_meet = zset.iter().next_back().is_some_and(|(last, _)| self.min.is_below(&last))
            && zset.iter().next().is_some_and(|(first, _)| self.max.is_above(&first));
        if !ends_meet {
            return 0..0;
        }
        let from = zset.iter().take_while(|(member, _)| !self.min.is_below(member)).count();
        let inside = zset.range(from, zset.len()).take_while(|(member, _)| self.max.is_above(member)).count();
        from..from + inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_from_either_end_and_are_clipped() {
        for (start, stop, len, expected) in [
            (0, -1, 3, 0..3),
            (1, 1, 3, 1..2),
            (-2, -1, 3, 1..3),
            (-9, 0, 3, 0..1),
            (0, 9, 3, 0..3),
            (2, 1, 3, 0..0),
            (3, 9, 3, 0..0),
            (0, -4, 3, 0..0),
            (0, -1, 0, 0..0),
            (i64::MIN, i64::MAX, 2, 0..2),
            (i64::MAX, i64::MIN, 2, 0..0),
        ] {
            assert_eq!(rank_interval(start, stop, len), expected, "{start} {stop} of {len}");
        }
        assert_eq!(mirrored(0..1, 3), 2..3);
    }

    #[test]
    fn score_bounds_are_read_from_terms_and_from_text() {
        let exclusive = |score| ScoreBound { score, exclusive: true };
        let inclusive = ScoreBound::inclusive;
        let word = Arg::Word("exclusive");
        for (arg, bound) in [
            (Arg::Int(5), inclusive(5.0)),
            (Arg::Float(-1.5), inclusive(-1.5)),
            (Arg::Word("neg_inf"), inclusive(f64::NEG_INFINITY)),
            (Arg::Bytes(b"pos_inf"), inclusive(f64::INFINITY)),
            (Arg::Tuple(vec![word.clone(), Arg::Int(2)]), exclusive(2.0)),
            (Arg::List(vec![Arg::Bytes(b"exclusive"), Arg::Word("pos_inf")]), exclusive(f64::INFINITY)),
            (Arg::Bytes(b"(1.5"), exclusive(1.5)),
            (Arg::Bytes(b"-inf"), inclusive(f64::NEG_INFINITY)),
            // Texts other than plain numbers that redis-server 7.0 accepts.
            (Arg::Bytes(b""), inclusive(0.0)),
            (Arg::Bytes(b"("), exclusive(0.0)),
            (Arg::Bytes(b" 5"), inclusive(5.0)),
            (Arg::Bytes(b"5\0junk"), inclusive(5.0)),
            (Arg::Bytes(b"0x5"), inclusive(5.0)),
            (Arg::Bytes(b"1e400"), inclusive(f64::INFINITY)),
        ] {
            assert_eq!(ScoreBound::from_arg(&arg), Ok(bound), "{arg:?}");
        }
    }

    #[test]
    fn what_is_no_score_bound_is_refused() {
        for arg in [
            Arg::Nil,
            Arg::Float(f64::NAN),
            Arg::Word("exclusive"),
            Arg::Tuple(vec![Arg::Word("inclusive"), Arg::Int(2)]),
            Arg::Tuple(vec![Arg::Word("exclusive")]),
            Arg::Tuple(vec![Arg::Word("exclusive"), Arg::Int(2), Arg::Int(3)]),
            Arg::Tuple(vec![Arg::Word("exclusive"), Arg::Bytes(b"(2")]),
            Arg::Bytes(b"nan"),
            Arg::Bytes(b"  "),
            Arg::Bytes(b"5 "),
            Arg::Bytes(b"((5"),
        ] {
            assert_eq!(ScoreBound::from_arg(&arg), Err(ReadError::BadArgument), "{arg:?}");
        }
    }

    #[test]
    fn member_bounds_take_the_servers_notation() {
        assert_eq!(LexBound::from_arg(&Arg::Bytes(b"[a")), Ok(LexBound::Inclusive(b"a")));
        assert_eq!(LexBound::from_arg(&Arg::Bytes(b"(")), Ok(LexBound::Exclusive(b"")));
        assert_eq!(LexBound::from_arg(&Arg::Word("neg_inf")), Ok(LexBound::Lowest));
        for arg in [Arg::Bytes(b""), Arg::Bytes(b"a"), Arg::Bytes(b"-a"), Arg::Int(1), Arg::Nil] {
            assert_eq!(LexBound::from_arg(&arg), Err(ReadError::BadArgument), "{arg:?}");
        }
    }
}
