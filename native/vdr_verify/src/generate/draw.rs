//! The generator, and what it draws at random: keys, values, words, numbers.

use fastrand::Rng;

/// The kinds of values, for picking keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    Counter,
    Bits,
    Hll,
    List,
    Set,
    ZSet,
    Geo,
    Hash,
    Stream,
}

const KINDS: [Kind; 10] = [
    Kind::String,
    Kind::Counter,
    Kind::Bits,
    Kind::Hll,
    Kind::List,
    Kind::Set,
    Kind::ZSet,
    Kind::Geo,
    Kind::Hash,
    Kind::Stream,
];

pub struct Generator {
    pub rng: Rng,
    pub abilities: Abilities,
}

/// What a server and its settings allow in a program.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// Whether the server has commands for field expiry.
    pub field_expiry: bool,
    /// Whether a score may be -0, or become it.
    pub negative_zero: bool,
    /// Whether it is a Redis 8.0, for which some commands are left out: see the module.
    pub redis_8_0: bool,
    /// Whether a group may count more entries than there ever were: see the module.
    pub entries_miscounted: bool,
}

/// The number of databases of a server that we start.
pub const DATABASES: u32 = 40;

impl Generator {
    pub fn new(seed: u64, abilities: Abilities) -> Self {
        Generator { rng: Rng::with_seed(seed), abilities }
    }

    pub(super) fn kind(&mut self) -> Kind {
        KINDS[self.rng.usize(0..KINDS.len())]
    }

    /// A key that mostly holds this kind; sometimes any key at all.
    pub fn key(&mut self, kind: Kind) -> Vec<u8> {
        let kind = if self.rng.u8(0..40) == 0 { self.kind() } else { kind };
        let prefix = format!("{kind:?}").to_lowercase();
        // Sometimes a long name, so that both forms of a key in memory occur.
        let number = self.rng.u32(0..12);
        let tail = if number == 11 { ":a-name-that-does-not-fit-inline" } else { "" };
        format!("{prefix}:{number}{tail}").into_bytes()
    }

    pub fn keys(&mut self, kind: Kind, most: usize) -> Vec<Vec<u8>> {
        (0..self.rng.usize(1..=most)).map(|_| self.key(kind)).collect()
    }

    /// A value: short or long, text, number or bytes.
    pub fn value(&mut self) -> Vec<u8> {
        match self.rng.u32(0..20) {
            0 => Vec::new(),
            1..5 => self.integer().into_bytes(),
            5..8 => (0..self.rng.usize(0..40)).map(|_| self.rng.u8(..)).collect(),
            8 if self.chance(20) => vec![self.rng.u8(..); self.rng.usize(0..200_000)],
            8 => vec![b'x'; self.rng.usize(0..5000)],
            9 => (0..self.rng.usize(0..300)).map(|_| self.rng.u8(b'a'..=b'c')).collect(),
            _ => self.word(),
        }
    }

    /// One of few words, so that members and fields collide.
    pub fn word(&mut self) -> Vec<u8> {
        match self.rng.u32(0..30) {
            0 => (0..self.rng.usize(0..100)).map(|_| self.rng.u8(..)).collect(),
            1..8 => self.rng.i32(-20..200).to_string().into_bytes(),
            _ => format!("m{}", self.rng.u32(0..60)).into_bytes(),
        }
    }

    pub fn words(&mut self, most: usize) -> Vec<Vec<u8>> {
        (0..self.rng.usize(1..=most)).map(|_| self.word()).collect()
    }

    pub fn integer(&mut self) -> String {
        match self.rng.u32(0..12) {
            0 => i64::MAX.to_string(),
            1 => i64::MIN.to_string(),
            2 => "not-a-number".to_owned(),
            3 => self.rng.i64(..).to_string(),
            _ => self.rng.i32(-300..300).to_string(),
        }
    }

    /// An index into a short value, from either end, sometimes out of range.
    pub fn index(&mut self) -> String {
        match self.rng.u32(0..20) {
            0 => self.rng.i64(..).to_string(),
            _ => self.rng.i32(-12..14).to_string(),
        }
    }

    pub fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.rng.usize(0..words.len())]
    }

    pub fn chance(&mut self, one_in: u32) -> bool {
        self.rng.u32(0..one_in) == 0
    }
}
