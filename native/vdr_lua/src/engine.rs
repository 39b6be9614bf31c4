//! Interpreters, as many as there are scripts at one time.

use crate::error::{Kind, ScriptError};
use crate::result::LuaValue;
use crate::script::Script;
use crate::vm::Vm;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vdr_commands::Arg;
use vdr_replica::live::Snapshot;

/// Idle interpreters kept for the next calls; each holds about half a megabyte.
const IDLE_MAX: usize = 64;

/// Sources remembered with their compiled form, so that a source given again and again costs a look-up.
const SOURCES_MAX: usize = 256;

/// Longer sources are compiled each time: who has one should load it.
const REMEMBERED_SOURCE_MAX_BYTES: usize = 16 << 10;

/// What bounds one call.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub timeout: Duration,
    /// What the script may allocate beyond what the interpreter holds, garbage included; also what its result may take.
    pub memory_bytes: usize,
}

/// What bounds an attempt on a thread that has no time: no interrupt comes later than some tens of microseconds after the
/// one before it, so that an attempt ends well under a millisecond.
const QUICK: Limits = Limits { timeout: Duration::from_micros(100), memory_bytes: 64 << 10 };

/// A read in a quick attempt touches no more elements.
pub(crate) const QUICK_ELEMENTS_MAX: usize = 200;

/// Calls that are not attempted after one that needed more: the lost attempts of a script that is always long then cost it
/// little, and one that was only held up by a busy machine is soon quick again.
const LONG_CALLS: u32 = 64;

/// Loading a longer script into an interpreter takes too long for a quick attempt.
const QUICK_BYTECODE_MAX_BYTES: usize = 16 << 10;

impl Default for Limits {
    fn default() -> Self {
        Limits { timeout: Duration::from_millis(5000), memory_bytes: 64 << 20 }
    }
}

/// What a script reads: one database of one snapshot at one time. The script lets go of the snapshot before the call
/// returns; the caller should hold it too, or the drop of a large one is paid here.
#[derive(Clone)]
pub struct Subject {
    pub snapshot: Arc<Snapshot>,
    pub db: u32,
    pub now_ms: i64,
    /// Set by whoever no longer wants the answer: the script then ends soon.
    pub abandoned: Option<Arc<AtomicBool>>,
}

/// Runs scripts on any number of threads, each in an interpreter of its own for the time of the call.
#[derive(Default)]
pub struct Engine {
    idle: Mutex<Vec<Vm>>,
    sources: Mutex<HashMap<Box<[u8]>, Arc<Script>>>,
}

impl Engine {
    pub fn new() -> Self {
        Self::default()
    }

    /// The compiled form of a source that is remembered.
    pub fn known(&self, source: &[u8]) -> Option<Arc<Script>> {
        self.sources.lock().get(source).cloned()
    }

    /// The compiled form of a source, remembered when it is short.
    pub fn script(&self, source: &[u8]) -> Result<Arc<Script>, ScriptError> {
        if source.len() > REMEMBERED_SOURCE_MAX_BYTES {
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

    /// Runs a script with the globals `KEYS` and `ARGV`. What it leaves behind, no later call sees.
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

    /// Runs a script for some hundred microseconds at most. `None`: it needs more than that, and [`Engine::run`] does it from
    /// the beginning; a script is a function of the snapshot and its arguments, so nobody can tell. One that needed more
    /// is not attempted for a while.
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
            // Counting exactly is not worth more.
            script.long_calls.store(long_calls - 1, Ordering::Relaxed);
            return None;
        }
        // Making an interpreter takes too long, and so does collecting garbage, of which a quick attempt leaves little.
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
