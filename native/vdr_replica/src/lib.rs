//! The replica without its socket: what comes down the wire, and what readers see of it. No IO, no
//! clock (time is an argument, or a clock is handed in), no thread.
//!
//! The modules stand in reading order: each uses those above it.

#![forbid(unsafe_code)]

pub mod string_limit;
pub mod resp;
pub mod handshake;
pub mod filter;
pub mod stream;
pub mod batch;
pub mod live;
pub mod position;
pub mod watch;
pub mod mirror;
