//! How much memory something takes.

use crate::blob::Blob;
use std::ops::{Add, Mul};
use vdr_snapmap::tree::{Key, Tree};
use vdr_snapmap::{Memory, allocated};

/// Bytes, by whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Taken {
    /// Of the allocator that Rust uses.
    pub allocated: f64,
    /// Of the home of long strings.
    pub at_home: f64,
}

impl Taken {
    pub const NOTHING: Taken = Taken { allocated: 0.0, at_home: 0.0 };

    /// By an allocation of so many bytes.
    pub fn allocated(bytes: usize) -> Self {
        Taken { allocated: allocated(bytes) as f64, ..Taken::NOTHING }
    }

    /// By a string, beyond its handle.
    pub fn of(string: &Blob) -> Self {
        string.memory().map_or(Taken::NOTHING, Taken::from)
    }
}

impl From<Memory> for Taken {
    fn from(memory: Memory) -> Self {
        match memory {
            Memory::Allocated(bytes) => Taken { allocated: bytes as f64, ..Taken::NOTHING },
            Memory::InHost(bytes) => Taken { at_home: bytes as f64, ..Taken::NOTHING },
        }
    }
}

impl Add for Taken {
    type Output = Taken;
    fn add(self, other: Taken) -> Taken {
        Taken { allocated: self.allocated + other.allocated, at_home: self.at_home + other.at_home }
    }
}

impl Mul<f64> for Taken {
    type Output = Taken;
    fn mul(self, by: f64) -> Taken {
        Taken { allocated: self.allocated * by, at_home: self.at_home * by }
    }
}

/// What falls on the entry of a tree at a rank of what the tree takes, but for what its key and value lead to.
pub fn part<K: Key, V: Clone>(tree: &Tree<K, V>, rank: usize) -> Option<Taken> {
    Some(Taken { allocated: tree.amortized_entry_bytes(rank)?, ..Taken::NOTHING })
}
