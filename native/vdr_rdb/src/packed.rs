//! Compact encodings: a small aggregate in one string. For each there is an iterator, in one pass
//! and zero-copy.
//!
//! ```text
//! listpack  u32 bytes | u16 count | ( head data back-length )* | ff
//! ziplist   u32 bytes | u32 tail | u16 count | ( previous-length head data )* | ff
//! intset    u32 width | u32 count | integers, ascending
//! zipmap    u8 count | ( length field length free value padding )* | ff
//! ```
//!
//! A count of 65535 (254 and more in a zipmap) means unknown: then only the walk finds it out. All
//! other header fields are checked against the walk.

use crate::cursor::{Decimal, Text};
use crate::error::Fault;

/// An element: a string, or a number that stands for its decimal text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Piece<'a> {
    Bytes(&'a [u8]),
    Int(i64),
}

impl<'a> Piece<'a> {
    /// The number, if it is one that is not negative.
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Piece::Int(value) => u64::try_from(value).ok(),
            Piece::Bytes(_) => None,
        }
    }

    pub fn text(self) -> Text<'a> {
        match self {
            Piece::Bytes(bytes) => Text::Bytes(bytes),
            Piece::Int(value) => Text::Digits(Decimal::new(value)),
        }
    }
}

/// The elements of a compact encoding. The iterator ends after an error.
#[derive(Clone)]
pub(super) struct Pieces<'a> {
    form: Form,
    rest: &'a [u8],
    /// The number of remaining elements according to the header, if it is exact.
    left: Option<u32>,
}

#[derive(Clone, Copy)]
enum Form {
    Listpack,
    Ziplist,
    Zipmap(Zipmap),
    Intset { width: usize, last: Option<i64> },
}

#[derive(Clone, Copy)]
enum Zipmap {
    Field,
    Value,
}

const COUNT_UNKNOWN: u16 = u16::MAX;
const ZIPMAP_COUNT_UNKNOWN: u8 = 254;
const END: u8 = 0xff;
const OVERRUN: Fault = Fault::Corrupt("entry runs over the end of its listpack, ziplist or zipmap");

impl<'a> Pieces<'a> {
    pub fn listpack(blob: &'a [u8]) -> Result<Self, Fault> {
        const BAD: Fault = Fault::Corrupt("listpack header does not fit its string");
        let (bytes, rest) = u32_le(blob).ok_or(BAD)?;
        let (count, rest) = u16_le(rest).ok_or(BAD)?;
        if usize::try_from(bytes) != Ok(blob.len()) {
            return Err(BAD);
        }
        Ok(Pieces { form: Form::Listpack, rest, left: exact_count(count) })
    }

    pub fn ziplist(blob: &'a [u8]) -> Result<Self, Fault> {
        const BAD: Fault = Fault::Corrupt("ziplist header does not fit its string");
        let (bytes, rest) = u32_le(blob).ok_or(BAD)?;
        let (tail, rest) = u32_le(rest).ok_or(BAD)?;
        let (count, rest) = u16_le(rest).ok_or(BAD)?;
        if usize::try_from(bytes) != Ok(blob.len()) || tail >= bytes {
            return Err(BAD);
        }
        Ok(Pieces { form: Form::Ziplist, rest, left: exact_count(count) })
    }

    pub fn zipmap(blob: &'a [u8]) -> Result<Self, Fault> {
        let (&count, rest) = blob.split_first().ok_or(Fault::Corrupt("zipmap without a header"))?;
        let left = (count < ZIPMAP_COUNT_UNKNOWN).then(|| u32::from(count) * 2);
        Ok(Pieces { form: Form::Zipmap(Zipmap::Field), rest, left })
    }

    pub fn intset(blob: &'a [u8]) -> Result<Self, Fault> {
        const BAD: Fault = Fault::Corrupt("intset header does not fit its string");
        let (width, rest) = u32_le(blob).ok_or(BAD)?;
        let (count, rest) = u32_le(rest).ok_or(BAD)?;
        let width = match width {
            2 | 4 | 8 => width as usize,
            _ => return Err(BAD),
        };
        if usize::try_from(count).ok().and_then(|count| count.checked_mul(width)) != Some(rest.len()) {
            return Err(BAD);
        }
        Ok(Pieces { form: Form::Intset { width, last: None }, rest, left: Some(count) })
    }

    fn at_end(&self) -> bool {
        match self.form {
            Form::Intset { .. } => self.rest.is_empty(),
            Form::Zipmap(Zipmap::Value) => false,
            _ => self.rest.first() == Some(&END),
        }
    }

    /// At the end mark: checks that it is the last byte, and that the header's count was right.
    fn finish(&mut self) -> Option<Result<Piece<'a>, Fault>> {
        let behind = self.rest.len().saturating_sub(1);
        self.rest = &[];
        let missing = self.left.take().is_some_and(|left| left > 0);
        let form = std::mem::replace(&mut self.form, Form::Intset { width: 1, last: None });
        match form {
            Form::Intset { .. } => None,
            _ if behind > 0 => Some(Err(Fault::Corrupt("bytes behind the end of a listpack, ziplist or zipmap"))),
            _ if missing => Some(Err(Fault::Corrupt("fewer entries than a header announces"))),
            _ => None,
        }
    }

    fn advance(&mut self) -> Result<Piece<'a>, Fault> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(Fault::Corrupt("more entries than a header announces"))?;
        }
        let (piece, rest) = match &mut self.form {
            Form::Listpack => listpack_entry(self.rest).ok_or(OVERRUN)??,
            Form::Ziplist => ziplist_entry(self.rest).ok_or(OVERRUN)??,
            Form::Zipmap(part) => {
                let (piece, rest) = zipmap_part(*part, self.rest).ok_or(OVERRUN)?;
                *part = match part {
                    Zipmap::Field => Zipmap::Value,
                    Zipmap::Value => Zipmap::Field,
                };
                (piece, rest)
            }
            Form::Intset { width, last } => {
                let (bytes, rest) = self.rest.split_at_checked(*width).ok_or(OVERRUN)?;
                let value = int_le(bytes);
                if last.replace(value).is_some_and(|last| last >= value) {
                    return Err(Fault::Corrupt("intset out of order, or with a duplicate member"));
                }
                (Piece::Int(value), rest)
            }
        };
        self.rest = rest;
        Ok(piece)
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<Piece<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at_end() {
            return self.finish();
        }
        let piece = self.advance();
        if piece.is_err() {
            *self = Pieces { form: Form::Intset { width: 1, last: None }, rest: &[], left: None };
        }
        Some(piece)
    }
}

fn exact_count(count: u16) -> Option<u32> {
    (count != COUNT_UNKNOWN).then_some(u32::from(count))
}

fn u32_le(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(head, rest)| (u32::from_le_bytes(*head), rest))
}

fn u16_le(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes.split_first_chunk().map(|(head, rest)| (u16::from_le_bytes(*head), rest))
}

/// A signed little-endian integer of up to eight bytes.
fn int_le(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|&high| high >= 0x80);
    let fill = if negative { u64::MAX } else { 0 };
    bytes.iter().rev().fold(fill, |value, &byte| value << 8 | u64::from(byte)).cast_signed()
}

fn int_entry(bytes: &[u8], width: usize) -> Option<(Piece<'_>, &[u8])> {
    let (int, rest) = bytes.split_at_checked(width)?;
    Some((Piece::Int(int_le(int)), rest))
}

fn bytes_entry(bytes: &[u8], len: usize) -> Option<(Piece<'_>, &[u8])> {
    let (string, rest) = bytes.split_at_checked(len)?;
    Some((Piece::Bytes(string), rest))
}

type Entry<'a> = Option<Result<(Piece<'a>, &'a [u8]), Fault>>;

/// `None` if the entry is incomplete.
fn listpack_entry(bytes: &[u8]) -> Entry<'_> {
    let (&head, after) = bytes.split_first()?;
    let (piece, rest) = match head {
        0..=0x7f => (Piece::Int(i64::from(head)), after),
        0x80..=0xbf => bytes_entry(after, usize::from(head & 0x3f))?,
        0xc0..=0xdf => {
            let (&low, after) = after.split_first()?;
            let unsigned = i64::from(head & 0x1f) << 8 | i64::from(low);
            (Piece::Int(if unsigned < 1 << 12 { unsigned } else { unsigned - (1 << 13) }), after)
        }
        0xe0..=0xef => {
            let (&low, after) = after.split_first()?;
            bytes_entry(after, usize::from(head & 0xf) << 8 | usize::from(low))?
        }
        0xf0 => {
            let (len, after) = u32_le(after)?;
            bytes_entry(after, usize::try_from(len).ok()?)?
        }
        0xf1..=0xf3 => int_entry(after, usize::from(head - 0xef))?,
        0xf4 => int_entry(after, 8)?,
        _ => return Some(Err(Fault::Corrupt("unknown listpack encoding"))),
    };
    let size = bytes.len() - rest.len();
    let back_len = match size {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        2_097_152..=268_435_455 => 4,
        _ => 5,
    };
    Some(Ok((piece, rest.get(back_len..)?)))
}

/// `None` if the entry is incomplete.
fn ziplist_entry(bytes: &[u8]) -> Entry<'_> {
    let (&previous, after) = bytes.split_first()?;
    let after = if previous == 0xfe { after.get(4..)? } else { after };
    let (&head, after) = after.split_first()?;
    let entry = match head {
        0..=0x3f => bytes_entry(after, usize::from(head))?,
        0x40..=0x7f => {
            let (&low, after) = after.split_first()?;
            bytes_entry(after, usize::from(head & 0x3f) << 8 | usize::from(low))?
        }
        0x80 => {
            let (len, after) = after.split_first_chunk()?;
            bytes_entry(after, usize::try_from(u32::from_be_bytes(*len)).ok()?)?
        }
        0xc0 => int_entry(after, 2)?,
        0xd0 => int_entry(after, 4)?,
        0xe0 => int_entry(after, 8)?,
        0xf0 => int_entry(after, 3)?,
        0xfe => int_entry(after, 1)?,
        0xf1..=0xfd => (Piece::Int(i64::from(head & 0xf) - 1), after),
        _ => return Some(Err(Fault::Corrupt("unknown ziplist encoding"))),
    };
    Some(Ok(entry))
}

/// `None` if the part is incomplete.
fn zipmap_part(part: Zipmap, bytes: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let (&first, after) = bytes.split_first()?;
    let (len, after) = match first {
        0..=253 => (usize::from(first), after),
        254 => {
            let (len, after) = u32_le(after)?;
            (usize::try_from(len).ok()?, after)
        }
        _ => return None,
    };
    match part {
        Zipmap::Field => bytes_entry(after, len),
        Zipmap::Value => {
            let (&free, after) = after.split_first()?;
            let (piece, after) = bytes_entry(after, len)?;
            Some((piece, after.get(usize::from(free)..)?))
        }
    }
}

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
