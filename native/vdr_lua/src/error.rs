//! Errors of scripts.

use std::fmt;

/// Longer messages are cut, since a script chooses its error text.
const MESSAGE_MAX_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The source is not valid Lua, or too long.
    Syntax,
    /// The script raised an error, a read's refusal included.
    Runtime,
    Timeout,
    Memory,
    /// The script succeeded, but its result has no form outside of Lua.
    Result,
}

/// An error, with the line of the script where there is one: `script:3: wrong_type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    pub kind: Kind,
    pub message: String,
}

impl ScriptError {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_MAX_BYTES {
            message.truncate(message.floor_char_boundary(MESSAGE_MAX_BYTES));
        }
        ScriptError { kind, message }
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ScriptError {}

impl From<mlua::Error> for ScriptError {
    fn from(error: mlua::Error) -> Self {
        let mut root = &error;
        while let mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } = root {
            root = cause;
        }
        let (kind, message) = match root {
            mlua::Error::SyntaxError { message, .. } => (Kind::Syntax, message.clone()),
            mlua::Error::MemoryError(message) => (Kind::Memory, message.clone()),
            mlua::Error::RuntimeError(message) => (Kind::Runtime, message.clone()),
            other => (Kind::Runtime, other.to_string()),
        };
        let first = message.split("\nstack traceback:").next().unwrap_or_default();
        ScriptError::new(kind, first.trim_end())
    }
}
