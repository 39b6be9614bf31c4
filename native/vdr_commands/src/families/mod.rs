//! One file per data type: its rows, their functions, their tests. None imports another; what they share stands in
//! [`ops`](crate::ops).

pub mod strings;
pub mod numbers;
pub mod bitmaps;
pub mod bitfield;
pub mod hll;
pub mod lists;
pub mod sets;
pub mod hashes;
pub mod zsets;
pub mod zsets_writes;
pub mod zsets_stores;
pub mod geo;
pub mod streams;
pub mod keys;
pub mod expiry;
pub mod scan;
pub mod databases;
pub mod sort;
pub mod slots;
pub mod restore;
pub mod modules;
pub mod control;
#[cfg(test)]
mod zsets_model;
