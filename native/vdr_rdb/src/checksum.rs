//! CRC-64 with the Jones polynomial ("CRC-64/REDIS"), over bytes as they come.

use crc_fast::{CrcAlgorithm, Digest};

/// A running checksum.
pub(super) struct Checksum(Digest);

impl Checksum {
    pub fn new() -> Self {
        Checksum(Digest::new(CrcAlgorithm::Crc64Redis))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn value(&self) -> u64 {
        self.0.finalize()
    }

    /// The checksum of `bytes` alone.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut sum = Checksum::new();
        sum.update(bytes);
        sum.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The polynomial, bit by bit, as its definition reads.
    fn slow(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |crc, &byte| {
            (0..8)
                .fold(crc ^ u64::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x95ac_9329_ac4b_c9b5 } else { 0 })
        })
    }

    #[test]
    fn the_check_value_is_the_servers() {
        assert_eq!(Checksum::of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(slow(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(Checksum::of(b""), 0);
    }

    #[test]
    fn every_length_and_split_gives_the_definitions_value() {
        let bytes: Vec<u8> = (0..2000u32).map(|i| ((i * 131) >> 3) as u8).collect();
        for len in (0..600).chain([1023, 1024, 1025, 2000]) {
            let mut sum = Checksum::new();
            sum.update(&bytes[..len / 3]);
            sum.update(&bytes[len / 3..len]);
            assert_eq!(sum.value(), slow(&bytes[..len]), "{len} bytes");
        }
    }
}
