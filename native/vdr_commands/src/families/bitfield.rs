//! BITFIELD: a string as an array of integers of any width.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use crate::number::parse_int;
use crate::ops::strings::{stored, write};
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::Each;
use crate::row::Part::{Key, Options};
use crate::row::{Leaves, Write, row};
use vdr_data::value::{Kind, StringRef};

const STRING: Leaves = Leaves::Kind(Kind::String);

pub const WRITES: &[Write] = &[row("bitfield", &[Key, Options], InShape, STRING, Each, bitfield)];

/// One SET or INCRBY. GET changes nothing and is left out.
#[derive(Clone, Copy)]
struct Change {
    field: Field,
    offset: u64,
    by: i64,
    increment: bool,
    overflow: Overflow,
}

#[derive(Clone, Copy)]
struct Field {
    signed: bool,
    bits: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Overflow {
    Wrap,
    Sat,
    Fail,
}

/// The string first grows to the end of its furthest changed field, even if that field then keeps
/// its value.
fn bitfield(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let changes = parse(args, apply.rules.bits_max())?;
    let Some(end) = changes.iter().map(|change| change.offset + u64::from(change.field.bits)).max() else {
        return Ok(());
    };
    let len = usize::try_from(end.div_ceil(8)).map_err(|_| ApplyError::OutOfRange)?;
    if stored(apply, key)?.map_or(0, StringRef::len) < len {
        write(apply, key, len, &[])?;
    }
    for change in &changes {
        // The bytes that hold the field.
        let first = usize::try_from(change.offset / 8).map_err(|_| ApplyError::OutOfRange)?;
        let bits = (change.offset % 8) as u32 + change.field.bits;
        let end = first + bits.div_ceil(8) as usize;
        let string = stored(apply, key)?.ok_or(ApplyError::Missing)?;
        let mut window: Vec<u8> = string.parts(first, end).flatten().copied().collect();
        let change = Change { offset: change.offset % 8, ..*change };
        let value = match change.field.signed {
            true => change.signed(&window),
            false => change.unsigned(&window),
        };
        if let Some(value) = value {
            put_bits(&mut window, change.offset, change.field.bits, value);
            write(apply, key, first, &window)?;
        }
    }
    Ok(())
}

fn parse(args: &mut ArgCursor<'_>, bits_max: i64) -> Result<Vec<Change>, ApplyError> {
    let mut changes = Vec::new();
    let mut overflow = Overflow::Wrap;
    while !args.is_empty() {
        if args.take_word("overflow") {
            overflow = parse_overflow(args)?;
        } else if args.take_word("get") {
            parse_place(args, bits_max)?;
        } else {
            let increment = args.take_word("incrby");
            if !increment && !args.take_word("set") {
                return Err(ApplyError::BadArguments);
            }
            let (field, offset) = parse_place(args, bits_max)?;
            changes.push(Change { field, offset, by: args.int()?, increment, overflow });
        }
    }
    Ok(changes)
}

fn parse_overflow(args: &mut ArgCursor<'_>) -> Result<Overflow, ApplyError> {
    if args.take_word("wrap") {
        Ok(Overflow::Wrap)
    } else if args.take_word("sat") {
        Ok(Overflow::Sat)
    } else if args.take_word("fail") {
        Ok(Overflow::Fail)
    } else {
        Err(ApplyError::BadArguments)
    }
}

/// `i8 100`, or `u4 #3` for the fourth field of that width.
fn parse_place(args: &mut ArgCursor<'_>, bits_max: i64) -> Result<(Field, u64), ApplyError> {
    let (sign, bits) = args.bytes()?.split_first().ok_or(ApplyError::BadArguments)?;
    let signed = match sign {
        b'i' => true,
        b'u' => false,
        _ => return Err(ApplyError::BadArguments),
    };
    let bits = parse_int(bits).ok_or(ApplyError::BadArguments)?;
    if !(1..=if signed { 64 } else { 63 }).contains(&bits) {
        return Err(ApplyError::BadArguments);
    }
    let offset = args.bytes()?;
    let (number, width) = match offset.strip_prefix(b"#") {
        Some(number) => (number, bits),
        None => (offset, 1),
    };
    let number = parse_int(number).ok_or(ApplyError::BadArguments)?;
    let offset = number.checked_mul(width).ok_or(ApplyError::OutOfRange)?;
    if !(0..bits_max).contains(&offset) {
        return Err(ApplyError::OutOfRange);
    }
    let offset = u64::try_from(offset).map_err(|_| ApplyError::OutOfRange)?;
    Ok((Field { signed, bits: u32::try_from(bits).map_err(|_| ApplyError::OutOfRange)? }, offset))
}

impl Change {
    /// The field's new bits; `None` if OVERFLOW FAIL keeps the old ones.
    fn unsigned(&self, bytes: &[u8]) -> Option<u64> {
        let max = i128::from(u64::MAX >> (64 - self.field.bits));
        let sum = match self.increment {
            true => i128::from(get_bits(bytes, self.offset, self.field.bits)) + i128::from(self.by),
            // A negative value to set counts as the huge unsigned one with the same bits.
            false => i128::from(self.by as u64),
        };
        if (0..=max).contains(&sum) {
            return Some(sum as u64);
        }
        match self.overflow {
            Overflow::Wrap => Some(sum as u64),
            Overflow::Sat => Some(if sum > max { max as u64 } else { 0 }),
            Overflow::Fail => None,
        }
    }

    /// As [`Change::unsigned`] for two's complement.
    fn signed(&self, bytes: &[u8]) -> Option<u64> {
        let (max, min) = (i64::MAX >> (64 - self.field.bits), i64::MIN >> (64 - self.field.bits));
        let sum = match self.increment {
            true => self.field.extend(get_bits(bytes, self.offset, self.field.bits)) + i128::from(self.by),
            false => i128::from(self.by),
        };
        // The server computes the room above a value in 64 bits. If a value to set is so far below
        // the minimum that this wraps around, it counts as too large and saturates at the wrong
        // end.
        let far_below = !self.increment && self.field.bits < 64 && i128::from(max) - sum > i128::from(i64::MAX);
        let over = sum > i128::from(max) || far_below;
        if !over && sum >= i128::from(min) {
            return Some(sum as u64);
        }
        match self.overflow {
            Overflow::Wrap => Some(sum as u64),
            Overflow::Sat => Some(if over { max as u64 } else { min as u64 }),
            Overflow::Fail => None,
        }
    }
}

impl Field {
    fn extend(self, value: u64) -> i128 {
        let up = 64 - self.bits;
        i128::from(((value << up) as i64) >> up)
    }
}

fn get_bits(bytes: &[u8], offset: u64, bits: u32) -> u64 {
    (offset..offset + u64::from(bits)).fold(0, |value, at| {
        let byte = usize::try_from(at / 8).ok().and_then(|index| bytes.get(index)).copied().unwrap_or(0);
        value << 1 | u64::from(byte >> (7 - at % 8) & 1)
    })
}

/// Writes the low `bits` of a value. It drops higher bits, so an overflow wraps around.
fn put_bits(bytes: &mut [u8], offset: u64, bits: u32, value: u64) {
    for bit in 0..bits {
        let at = offset + u64::from(bits - 1 - bit);
        let mask = 0x80u8 >> (at % 8);
        if let Some(byte) = usize::try_from(at / 8).ok().and_then(|index| bytes.get_mut(index)) {
            *byte = if value >> bit & 1 == 1 { *byte | mask } else { *byte & !mask };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Mirror;

    fn bytes_after(commands: &[&str]) -> Vec<u8> {
        let mut mirror = Mirror::new();
        mirror.run(commands);
        mirror.keyspace.view(0, 0).string(b"k").unwrap().map_or(Vec::new(), |blob| blob.to_vec())
    }

    /// A real server returned each result.
    #[test]
    fn fields_are_set_and_incremented_with_each_overflow() {
        for (command, bytes) in [
            ("bitfield k set u8 0 255", &[0xff][..]),
            ("bitfield k SET i5 3 -1", &[0x1f]),
            ("bitfield k set u4 #3 9", &[0, 0x09]),
            ("bitfield k set u8 0 200 incrby u8 0 100", &[44]),
            ("bitfield k set u8 0 200 overflow sat incrby u8 0 100", &[255]),
            ("bitfield k set u8 0 5 overflow sat incrby u8 0 -100", &[0]),
            ("bitfield k set u8 0 200 overflow FAIL incrby u8 0 100 incrby u8 0 1", &[201]),
            ("bitfield k set i8 0 127 incrby i8 0 1", &[0x80]),
            ("bitfield k overflow sat set i8 0 1000 set i8 8 -1000", &[0x7f, 0x80]),
            ("bitfield k overflow sat set i8 0 -9223372036854775808", &[0x7f]),
            ("bitfield k overflow sat set u8 0 -1", &[0xff]),
            ("bitfield k set i64 0 9223372036854775807 incrby i64 0 1", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            ("bitfield k set u63 1 9223372036854775807", &[0x7f, 255, 255, 255, 255, 255, 255, 255]),
            ("bitfield k get u8 100", &[]),
            ("bitfield k set u1 9 1 set u1 30 0", &[0, 0x40, 0, 0]),
        ] {
            assert_eq!(bytes_after(&[command]), bytes, "{command}");
        }
    }

    #[test]
    fn a_field_may_lie_across_bytes_of_an_old_value() {
        assert_eq!(bytes_after(&["set k abc", "bitfield k incrby u12 6 1"]), [0x61, 0x62, 0xa3]);
    }

    #[test]
    fn wrong_types_and_offsets_are_errors() {
        let mut mirror = Mirror::new();
        for command in [
            "bitfield k set u64 0 1",
            "bitfield k set i65 0 1",
            "bitfield k set i0 0 1",
            "bitfield k set x8 0 1",
            "bitfield k set u8 0",
            "bitfield k overflow never",
            "bitfield k incr u8 0 1",
        ] {
            mirror.fails(command, ApplyError::BadArguments);
        }
        for command in
            ["bitfield k set u8 -1 1", "bitfield k set u8 4294967295 1", "bitfield k set u8 #9223372036854775807 1"]
        {
            mirror.fails(command, ApplyError::OutOfRange);
        }
    }
}
