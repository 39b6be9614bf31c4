//! A pool of interpreters and a cache of compiled scripts.

use crate::call::{Limits, QUICK, Subject};
use crate::error::{Kind, ScriptError};
use crate::result::LuaValue;
use crate::script::Script;
use crate::vm::Vm;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vdr_commands::Arg;

/// Idle interpreters kept for the next calls; each holds about half a megabyte.
const IDLE_MAX: usize = 64;

/// Cached sources, so that a source that is given again and again costs only a look-up.
const SOURCES_MAX: usize = 256;

/// Longer sources are compiled at each call: their callers should load them.
const CACHED_SOURCE_MAX_BYTES: usize = 16 << 10;

/// After an attempt that was too short, this many calls are not attempted. So a script that is
/// always long loses little to attempts, and one that a busy machine held up is soon attempted
/// again.
const LONG_CALLS: u32 = 64;

/// Loading a longer script into an interpreter takes too long for a quick attempt.
const QUICK_BYTECODE_MAX_BYTES: usize = 16 << 10;

/// Runs scripts on any number of threads, each in an interpreter of its own during the call.
#[derive(Default)]
pub struct Engine {
    idle: Mutex<Vec<Vm>>,
    sources: Mutex<HashMap<Box<[u8]>, Arc<Script>>>,
}

impl Engine {
    pub fn new() -> Self {
        Self::default()
    }

    /// The compiled form of a cached source.
    pub fn cached(&self, source: &[u8]) -> Option<Arc<Script>> {
        self.sources.lock().get(source).cloned()
    }

    /// The compiled form of a source. Short sources are cached.
    pub fn script(&self, source: &[u8]) -> Result<Arc<Script>, ScriptError> {
        if source.len() > CACHED_SOURCE_MAX_BYTES {
            return Script::compile(source).map(Arc::new);
        }
        if let Some(script) = self.sources.lock().get(source) {
            return Ok(script.clone());
        }
        let script = Arc::new(Script::compile(source)?);
        let mut sources = self.sources.lock();
        if sources.len() >= SOURCES_MAX {
            sources.clear();
        }
        sources.insert(source.into(), script.clone());
        Ok(script)
    }

    /// Runs a script with the globals `KEYS` and `ARGV`. No later call sees what it leaves behind.
    pub fn run(
        &self,
        script: &Script,
        subject: Subject,
        keys: &[&[u8]],
        args: &[Arg<'_>],
        limits: Limits,
    ) -> Result<LuaValue, ScriptError> {
        let idle = self.idle.lock().pop();
        let mut vm = idle.map_or_else(Vm::new, Ok)?;
        let answer = vm.run(script, subject, keys, args, limits, false);
        if vm.clean_up() {
            self.put_back(vm);
        }
        answer
    }

    /// Runs a script for some hundred microseconds at most. `None`: it needs more time, and the
    /// caller runs it from the beginning with [`Engine::run`]. A script is a pure function of the
    /// snapshot and its arguments, so starting over has no effect. A script that needed more is not
    /// attempted for a while.
    pub fn attempt(
        &self,
        script: &Script,
        subject: Subject,
        keys: &[&[u8]],
        args: &[Arg<'_>],
        limits: Limits,
    ) -> Option<Result<LuaValue, ScriptError>> {
        let narrow = limits.memory_bytes < QUICK.memory_bytes || limits.timeout < QUICK.timeout;
        if narrow || script.bytecode.len() > QUICK_BYTECODE_MAX_BYTES {
            return None;
        }
        let long_calls = script.long_calls.load(Ordering::Relaxed);
        if long_calls > 0 {
            // A lost update under contention does no harm.
            script.long_calls.store(long_calls - 1, Ordering::Relaxed);
            return None;
        }
        // Creating an interpreter takes too long for an attempt. So does collecting garbage, but an
        // attempt leaves little.
        let mut vm = self.idle.lock().pop()?;
        let answer = vm.run(script, subject, keys, args, QUICK, true);
        self.put_back(vm);
        if answer.as_ref().is_err_and(|error| matches!(error.kind, Kind::Timeout | Kind::Memory)) {
            script.long_calls.store(LONG_CALLS, Ordering::Relaxed);
            return None;
        }
        Some(answer)
    }

    fn put_back(&self, vm: Vm) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(vm);
        }
    }
}
