//! The families: one file per data type, with its rows, their functions, their tests. No family
//! imports another; [`ops`](crate::ops) holds what they share.

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
