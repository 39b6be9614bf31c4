//! Atoms, binaries, tuples and lists: what arguments and replies of many elements consist of. The
//! VM's own functions take them apart and make them, because rustler's allocate arrays, and are not
//! inlined into this crate.

#![expect(unsafe_code, reason = "rustler has no functions for this that neither allocate nor copy")]

use foldhash::fast::RandomState;
use rustler::sys::{
    ErlNifTerm, enif_get_list_cell, enif_get_tuple, enif_inspect_binary, enif_make_list_from_array,
    enif_make_new_binary, enif_make_tuple_from_array,
};
use rustler::types::atom;
use rustler::{Atom, Env, Term};
use smallvec::SmallVec;
use std::alloc::{Layout, handle_alloc_error};
use std::cell::RefCell;
use std::collections::HashMap;
use std::iter;
use std::mem::MaybeUninit;
use std::slice;

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

/// The bytes of a binary. `None` if the term is none.
#[inline]
pub fn bytes_of(term: Term<'_>) -> Option<&[u8]> {
    let mut binary = MaybeUninit::uninit();
    // SAFETY: the VM writes the binary where it answers that the term is one. Its bytes are those
    // of the term: they live as long as the term's environment, and nobody changes them. A binary
    // of no bytes has an address, too.
    unsafe {
        if enif_inspect_binary(term.get_env().as_c_arg(), term.as_c_arg(), binary.as_mut_ptr()) == 0 {
            return None;
        }
        let binary = binary.assume_init();
        Some(slice::from_raw_parts(binary.data, binary.size))
    }
}

/// The elements of a tuple. `None` if the term is none.
#[inline]
pub fn elements_of<'a>(tuple: Term<'a>) -> Option<impl ExactSizeIterator<Item = Term<'a>>> {
    let env = tuple.get_env();
    let (mut count, mut elements) = (0, MaybeUninit::uninit());
    // SAFETY: where the VM answers that the term is a tuple, it writes the number of its elements
    // and where they are. They live as long as the term's environment, to which they belong.
    unsafe {
        if enif_get_tuple(env.as_c_arg(), tuple.as_c_arg(), &raw mut count, elements.as_mut_ptr()) == 0 {
            return None;
        }
        // A tuple of no elements may have no address.
        let elements = match usize::try_from(count) {
            Ok(count) if count > 0 => slice::from_raw_parts(elements.assume_init(), count),
            _ => &[],
        };
        Some(elements.iter().map(move |element| Term::new(env, *element)))
    }
}

/// The items of a list, up to its end, or to what stands there in an improper list.
#[inline]
pub fn items_of<'a>(list: Term<'a>) -> impl Iterator<Item = Term<'a>> {
    let (env, mut rest) = (list.get_env(), list);
    iter::from_fn(move || {
        let (mut item, mut tail) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: where the VM answers that the term is a cell, it writes both. They are terms of
        // the same environment.
        unsafe {
            if enif_get_list_cell(env.as_c_arg(), rest.as_c_arg(), item.as_mut_ptr(), tail.as_mut_ptr()) == 0 {
                return None;
            }
            rest = Term::new(env, tail.assume_init());
            Some(Term::new(env, item.assume_init()))
        }
    })
}

/// A binary with a copy of the bytes.
#[inline]
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
#[inline]
pub fn pair<'a>(env: Env<'a>, first: Term<'a>, second: Term<'a>) -> Term<'a> {
    let terms = [first.as_c_arg(), second.as_c_arg()];
    // SAFETY: terms of this environment, since they have its lifetime, and as many as it says.
    unsafe { Term::new(env, enif_make_tuple_from_array(env.as_c_arg(), terms.as_ptr(), terms.len() as u32)) }
}

/// A list of the terms.
#[inline]
pub fn list<'a>(env: Env<'a>, terms: impl Iterator<Item = Term<'a>>) -> Term<'a> {
    let terms: SmallVec<[ErlNifTerm; COLLECTED]> = terms.map(|term| term.as_c_arg()).collect();
    // SAFETY: as above. A list of more than four billion terms fits no heap of the VM.
    unsafe { Term::new(env, enif_make_list_from_array(env.as_c_arg(), terms.as_ptr(), terms.len() as u32)) }
}
