//! Reads the primitives of the format from a buffer: fixed-width integers, lengths, strings.
//!
//! A string is located first ([`Raw`], O(1) whatever its size), and decoded only when its whole
//! item has arrived. So to retry an item with more bytes costs nothing proportional to its strings.

use crate::error::{Fault, Halt, STRING};
use crate::lzf;
use vdr_data::limits::STRING_BYTES_MAX;

/// Room for the framing of a compact encoding whose contents are about as long as the longest
/// string.
const FRAMING_BYTES_MAX: u64 = 16 << 20;

/// A position in the bytes of one item.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
    string_bytes_max: u64,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, pos: 0, string_bytes_max: STRING_BYTES_MAX }
    }

    /// Accepts strings up to this length.
    pub fn with_string_bytes_max(self, string_bytes_max: u64) -> Self {
        Cursor { string_bytes_max, ..self }
    }

    pub fn pos(&self) -> usize {
        self.pos
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Halt> {
        let end = self.pos.saturating_add(len);
        let taken = self.bytes.get(self.pos..end).ok_or(Halt::More(end))?;
        self.pos = end;
        Ok(taken)
    }

    /// Skips up to `len` bytes and at least one, for data that is skipped as it arrives.
    pub fn skip_some(&mut self, len: u64) -> Result<u64, Halt> {
        let left = self.bytes.len().saturating_sub(self.pos);
        let step = usize::try_from(len).unwrap_or(usize::MAX).min(left);
        if step == 0 {
            return Err(Halt::More(self.pos.saturating_add(1)));
        }
        self.pos += step;
        Ok(step as u64)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Halt> {
        let end = self.pos.saturating_add(N);
        let array = self.bytes.get(self.pos..).and_then(|rest| rest.first_chunk()).ok_or(Halt::More(end))?;
        self.pos = end;
        Ok(*array)
    }

    pub fn byte(&mut self) -> Result<u8, Halt> {
        self.array().map(|[byte]| byte)
    }

    pub fn i64_le(&mut self) -> Result<i64, Halt> {
        self.array().map(i64::from_le_bytes)
    }

    /// A length, or another unsigned number in the same encoding.
    pub fn len(&mut self) -> Result<u64, Halt> {
        match self.length()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(_) => Err(Fault::Corrupt("an encoded string where a length belongs").into()),
        }
    }

    /// A string, located but not decoded.
    pub fn raw(&mut self) -> Result<Raw<'a>, Halt> {
        match self.length()? {
            Length::Plain(len) => Ok(Raw::Plain(self.take(self.string_len(len)?)?)),
            Length::Encoded(0) => Ok(Raw::Int(i8::from_le_bytes(self.array()?).into())),
            Length::Encoded(1) => Ok(Raw::Int(i16::from_le_bytes(self.array()?).into())),
            Length::Encoded(2) => Ok(Raw::Int(i32::from_le_bytes(self.array()?).into())),
            Length::Encoded(3) => {
                let (packed_len, len) = (self.len()?, self.len()?);
                let (packed_len, len) = (self.string_len(packed_len)?, self.string_len(len)?);
                Ok(Raw::Lzf { packed: self.take(packed_len)?, len })
            }
            Length::Encoded(_) => Err(Fault::Corrupt("unknown string encoding").into()),
        }
    }

    /// The head of a string that is skipped. Returns how many bytes of the string follow.
    pub fn string_head(&mut self) -> Result<u64, Halt> {
        match self.length()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(width @ 0..=2) => Ok(1 << width),
            Length::Encoded(3) => {
                let packed_len = self.len()?;
                self.len()?;
                Ok(packed_len)
            }
            Length::Encoded(_) => Err(Fault::Corrupt("unknown string encoding").into()),
        }
    }

    fn string_len(&self, len: u64) -> Result<usize, Fault> {
        let limit = self.string_bytes_max;
        let too_long = Fault::TooLarge { what: STRING, length: len, limit };
        if len > limit.saturating_add(FRAMING_BYTES_MAX) {
            Err(too_long)
        } else {
            usize::try_from(len).map_err(|_| too_long)
        }
    }

    fn length(&mut self) -> Result<Length, Halt> {
        let first = self.byte()?;
        match first >> 6 {
            0 => Ok(Length::Plain(u64::from(first))),
            1 => Ok(Length::Plain(u64::from(u16::from_be_bytes([first & 0x3f, self.byte()?])))),
            3 => Ok(Length::Encoded(first & 0x3f)),
            _ if first == 0x80 => Ok(Length::Plain(u64::from(u32::from_be_bytes(self.array()?)))),
            _ if first == 0x81 => Ok(Length::Plain(u64::from_be_bytes(self.array()?))),
            _ => Err(Fault::Corrupt("unknown length encoding").into()),
        }
    }
}

enum Length {
    Plain(u64),
    Encoded(u8),
}

/// A string as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw<'a> {
    Plain(&'a [u8]),
    Int(i64),
    Lzf { packed: &'a [u8], len: usize },
}

impl<'a> Raw<'a> {
    /// The decoded string, copied.
    pub fn to_vec(self) -> Result<Vec<u8>, Fault> {
        Ok(self.text(&mut Vec::new())?.as_bytes().to_vec())
    }

    /// The decoded string. A compressed string is unpacked into `buffer`.
    pub(super) fn text<'s>(self, buffer: &'s mut Vec<u8>) -> Result<Text<'s>, Fault>
    where
        'a: 's,
    {
        match self {
            Raw::Plain(bytes) => Ok(Text::Bytes(bytes)),
            Raw::Int(value) => Ok(Text::Digits(Decimal::new(value))),
            Raw::Lzf { packed, len } => {
                lzf::unpack(packed, len, buffer)?;
                Ok(Text::Bytes(buffer))
            }
        }
    }
}

/// A decoded string: borrowed bytes, or the digits of a number.
pub(super) enum Text<'a> {
    Bytes(&'a [u8]),
    Digits(Decimal),
}

impl Text<'_> {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Text::Bytes(bytes) => bytes,
            Text::Digits(digits) => digits.as_bytes(),
        }
    }
}

/// The longest decimal text of an i64, its sign included.
const DIGITS_MAX: usize = 20;

/// The shortest decimal text of an integer, without an allocation.
pub(super) struct Decimal {
    digits: [u8; DIGITS_MAX],
    start: usize,
}

impl Decimal {
    pub fn new(value: i64) -> Self {
        let mut digits = [b'-'; DIGITS_MAX];
        let mut left = value.unsigned_abs();
        let mut start = DIGITS_MAX;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
            start -= 1;
            if left == 0 {
                break;
            }
        }
        Decimal { digits, start: start.saturating_sub(usize::from(value < 0)) }
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<Vec<u8>, Halt> {
        let mut cursor = Cursor::new(bytes);
        let raw = cursor.raw()?;
        assert_eq!(cursor.pos(), bytes.len());
        Ok(raw.text(&mut Vec::new())?.as_bytes().to_vec())
    }

    #[test]
    fn decimal_is_the_shortest_text_of_every_integer() {
        for value in [0, 1, -1, 9, 10, -10, 12345, i64::MAX, i64::MIN, i64::MIN + 1] {
            assert_eq!(Decimal::new(value).as_bytes(), value.to_string().as_bytes());
        }
    }

    #[test]
    fn lengths_have_four_forms() {
        let len = |bytes: &[u8]| Cursor::new(bytes).len();
        assert_eq!(len(b"\x3f"), Ok(63));
        assert_eq!(len(b"\x7f\xff"), Ok(16383));
        assert_eq!(len(b"\x80\x01\x02\x03\x04"), Ok(0x0102_0304));
        assert_eq!(len(b"\x81\xff\xff\xff\xff\xff\xff\xff\xff"), Ok(u64::MAX));
        assert!(matches!(len(b"\x82\0\0\0\0"), Err(Halt::Bad(_))));
        assert!(matches!(len(b"\xc0\0"), Err(Halt::Bad(_))));
    }

    #[test]
    fn strings_are_bytes_numbers_or_lzf() {
        assert_eq!(text(b"\x03abc").unwrap(), b"abc");
        assert_eq!(text(b"\x40\x03abc").unwrap(), b"abc");
        assert_eq!(text(b"\xc0\xff").unwrap(), b"-1");
        assert_eq!(text(b"\xc1\x00\x80").unwrap(), b"-32768");
        assert_eq!(text(b"\xc2\xff\xff\xff\x7f").unwrap(), b"2147483647");
        assert_eq!(text(b"\xc3\x04\x06\x00a\x60\x00").unwrap(), b"aaaaaa");
        assert!(matches!(text(b"\xc4\0"), Err(Halt::Bad(_))));
    }

    #[test]
    fn what_is_missing_is_said_from_the_start_of_the_item() {
        assert_eq!(text(b""), Err(Halt::More(1)));
        assert_eq!(text(b"\x05ab"), Err(Halt::More(6)));
        assert_eq!(text(b"\x80\x00"), Err(Halt::More(5)));
        assert_eq!(text(b"\xc3\x05\x20ab"), Err(Halt::More(8)));
    }

    #[test]
    fn a_string_above_the_limit_is_refused_before_its_bytes_come() {
        assert!(matches!(text(b"\x81\x7f\0\0\0\0\0\0\0"), Err(Halt::Bad(Fault::TooLarge { .. }))));
        assert!(matches!(text(b"\xc3\x01\x80\xff\xff\xff\xff"), Err(Halt::Bad(Fault::TooLarge { .. }))));
    }

    #[test]
    fn the_limit_of_strings_is_the_callers() {
        let raw = |limit| Cursor::new(b"\x80\x30\0\0\0").with_string_bytes_max(limit).raw().map(|_| ());
        assert_eq!(raw(0x3000_0000), Err(Halt::More(5 + 0x3000_0000)));
        let too_long = Fault::TooLarge { what: STRING, length: 0x3000_0000, limit: 512 << 20 };
        assert_eq!(raw(512 << 20), Err(Halt::Bad(too_long)));
    }

    #[test]
    fn the_head_of_a_string_tells_how_much_to_step_over() {
        for string in
            [&b"\x03abc"[..], b"\xc0\xff", b"\xc1\x00\x80", b"\xc2\xff\xff\xff\x7f", b"\xc3\x04\x06\x00a\x60\x00"]
        {
            let mut cursor = Cursor::new(string);
            let body = cursor.string_head().unwrap();
            assert_eq!(cursor.pos() as u64 + body, string.len() as u64);
        }
    }
}
