//! What a keyspace promises, whatever commands change it.

mod diff;
mod heavy;
mod key_order;
