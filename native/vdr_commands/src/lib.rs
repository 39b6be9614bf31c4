//! The command table: one row and one function per command, in the file of its data type.
//!
//! Reads serve the BEAM and Lua alike. Their arguments come from a neutral cursor ([`Args`]). Their
//! answer is a [`Reply`] that borrows from the snapshot. Writes arrive only in the replication
//! stream.
//!
//! The modules stand in reading order: each uses those above it.

#![forbid(unsafe_code)]

mod error;
mod number;
mod rules;
mod args;
mod reply;
mod cursor;
mod context;
mod row;
mod affected;
mod ops;
mod families;
mod registry;
mod tuple;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod tests;

pub use affected::{affects_first_only, for_each_affected};
pub use args::{Arg, Args};
pub use context::Apply;
pub use cursor::ArgCursor;
pub use error::{ApplyError, ApplyResult, ReadError};
pub use families::scan::{Portion, Wanted, walk};
pub use families::streams::entry as stream_entry;
pub use ops::glob;
pub use registry::{Command, command, commands, control, controls, read, reads, write, writes};
pub use reply::Reply;
pub use row::{Affected, AffectedKeys, Control, Cost, Effect, Leaves, Part, Read, Role, Write};
pub use rules::{NegativeOffset, Rules, ZaddEncoding};
pub use tuple::{Field, Tuple, generic, is_option, tuple};
