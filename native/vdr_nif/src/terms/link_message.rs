//! Messages of a link to its process.

use super::primitive::word;
use rustler::{Atom, Encoder, Env, Term};
use vdr_link::{LinkEnd, LinkState, Retry};

mod atoms {
    rustler::atoms! { state, ready, ended, soon, slowly, never, guard_given_up, unknown_command, notices }
}

/// `{:unknown_command, name}`, once for each name.
pub fn unknown_command<'a>(env: Env<'a>, name: &str) -> Term<'a> {
    (atoms::unknown_command(), name).encode(env)
}

/// `{:state, state}`.
pub fn link_state(env: Env<'_>, state: LinkState) -> Term<'_> {
    (atoms::state(), word(env, state.as_str())).encode(env)
}

/// `:ready`.
pub fn ready(env: Env<'_>) -> Term<'_> {
    atoms::ready().to_term(env)
}

/// `:guard_given_up`.
pub fn guard_given_up(env: Env<'_>) -> Term<'_> {
    atoms::guard_given_up().to_term(env)
}

/// `:notices`: see [`crate::notices`].
pub fn notices(env: Env<'_>) -> Term<'_> {
    atoms::notices().to_term(env)
}

/// `{:ended, code, detail, :soon | :slowly | :never}`.
pub fn link_end<'a>(env: Env<'a>, end: &LinkEnd) -> Term<'a> {
    (atoms::ended(), word(env, end.code()), end.cause.to_string(), retry(end.retry())).encode(env)
}

/// When another attempt makes sense.
pub(super) fn retry(retry: Retry) -> Atom {
    match retry {
        Retry::Soon => atoms::soon(),
        Retry::Slowly => atoms::slowly(),
        Retry::Never => atoms::never(),
    }
}
