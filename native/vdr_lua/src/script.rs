//! Source that has been compiled.

use crate::error::{Kind, ScriptError};
use corosensei::stack::DefaultStack;
use mlua::chunk::Compiler;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Longer sources are refused: the compiler's time and memory are not under the script's limits.
const SOURCE_MAX_BYTES: usize = 1 << 20;

/// The parser nests up to a depth of its own (1000), for which it takes less than 1 MB in release builds. Scheduler
/// threads of the BEAM have 320 KB.
const COMPILER_STACK_BYTES: usize = 8 << 20;

/// A compiled script. Its bytecode came from [`Script::compile`] and from nowhere else: the interpreter trusts it.
pub struct Script {
    pub(crate) id: u64,
    pub(crate) bytecode: Vec<u8>,
    /// How many of the next calls are no quick attempts, since one was not enough.
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
        // The two that differ from call to call must not be resolved when the code is loaded.
        let compiler = Compiler::new().set_optimization_level(1).set_mutable_globals(["KEYS", "ARGV"]);
        let bytecode = corosensei::on_stack(stack, || compiler.compile(source)).map_err(|error| {
            let error = ScriptError::from(error);
            ScriptError::new(error.kind, format!("script:{}", error.message.trim_start_matches(':')))
        })?;
        Ok(Script { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), bytecode, long_calls: AtomicU32::new(0) })
    }
}
