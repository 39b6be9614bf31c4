//! Numbers in the server's notation.

/// The server's strict integer: the notation that `INCR` accepts as a value.
pub fn parse_int(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        b"0" => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if plain { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// A float as the server's strtod reads it (decimal or hexadecimal, `inf`, `infinity`, in any
/// case). NaN is refused.
pub fn parse_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let float = parse_hex_float(text).or_else(|| text.parse().ok())?;
    (!float.is_nan()).then_some(float)
}

/// A hexadecimal float such as `0x1.8p3`. Old servers accept it as a score, and send it on
/// unchanged.
fn parse_hex_float(text: &str) -> Option<f64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"))?;
    let (mantissa, exponent) = match digits.split_once(['p', 'P']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // A mantissa of more than 64 bits would need rounding. `%a` writes 14 digits, and clients send
    // no more.
    let significant = format!("{whole}{fraction}");
    if significant.is_empty() || significant.len() > 16 {
        return None;
    }
    let whole = u64::from_str_radix(&significant, 16).ok()?;
    let scale = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    let float = scaled(whole, scale);
    Some(if negative { -float } else { float })
}

/// `whole * 2^scale`, rounded once, to the nearest, as strtod does.
fn scaled(whole: u64, scale: i32) -> f64 {
    let top = i64::from(scale) + i64::from(whole.checked_ilog2().unwrap_or(0));
    if whole == 0 {
        0.0
    } else if top >= i64::from(f64::MIN_EXP - 1) {
        // 2^scale alone may be too small for a float, or too large.
        let half = scale / 2;
        whole as f64 * 2f64.powi(half) * 2f64.powi(scale - half)
    } else {
        // A subnormal float: its bits are how many times the smallest one it is.
        let dropped = u32::try_from(i64::from(SMALLEST_EXPONENT) - i64::from(scale)).unwrap_or(0);
        f64::from_bits(shift_right_rounded(whole, dropped))
    }
}

/// The smallest float above zero is two to the power of this.
const SMALLEST_EXPONENT: i32 = -1074;

/// `number / 2^bits`, to the nearest, a tie to the even one.
fn shift_right_rounded(number: u64, bits: u32) -> u64 {
    let number = u128::from(number);
    // Beyond these, less than a half is left.
    if bits > 65 {
        return 0;
    }
    let (kept, half) = (number >> bits, (1u128 << bits) / 2);
    let dropped = number - (kept << bits);
    let up = bits > 0 && (dropped > half || dropped == half && kept % 2 == 1);
    u64::try_from(kept).unwrap_or(u64::MAX) + u64::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_as_strict_as_the_servers() {
        for (text, value) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(parse_int(text.as_bytes()), Some(value));
        }
        for text in ["", "-", "+1", "01", "-0", " 1", "1 ", "9223372036854775808", "1.0", "0x1"] {
            assert_eq!(parse_int(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn floats_are_read_as_strtod_does() {
        for (text, value) in [("1", 1.0), ("-.5", -0.5), ("5.", 5.0), ("1e3", 1000.0), ("+inf", f64::INFINITY)] {
            assert_eq!(parse_float(text.as_bytes()), Some(value));
        }
        for (text, value) in [
            ("-Infinity", f64::NEG_INFINITY),
            ("0x1p3", 8.0),
            ("0x1.8p1", 3.0),
            ("0x1.999999999999ap-4", 0.1),
            ("-0xA", -10.0),
            ("0x1p-1074", f64::from_bits(1)),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1074", f64::from_bits(2)),
            ("0x1.8p-1075", f64::from_bits(1)),
            ("0x3p-1074", f64::from_bits(3)),
            ("0x0.fffffffffffffp-1022", f64::from_bits((1 << 52) - 1)),
            ("0x0.fffffffffffff8p-1022", f64::MIN_POSITIVE),
            ("0x1p-1022", f64::MIN_POSITIVE),
            ("0x8000000000000000p-1085", f64::MIN_POSITIVE),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x0.0000000000001p1075", 2f64.powi(1023)),
            ("0x1p1024", f64::INFINITY),
            ("0x1p99999", f64::INFINITY),
            ("0x1p-99999", 0.0),
            ("0x0p99999", 0.0),
        ] {
            assert_eq!(parse_float(text.as_bytes()), Some(value));
        }
        for text in ["", "nan", "abc", "1 ", "0x", "1e"] {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
    }
}
