//! Lua scripts on a snapshot: many reads, one state of the data, no round trip.
//!
//! A script is hostile until proven otherwise. It may fail; it must not hang, grow without bound, see what another
//! script left behind, or bring the VM down. The engine is Luau, since only there did every bomb that we threw stop at
//! its limit (see `docs/decisions.md`). This crate knows nothing of the BEAM: arguments and results are plain values.

#![forbid(unsafe_code)]

mod engine;
mod error;
mod reads;
mod result;
mod script;
mod vm;

pub use engine::{Engine, Limits, Subject};
pub use error::{Kind, ScriptError};
pub use result::LuaValue;
pub use script::Script;
