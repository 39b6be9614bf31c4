//! Formats scores exactly as servers write them into their digest.
//!
//! Redis 7.0 prints with C's `%.17g`. Later servers, and every Valkey, use Grisu2. It is fast and
//! always reads back to the same double, but is *not always the shortest text*, so neither Rust's
//! `{}` nor any crate for shortest digits will do.
//!
//! Grisu2 in short: it scales the double and the two halfway points to its neighbours by a power of
//! ten, in 64-bit fixed point, so that the digits before the point fit 32 bits. It generates digits
//! of the upper halfway point until the rest is less than the distance between the halfway points.
//! Then it decrements the last digit towards the value itself. Scaling rounds, so the distance is
//! narrowed by one unit on each side, which is why the text is not always the shortest.

use std::fmt::Write;

/// A score's text in a buffer of its own.
#[derive(Clone, Copy)]
pub struct Text {
    len: usize,
    bytes: [u8; Text::CAPACITY],
}

impl Text {
    /// Longer than the text of any score, which has at most 25 bytes.
    const CAPACITY: usize = 32;

    fn new() -> Self {
        Text { len: 0, bytes: [0; Text::CAPACITY] }
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.push(*byte));
    }

    fn zeros(&mut self, count: i32) {
        (0..count).for_each(|_| self.push(b'0'));
    }

    /// Writes `digits` with the point after the first `before` of them, filled with zeros on either
    /// side.
    fn plain(&mut self, digits: &[u8], before: i32) {
        match usize::try_from(before).ok().filter(|before| *before > 0) {
            None => {
                self.extend(b"0.");
                self.zeros(-before);
                self.extend(digits);
            }
            Some(at) => {
                let (whole, fraction) = digits.split_at_checked(at).unwrap_or((digits, &[]));
                self.extend(whole);
                self.zeros(before - digits.len() as i32);
                if !fraction.is_empty() {
                    self.push(b'.');
                    self.extend(fraction);
                }
            }
        }
    }

    /// `d.ddde±x`, the exponent with at least `width` digits.
    fn scientific(&mut self, digits: &[u8], exponent: i32, width: usize) {
        let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, &[]));
        self.extend(first);
        if !rest.is_empty() {
            self.push(b'.');
            self.extend(rest);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        // The buffer holds the longest text, so this cannot fail.
        let _ = write!(self, "e{sign}{:0width$}", exponent.unsigned_abs());
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.extend(text.as_bytes());
        Ok(())
    }
}

/// The text of values without digits, which is the same in both forms.
fn without_digits(value: f64) -> Option<&'static [u8]> {
    if value.is_nan() {
        Some(b"nan")
    } else if value.is_infinite() {
        Some(b"inf")
    } else {
        (value == 0.0).then_some(b"0")
    }
}

/// As C's `%.17g`: 17 significant digits, exactly rounded, trailing zeros dropped.
pub fn printf_17g(value: f64) -> Text {
    let mut text = Text::new();
    if value.is_sign_negative() {
        text.push(b'-');
    }
    if let Some(word) = without_digits(value) {
        text.extend(word);
        return text;
    }
    let mut exact = Text::new();
    // `d.dddddddddddddddde±x`: at most 23 bytes.
    let _ = write!(exact, "{:.16e}", value.abs());
    let (mut digits, mut exponent) = (Digits::new(), 0);
    let mut parts = exact.as_bytes().split(|byte| *byte == b'e');
    for digit in parts.next().unwrap_or_default().iter().filter(|byte| byte.is_ascii_digit()) {
        digits.push(*digit);
    }
    if let Some(tail) = parts.next().and_then(|tail| std::str::from_utf8(tail).ok()) {
        exponent = tail.parse().unwrap_or(0);
    }
    let significant = digits.as_slice().iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    let kept = digits.as_slice().get(..significant).unwrap_or_default();
    if (-4..17).contains(&exponent) {
        text.plain(kept, exponent + 1);
    } else {
        text.scientific(kept, exponent, 2);
    }
    text
}

/// As the servers since Redis 7.2 print it.
pub fn grisu2(value: f64) -> Text {
    let mut text = Text::new();
    if value.is_sign_negative() {
        text.push(b'-');
    }
    if let Some(word) = without_digits(value) {
        text.extend(word);
        return text;
    }
    let (digits, power) = shortish(value.abs());
    let digits = digits.as_slice();
    let count = digits.len() as i32;
    let exponent = power + count - 1;
    let plain = if power >= 0 { exponent < count + 7 } else { power > -7 || exponent.abs() < 4 };
    if plain {
        text.plain(digits, count + power);
    } else {
        let most = 18 - usize::from(value.is_sign_negative());
        text.scientific(digits.get(..most).unwrap_or(digits), exponent, 1);
    }
    text
}

/// Decimal digits as ASCII. Neither form makes more than 18.
struct Digits {
    len: usize,
    bytes: [u8; 20],
}

impl Digits {
    fn new() -> Self {
        Digits { len: 0, bytes: [0; 20] }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    fn push(&mut self, digit: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = digit;
            self.len += 1;
        }
    }

    /// Appends a digit, unless it is a leading zero.
    fn push_significant(&mut self, digit: u64) {
        if digit != 0 || self.len > 0 {
            self.push(b'0'.wrapping_add(digit as u8));
        }
    }

    fn step_down(&mut self) {
        if let Some(last) = self.bytes.get_mut(..self.len).and_then(<[u8]>::last_mut) {
            *last = last.wrapping_sub(1);
        }
    }

    /// Decrements the last digit while that brings the text closer to the value, which is `target`
    /// below the upper bound.
    fn round(&mut self, mut rest: u64, step: u64, target: u64, gap: u64) {
        while rest < target
            && gap.wrapping_sub(rest) >= step
            && (rest.wrapping_add(step) < target
                || target.wrapping_sub(rest) > rest.wrapping_add(step).wrapping_sub(target))
        {
            self.step_down();
            rest = rest.wrapping_add(step);
        }
    }
}

/// `significand * 2^exponent`.
#[derive(Clone, Copy)]
struct Binary {
    significand: u64,
    exponent: i32,
}

impl Binary {
    fn normalised(self) -> Self {
        let shift = self.significand.leading_zeros();
        Binary { significand: self.significand.wrapping_shl(shift), exponent: self.exponent - shift as i32 }
    }

    /// The product, rounded to 64 bits.
    fn times(self, other: Binary) -> Self {
        let product = u128::from(self.significand) * u128::from(other.significand) + (1 << 63);
        Binary { significand: (product >> 64) as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

const SIGNIFICAND_BITS: u32 = 52;
const HIDDEN_BIT: u64 = 1 << SIGNIFICAND_BITS;

/// A positive finite double, and the halfway points to its upper and lower neighbours. The halfway
/// points have the same exponent.
fn boundaries(value: f64) -> (Binary, Binary, Binary) {
    let bits = value.to_bits();
    let mantissa = bits & (HIDDEN_BIT - 1);
    let biased = (bits >> SIGNIFICAND_BITS) as i32;
    let exact = match biased {
        0 => Binary { significand: mantissa, exponent: -1074 },
        _ => Binary { significand: mantissa | HIDDEN_BIT, exponent: biased - 1075 },
    };
    let upper = Binary { significand: exact.significand * 2 + 1, exponent: exact.exponent - 1 }.normalised();
    // Below a power of two the neighbour is only half as far away.
    let shift = if exact.significand == HIDDEN_BIT { 2 } else { 1 };
    let below = (exact.significand << shift) - 1;
    let align = (exact.exponent - shift - upper.exponent).unsigned_abs();
    let lower = Binary { significand: below.wrapping_shl(align), exponent: upper.exponent };
    (exact.normalised(), upper, lower)
}

/// Digits and a power of ten that read back to `value`, positive and finite.
fn shortish(value: f64) -> (Digits, i32) {
    let (exact, upper, lower) = boundaries(value);
    let (scale, power) = scale_for(upper.exponent);
    let (exact, mut upper, mut lower) = (exact.times(scale), upper.times(scale), lower.times(scale));
    lower.significand = lower.significand.wrapping_add(1);
    upper.significand = upper.significand.wrapping_sub(1);
    let target = upper.significand.wrapping_sub(exact.significand);
    let gap = upper.significand.wrapping_sub(lower.significand);
    let (digits, dropped) = take_digits(upper, target, gap);
    (digits, dropped - power)
}

/// The digits of `upper` until the rest is within `gap`, and the power of ten of the last digit.
fn take_digits(upper: Binary, target: u64, gap: u64) -> (Digits, i32) {
    let point = upper.exponent.unsigned_abs();
    let one = 1u64.wrapping_shl(point);
    let mut whole = upper.significand.wrapping_shr(point);
    let mut fraction = upper.significand & one.wrapping_sub(1);
    let mut digits = Digits::new();
    let mut unit = 1_000_000_000;
    for dropped in (0..10).rev() {
        digits.push_significant(whole / unit);
        whole %= unit;
        let rest = whole.wrapping_shl(point).wrapping_add(fraction);
        if rest <= gap {
            digits.round(rest, unit.wrapping_shl(point), target, gap);
            return (digits, dropped);
        }
        unit /= 10;
    }
    let (mut gap, mut scale) = (gap, 1u64);
    // The gap is at least one unit in 2^60 and grows tenfold in each round, so 20 rounds suffice.
    for dropped in 1..=20 {
        fraction = fraction.wrapping_mul(10);
        gap = gap.wrapping_mul(10);
        scale = scale.wrapping_mul(10);
        digits.push_significant(fraction.wrapping_shr(point));
        fraction &= one.wrapping_sub(1);
        if fraction < gap {
            digits.round(fraction, one, target.wrapping_mul(scale), gap);
            return (digits, -dropped);
        }
    }
    (digits, -20)
}

/// The power of ten, with its decimal exponent, that scales a number with this binary exponent into
/// range.
fn scale_for(exponent: i32) -> (Binary, i32) {
    let estimate = (-f64::from(exponent + POWERS.len() as i32) * std::f64::consts::LOG10_2) as i32;
    let mut index = (estimate - FIRST_POWER) / POWER_STEP;
    loop {
        let scale = power_of_ten(index);
        match exponent + scale.exponent + 64 {
            ..-60 => index += 1,
            -31.. => index -= 1,
            _ => return (scale, FIRST_POWER + POWER_STEP * index),
        }
    }
}

fn power_of_ten(index: i32) -> Binary {
    let significand = usize::try_from(index).ok().and_then(|index| POWERS.get(index)).copied().unwrap_or_default();
    // The binary exponent of 10^k is floor(k * log2(10)). For all k of the table this fraction
    // yields it.
    let exponent = ((FIRST_POWER + POWER_STEP * index) * 217_706) >> 16;
    Binary { significand, exponent: exponent - 63 }
}

const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;

/// The 64 leading bits of 10^-348, 10^-340 ... 10^340, correctly rounded.
#[rustfmt::skip]
const POWERS: [u64; 87] = [
    0xfa8fd5a0081c0288, 0xbaaee17fa23ebf76, 0x8b16fb203055ac76, 0xcf42894a5dce35ea,
    0x9a6bb0aa55653b2d, 0xe61acf033d1a45df, 0xab70fe17c79ac6ca, 0xff77b1fcbebcdc4f,
    0xbe5691ef416bd60c, 0x8dd01fad907ffc3c, 0xd3515c2831559a83, 0x9d71ac8fada6c9b5,
    0xea9c227723ee8bcb, 0xaecc49914078536d, 0x823c12795db6ce57, 0xc21094364dfb5637,
    0x9096ea6f3848984f, 0xd77485cb25823ac7, 0xa086cfcd97bf97f4, 0xef340a98172aace5,
    0xb23867fb2a35b28e, 0x84c8d4dfd2c63f3b, 0xc5dd44271ad3cdba, 0x936b9fcebb25c996,
    0xdbac6c247d62a584, 0xa3ab66580d5fdaf6, 0xf3e2f893dec3f126, 0xb5b5ada8aaff80b8,
    0x87625f056c7c4a8b, 0xc9bcff6034c13053, 0x964e858c91ba2655, 0xdff9772470297ebd,
    0xa6dfbd9fb8e5b88f, 0xf8a95fcf88747d94, 0xb94470938fa89bcf, 0x8a08f0f8bf0f156b,
    0xcdb02555653131b6, 0x993fe2c6d07b7fac, 0xe45c10c42a2b3b06, 0xaa242499697392d3,
    0xfd87b5f28300ca0e, 0xbce5086492111aeb, 0x8cbccc096f5088cc, 0xd1b71758e219652c,
    0x9c40000000000000, 0xe8d4a51000000000, 0xad78ebc5ac620000, 0x813f3978f8940984,
    0xc097ce7bc90715b3, 0x8f7e32ce7bea5c70, 0xd5d238a4abe98068, 0x9f4f2726179a2245,
    0xed63a231d4c4fb27, 0xb0de65388cc8ada8, 0x83c7088e1aab65db, 0xc45d1df942711d9a,
    0x924d692ca61be758, 0xda01ee641a708dea, 0xa26da3999aef774a, 0xf209787bb47d6b85,
    0xb454e4a179dd1877, 0x865b86925b9bc5c2, 0xc83553c5c8965d3d, 0x952ab45cfa97a0b3,
    0xde469fbd99a05fe3, 0xa59bc234db398c25, 0xf6c69a72a3989f5c, 0xb7dcbf5354e9bece,
    0x88fcf317f22241e2, 0xcc20ce9bd35c78a5, 0x98165af37b2153df, 0xe2a0b5dc971f303a,
    0xa8d9d1535ce3b396, 0xfb9b7cd9a4a7443c, 0xbb764c4ca7a44410, 0x8bab8eefb6409c1a,
    0xd01fef10a657842c, 0x9b10a4e5e9913129, 0xe7109bfba19c0c9d, 0xac2820d9623bf429,
    0x80444b5e7aa7cf85, 0xbf21e44003acdd2d, 0x8e679c2f5e44ff8f, 0xd433179d9c8cb841,
    0x9e19db92b4e31ba9, 0xeb96bf6ebadf77d9, 0xaf87023b9bf0ee6b,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: Text) -> String {
        String::from_utf8(text.as_bytes().to_vec()).unwrap()
    }

    /// Little-endian base 2^32.
    fn times(number: &[u32], factor: u32) -> Vec<u32> {
        let mut carry = 0;
        let mut product: Vec<u32> = number
            .iter()
            .map(|limb| {
                let sum = u64::from(*limb) * u64::from(factor) + carry;
                carry = sum >> 32;
                sum as u32
            })
            .collect();
        product.push(carry as u32);
        product
    }

    fn less_or_equal(a: &[u32], b: &[u32]) -> bool {
        let limb = |number: &[u32], at: usize| number.get(at).copied().unwrap_or(0);
        let differs = (0..a.len().max(b.len())).rev().find(|at| limb(a, *at) != limb(b, *at));
        differs.is_none_or(|at| limb(a, at) < limb(b, at))
    }

    /// (2 * significand + nudge) * 2^shift * 10^ten, exactly.
    fn exact(significand: u64, nudge: i128, shift: i32, ten: i32) -> Vec<u32> {
        let doubled = (2 * i128::from(significand) + nudge) as u128;
        let limbs: Vec<u32> = (0..3).map(|at| (doubled >> (32 * at)) as u32).collect();
        let twos = (0..shift).fold(limbs, |number, _| times(&number, 2));
        (0..ten).fold(twos, |number, _| times(&number, 10))
    }

    #[test]
    fn every_power_of_the_table_is_the_nearest() {
        for index in 0..POWERS.len() as i32 {
            let k = FIRST_POWER + POWER_STEP * index;
            let Binary { significand, exponent } = power_of_ten(index);
            assert!(significand >> 63 == 1, "10^{k} fills its 64 bits");
            // 10^k must lie within half a unit of significand * 2^exponent. All exponents are
            // shifted so that they are positive.
            let bound = |nudge| exact(significand, nudge, exponent.max(0), (-k).max(0));
            let power = exact(1, 0, (-exponent).max(0), k.max(0));
            assert!(less_or_equal(&bound(-1), &power) && less_or_equal(&power, &bound(1)), "10^{k}");
        }
    }

    #[test]
    fn grisu2_writes_what_servers_write() {
        let cases = [
            (1.5, "1.5"),
            (0.0, "0"),
            (-0.0, "-0"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (1e7, "10000000"),
            (1e8, "1e+8"),
            (1e15, "1e+15"),
            (1.2e10, "1.2e+10"),
            (1_230_000_000.0, "1230000000"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1_152_921_504_606_846_976.0, "1152921504606847000"),
            (123_456_789_012_345_678.0, "123456789012345680"),
            (f64::MAX, "1.7976931348623157e+308"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(grisu2(value)), expected);
        }
    }

    #[test]
    fn printf_writes_17_digits_at_most() {
        let cases = [
            (1.5, "1.5"),
            (0.1, "0.10000000000000001"),
            (-0.0, "-0"),
            (f64::NEG_INFINITY, "-inf"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (-1.2345e-300, "-1.2345e-300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "4.9406564584124654e-324"),
            (123_456_789_012_345_678.0, "1.2345678901234568e+17"),
            (100.0, "100"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(printf_17g(value)), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn both_texts_read_back_to_the_same_double(bits: u64) {
            let value = f64::from_bits(bits);
            proptest::prop_assume!(value.is_finite());
            for written in [text(grisu2(value)), text(printf_17g(value))] {
                proptest::prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), bits, "{}", written);
            }
        }
    }
}
