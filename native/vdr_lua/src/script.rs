//! Compiled scripts.

use crate::error::{Kind, ScriptError};
use corosensei::stack::DefaultStack;
use mlua::chunk::Compiler;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Longer sources are refused, since no limit covers the compiler's time and memory.
const SOURCE_MAX_BYTES: usize = 1 << 20;

/// The parser's own nesting limit (1000) takes less than 1 MB in release builds. Scheduler threads
/// of the BEAM have 320 KB.
const COMPILER_STACK_BYTES: usize = 8 << 20;

/// A compiled script. The interpreter trusts bytecode, so [`Script::compile`] is its only source.
pub struct Script {
    pub(crate) id: u64,
    pub(crate) bytecode: Vec<u8>,
    /// The number of next calls that are not attempted, after an attempt that was too short.
    pub(crate) long_calls: AtomicU32,
}

impl Script {
    pub fn compile(source: &[u8]) -> Result<Script, ScriptError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        if source.len() > SOURCE_MAX_BYTES {
            return Err(ScriptError::new(Kind::Syntax, format!("a script longer than {SOURCE_MAX_BYTES} bytes")));
        }
        let stack = DefaultStack::new(COMPILER_STACK_BYTES)
            .map_err(|error| ScriptError::new(Kind::Memory, format!("no stack for the compiler: {error}")))?;
        // These two globals differ from call to call, so they must not be resolved at load time.
        let compiler = Compiler::new().set_optimization_level(1).set_mutable_globals(["KEYS", "ARGV"]);
        let bytecode = corosensei::on_stack(stack, || compiler.compile(source)).map_err(|error| {
            let error = ScriptError::from(error);
            ScriptError::new(error.kind, format!("script:{}", error.message.trim_start_matches(':')))
        })?;
        Ok(Script { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), bytecode, long_calls: AtomicU32::new(0) })
    }
}
