//! The pure heart of Veidrodelis: bytes in, keyspace out. No IO, no clock (time is an argument), no thread.
//!
//! The modules stand in reading order: what a byte string is, the structures that hold them, the commands, what comes
//! down the wire, and what readers see.

pub mod apply;
pub mod batch;
pub mod blob;
pub mod commands;
pub mod digest;
pub mod fpconv;
pub mod handshake;
pub mod keyspace;
pub mod live;
pub mod memory;
pub mod mirror;
pub mod only;
pub mod rdb;
pub mod resp;
pub mod value;
pub mod watch;

pub use vdr_snapmap::tree;
