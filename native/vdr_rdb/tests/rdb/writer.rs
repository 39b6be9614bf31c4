//! Writes snapshot files by hand: what today's servers no longer write, and what none should.

use vdr_rdb::RdbError;

/// CRC-64/REDIS by its definition, slow and independent of the code under test.
pub fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u64::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x95ac_9329_ac4b_c9b5 } else { 0 })
    })
}

pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = length(bytes.len() as u64);
    out.extend(bytes);
    out
}

pub fn length(len: u64) -> Vec<u8> {
    match len {
        0..64 => vec![len as u8],
        64..16384 => (0x4000 | len as u16).to_be_bytes().to_vec(),
        16384..=0xffff_ffff => [&[0x80][..], &(len as u32).to_be_bytes()].concat(),
        _ => [&[0x81][..], &len.to_be_bytes()].concat(),
    }
}

/// LZF that never copies: every 32 bytes a control byte.
pub fn lzf(bytes: &[u8]) -> Vec<u8> {
    let packed: Vec<u8> = bytes.chunks(32).flat_map(|chunk| [&[chunk.len() as u8 - 1][..], chunk].concat()).collect();
    [vec![0xc3], length(packed.len() as u64), length(bytes.len() as u64), packed].concat()
}

/// A listpack of strings and, where they are digits, small integers.
pub fn listpack(elements: &[&str]) -> Vec<u8> {
    let mut entries = Vec::new();
    for element in elements {
        match element.parse::<u8>() {
            Ok(small @ 0..=127) => entries.extend([small, 1]),
            _ => {
                assert!(element.len() < 64);
                entries.push(0x80 | element.len() as u8);
                entries.extend(element.as_bytes());
                entries.push(element.len() as u8 + 1);
            }
        }
    }
    let mut out = (entries.len() as u32 + 7).to_le_bytes().to_vec();
    out.extend((elements.len() as u16).to_le_bytes());
    out.extend(entries);
    out.push(0xff);
    out
}

/// A ziplist of strings.
pub fn ziplist(elements: &[&str]) -> Vec<u8> {
    let (mut entries, mut previous, mut tail) = (Vec::new(), 0, 10);
    for element in elements {
        tail = 10 + entries.len() as u32;
        entries.extend([previous, element.len() as u8]);
        entries.extend(element.as_bytes());
        previous = element.len() as u8 + 2;
    }
    let mut out = (entries.len() as u32 + 11).to_le_bytes().to_vec();
    out.extend(tail.to_le_bytes());
    out.extend((elements.len() as u16).to_le_bytes());
    out.extend(entries);
    out.push(0xff);
    out
}

pub fn intset(members: &[i64]) -> Vec<u8> {
    let mut out = 8u32.to_le_bytes().to_vec();
    out.extend((members.len() as u32).to_le_bytes());
    out.extend(members.iter().flat_map(|member| member.to_le_bytes()));
    out
}

pub fn zipmap(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![pairs.len() as u8];
    for (field, value) in pairs {
        out.push(field.len() as u8);
        out.extend(field.as_bytes());
        out.extend([value.len() as u8, 2]);
        out.extend(value.as_bytes());
        out.extend([0, 0]);
    }
    out.push(0xff);
    out
}

/// A whole file with a right checksum around a body.
pub fn file(magic: &str, body: &[u8]) -> Vec<u8> {
    let mut out = magic.as_bytes().to_vec();
    out.extend(body);
    out.push(0xff);
    out.extend(crc64(&out).to_le_bytes());
    out
}

/// A record: type, key, value.
pub fn record(type_byte: u8, key: &str, value: &[u8]) -> Vec<u8> {
    [&[type_byte][..], &string(key.as_bytes()), value].concat()
}

/// A DUMP payload with a right checksum.
pub fn payload(version: u16, body: &[u8]) -> Vec<u8> {
    let mut out = body.to_vec();
    out.extend(version.to_le_bytes());
    out.extend(crc64(&out).to_le_bytes());
    out
}

pub fn code<T: std::fmt::Debug>(result: Result<T, RdbError>) -> &'static str {
    result.expect_err("this must be refused").code()
}
