//! The filter: a mirror may keep only some databases, keys of some prefixes, values of some types.
//!
//! A key that the filter leaves out is never built: a full sync skips it, and a write to it is not
//! run. The difficulty is a write that reads a key that is left out and changes a key that is kept.
//! [`plan`] knows these writes. Where the result does not follow from the kept keys, the answer is
//! a full sync, never a wrong value.

mod criteria;
mod plan;
mod visit;

pub use criteria::Filter;
pub use plan::FilteredWrite;
pub use visit::Filtered;
