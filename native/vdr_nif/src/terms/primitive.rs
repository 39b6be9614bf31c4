//! Atoms and binaries.

use rustler::types::atom;
use rustler::{Atom, Env, NewBinary, Term};

/// An atom. The words are the core's own, short and ASCII, so this cannot fail.
pub fn word<'a>(env: Env<'a>, word: &str) -> Term<'a> {
    Atom::from_str(env, word).unwrap_or_else(|_| atom::undefined()).to_term(env)
}

pub fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}
