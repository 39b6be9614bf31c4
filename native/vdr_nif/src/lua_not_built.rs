//! Scripts in a library that was built without them: the same NIFs, and `{:error, :not_built}`.

use rustler::{Env, Term};

mod atoms {
    rustler::atoms! { not_built }
}

#[rustler::nif]
fn lua_attempt<'a>(
    env: Env<'a>,
    _source: Term<'a>,
    _db: Term<'a>,
    _script: Term<'a>,
    _keys: Term<'a>,
    _argv: Term<'a>,
    _limits: Term<'a>,
) -> Term<'a> {
    env.error_tuple(atoms::not_built())
}

#[rustler::nif]
fn lua_start<'a>(
    env: Env<'a>,
    _source: Term<'a>,
    _db: Term<'a>,
    _script: Term<'a>,
    _arguments: Term<'a>,
    _limits: Term<'a>,
    _caller: Term<'a>,
) -> Term<'a> {
    env.error_tuple(atoms::not_built())
}

#[rustler::nif]
fn lua_answer<'a>(env: Env<'a>, _ticket: Term<'a>) -> Term<'a> {
    env.error_tuple(atoms::not_built())
}

#[rustler::nif]
fn lua_answer_dirty<'a>(env: Env<'a>, _ticket: Term<'a>) -> Term<'a> {
    env.error_tuple(atoms::not_built())
}

#[rustler::nif]
fn lua_load<'a>(env: Env<'a>, _source: Term<'a>, _pid: Term<'a>, _tag: Term<'a>) -> Term<'a> {
    env.error_tuple(atoms::not_built())
}
