//! Atoms, binaries, pairs and lists: what a reply of many elements consists of. The VM's own
//! functions make them, because rustler's allocate arrays, and are not inlined into this crate.

#![expect(unsafe_code, reason = "rustler has no functions for this that neither allocate nor copy")]

use foldhash::fast::RandomState;
use rustler::sys::{ErlNifTerm, enif_make_list_from_array, enif_make_new_binary, enif_make_tuple_from_array};
use rustler::types::atom;
use rustler::{Atom, Env, Term};
use smallvec::SmallVec;
use std::alloc::{Layout, handle_alloc_error};
use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::MaybeUninit;

/// A list of so many terms is collected without an allocation.
const COLLECTED: usize = 64;

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

/// A binary with a copy of the bytes.
pub fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut term = MaybeUninit::uninit();
    // SAFETY: the VM makes a binary of so many bytes, writes its term, and answers where the bytes
    // are. Nobody else knows the binary yet.
    unsafe {
        let to = enif_make_new_binary(env.as_c_arg(), bytes.len(), term.as_mut_ptr());
        if to.is_null() {
            handle_alloc_error(Layout::for_value(bytes));
        }
        to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        Term::new(env, term.assume_init())
    }
}

/// `{first, second}`.
pub fn pair<'a>(env: Env<'a>, first: Term<'a>, second: Term<'a>) -> Term<'a> {
    let terms = [first.as_c_arg(), second.as_c_arg()];
    // SAFETY: terms of this environment, since they have its lifetime, and as many as it says.
    unsafe { Term::new(env, enif_make_tuple_from_array(env.as_c_arg(), terms.as_ptr(), terms.len() as u32)) }
}

/// A list of the terms.
pub fn list<'a>(env: Env<'a>, terms: impl Iterator<Item = Term<'a>>) -> Term<'a> {
    let terms: SmallVec<[ErlNifTerm; COLLECTED]> = terms.map(|term| term.as_c_arg()).collect();
    // SAFETY: as above. A list of more than four billion terms fits no heap of the VM.
    unsafe { Term::new(env, enif_make_list_from_array(env.as_c_arg(), terms.as_ptr(), terms.len() as u32)) }
}
