//! NIFs as the VM calls them, for the reads that users call most.
//!
//! `#[rustler::nif]` collects the arguments in a vector, and gives the result to functions that
//! only link-time optimisation would inline. Both cost some 20 ns, more than a tenth of a short
//! read.

#![expect(unsafe_code, reason = "the VM passes the arguments as an array, and takes a raw term")]

use rustler::sys::{ErlNifEnv, ErlNifTerm, c_int, enif_make_badarg, enif_raise_exception};
use rustler::types::atom;
use rustler::{Env, Nif, NifResult, SchedulerFlags, Term};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A NIF with `N` parameters, for a normal scheduler.
pub trait Entry<const N: usize> {
    /// An error of any kind raises `ArgumentError`.
    fn call<'a>(env: Env<'a>, arguments: &'a [Argument; N]) -> NifResult<Term<'a>>;
}

/// A term of the call's environment. Only the VM makes one.
#[repr(transparent)]
pub struct Argument(ErlNifTerm);

impl Argument {
    /// The term, in the environment that [`Entry::call`] gets with it.
    #[inline]
    pub fn term<'a>(&'a self, env: Env<'a>) -> Term<'a> {
        // SAFETY: both have the lifetime of the same call, of which this is a term.
        unsafe { Term::new(env, self.0) }
    }
}

/// The row of a NIF in the table that `rustler::init!` gives the VM.
pub const fn nif<E: Entry<N>, const N: usize>(name: &'static str) -> Nif {
    assert!(matches!(name.as_bytes(), [.., 0]), "the VM reads a name up to its null byte");
    Nif { name: name.as_ptr().cast(), arity: N as u32, flags: SchedulerFlags::Normal as u32, raw_func: enter::<E, N> }
}

/// # Safety
///
/// Only the VM calls it, with the environment of a process and `N` terms of it.
unsafe extern "C" fn enter<E: Entry<N>, const N: usize>(
    raw_env: *mut ErlNifEnv,
    _count: c_int,
    arguments: *const ErlNifTerm,
) -> ErlNifTerm {
    let lifetime = ();
    // SAFETY: the environment and its terms live as long as this call, and so does `lifetime`. The
    // VM looks a NIF up by name and number of arguments, so there are `N` terms, one after the
    // other. An argument is nothing but a term.
    let (env, arguments) = unsafe { (Env::new(&lifetime, raw_env), &*arguments.cast::<[Argument; N]>()) };
    // What a panic leaves is this call's own, or a lock that does not poison.
    match catch_unwind(AssertUnwindSafe(|| E::call(env, arguments))) {
        Ok(Ok(term)) => term.as_c_arg(),
        // SAFETY: the environment is that of this call.
        Ok(Err(_wrong_argument)) => unsafe { enif_make_badarg(raw_env) },
        // SAFETY: as above, and atoms are terms of each environment.
        Err(_panic) => unsafe { enif_raise_exception(raw_env, atom::nif_panicked().as_c_arg()) },
    }
}

/// Defines NIFs. The names of their parameters stand for terms; the body is that of
/// [`Entry::call`].
macro_rules! entries {
    ($($(#[$doc:meta])* fn $name:ident($env:ident, $($term:ident),+) $body:block)+) => {$(
        const _: () = {
            use $crate::entry::{Argument, Entry, nif};

            const PARAMETERS: usize = [$(stringify!($term)),+].len();

            $(#[$doc])*
            struct Call;

            impl Entry<PARAMETERS> for Call {
                #[inline]
                fn call<'a>($env: Env<'a>, [$($term),+]: &'a [Argument; PARAMETERS]) -> rustler::NifResult<Term<'a>> {
                    $(let $term = $term.term($env);)+
                    $body
                }
            }

            rustler::codegen_runtime::inventory::submit!(nif::<Call, PARAMETERS>(concat!(stringify!($name), "\0")));
        };
    )+};
}

pub(crate) use entries;
