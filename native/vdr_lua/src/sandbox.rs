//! The sandbox: an interpreter with the pure part of the standard library, the reads, and an
//! interrupt for the deadline.

use crate::current::Current;
use crate::reads;
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value, VmState};
use std::sync::Arc;

const PRELUDE: &str = include_str!("prelude.luau");

/// The part of the standard library that scripts see: pure functions only. Left out on purpose:
/// functions that reach outside, load code, print, change environments, or keep state
/// (`math.random` does).
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

/// A new interpreter, and the metatable for the globals of each call.
pub(crate) fn build(current: &Arc<Current>) -> mlua::Result<(Lua, Table)> {
    let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::BIT | StdLib::UTF8 | StdLib::COROUTINE;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    let globals = lua.globals();
    for (name, kept) in LIBRARY {
        keep_only(&if name.is_empty() { globals.clone() } else { globals.raw_get(*name)? }, kept)?;
    }
    let ts = lua.create_table()?;
    let attempt = current.clone();
    let long = lua.create_function(move |_, ()| attempt.leave_quick())?;
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
