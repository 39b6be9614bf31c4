//! One interpreter, and one call in it at a time.
//!
//! Time: Luau calls the interrupt at every loop iteration, call, return, and step of a pattern
//! match, in coroutines too. Once the deadline has passed, the interrupt raises an error *every*
//! time, so that a script that catches one error meets the next. The prelude bounds the few library
//! functions that could run long without an interrupt.
//!
//! Memory: every allocation of the interpreter is counted, and refused beyond the limit.
//!
//! Native stack: Luau nests C calls up to 200 deep, which takes up to 512 KB. A dirty scheduler of
//! the BEAM has 320 KB. So each interpreter runs on a stack of its own.
//!
//! Quick attempts: with small limits, on a scheduler thread. Work that may be long ends the
//! attempt: a large read, a library function that may run long, and every function that could catch
//! the error that ends the attempt.
//!
//! Isolation: all library tables are read-only, and each call has a fresh table of globals in front
//! of them.

use crate::call::{Limits, Subject};
use crate::current::Current;
use crate::error::{Kind, ScriptError};
use crate::reads;
use crate::result::{LuaValue, Reader};
use crate::sandbox;
use crate::script::Script;
use corosensei::stack::DefaultStack;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, Table, Value};
use std::collections::HashMap;
use std::sync::Arc;
use vdr_commands::Arg;

/// Twice the depth of the deepest nesting in a debug build. Only touched pages cost memory.
const STACK_BYTES: usize = 4 << 20;

/// Garbage that a call may leave in the interpreter; more is collected before the next.
const GARBAGE_MAX_BYTES: usize = 1 << 20;

/// Loaded functions kept per interpreter.
const FUNCTIONS_MAX: usize = 128;

/// An interpreter that grew by more than this, garbage not counted, is not used again.
const GROWTH_MAX_BYTES: usize = 8 << 20;

pub(crate) struct Vm {
    lua: Lua,
    current: Arc<Current>,
    /// The metatable of each call's globals: it looks up in the library.
    globals_meta: Table,
    functions: HashMap<u64, Function>,
    fresh_bytes: usize,
    stack: DefaultStack,
}

impl Vm {
    pub(crate) fn new() -> Result<Vm, ScriptError> {
        let mut stack = DefaultStack::new(STACK_BYTES)
            .map_err(|error| ScriptError::new(Kind::Memory, format!("no stack for a script: {error}")))?;
        let current = Arc::new(Current::new());
        let (lua, globals_meta) = corosensei::on_stack(&mut stack, || sandbox::build(&current))?;
        let fresh_bytes = lua.used_memory();
        Ok(Vm { lua, current, globals_meta, functions: HashMap::new(), fresh_bytes, stack })
    }

    pub(crate) fn run(
        &mut self,
        script: &Script,
        subject: Subject,
        keys: &[&[u8]],
        args: &[Arg<'_>],
        limits: Limits,
        quick: bool,
    ) -> Result<LuaValue, ScriptError> {
        let Vm { lua, current, globals_meta, functions, stack, .. } = self;
        corosensei::on_stack(stack, || {
            let function = load(lua, functions, script)?;
            function.set_environment(globals(lua, globals_meta, keys, args)?)?;
            lua.set_memory_limit(lua.used_memory().saturating_add(limits.memory_bytes).max(1))?;
            current.start(subject, limits, quick);
            let answer = match function.call::<Value>(()) {
                Ok(value) => Reader::new(current, limits.memory_bytes).read(&value),
                Err(error) => Err(error.into()),
            };
            current.stop();
            lua.set_memory_limit(0)?;
            match answer {
                Ok(value) if !current.is_expired() => Ok(value),
                Ok(_) => Err(current.failure(ScriptError::new(Kind::Timeout, ""), limits.timeout)),
                Err(error) => Err(current.failure(error, limits.timeout)),
            }
        })
    }

    /// Collects the garbage of a call if there is much of it. `false`: the interpreter must not be
    /// used again.
    pub(crate) fn clean_up(&mut self) -> bool {
        let Vm { lua, stack, fresh_bytes, .. } = self;
        if lua.used_memory() <= fresh_bytes.saturating_add(GARBAGE_MAX_BYTES) {
            return true;
        }
        let collected = corosensei::on_stack(stack, || lua.gc_collect()).is_ok();
        collected && lua.used_memory() <= fresh_bytes.saturating_add(GROWTH_MAX_BYTES)
    }
}

fn load(lua: &Lua, functions: &mut HashMap<u64, Function>, script: &Script) -> mlua::Result<Function> {
    if let Some(function) = functions.get(&script.id) {
        return Ok(function.clone());
    }
    let chunk = lua.load(&script.bytecode).set_name("=script").set_mode(ChunkMode::Binary);
    let function = chunk.into_function()?;
    if functions.len() >= FUNCTIONS_MAX {
        functions.clear();
    }
    functions.insert(script.id, function.clone());
    Ok(function)
}

fn globals(lua: &Lua, meta: &Table, keys: &[&[u8]], args: &[Arg<'_>]) -> mlua::Result<Table> {
    let globals = lua.create_table_with_capacity(0, 2)?;
    globals.raw_set("KEYS", lua.create_sequence_from(keys.iter().map(|key| mlua::BString::from(*key)))?)?;
    let args = args.iter().map(|arg| reads::value_of(lua, arg, 0)).collect::<mlua::Result<Vec<_>>>()?;
    globals.raw_set("ARGV", lua.create_sequence_from(args)?)?;
    globals.set_metatable(Some(meta.clone()))?;
    globals.set_safeenv(true);
    Ok(globals)
}
