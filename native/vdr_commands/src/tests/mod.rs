//! What a keyspace guarantees, whatever commands change it.

mod diff;
mod large_keys;
mod key_order;
