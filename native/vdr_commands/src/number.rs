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
    let value = u64::from_str_radix(&significant, 16).ok()? as f64;
    let scale = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    let float = value * 2f64.powi(scale);
    Some(if negative { -float } else { float })
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
        ] {
            assert_eq!(parse_float(text.as_bytes()), Some(value));
        }
        for text in ["", "nan", "abc", "1 ", "0x", "1e"] {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
    }
}
