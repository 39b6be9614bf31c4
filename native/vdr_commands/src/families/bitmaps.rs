//! Strings as bit arrays (bitmaps): bit 0 is the highest bit of the first byte.

use crate::args::Args;
use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult, ReadError};
use crate::ops::strings::{BYTES_PER_ELEMENT, clipped_span, span, stored, write};
use crate::reply::Reply;
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::{Each, StoresFrom};
use crate::row::Part::{Int, Key, Sources, Word};
use crate::row::{Cost, Leaves, Read, Write, row};
use vdr_data::keyspace::View;
use vdr_data::value::Kind;
use vdr_data::value::StringRef;

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
    let byte = view.string(key)?.and_then(|string| string.byte(offset / 8));
    Ok(Reply::Int(byte.is_some_and(|byte| byte & mask(offset) != 0).into()))
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
    Ok(Reply::int(bits.map_or(0, |(from, to)| {
        parts_of_bits(bytes, from, to).map(|(part, _, from, to)| count_bits(part, from, to)).sum()
    })))
}

/// Without a stop, zeros follow the string without end: the first zero of `\xff` is bit 8.
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
        Some((from, to)) => {
            let mut parts = parts_of_bits(bytes, from, to);
            let found = parts.find_map(|(part, first, from, to)| Some(first + find_bit(part, bit, from, to)?));
            found.or((!bit && stop.is_none()).then_some(to))
        }
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

/// The unit of a range in bits; `byte` is the default.
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

/// The pieces of a string that hold the bits `from..to`. Each comes with the number of its first
/// bit in the string, and with the range of those bits in the piece.
fn parts_of_bits(string: StringRef<'_>, from: usize, to: usize) -> impl Iterator<Item = (&[u8], usize, usize, usize)> {
    let mut at = from / 8 * 8;
    string.parts(from / 8, to.div_ceil(8)).map(move |part| {
        let first = at;
        at += part.len() * 8;
        (part, first, from.saturating_sub(first), to.min(at) - first)
    })
}

fn bit_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at / 8).is_some_and(|byte| byte & mask(at) != 0)
}

fn mask(at: usize) -> u8 {
    0x80 >> (at % 8)
}

/// The number of ones among the bits `from..to` of `bytes`.
fn count_bits(bytes: &[u8], from: usize, to: usize) -> usize {
    let whole = bytes.get(from / 8..to.div_ceil(8)).unwrap_or_default();
    let (words, tail) = whole.as_chunks::<8>();
    let ones = words.iter().map(|word| u64::from_ne_bytes(*word).count_ones() as usize).sum::<usize>()
        + tail.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
    let before = (from / 8 * 8..from).filter(|at| bit_at(bytes, *at)).count();
    let behind = (to..to.div_ceil(8) * 8).filter(|at| bit_at(bytes, *at)).count();
    ones - before - behind
}

/// The first bit of this value among the bits `from..to`.
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

const STRING: Leaves = Leaves::Kind(Kind::String);

pub const WRITES: &[Write] = &[
    row("setbit", &[Key, Int, Int], InShape, STRING, Each, setbit),
    row("bitop", &[Word, Key, Sources], InShape, STRING, StoresFrom(&[Kind::String]), bitop),
];

fn setbit(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, offset, bit) = (args.bytes()?, args.int()?, args.int()?);
    args.finish()?;
    if !(0..apply.rules.bits_max()).contains(&offset) {
        return Err(ApplyError::OutOfRange);
    }
    let at = usize::try_from(offset).map_err(|_| ApplyError::OutOfRange)?;
    let before = stored(apply, key)?.and_then(|string| string.byte(at / 8));
    let byte = match bit {
        0 => before.unwrap_or(0) & !mask(at),
        1 => before.unwrap_or(0) | mask(at),
        _ => return Err(ApplyError::BadArguments),
    };
    // A bit that has this value already costs no copy.
    if before == Some(byte) { Ok(()) } else { write(apply, key, at / 8, &[byte]) }
}

/// Zeros extend shorter inputs, a missing key is empty, and an empty result deletes the
/// destination.
fn bitop(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (op, dest) = (Op::parse(args.bytes()?)?, args.bytes()?);
    let mut sources: Vec<&[u8]> = Vec::with_capacity(args.len());
    for key in args.rest() {
        sources.push(stored(apply, key)?.map_or(&[], StringRef::as_bytes));
    }
    let (first, others) = sources.split_first().ok_or(ApplyError::BadArguments)?;
    let result = op.run(first, others)?;
    if result.is_empty() {
        apply.remove(dest);
    } else {
        apply.replace(dest, vdr_data::blob::Blob::from(result));
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

/// The bits that are set in exactly one input.
fn exactly_one(once: &mut [u8], others: &[&[u8]]) {
    let mut often = vec![0; once.len()];
    for other in others {
        for ((once, often), byte) in once.iter_mut().zip(&mut often).zip(*other) {
            *often |= *once & byte;
            *once = (*once ^ byte) & !*often;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arg;
    use crate::harness::Mirror;

    /// Runs a read whose words `bit` and `byte` are atoms.
    fn ask(mirror: &Mirror, command: &str) -> i64 {
        let words: Vec<&str> = command.split(' ').collect();
        let args: Vec<Arg<'_>> = words[2..].iter().map(|word| word.parse().map_or(Arg::Word(word), Arg::Int)).collect();
        match mirror.read(words[0], &[&[Arg::Bytes(words[1].as_bytes())], &args[..]].concat()) {
            Ok(Reply::Int(int)) => int,
            other => panic!("{command}: {other:?}"),
        }
    }

    fn mirror() -> Mirror {
        let mut mirror = Mirror::new();
        mirror.run(&["set f foobar", "set e ''"]);
        for (key, value) in [("b", &b"\xff\xf0\x00"[..]), ("o", b"\xff\xff"), ("z", b"\0\0")] {
            mirror.apply(&[b"set", key.as_bytes(), value]).unwrap();
        }
        mirror
    }

    /// A real server returned each answer.
    #[test]
    fn ones_are_counted_in_ranges_of_bytes_and_bits() {
        let mirror = mirror();
        for (command, answer) in [
            ("bitcount f", 26),
            ("bitcount f 0 0", 4),
            ("bitcount f 1 1", 6),
            ("bitcount f 5 30 bit", 17),
            ("bitcount f -2 -1 byte", 7),
            ("bitcount f -100 -50", 4),
            ("bitcount f -1 -2", 0),
            ("bitcount f 3 2", 0),
            ("bitcount e 0 -1", 0),
            ("bitcount none", 0),
            ("getbit b 11", 1),
            ("getbit b 12", 0),
            ("getbit b 4294967295", 0),
            ("getbit b 4294967296", 0),
            ("getbit none 0", 0),
        ] {
            assert_eq!(ask(&mirror, command), answer, "{command}");
        }
    }

    /// A real server returned each answer.
    #[test]
    fn the_first_bit_of_a_kind_is_found() {
        let mirror = mirror();
        for (command, answer) in [
            ("bitpos b 0", 12),
            ("bitpos b 1 2", -1),
            ("bitpos b 1 1", 8),
            ("bitpos b 0 1 1", 12),
            ("bitpos b 0 9 15 bit", 12),
            ("bitpos b 0 12 12 bit", 12),
            ("bitpos b 0 3 11 bit", -1),
            ("bitpos b 1 4 -1 bit", 4),
            ("bitpos o 0", 16),
            ("bitpos o 0 1", 16),
            ("bitpos o 0 0 -1", -1),
            ("bitpos o 0 9", -1),
            ("bitpos z 1", -1),
            ("bitpos z 0 -100 -50", 0),
            ("bitpos e 0", -1),
            ("bitpos none 0 5", 0),
            ("bitpos none 1", -1),
        ] {
            assert_eq!(ask(&mirror, command), answer, "{command}");
        }
    }

    #[test]
    fn wrong_offsets_bits_and_units_are_bad_arguments() {
        let mirror = mirror();
        for command in ["getbit b -1", "bitcount b 1", "bitcount b 1 2 nibble", "bitpos b 2", "bitpos b"] {
            assert_eq!(mirror.ask(command), "BadArgument", "{command}");
        }
    }

    #[test]
    fn a_set_bit_grows_the_string_and_keeps_its_expiry() {
        let mut mirror = Mirror::new();
        mirror.run(&["setbit a 7 1", "setbit a 9 1", "setbit a 9 0", "setbit b 20 0"]);
        assert_eq!((mirror.ask("get a"), mirror.ask("strlen b")), ("\u{1}\0".into(), "3".into()));
        mirror.run(&["pexpireat a 5000000", "setbit a 1 1"]);
        assert_eq!((mirror.ask("get a"), mirror.expires("a")), ("A\0".into(), Some(5_000_000)));
        mirror.fails("setbit c 4294967296 1", ApplyError::OutOfRange);
        mirror.fails("setbit c -1 1", ApplyError::OutOfRange);
        mirror.run(&["sadd s x"]);
        mirror.fails("setbit s 0 1", ApplyError::WrongType);
    }

    /// The truth table of every operation: bits of x are 00001111, of y 00110011, of z 01010101.
    #[test]
    fn operations_combine_bit_by_bit() {
        let mut mirror = Mirror::new();
        for (key, value) in [("x", [0x0f]), ("y", [0x33]), ("z", [0x55])] {
            mirror.apply(&[b"set", key.as_bytes(), &value]).unwrap();
        }
        for (op, result) in [
            ("AND", 0x01),
            ("or", 0x7f),
            ("xor", 0x69),
            ("diff", 0x08),
            ("diff1", 0x70),
            ("andor", 0x07),
            ("one", 0x68),
        ] {
            mirror.run(&[&format!("bitop {op} d x y z")]);
            assert_eq!(mirror.read("get", &[Arg::Bytes(b"d")]), Ok(Reply::Slice(&[result])), "{op}");
        }
    }

    #[test]
    fn shorter_inputs_go_on_with_zeros_and_an_empty_result_deletes() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a abc", "set d x pxat 5000000", "bitop and d a none"]);
        assert_eq!((mirror.ask("get d"), mirror.expires("d")), ("\0\0\0".into(), None));
        mirror.run(&["bitop or d none", "set e ''", "bitop not f e"]);
        assert!(!mirror.has("d") && !mirror.has("f"));
        mirror.run(&["rpush l 1"]);
        mirror.fails("bitop or d l", ApplyError::WrongType);
        for command in ["bitop not d a a", "bitop diff d a", "bitop nand d a a", "bitop and d"] {
            mirror.fails(command, ApplyError::BadArguments);
        }
    }
}
