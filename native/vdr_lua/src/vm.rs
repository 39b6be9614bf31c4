//! One interpreter: the sandbox around it, and one call in it at a time.
//!
//! Time: Luau calls the interrupt at every loop turn, call, return, and step of a pattern match, in coroutines too. Once
//! the deadline has passed it raises an error *every* time, so that whatever catches one meets the next. The few library
//! functions that could be busy for long without an interrupt are bounded by the prelude.
//!
//! Memory: every allocation of the interpreter is counted and refused beyond the limit.
//!
//! Native stack: Luau nests C calls up to 200 deep, for which it takes up to 512 KB; a dirty scheduler of the BEAM has
//! 320 KB. So each interpreter has a stack of its own and runs on it.
//!
//! Quick attempts: with small limits, on a thread that has no time. Whatever could be long ends one: a large read or a
//! library function that would be busy, and whatever could catch the error that ends it.
//!
//! Isolation: all library tables are read-only, and each call has a fresh table of globals before them.

use crate::engine::{Limits, Subject};
use crate::error::{Kind, ScriptError};
use crate::reads;
use crate::result::{LuaValue, Reader};
use crate::script::Script;
use corosensei::stack::DefaultStack;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value, VmState};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use vdr_commands::Arg;

/// Twice what the deepest nesting took in a debug build; only touched pages cost memory.
const STACK_BYTES: usize = 4 << 20;

/// Once in so many looks at the clock, whether somebody still waits for the answer is looked at as well.
const LOOKS_PER_CALLER: usize = 1024;

/// Garbage that a call may leave in the interpreter; more is collected before the next.
const GARBAGE_MAX_BYTES: usize = 1 << 20;

/// Loaded functions kept per interpreter.
const FUNCTIONS_MAX: usize = 128;

/// An interpreter that grew by more than this, garbage not counted, is not used again.
const GROWTH_MAX_BYTES: usize = 8 << 20;

const PRELUDE: &str = include_str!("prelude.luau");

/// What scripts find of the standard library: pure functions only. Missing on purpose: everything that reaches outside,
/// loads code, prints, changes environments, or remembers something (`math.random` would).
const LIBRARY: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "_VERSION",
            "assert",
            "error",
            "getmetatable",
            "ipairs",
            "next",
            "pairs",
            "pcall",
            "rawequal",
            "rawget",
            "rawlen",
            "rawset",
            "select",
            "setmetatable",
            "tonumber",
            "tostring",
            "type",
            "unpack",
            "xpcall",
            "string",
            "table",
            "math",
            "bit32",
            "utf8",
            "coroutine",
        ],
    ),
    (
        "string",
        &[
            "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "pack", "packsize", "rep",
            "reverse", "split", "sub", "unpack", "upper",
        ],
    ),
    (
        "table",
        &["clear", "clone", "concat", "create", "find", "insert", "maxn", "move", "pack", "remove", "sort", "unpack"],
    ),
    (
        "math",
        &[
            "abs", "acos", "asin", "atan", "atan2", "ceil", "clamp", "cos", "cosh", "deg", "exp", "floor", "fmod",
            "frexp", "huge", "ldexp", "log", "log10", "max", "min", "modf", "pi", "pow", "rad", "round", "sign", "sin",
            "sinh", "sqrt", "tan", "tanh",
        ],
    ),
    (
        "bit32",
        &[
            "arshift", "band", "bnot", "bor", "btest", "bxor", "countlz", "countrz", "extract", "lrotate", "lshift",
            "replace", "rrotate", "rshift",
        ],
    ),
    ("utf8", &["char", "charpattern", "codepoint", "codes", "len", "offset"]),
    ("coroutine", &["close", "create", "isyieldable", "resume", "running", "status", "wrap", "yield"]),
];

/// What the interrupt and the reads know of the call that is running.
pub(crate) struct Current {
    built: Instant,
    deadline_ns: AtomicU64,
    expired: AtomicBool,
    quick: AtomicBool,
    /// How often the time was looked at.
    looks: AtomicUsize,
    pub(crate) memory_bytes: AtomicUsize,
    pub(crate) subject: Mutex<Option<Subject>>,
}

impl Current {
    fn new() -> Self {
        Current {
            built: Instant::now(),
            deadline_ns: AtomicU64::new(u64::MAX),
            expired: AtomicBool::new(false),
            quick: AtomicBool::new(false),
            looks: AtomicUsize::new(0),
            memory_bytes: AtomicUsize::new(0),
            subject: Mutex::new(None),
        }
    }

    fn start(&self, subject: Subject, limits: Limits, quick: bool) {
        self.quick.store(quick, Ordering::Relaxed);
        let deadline = self.built.elapsed().saturating_add(limits.timeout);
        self.deadline_ns.store(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.expired.store(false, Ordering::Relaxed);
        self.memory_bytes.store(limits.memory_bytes, Ordering::Relaxed);
        *self.subject.lock() = Some(subject);
    }

    fn stop(&self) {
        self.deadline_ns.store(u64::MAX, Ordering::Relaxed);
        *self.subject.lock() = None;
    }

    /// An error once the time is up, and from then on.
    pub(crate) fn check_time(&self) -> mlua::Result<()> {
        let now = u64::try_from(self.built.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        if looks.is_multiple_of(LOOKS_PER_CALLER) && self.is_abandoned() {
            self.deadline_ns.store(0, Ordering::Relaxed);
        }
        if now < self.deadline_ns.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.expire()
    }

    /// Ends a quick attempt: what comes next may be long.
    pub(crate) fn leave_quick(&self) -> mlua::Result<()> {
        if self.quick.load(Ordering::Relaxed) { self.expire() } else { Ok(()) }
    }

    fn expire(&self) -> mlua::Result<()> {
        self.deadline_ns.store(0, Ordering::Relaxed);
        self.expired.store(true, Ordering::Relaxed);
        Err(mlua::Error::runtime("timeout"))
    }

    /// Not looked at while a read is at work.
    fn is_abandoned(&self) -> bool {
        let subject = self.subject.try_lock();
        let abandoned = subject.as_ref().and_then(|subject| subject.as_ref()?.abandoned.as_deref());
        abandoned.is_some_and(|abandoned| abandoned.load(Ordering::Relaxed))
    }

    fn failure(&self, error: ScriptError, timeout: Duration) -> ScriptError {
        if self.expired.load(Ordering::Relaxed) {
            return ScriptError::new(Kind::Timeout, format!("the script ran for more than {} ms", timeout.as_millis()));
        }
        error
    }
}

pub(crate) struct Vm {
    lua: Lua,
    current: Arc<Current>,
    /// Of the globals of every call: looks up in the library.
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
        let (lua, globals_meta) = corosensei::on_stack(&mut stack, || build(&current))?;
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
            let function = loaded(lua, functions, script)?;
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
                Ok(value) if !current.expired.load(Ordering::Relaxed) => Ok(value),
                Ok(_) => Err(current.failure(ScriptError::new(Kind::Timeout, ""), limits.timeout)),
                Err(error) => Err(current.failure(error, limits.timeout)),
            }
        })
    }

    /// Collects what the call left behind when it is much. `false`: throw the interpreter away.
    pub(crate) fn clean_up(&mut self) -> bool {
        let Vm { lua, stack, fresh_bytes, .. } = self;
        if lua.used_memory() <= fresh_bytes.saturating_add(GARBAGE_MAX_BYTES) {
            return true;
        }
        let collected = corosensei::on_stack(stack, || lua.gc_collect()).is_ok();
        collected && lua.used_memory() <= fresh_bytes.saturating_add(GROWTH_MAX_BYTES)
    }
}

fn build(current: &Arc<Current>) -> mlua::Result<(Lua, Table)> {
    let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::BIT | StdLib::UTF8 | StdLib::COROUTINE;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    let globals = lua.globals();
    for (name, kept) in LIBRARY {
        keep_only(&if name.is_empty() { globals.clone() } else { globals.raw_get(*name)? }, kept)?;
    }
    let ts = lua.create_table()?;
    let clock = current.clone();
    let long = lua.create_function(move |_, ()| clock.leave_quick())?;
    let library = lua.load(PRELUDE).set_name("=library");
    let catching: Table = library.call((reads::functions(&lua, current)?, ts.clone(), long))?;
    catching.for_each(|name: String, function: Function| globals.raw_set(name, function))?;
    globals.raw_set("ts", ts)?;
    lua.sandbox(true)?;
    let globals_meta = lua.create_table()?;
    globals_meta.raw_set("__index", globals)?;
    globals_meta.set_readonly(true);
    let clock = current.clone();
    lua.set_interrupt(move |_| clock.check_time().map(|()| VmState::Continue));
    Ok((lua, globals_meta))
}

fn keep_only(table: &Table, names: &[&str]) -> mlua::Result<()> {
    let mut removed = Vec::new();
    table.for_each(|name: String, _: Value| {
        if !names.contains(&name.as_str()) {
            removed.push(name);
        }
        Ok(())
    })?;
    removed.into_iter().try_for_each(|name| table.raw_set(name, Value::Nil))
}

fn loaded(lua: &Lua, functions: &mut HashMap<u64, Function>, script: &Script) -> mlua::Result<Function> {
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
