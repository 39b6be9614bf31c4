//! Maps of which a snapshot costs nothing: the structures under the keyspace that need `unsafe`, and only those.
//!
//! [`Map`] is a hash table, [`Tree`] is ordered and counted; [`SharedBytes`] are long byte strings in them. A map is a value: `clone` is
//! O(1) and gives a snapshot that nothing changes, to be held for as long as one likes, sent to any thread, dropped in any order. What makes it quicker than a map of reference-counted nodes is that copying a
//! node does not touch its children: nodes are owned by *generation*, see [`mod@line`] for what may be freed when, and
//! [`map`] for the structure and the proof of its safety.

#![allow(
    unsafe_code,
    reason = "nodes are owned by generation, which the borrow checker cannot see: see `map` for the proof"
)]

pub mod home;
pub mod item;
pub mod line;
pub mod map;
mod node;
mod prefetch;
pub mod shared;
mod sync;
#[cfg(test)]
mod testing;
pub mod tree;

pub use home::{COUNTS, Home, Loan, Memory, allocated};
pub use item::{HOME_BYTES_MIN, Item, PACKED_MAX, Payload, PayloadMut, Put, Taken};
pub use map::{Map, Weigh};
pub use shared::SharedBytes;
pub use tree::Tree;
