//! The data: byte strings, the values of keys, databases and keyspaces. No IO, no thread, no clock:
//! time is an argument, or the caller hands in a clock.
//!
//! The modules stand in reading order: each uses those above it.

#![forbid(unsafe_code)]

pub mod limits;
mod chunked;
pub mod blob;
pub mod expiry;
pub mod size;
pub mod value;
pub mod keyspace;
pub mod estimate;
mod fpconv;
pub mod digest;
