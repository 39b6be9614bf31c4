//! LZF, the server's string compression: literals, and back-references of up to 8192 bytes.

use crate::error::Fault;

/// Three bytes of input make at most 264 bytes of output, so a valid string never announces more
/// than this many times its size.
const MAX_RATIO: usize = 88;

/// The most that is reserved up front. Beyond it the output grows as it is unpacked.
const RESERVE_BYTES_MAX: usize = 1 << 20;

/// Unpacks `packed` into `out`, which is cleared first. The result must have exactly `len` bytes.
pub(super) fn unpack(packed: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    out.clear();
    if len > packed.len().saturating_mul(MAX_RATIO) {
        return Err(Fault::Corrupt("LZF string announces more than its bytes can hold"));
    }
    out.reserve(len.min(RESERVE_BYTES_MAX));
    let mut rest = packed;
    while let Some((&control, after)) = rest.split_first() {
        rest = if control < 32 {
            let (literals, after) =
                after.split_at_checked(usize::from(control) + 1).ok_or(Fault::Corrupt("LZF literals overrun"))?;
            out.extend_from_slice(literals);
            after
        } else {
            copy(control, after, out)?
        };
        if out.len() > len {
            return Err(Fault::Corrupt("LZF output is longer than announced"));
        }
    }
    if out.len() == len { Ok(()) } else { Err(Fault::Corrupt("LZF output is shorter than announced")) }
}

fn copy<'a>(control: u8, input: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Fault> {
    const SHORT: Fault = Fault::Corrupt("LZF copy overrun");
    let (extra, input) = if control >> 5 == 7 { input.split_first().ok_or(SHORT)? } else { (&0, input) };
    let (low, input) = input.split_first().ok_or(SHORT)?;
    let len = usize::from(control >> 5) + usize::from(*extra) + 2;
    let distance = (usize::from(control & 31) << 8 | usize::from(*low)) + 1;
    let from = out.len().checked_sub(distance).ok_or(Fault::Corrupt("LZF copy from before the start"))?;
    // An overlapping copy repeats what it has just written, so the length that can be copied at
    // once doubles each round.
    let mut left = len;
    while left > 0 {
        let at_once = left.min(out.len() - from);
        out.extend_from_within(from..from + at_once);
        left -= at_once;
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(packed: &[u8], len: usize) -> Result<Vec<u8>, Fault> {
        let mut out = vec![1, 2, 3];
        unpack(packed, len, &mut out).map(|()| out)
    }

    #[test]
    fn literals_come_out_as_they_are() {
        assert_eq!(unpacked(b"\x02abc\x00d", 4).unwrap(), b"abcd");
        assert_eq!(unpacked(b"", 0).unwrap(), b"");
    }

    #[test]
    fn an_overlapping_copy_repeats() {
        assert_eq!(unpacked(b"\x00a\x60\x00", 6).unwrap(), b"aaaaaa");
        assert_eq!(unpacked(b"\x02abc\x60\x02", 8).unwrap(), b"abcabcab");
    }

    #[test]
    fn a_long_copy_has_one_more_length_byte() {
        assert_eq!(unpacked(b"\x00a\xe0\xff\x00", 265).unwrap(), vec![b'a'; 265]);
        assert_eq!(unpacked(b"\x00a\xe0\x00\x00", 10).unwrap(), vec![b'a'; 10]);
    }

    #[test]
    fn the_distance_takes_the_low_bits_of_the_control_byte() {
        let mut packed = Vec::new();
        for _ in 0..10 {
            packed.push(31);
            packed.extend((0..32).map(|i| b'A' + i));
        }
        packed.extend([0x21, 0x3f]);
        let out = unpacked(&packed, 323).unwrap();
        assert_eq!(&out[320..], b"ABC");
    }

    #[test]
    fn what_does_not_fit_its_announcement_is_refused() {
        assert!(unpacked(b"\x02abc", 2).is_err());
        assert!(unpacked(b"\x02abc", 4).is_err());
        assert!(unpacked(b"\x02ab", 3).is_err());
        assert!(unpacked(b"\x20\x00", 3).is_err());
        assert!(unpacked(b"\x00a\x20", 4).is_err());
        assert!(unpacked(b"\x00a\xe0", 4).is_err());
        assert!(unpacked(b"\x00a\xe0\x01", 4).is_err());
        assert!(unpacked(b"\x00a", usize::MAX).is_err());
    }
}
