//! What tests and tools need of real servers: finding them, starting them, asking them. Knows nothing of links or mirrors.

mod client;
mod server;

pub use client::{Client, Command, Reply, command};
pub use server::{Binary, Server, binaries, free_port};
