//! What a keyspace guarantees, whatever commands change it.

mod diff;
mod heavy;
mod key_order;
