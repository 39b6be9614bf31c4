//! The bytes of a HyperLogLog, exactly as the server lays them out.
//!
//! ```text
//! "HYLL" | encoding 0 dense, 1 sparse | 0 0 0 | cached count, 8 bytes little-endian, top bit set: not valid | registers
//! dense:  16384 registers of 6 bits, the lowest bits of a byte first
//! sparse: 00xxxxxx            x+1 registers are 0          (ZERO)
//!         01xxxxxx yyyyyyyy   xy+1 registers are 0         (XZERO)
//!         1vvvvvxx            x+1 registers hold v+1       (VAL)
//! ```
//!
//! The same registers have many sparse encodings. This code follows the server step by step,
//! because the encoding is visible in GET and in the digest.

use crate::error::ApplyError;

pub const REGISTERS: usize = 16384;
const HEADER: usize = 16;
const DENSE_BYTES: usize = HEADER + REGISTERS * 6 / 8;
/// The default of `hll-sparse-max-bytes`. The stream does not contain the primary's setting.
const SPARSE_BYTES_MAX: usize = 3000;
const SPARSE_VALUE_MAX: u8 = 32;
const SPARSE_VAL_RUN_MAX: usize = 4;
const SPARSE_ZERO_RUN_MAX: usize = 64;
/// The number of opcodes that a change tries to merge.
const MERGE_STEPS: usize = 5;
const SEED: u64 = 0xadc8_3b19;
const ENCODING_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const COUNT_AT: usize = 8;
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;

pub type Registers = [u8; REGISTERS];

/// A sparse HyperLogLog with all registers zero.
pub fn new() -> Vec<u8> {
    let mut bytes = b"HYLL".to_vec();
    bytes.resize(HEADER, 0);
    bytes.extend([0x7f, 0xff]);
    if let Some(encoding) = bytes.get_mut(ENCODING_AT) {
        *encoding = SPARSE;
    }
    bytes
}

/// The server's check that a string is a HyperLogLog.
pub fn check(bytes: &[u8]) -> Result<(), ApplyError> {
    let header = bytes.starts_with(b"HYLL") && bytes.len() >= HEADER;
    match bytes.get(ENCODING_AT) {
        Some(&DENSE) if header && bytes.len() == DENSE_BYTES => Ok(()),
        Some(&SPARSE) if header => Ok(()),
        _ => Err(ApplyError::WrongType),
    }
}

pub fn is_dense(bytes: &[u8]) -> bool {
    bytes.get(ENCODING_AT) == Some(&DENSE)
}

/// Marks the cached count as invalid; its bytes stay.
pub fn invalidate(bytes: &mut [u8]) {
    if let Some(byte) = bytes.get_mut(STALE_AT) {
        *byte |= STALE;
    }
}

pub fn count_is_cached(bytes: &[u8]) -> bool {
    bytes.get(STALE_AT).is_some_and(|byte| byte & STALE == 0)
}

pub fn cache_count(bytes: &mut [u8], count: u64) {
    if let Some(cached) = bytes.get_mut(COUNT_AT..HEADER) {
        cached.copy_from_slice(&count.to_le_bytes());
    }
}

/// The register of an element, and the value that the element asks for.
pub fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, SEED);
    let rest = hash >> 14 | 1 << 50;
    ((hash & 0x3fff) as usize, rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash64A. It reads the blocks as little-endian on every machine.
fn murmur64a(data: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (data.len() as u64).wrapping_mul(M);
    let (blocks, tail) = data.as_chunks::<8>();
    for block in blocks {
        let mut k = u64::from_le_bytes(*block).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0u64, |last, byte| last << 8 | u64::from(*byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash = (hash ^ hash >> R).wrapping_mul(M);
    hash ^ hash >> R
}

/// Raises a register of a dense HyperLogLog; `false` if its value is already as large.
pub fn raise_dense(bytes: &mut [u8], index: usize, value: u8) -> bool {
    let (at, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let low = bytes.get(at).copied().unwrap_or(0);
    let high = bytes.get(at + 1).copied().unwrap_or(0);
    let pair = u16::from_le_bytes([low, high]);
    if (pair >> shift & 0x3f) as u8 >= value {
        return false;
    }
    let pair = (pair & !(0x3f << shift) | u16::from(value) << shift).to_le_bytes();
    for (byte, new) in bytes.iter_mut().skip(at).zip(pair) {
        *byte = new;
    }
    true
}

/// All registers of a checked HyperLogLog. Fails if the sparse opcodes do not add up to exactly
/// [`REGISTERS`].
pub fn registers(bytes: &[u8]) -> Result<Box<Registers>, ApplyError> {
    let mut all = Box::new([0; REGISTERS]);
    if is_dense(bytes) {
        let packed = bytes.get(HEADER..).unwrap_or_default();
        let (groups, _) = packed.as_chunks::<3>();
        for (four, [a, b, c]) in all.as_chunks_mut::<4>().0.iter_mut().zip(groups) {
            *four = [a & 0x3f, a >> 6 | (b & 0xf) << 2, b >> 4 | (c & 0x3) << 4, c >> 2];
        }
        return Ok(all);
    }
    let (mut at, mut first) = (HEADER, 0);
    while at < bytes.len() {
        let op = Op::at(bytes, at)?;
        all.get_mut(first..first + op.run).ok_or(ApplyError::WrongType)?.fill(op.value);
        (at, first) = (at + op.bytes, first + op.run);
    }
    if first == REGISTERS { Ok(all) } else { Err(ApplyError::WrongType) }
}

/// Converts a sparse HyperLogLog to a dense one. The cached count stays, valid or not.
pub fn promote(bytes: &mut Vec<u8>) -> Result<(), ApplyError> {
    if is_dense(bytes) {
        return Ok(());
    }
    let registers = registers(bytes)?;
    bytes.truncate(HEADER);
    bytes.resize(DENSE_BYTES, 0);
    if let Some(encoding) = bytes.get_mut(ENCODING_AT) {
        *encoding = DENSE;
    }
    for (index, value) in registers.iter().enumerate().filter(|(_, value)| **value > 0) {
        raise_dense(bytes, index, *value);
    }
    Ok(())
}

/// Raises a register of either encoding, and converts to dense if it must; `false` if its value is
/// already as large.
pub fn raise(bytes: &mut Vec<u8>, index: usize, value: u8) -> Result<bool, ApplyError> {
    if is_dense(bytes) {
        return Ok(raise_dense(bytes, index, value));
    }
    if value > SPARSE_VALUE_MAX {
        promote(bytes)?;
        return Ok(raise_dense(bytes, index, value));
    }
    let found = find(bytes, index)?;
    if found.op.value >= value {
        return Ok(false);
    }
    let left = index - found.first;
    let mut ops = Vec::with_capacity(5);
    push_run(&mut ops, found.op.value, left);
    push_run(&mut ops, value, 1);
    push_run(&mut ops, found.op.value, found.op.run - left - 1);
    if ops.len() > found.op.bytes && bytes.len() + ops.len() - found.op.bytes > SPARSE_BYTES_MAX {
        promote(bytes)?;
        return Ok(raise_dense(bytes, index, value));
    }
    bytes.splice(found.at..found.at + found.op.bytes, ops);
    merge(bytes, found.before.unwrap_or(HEADER));
    invalidate(bytes);
    Ok(true)
}

/// A sparse opcode: `run` registers hold `value`.
#[derive(Clone, Copy)]
struct Op {
    value: u8,
    run: usize,
    bytes: usize,
}

impl Op {
    fn at(bytes: &[u8], at: usize) -> Result<Op, ApplyError> {
        match bytes.get(at..).unwrap_or_default() {
            [byte @ 0x80..=0xff, ..] => {
                Ok(Op { value: (byte >> 2 & 0x1f) + 1, run: usize::from(byte & 3) + 1, bytes: 1 })
            }
            [byte @ 0x00..=0x3f, ..] => Ok(Op { value: 0, run: usize::from(*byte) + 1, bytes: 1 }),
            [high, low, ..] => {
                Ok(Op { value: 0, run: (usize::from(high & 0x3f) << 8 | usize::from(*low)) + 1, bytes: 2 })
            }
            _ => Err(ApplyError::WrongType),
        }
    }
}

/// The position of the opcode that covers a register.
struct Found {
    op: Op,
    at: usize,
    /// The first register that it covers.
    first: usize,
    /// The position of the opcode before it.
    before: Option<usize>,
}

fn find(bytes: &[u8], index: usize) -> Result<Found, ApplyError> {
    let (mut at, mut first, mut before) = (HEADER, 0, None);
    loop {
        let op = Op::at(bytes, at)?;
        if index < first + op.run {
            return Ok(Found { op, at, first, before });
        }
        before = Some(at);
        (at, first) = (at + op.bytes, first + op.run);
    }
}

/// Encodes a run of at most [`REGISTERS`] zeros, or of at most four times a value.
fn push_run(ops: &mut Vec<u8>, value: u8, run: usize) {
    let Some(more) = run.checked_sub(1) else {
        return;
    };
    if value > 0 {
        ops.push(0x80 | (value - 1) << 2 | more as u8);
    } else if run <= SPARSE_ZERO_RUN_MAX {
        ops.push(more as u8);
    } else {
        ops.extend([0x40 | (more >> 8) as u8, more as u8]);
    }
}

/// Merges neighbours of equal value near a change, as far as the server does and no further.
fn merge(bytes: &mut Vec<u8>, from: usize) {
    let mut at = from;
    for _ in 0..MERGE_STEPS {
        let Ok(op) = Op::at(bytes, at) else {
            return;
        };
        match Op::at(bytes, at + op.bytes) {
            Ok(next) if op.value > 0 && next.value == op.value && op.run + next.run <= SPARSE_VAL_RUN_MAX => {
                let mut joined = Vec::with_capacity(1);
                push_run(&mut joined, op.value, op.run + next.run);
                bytes.splice(at..at + 2, joined);
            }
            _ => at += op.bytes,
        }
    }
}

/// Estimates the number of distinct elements by Ertl's improved estimator, with the server's
/// arithmetic.
pub fn estimate(registers: &Registers) -> u64 {
    const ALPHA_INF: f64 = 0.721_347_520_444_481_7;
    let m = REGISTERS as f64;
    let mut histogram = [0u32; 64];
    for value in registers {
        if let Some(count) = histogram.get_mut(usize::from(*value)) {
            *count += 1;
        }
    }
    let of = |value: usize| f64::from(histogram.get(value).copied().unwrap_or(0));
    let mut z = m * tau((m - of(51)) / m);
    for value in (1..=50).rev() {
        z = (z + of(value)) * 0.5;
    }
    z += m * sigma(of(0) / m);
    (ALPHA_INF * m * m / z).round() as u64
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        let before = z;
        x = x.sqrt();
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        let before = z;
        x *= x;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}
