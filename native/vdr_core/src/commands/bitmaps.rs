//! Strings as arrays of bits: bit 0 is the highest of the first byte.

use super::strings::{BYTES_PER_ELEMENT, clipped_span, grown, span, stored};
use super::{Apply, ApplyError, Args, Cost, Part, Read, ReadError, Reply, Touches, Words, Write, Written};
use crate::keyspace::View;

/// Bits that a string of the greatest length has.
pub(super) const BITS_MAX: i64 = (super::strings::STRING_BYTES_MAX as i64) * 8;

pub const READS: &[Read] = &[
    Read { name: "getbit", args: &["key", "offset"], cost: Cost::Point, run: getbit },
    Read {
        name: "bitcount",
        args: &["key", "?start", "?stop", "?unit"],
        cost: Cost::Elements(string_elements),
        run: bitcount,
    },
    Read {
        name: "bitpos",
        args: &["key", "bit", "?start", "?stop", "?unit"],
        cost: Cost::Elements(string_elements),
        run: bitpos,
    },
];

fn getbit<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, offset) = (args.bytes()?, args.count()?);
    if offset as u64 >= BITS_MAX as u64 {
        return Err(ReadError::BadArgument);
    }
    Ok(Reply::Int(view.string(key)?.is_some_and(|bytes| bit_at(bytes, offset)).into()))
}

fn bitcount<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let key = args.bytes()?;
    let range = if args.is_empty() { None } else { Some((args.int()?, args.int()?, per_place(args)?)) };
    let Some(bytes) = view.string(key)? else {
        return Ok(Reply::Int(0));
    };
    let bits = match range {
        None => Some((0, bytes.len() * 8)),
        Some((start, stop, bits)) => in_bits(span(start, stop, bytes.len() * 8 / bits), bits),
    };
    Ok(Reply::int(bits.map_or(0, |(from, to)| count_bits(bytes, from, to))))
}

/// Without a stop the string goes on with zeros for ever: the first zero of `\xff` is bit 8.
fn bitpos<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, bit) = (args.bytes()?, bit_argument(args)?);
    let start = if args.is_empty() { 0 } else { args.int()? };
    let stop = if args.is_empty() { None } else { Some(args.int()?) };
    let bits = per_place(args)?;
    let Some(bytes) = view.string(key)? else {
        return Ok(Reply::Int(if bit { -1 } else { 0 }));
    };
    let places = clipped_span(start, stop.unwrap_or(-1), bytes.len() * 8 / bits);
    let found = match in_bits(places, bits) {
        None => None,
        Some((from, to)) => find_bit(bytes, bit, from, to).or((!bit && stop.is_none()).then_some(to)),
    };
    Ok(found.map_or(Reply::Int(-1), Reply::int))
}

fn bit_argument(args: &mut Args<'_>) -> Result<bool, ReadError> {
    match args.int()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ReadError::BadArgument),
    }
}

/// The unit of a range, as bits: `byte` when it is not given.
fn per_place(args: &mut Args<'_>) -> Result<usize, ReadError> {
    if args.is_empty() {
        return Ok(8);
    }
    match args.word()? {
        unit if unit.eq_ignore_ascii_case("byte") => Ok(8),
        unit if unit.eq_ignore_ascii_case("bit") => Ok(1),
        _ => Err(ReadError::BadArgument),
    }
}

fn in_bits(places: Option<(usize, usize)>, bits: usize) -> Option<(usize, usize)> {
    places.map(|(from, to)| (from * bits, to * bits))
}

fn string_elements(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let bytes = view.string(args.bytes().ok()?).ok()??;
    Some(bytes.len() / BYTES_PER_ELEMENT + 1)
}

fn bit_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at / 8).is_some_and(|byte| byte & mask(at) != 0)
}

fn mask(at: usize) -> u8 {
    0x80 >> (at % 8)
}

/// Ones among the bits `from..to`, which are bits of `bytes`.
fn count_bits(bytes: &[u8], from: usize, to: usize) -> usize {
    let whole = bytes.get(from / 8..to.div_ceil(8)).unwrap_or_default();
    let (words, tail) = whole.as_chunks::<8>();
    let ones = words.iter().map(|word| u64::from_ne_bytes(*word).count_ones() as usize).sum::<usize>()
        + tail.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
    let before = (from / 8 * 8..from).filter(|at| bit_at(bytes, *at)).count();
    let behind = (to..to.div_ceil(8) * 8).filter(|at| bit_at(bytes, *at)).count();
    ones - before - behind
}

/// The first bit of this kind among the bits `from..to`.
fn find_bit(bytes: &[u8], bit: bool, from: usize, to: usize) -> Option<usize> {
    let without = if bit { 0x00 } else { 0xff };
    let mut at = from;
    while at < to {
        if at.is_multiple_of(8) {
            at += 8 * bytes.get(at / 8..to.div_ceil(8))?.iter().take_while(|byte| **byte == without).count();
        }
        if at < to && bit_at(bytes, at) == bit {
            return Some(at);
        }
        at += 1;
    }
    None
}

pub const WRITES: &[Write] = &[
    Write { name: "setbit", shape: &[Part::Key, Part::Int, Part::Int], touches: Touches::Shape, run: setbit },
    Write { name: "bitop", shape: &[Part::Word, Part::Key, Part::Sources], touches: Touches::Shape, run: bitop },
];

fn setbit(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (key, offset, bit) = (words.bytes()?, words.int()?, words.int()?);
    words.finish()?;
    if !(0..BITS_MAX).contains(&offset) {
        return Err(ApplyError::OutOfRange);
    }
    let at = usize::try_from(offset).map_err(|_| ApplyError::OutOfRange)?;
    let byte = grown(apply, key, at / 8 + 1)?.get_mut(at / 8).ok_or(ApplyError::OutOfRange)?;
    match bit {
        0 => *byte &= !mask(at),
        1 => *byte |= mask(at),
        _ => return Err(ApplyError::BadArguments),
    }
    Ok(())
}

/// Shorter inputs go on with zeros, missing keys are empty, and an empty result deletes the destination.
fn bitop(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let (op, dest) = (Op::parse(words.bytes()?)?, words.bytes()?);
    let mut sources: Vec<&[u8]> = Vec::with_capacity(words.len());
    for key in words.rest() {
        sources.push(stored(apply, key)?.map_or(&[], |blob| blob.as_bytes()));
    }
    let (first, others) = sources.split_first().ok_or(ApplyError::BadArguments)?;
    let result = op.run(first, others)?;
    if result.is_empty() {
        apply.remove(dest);
    } else {
        apply.replace(dest, crate::blob::Blob::from(result));
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Op {
    And,
    Or,
    Xor,
    Not,
    Diff,
    Diff1,
    AndOr,
    One,
}

impl Op {
    fn parse(word: &[u8]) -> Result<Op, ApplyError> {
        let ops = [
            ("and", Op::And),
            ("or", Op::Or),
            ("xor", Op::Xor),
            ("not", Op::Not),
            ("diff", Op::Diff),
            ("diff1", Op::Diff1),
            ("andor", Op::AndOr),
            ("one", Op::One),
        ];
        let found = ops.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, op)| *op).ok_or(ApplyError::BadArguments)
    }

    fn run(self, first: &[u8], others: &[&[u8]]) -> Result<Vec<u8>, ApplyError> {
        if (self == Op::Not) != others.is_empty() && !matches!(self, Op::And | Op::Or | Op::Xor | Op::One) {
            return Err(ApplyError::BadArguments);
        }
        let len = others.iter().map(|other| other.len()).fold(first.len(), usize::max);
        let mut result = first.to_vec();
        result.resize(len, 0);
        match self {
            Op::And => others.iter().for_each(|other| combine(&mut result, other, |a, b| a & b)),
            Op::Or => others.iter().for_each(|other| combine(&mut result, other, |a, b| a | b)),
            Op::Xor => others.iter().for_each(|other| combine(&mut result, other, |a, b| a ^ b)),
            Op::Not => result.iter_mut().for_each(|byte| *byte = !*byte),
            Op::Diff => combine(&mut result, &any(others, len), |x, any| x & !any),
            Op::Diff1 => combine(&mut result, &any(others, len), |x, any| any & !x),
            Op::AndOr => combine(&mut result, &any(others, len), |x, any| x & any),
            Op::One => exactly_one(&mut result, others),
        }
        Ok(result)
    }
}

fn combine(result: &mut [u8], other: &[u8], with: impl Fn(u8, u8) -> u8) {
    let (head, tail) = result.split_at_mut(other.len().min(result.len()));
    head.iter_mut().zip(other).for_each(|(byte, other)| *byte = with(*byte, *other));
    tail.iter_mut().for_each(|byte| *byte = with(*byte, 0));
}

fn any(others: &[&[u8]], len: usize) -> Vec<u8> {
    let mut all = vec![0; len];
    others.iter().for_each(|other| combine(&mut all, other, |a, b| a | b));
    all
}

/// Bits that are set in one input and in no other.
fn exactly_one(once: &mut [u8], others: &[&[u8]]) {
    let mut often = vec![0; once.len()];
    for other in others {
        for ((once, often), byte) in once.iter_mut().zip(&mut often).zip(*other) {
            *often |= *once & byte;
            *once = (*once ^ byte) & !*often;
        }
    }
}
