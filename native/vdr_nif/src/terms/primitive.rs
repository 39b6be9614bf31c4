//! Atoms and binaries.

use foldhash::fast::RandomState;
use rustler::types::atom;
use rustler::{Atom, Env, NewBinary, Term};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// The words that this thread has used, by address and length. The VM's own look-up takes a
    /// lock and some 100 ns.
    static WORDS: RefCell<HashMap<(usize, usize), Atom, RandomState>> = RefCell::default();
}

/// An atom. The words are the core's own, short and ASCII, so this cannot fail.
pub fn word<'a>(env: Env<'a>, word: &'static str) -> Term<'a> {
    let atom = || Atom::from_str(env, word).unwrap_or_else(|_| atom::undefined());
    let key = (word.as_ptr().addr(), word.len());
    WORDS.with_borrow_mut(|words| *words.entry(key).or_insert_with(atom)).to_term(env)
}

pub fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}
