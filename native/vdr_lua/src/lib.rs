//! Lua scripts on a snapshot: many reads of one state of the data, without round trips.
//!
//! A script is treated as hostile. It may fail. It must not hang, grow without bound, see what
//! another script left behind, or bring the VM down. The engine is Luau: of the engines that we
//! tried, only Luau stopped every attack at its limit (see `docs/decisions.md`). This crate knows
//! nothing of the BEAM: arguments and results are plain values.
//!
//! The modules stand in reading order, from the ground up.

#![forbid(unsafe_code)]

mod call;
mod error;

mod current;
mod reads;
mod result;
mod script;

mod sandbox;
mod vm;

mod engine;

pub use call::{Limits, Subject};
pub use engine::Engine;
pub use error::{Kind, ScriptError};
pub use result::LuaValue;
pub use script::Script;
