//! The reads as Lua functions: converts the arguments, calls the row, converts the reply.

use crate::call::QUICK_ELEMENTS_MAX;
use crate::current::Current;
use mlua::{BorrowedBytes, IntoLua, Lua, MultiValue, Table, Value};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vdr_commands::{Arg, Read, ReadError, Reply};

/// How deep tables may nest in an argument. No read takes more than two levels.
const ARGUMENT_DEPTH_MAX: usize = 4;

/// The memory that an element of a reply takes at least while it is converted.
const ELEMENT_BYTES: usize = 32;

/// The conversion of a large reply checks the time once per this many elements.
const ELEMENTS_PER_CLOCK: usize = 1024;

/// Every row by its name, as `function(...) -> answer, error code`.
pub(crate) fn functions(lua: &Lua, current: &Arc<Current>) -> mlua::Result<Table> {
    let functions = lua.create_table()?;
    for row in vdr_commands::reads() {
        let current = current.clone();
        let function = lua.create_function(move |lua, args: MultiValue| call(lua, row, &current, &args))?;
        functions.raw_set(row.name, function)?;
    }
    Ok(functions)
}

type Answer = (Value, Option<&'static str>);

fn call(lua: &Lua, row: &Read, current: &Current, args: &MultiValue) -> mlua::Result<Answer> {
    let Some(borrowed) = args.iter().map(|value| LuaArg::new(value, 0)).collect::<mlua::Result<Option<Vec<_>>>>()?
    else {
        return Ok((Value::Nil, Some(code(ReadError::BadArgument))));
    };
    let args: Vec<Arg<'_>> = borrowed.iter().map(LuaArg::as_arg).collect();
    let Some(guard) = current.subject.try_lock() else {
        return Err(mlua::Error::runtime("a read within a read"));
    };
    let Some(subject) = guard.as_ref() else {
        return Err(mlua::Error::runtime("the call that this function belonged to is over"));
    };
    let view = subject.snapshot.view(subject.db, subject.now_ms);
    if row.builds_index(view) {
        current.leave_quick()?;
    }
    let elements = row.elements(view, &args);
    if elements > QUICK_ELEMENTS_MAX {
        current.leave_quick()?;
    }
    if elements.saturating_mul(ELEMENT_BYTES) > current.memory_bytes.load(Ordering::Relaxed) {
        return Err(mlua::Error::MemoryError(format!("{} of {elements} elements at once", row.name)));
    }
    match row.call(view, &args) {
        Ok(reply) => {
            if reply.copies_long_string() {
                current.leave_quick()?;
            }
            Ok((ToLua { reply, current }.into_lua(lua)?, None))
        }
        Err(error) => Ok((Value::Nil, Some(code(error)))),
    }
}

fn code(error: ReadError) -> &'static str {
    match error {
        ReadError::WrongType => "wrong_type",
        ReadError::UnknownValue => "unknown_value",
        ReadError::BadArgument => "bad_argument",
    }
}

/// An argument that borrows its bytes from Lua.
enum LuaArg {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Bytes(BorrowedBytes),
    List(Vec<LuaArg>),
    Pair([Box<LuaArg>; 2]),
}

impl LuaArg {
    /// `None`: no read takes such a value.
    fn new(value: &Value, depth: usize) -> mlua::Result<Option<LuaArg>> {
        Ok(Some(match value {
            Value::Nil => LuaArg::Nil,
            Value::Boolean(flag) => LuaArg::Bool(*flag),
            Value::Integer(int) => LuaArg::Int(*int),
            Value::Number(float) => LuaArg::Float(*float),
            Value::String(bytes) => LuaArg::Bytes(bytes.as_bytes()),
            Value::Table(table) if depth < ARGUMENT_DEPTH_MAX => return LuaArg::table(table, depth + 1),
            _ => return Ok(None),
        }))
    }

    /// An array becomes a list. A table with string keys, as Lua writes options, becomes a list of
    /// pairs.
    fn table(table: &Table, depth: usize) -> mlua::Result<Option<LuaArg>> {
        let mut items = Vec::new();
        let mut known = true;
        table.for_each(|key: Value, value: Value| {
            let item = LuaArg::new(&value, depth)?;
            let item = match key {
                Value::Integer(index) if usize::try_from(index).is_ok_and(|index| index == items.len() + 1) => item,
                Value::String(_) => {
                    LuaArg::new(&key, depth)?.zip(item).map(|(key, item)| LuaArg::Pair([Box::new(key), Box::new(item)]))
                }
                _ => None,
            };
            known &= item.is_some();
            items.extend(item);
            Ok(())
        })?;
        Ok(known.then_some(LuaArg::List(items)))
    }

    fn as_arg(&self) -> Arg<'_> {
        match self {
            LuaArg::Nil => Arg::Nil,
            LuaArg::Bool(flag) => Arg::Bool(*flag),
            LuaArg::Int(int) => Arg::Int(*int),
            LuaArg::Float(float) => Arg::Float(*float),
            LuaArg::Bytes(bytes) => Arg::Bytes(bytes),
            LuaArg::List(items) => Arg::List(items.iter().map(LuaArg::as_arg).collect()),
            LuaArg::Pair(pair) => Arg::Tuple(pair.iter().map(|half| half.as_arg()).collect()),
        }
    }
}

struct ToLua<'c, 's> {
    reply: Reply<'s>,
    current: &'c Current,
}

impl IntoLua for ToLua<'_, '_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        let current = self.current;
        match self.reply {
            Reply::Nil => Ok(Value::Nil),
            Reply::Bool(flag) => Ok(Value::Boolean(flag)),
            // Luau's numbers are doubles. They are exact up to 2^53, and no length, count or time
            // is greater.
            Reply::Int(int) => Ok(Value::Integer(int)),
            Reply::Float(float) => Ok(Value::Number(float)),
            Reply::Blob(blob) => lua.create_string(blob).map(Value::String),
            Reply::Long(long) => lua.create_string(long.as_bytes()).map(Value::String),
            Reply::Slice(bytes) => lua.create_string(bytes).map(Value::String),
            Reply::Bytes(bytes) => lua.create_string(bytes).map(Value::String),
            Reply::Word(word) => lua.create_string(word).map(Value::String),
            Reply::List(items) => {
                let table = lua.create_table_with_capacity(items.len(), 0)?;
                for (at, reply) in items.into_iter().enumerate() {
                    check_time(current, at)?;
                    table.raw_set(at + 1, ToLua { reply, current })?;
                }
                Ok(Value::Table(table))
            }
            Reply::Strings(strings) => {
                let table = lua.create_table_with_capacity(strings.len(), 0)?;
                for (at, string) in strings.into_iter().enumerate() {
                    check_time(current, at)?;
                    table.raw_set(at + 1, lua.create_string(string)?)?;
                }
                Ok(Value::Table(table))
            }
            Reply::Pair(pair) => pair_to_lua(lua, *pair, current),
            Reply::Pairs(pairs) => {
                let table = lua.create_table_with_capacity(pairs.len(), 0)?;
                for (at, pair) in pairs.into_iter().enumerate() {
                    check_time(current, at)?;
                    table.raw_set(at + 1, pair_to_lua(lua, pair, current)?)?;
                }
                Ok(Value::Table(table))
            }
            Reply::Map(fields) => {
                let table = lua.create_table_with_capacity(0, fields.len())?;
                for (at, (field, value)) in fields.into_iter().enumerate() {
                    check_time(current, at)?;
                    table.raw_set(lua.create_string(field)?, lua.create_string(value)?)?;
                }
                Ok(Value::Table(table))
            }
            Reply::Record(fields) => {
                let table = lua.create_table_with_capacity(0, fields.len())?;
                for (name, reply) in fields {
                    table.raw_set(name, ToLua { reply, current })?;
                }
                Ok(Value::Table(table))
            }
        }
    }
}

fn pair_to_lua<'s>(lua: &Lua, pair: (Reply<'s>, Reply<'s>), current: &Current) -> mlua::Result<Value> {
    let halves = [pair.0, pair.1].map(|reply| ToLua { reply, current });
    lua.create_sequence_from(halves).map(Value::Table)
}

fn check_time(current: &Current, at: usize) -> mlua::Result<()> {
    if at % ELEMENTS_PER_CLOCK == ELEMENTS_PER_CLOCK - 1 { current.check_time() } else { Ok(()) }
}

/// An element of `ARGV` as a Lua value.
pub(crate) fn value_of(lua: &Lua, arg: &Arg<'_>, depth: usize) -> mlua::Result<Value> {
    match arg {
        Arg::Bytes(bytes) => lua.create_string(bytes).map(Value::String),
        Arg::Word(word) => lua.create_string(word).map(Value::String),
        Arg::Int(int) => Ok(Value::Integer(*int)),
        Arg::Float(float) => Ok(Value::Number(*float)),
        Arg::Bool(flag) => Ok(Value::Boolean(*flag)),
        Arg::Nil => Ok(Value::Nil),
        Arg::List(items) | Arg::Tuple(items) if depth < ARGUMENT_DEPTH_MAX => {
            let items = items.iter().map(|item| value_of(lua, item, depth + 1)).collect::<mlua::Result<Vec<_>>>()?;
            lua.create_sequence_from(items).map(Value::Table)
        }
        Arg::List(_) | Arg::Tuple(_) => Err(mlua::Error::runtime("an argument nested too deep")),
    }
}
