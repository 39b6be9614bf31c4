//! Finds, starts and queries real servers for tests and tools. It knows nothing of links or
//! mirrors.

mod client;
mod server;

pub use client::{Client, Command, Reply, command};
pub use server::{Binary, Server, binaries, free_port, fuzzer};
