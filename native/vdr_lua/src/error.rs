//! Why a script has no result.

use std::fmt;

/// Longer messages are cut: a script chooses its own error text.
const MESSAGE_MAX_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The source is no Lua, or too long.
    Syntax,
    /// The script raised an error, a read's refusal included.
    Runtime,
    Timeout,
    Memory,
    /// The script ended well, but what it returned has no form outside of Lua.
    Result,
}

/// What went wrong, with the script's line where there is one: `script:3: wrong_type`.
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
