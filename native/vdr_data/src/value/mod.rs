//! What a key holds. Each type has a module of its own, so that a faster structure can replace it.
//!
//! The modules stand in reading order: each uses those above it.

mod kind;
mod string;
pub mod pack;
mod either;
mod element_builder;
mod list;
mod set;
mod hash;
mod zset;
pub mod stream;
mod variants;
mod aggregate;

pub use aggregate::Aggregate;
pub use hash::{Field, Hash, HashBuilder};
pub use kind::Kind;
pub use list::{List, ListBuilder};
pub use set::{Set, SetBuilder};
pub use stream::Stream;
pub use string::{LongRef, StringRef};
pub use variants::{Value, ValueRef};
pub use zset::{Score, ZSet, ZSetBuilder};
