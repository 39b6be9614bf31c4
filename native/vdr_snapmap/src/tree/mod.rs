//! Ordered, counted map with O(1) snapshots: a persistent B+tree whose nodes are owned by
//! generation.
//!
//! Every inner node knows the number of entries below each child. So an entry is found by key, or
//! by rank (its position in key order), in O(log n). Every range, cursor and rank query of the API
//! is an interval of ranks.
//!
//! All leaves have the same depth. The separator of a child is a lower bound of its keys, and
//! greater than every key before it. Copies of an inner node share its separators.
//!
//! ```text
//!     [ count | node ][ count | node ] ...  ->  [ separator ][ separator ] ...
//!                /               \
//!     [ (k, v) (k, v) ... ]   [ (k, v) ... ]
//! ```
//!
//! A tree that fits into one leaf is only that leaf, with a reference count, and copied on write:
//! most aggregates are small. A larger tree is a [`Version`](crate::version::Version). Its parts
//! are nodes, and [`crate::version`] has the proof. Three things are particular to it:
//!
//! * Entries belong to their leaf: the copy of a leaf clones them, and freeing a leaf drops them. A
//!   reference count is kept for the separators of an inner node. Only the addresses of children
//!   are copied as they are.
//! * So freeing a node frees nothing below it.
//! * The addresses of children have no type. Only a tree links nodes, and all of them are its own
//!   or those of the tree that it is a fork of, so their type is the tree's.

mod fanout;
pub mod key;

mod child;
mod inner;
mod leaf;
mod node;

mod btree;
mod large;

mod bulk;
mod edit;
mod range;
mod size;

mod diff;

pub use btree::Tree;
pub use diff::{Diff, Difference};
pub use key::{Bytes, Key, Probe, by};
pub use range::Range;

#[cfg(test)]
mod tests;
