//! Ids and bounds of streams in the server's notation.

use crate::error::{ApplyError, ReadError};
use vdr_data::value::stream::Id;

/// The longest text that can be an id.
const ID_BYTES_MAX: usize = 127;

/// `ms-seq`, or `ms` alone; then `missing_seq` stands for the sequence.
pub fn id(text: &[u8], missing_seq: u64) -> Option<Id> {
    if text.len() > ID_BYTES_MAX {
        return None;
    }
    // The server reads a C string.
    let text = text.split(|byte| *byte == 0).next()?;
    match text.iter().position(|byte| *byte == b'-') {
        None => Some(Id::new(number(text)?, missing_seq)),
        Some(dash) => Some(Id::new(number(text.get(..dash)?)?, number(text.get(dash + 1..)?)?)),
    }
}

/// An id in a write.
pub fn parse_id(text: &[u8]) -> Result<Id, ApplyError> {
    id(text, 0).ok_or(ApplyError::BadArguments)
}

/// As [`parse_id`], with `-` and `+` for the smallest and the greatest id.
pub fn parse_id_or_edge(text: &[u8]) -> Result<Id, ApplyError> {
    match text {
        b"-" => Ok(Id::MIN),
        b"+" => Ok(Id::MAX),
        _ => parse_id(text),
    }
}

/// The first id of an interval: `-`, `+`, `ms`, `ms-seq`, or `(` before an id that is excluded.
pub fn start(text: &[u8]) -> Result<Id, ReadError> {
    bound(text, 0, Id::next)
}

/// The last id of an interval.
pub fn end(text: &[u8]) -> Result<Id, ReadError> {
    bound(text, u64::MAX, Id::previous)
}

fn bound(text: &[u8], missing_seq: u64, inward: fn(Id) -> Option<Id>) -> Result<Id, ReadError> {
    let bound = match text {
        b"-" => Some(Id::MIN),
        b"+" => Some(Id::MAX),
        [b'(', open @ ..] => id(open, missing_seq).and_then(inward),
        closed => id(closed, missing_seq),
    };
    bound.ok_or(ReadError::BadArgument)
}

/// An unsigned number. The server passes any other notation than its own to strtoull. So blanks,
/// signs and leading zeros are accepted, and a primary sends them on unchanged.
fn number(text: &[u8]) -> Option<u64> {
    let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let signed = text.get(text.iter().take_while(|byte| blank(byte)).count()..)?;
    let (negative, digits) = match signed {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    // A negative number in its usual form is refused; any other notation of it wraps around.
    let usual = signed.len() == text.len() && !digits.starts_with(b"0") && i64::try_from(value).is_ok();
    if negative && usual { None } else { Some(if negative { value.wrapping_neg() } else { value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_the_server_reads_them() {
        for (text, expected) in [
            ("5-3", Some((5, 3))),
            ("5", Some((5, 9))),
            ("18446744073709551615-18446744073709551615", Some((u64::MAX, u64::MAX))),
            ("05-+3", Some((5, 3))),
            (" 5-\t3", Some((5, 3))),
            ("1--05", Some((1, u64::MAX - 4))),
            ("1--5", None),
            ("18446744073709551616-0", None),
            ("", None),
            ("-", None),
            ("5-", None),
            ("-5", None),
            ("5-3-1", None),
            ("5 -3", None),
            ("x", None),
            ("5-3\0tail", Some((5, 3))),
        ] {
            assert_eq!(id(text.as_bytes(), 9), expected.map(|(ms, seq)| Id::new(ms, seq)), "{text}");
        }
        assert_eq!(id(&[b'0'; 128], 0), None);
        assert_eq!(id(&[b'0'; 127], 0), Some(Id::MIN));
    }

    #[test]
    fn bounds_reach_over_a_whole_millisecond_and_may_be_open() {
        for (text, first, last) in [
            ("-", Some((0, 0)), Some((0, 0))),
            ("+", Some((u64::MAX, u64::MAX)), Some((u64::MAX, u64::MAX))),
            ("5", Some((5, 0)), Some((5, u64::MAX))),
            ("(5", Some((5, 1)), Some((5, u64::MAX - 1))),
            ("(5-0", Some((5, 1)), Some((4, u64::MAX))),
            ("(0-0", Some((0, 1)), None),
            ("(18446744073709551615-18446744073709551615", None, Some((u64::MAX, u64::MAX - 1))),
            ("(-", None, None),
            ("(+", None, None),
            ("(", None, None),
        ] {
            let expect = |bound: Option<(u64, u64)>| bound.map(|(ms, seq)| Id::new(ms, seq));
            assert_eq!(start(text.as_bytes()).ok(), expect(first), "start {text}");
            assert_eq!(end(text.as_bytes()).ok(), expect(last), "end {text}");
        }
    }
}
