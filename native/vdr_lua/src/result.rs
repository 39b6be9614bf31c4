//! The result of a script, as values that live outside of Lua.

use crate::current::Current;
use crate::error::{Kind, ScriptError};
use mlua::{Table, Value};
use std::ffi::c_void;

/// How deep tables may nest in a result.
const DEPTH_MAX: usize = 64;

/// The memory of a value outside of Lua, without its bytes.
const VALUE_BYTES: usize = std::mem::size_of::<LuaValue>();

/// The conversion of a large result checks the time once per this many values.
const VALUES_PER_CLOCK: usize = 1024;

#[derive(Clone, Debug, PartialEq)]
pub enum LuaValue {
    Nil,
    Bool(bool),
    /// A number without a fraction. Luau's numbers are doubles, so an integral float comes as this
    /// too.
    Int(i64),
    Float(f64),
    Bytes(Vec<u8>),
    /// An empty table, or one with the keys 1 to n.
    List(Vec<LuaValue>),
    /// Any other table. Keys are in byte order, and numbers among them are decimal text.
    Map(Vec<(Vec<u8>, LuaValue)>),
}

/// Converts a value out of Lua, within the script's time and memory limits.
pub(crate) struct Reader<'c> {
    current: &'c Current,
    values: usize,
    bytes_left: usize,
    /// The tables around the current value, to detect a cycle.
    path: Vec<*const c_void>,
}

impl<'c> Reader<'c> {
    pub(crate) fn new(current: &'c Current, memory_bytes: usize) -> Self {
        Reader { current, values: 0, bytes_left: memory_bytes, path: Vec::new() }
    }

    pub(crate) fn read(&mut self, value: &Value) -> Result<LuaValue, ScriptError> {
        self.values += 1;
        if self.values.is_multiple_of(VALUES_PER_CLOCK) {
            self.current.check_time()?;
        }
        self.charge(VALUE_BYTES)?;
        match value {
            Value::Nil => Ok(LuaValue::Nil),
            Value::Boolean(flag) => Ok(LuaValue::Bool(*flag)),
            Value::Integer(int) => Ok(LuaValue::Int(*int)),
            Value::Number(float) => number(*float),
            Value::String(text) => {
                let bytes = text.as_bytes();
                self.charge(bytes.len())?;
                Ok(LuaValue::Bytes(bytes.to_vec()))
            }
            Value::Table(table) => self.table(table),
            other => Err(refusal(format!("a {} cannot leave the script", other.type_name()))),
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), ScriptError> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| ScriptError::new(Kind::Memory, "the result is too large"))?;
        Ok(())
    }

    fn table(&mut self, table: &Table) -> Result<LuaValue, ScriptError> {
        let pointer = table.to_pointer();
        if self.path.contains(&pointer) {
            return Err(refusal("a table that contains itself"));
        }
        if self.path.len() >= DEPTH_MAX {
            return Err(refusal(format!("tables nested more than {DEPTH_MAX} deep")));
        }
        self.path.push(pointer);
        let mut entries = Entries::default();
        let mut refused = None;
        let walked = table.for_each(|key: Value, value: Value| {
            let entry = self.key(&key).and_then(|key| Ok((key, self.read(&value)?)));
            match entry {
                Ok((key, value)) => entries.add(key, value),
                Err(error) => {
                    refused = Some(error);
                    return Err(mlua::Error::runtime("refused"));
                }
            }
            Ok(())
        });
        self.path.pop();
        match (refused, walked) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(())) => entries.finish(),
        }
    }

    fn key(&mut self, key: &Value) -> Result<Key, ScriptError> {
        match key {
            Value::Integer(int) => Ok(Key::Int(*int)),
            Value::String(text) => {
                let bytes = text.as_bytes();
                self.charge(VALUE_BYTES.saturating_add(bytes.len()))?;
                Ok(Key::Bytes(bytes.to_vec()))
            }
            other => Err(refusal(format!("a {} as the key of a table", other.type_name()))),
        }
    }
}

fn refusal(message: impl Into<String>) -> ScriptError {
    ScriptError::new(Kind::Result, message)
}

fn number(float: f64) -> Result<LuaValue, ScriptError> {
    if !float.is_finite() {
        return Err(refusal("a number that is infinite or not a number"));
    }
    // Whole numbers arrive as integers, except the negative zero and those beyond 64 bits.
    Ok(if float == 0.0 { LuaValue::Int(0) } else { LuaValue::Float(float) })
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Int(i64),
    Bytes(Vec<u8>),
}

/// The entries of a table, in the order of iteration: those of an array come as 1, 2, 3 ... unless
/// it was filled in another order.
#[derive(Default)]
struct Entries {
    list: Vec<LuaValue>,
    rest: Vec<(Key, LuaValue)>,
}

impl Entries {
    fn add(&mut self, key: Key, value: LuaValue) {
        match key {
            Key::Int(index) if usize::try_from(index).is_ok_and(|index| index == self.list.len() + 1) => {
                self.list.push(value);
            }
            key => self.rest.push((key, value)),
        }
    }

    fn finish(mut self) -> Result<LuaValue, ScriptError> {
        self.rest.sort_by(|a, b| a.0.cmp(&b.0));
        // Entries that came too early for the list may extend it now.
        let mut left = Vec::new();
        for (key, value) in self.rest {
            match key {
                Key::Int(index) if usize::try_from(index).is_ok_and(|index| index == self.list.len() + 1) => {
                    self.list.push(value);
                }
                key => left.push((key, value)),
            }
        }
        if left.is_empty() {
            return Ok(LuaValue::List(self.list));
        }
        let listed = self.list.into_iter().zip(1..).map(|(value, index)| (Key::Int(index), value));
        let mut map: Vec<(Vec<u8>, LuaValue)> = listed
            .chain(left)
            .map(|(key, value)| match key {
                Key::Int(int) => (int.to_string().into_bytes(), value),
                Key::Bytes(bytes) => (bytes, value),
            })
            .collect();
        map.sort_by(|a, b| a.0.cmp(&b.0));
        if map.is_sorted_by(|a, b| a.0 < b.0) {
            Ok(LuaValue::Map(map))
        } else {
            Err(refusal("a table with the same key as a number and as a string"))
        }
    }
}
