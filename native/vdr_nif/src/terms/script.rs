//! Results and errors of scripts.

use super::primitive::{binary, list, word};
use rustler::types::atom;
use rustler::{Encoder, Env, Term};
use vdr_lua::{Kind, LuaValue, ScriptError};

mod atoms {
    rustler::atoms! { lua }
}

/// `{:ok, value}` or `{:error, {:lua, kind, message}}`.
pub fn script_answer<'a>(env: Env<'a>, answer: &Result<LuaValue, ScriptError>) -> Term<'a> {
    match answer {
        Ok(value) => (atom::ok(), lua_value(env, value)).encode(env),
        Err(error) => script_error(env, error),
    }
}

pub fn script_error<'a>(env: Env<'a>, error: &ScriptError) -> Term<'a> {
    let kind = match error.kind {
        Kind::Syntax => "syntax",
        Kind::Runtime => "runtime",
        Kind::Timeout => "timeout",
        Kind::Memory => "memory",
        Kind::Result => "result",
    };
    env.error_tuple((atoms::lua(), word(env, kind), error.message.as_str()))
}

fn lua_value<'a>(env: Env<'a>, value: &LuaValue) -> Term<'a> {
    match value {
        LuaValue::Nil => atom::nil().to_term(env),
        LuaValue::Bool(flag) => flag.encode(env),
        LuaValue::Int(int) => int.encode(env),
        LuaValue::Float(float) => float.encode(env),
        LuaValue::Bytes(bytes) => binary(env, bytes),
        LuaValue::List(items) => list(env, items.iter().map(|item| lua_value(env, item))),
        LuaValue::Map(entries) => {
            let (keys, values): (Vec<Term<'a>>, Vec<Term<'a>>) =
                entries.iter().map(|(key, value)| (binary(env, key), lua_value(env, value))).unzip();
            // Its keys are unique.
            Term::map_from_term_arrays(env, &keys, &values).unwrap_or_else(|_| Term::map_new(env))
        }
    }
}
