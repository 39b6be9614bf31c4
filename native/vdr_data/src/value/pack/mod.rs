//! A small aggregate in one allocation: byte strings one behind another, each found by its rank in
//! O(1).
//!
//! A clone shares the allocation by a refcount. An edit is copy-on-write: in place if nobody else
//! shares the allocation, else into a copy, which is one allocation and a few moves of bytes. A
//! pack asks for no more than it needs, rounded up to the allocator's next size class, so its spare
//! bytes cost nothing.
//!
//! The modules stand in reading order: each uses those above it.

mod layout;
mod entries;
mod splice;
mod builder;
#[cfg(test)]
mod tests;

pub use builder::{FieldOrderCache, PackBuilder};
pub use entries::{Pack, Range};
pub use layout::PACK_BYTES_MAX;
