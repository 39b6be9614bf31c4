//! The data: what a byte string is, the values that keys hold, databases and keyspaces. No IO, no clock (time is an
//! argument, or a clock is handed in), no thread.
//!
//! The modules stand in reading order: each uses those above it.

#![forbid(unsafe_code)]

pub mod blob;
pub mod expiry;
pub mod size;
pub mod value;
pub mod keyspace;
pub mod estimate;
mod fpconv;
pub mod digest;
