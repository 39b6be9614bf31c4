//! Memory footprints: the unit in which values report their size to the estimator.

use crate::blob::Blob;
use std::ops::{Add, Mul};
use vdr_snapmap::tree::{Key, Tree};
use vdr_snapmap::{Memory, allocated};

/// Bytes of memory by allocator. They are fractions, because an element has a share of its node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Footprint {
    /// Bytes of Rust's allocator.
    pub allocated: f64,
    /// Bytes of the host allocator, which has the long strings.
    pub in_host: f64,
}

impl Footprint {
    pub const NOTHING: Footprint = Footprint { allocated: 0.0, in_host: 0.0 };

    /// The footprint of an allocation of `bytes`, rounded up to its size class.
    pub fn allocated(bytes: usize) -> Self {
        Footprint { allocated: allocated(bytes) as f64, ..Footprint::NOTHING }
    }

    /// The footprint of a string, without its handle.
    pub fn of(string: &Blob) -> Self {
        string.memory().map(Footprint::from).fold(Footprint::NOTHING, Footprint::add)
    }
}

impl From<Memory> for Footprint {
    fn from(memory: Memory) -> Self {
        match memory {
            Memory::Allocated(bytes) => Footprint { allocated: bytes as f64, ..Footprint::NOTHING },
            Memory::InHost(bytes) => Footprint { in_host: bytes as f64, ..Footprint::NOTHING },
        }
    }
}

impl Add for Footprint {
    type Output = Footprint;
    fn add(self, other: Footprint) -> Footprint {
        Footprint { allocated: self.allocated + other.allocated, in_host: self.in_host + other.in_host }
    }
}

impl Mul<f64> for Footprint {
    type Output = Footprint;
    fn mul(self, by: f64) -> Footprint {
        Footprint { allocated: self.allocated * by, in_host: self.in_host * by }
    }
}

/// The share of the entry at a rank in the nodes of a tree, without the allocations of its key and
/// value.
pub fn amortized_entry<K: Key, V: Clone>(tree: &Tree<K, V>, rank: usize) -> Option<Footprint> {
    Some(Footprint { allocated: tree.amortized_entry_bytes(rank)?, ..Footprint::NOTHING })
}
