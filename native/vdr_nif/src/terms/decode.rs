//! Arguments: terms of the BEAM to values of the core.

use super::primitive::{bytes_of, elements_of, items_of};
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use rustler::sys::ErlNifTerm;
use rustler::types::atom;
use rustler::{Atom, Term, TermType};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::LazyLock;
use vdr_commands::{Arg, ReadError};
use vdr_replica::watch::{Manner, Notify, PATTERN_BYTES_MAX, Watched};

mod atoms {
    rustler::atoms! { prefix, pattern, value, key }
}

/// The nesting limit of lists and tuples in an argument. `{:exclusive, 1.0}` in a list of options
/// is three levels deep.
const DEPTH_MAX: usize = 4;

/// A database number.
#[inline]
pub fn db(term: Term<'_>) -> Result<u32, ReadError> {
    term.decode().map_err(|_| ReadError::BadArgument)
}

/// The arguments of a read, mostly without an allocation: few reads take more.
pub type ArgList<'a> = SmallVec<[Arg<'a>; 4]>;

/// A list of arguments.
#[inline]
pub fn args(term: Term<'_>) -> Result<ArgList<'_>, ReadError> {
    // An improper list has no length.
    let mut args = ArgList::with_capacity(term.list_length().map_err(bad)?);
    items_of(term).try_for_each(|item| decode(item, &mut |arg| args.push(arg)))?;
    Ok(args)
}

/// Decodes an argument. The usual ones are made where they stay: to read a value right after it was
/// written in parts, as a move does, waits for the writes.
#[inline]
fn decode<'a>(term: Term<'a>, put: &mut impl FnMut(Arg<'a>)) -> Result<(), ReadError> {
    if let Some(bytes) = bytes_of(term) {
        put(Arg::Bytes(bytes));
    } else if let Ok(int) = term.decode() {
        put(Arg::Int(int));
    } else {
        put(arg(term, DEPTH_MAX)?);
    }
    Ok(())
}

/// Whether a term holds at most `max` terms. Looks at no more of them, since decoding is work too.
#[inline]
pub fn fits(term: Term<'_>, max: usize) -> bool {
    fits_in(term, DEPTH_MAX + 1, &mut { max })
}

/// Terms beyond the nesting limit do not count: decoding refuses them unread.
fn fits_in(term: Term<'_>, depth: usize, left: &mut usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    let fits_one = |item: Term<'_>| match left.checked_sub(1) {
        Some(less) => {
            *left = less;
            fits_in(item, depth, left)
        }
        None => false,
    };
    match term.get_type() {
        TermType::List => items_of(term).all(fits_one),
        TermType::Tuple => elements_of(term).is_some_and(|mut elements| elements.all(fits_one)),
        _ => true,
    }
}

/// `{name, args...}`: answers the name, and appends the arguments.
#[inline]
pub fn operation<'a>(term: Term<'a>, args: &mut Vec<Arg<'a>>) -> Result<Term<'a>, ReadError> {
    let mut elements = elements_of(term).ok_or(ReadError::BadArgument)?;
    let name = elements.next().ok_or(ReadError::BadArgument)?;
    elements.try_for_each(|element| decode(element, &mut |arg| args.push(arg)))?;
    Ok(name)
}

/// A list of lists of binaries: commands as a client writes them.
pub fn commands(term: Term<'_>) -> Result<Vec<Vec<&[u8]>>, ReadError> {
    each(term, strings)
}

/// A list of binaries.
pub fn strings(term: Term<'_>) -> Result<Vec<&[u8]>, ReadError> {
    each(term, bytes)
}

/// The items of a proper list, decoded.
fn each<'a, T>(list: Term<'a>, decode: impl Fn(Term<'a>) -> Result<T, ReadError>) -> Result<Vec<T>, ReadError> {
    // An improper list has no length.
    let mut items = Vec::with_capacity(list.list_length().map_err(bad)?);
    for item in items_of(list) {
        items.push(decode(item)?);
    }
    Ok(items)
}

/// A key, member, field or number. Anything else becomes nil, which no read takes in their place.
#[inline]
pub fn plain_arg(term: Term<'_>) -> Arg<'_> {
    match bytes_of(term) {
        Some(bytes) => Arg::Bytes(bytes),
        None => term.decode().map_or(Arg::Nil, Arg::Int),
    }
}

fn arg(term: Term<'_>, depth: usize) -> Result<Arg<'_>, ReadError> {
    match term.get_type() {
        TermType::Binary => bytes(term).map(Arg::Bytes),
        TermType::Integer => term.decode().map(Arg::Int).map_err(bad),
        TermType::Float => term.decode().map(Arg::Float).map_err(bad),
        TermType::Atom => Ok(atom_arg(term)?),
        TermType::List => list(term, depth).map(Arg::List),
        TermType::Tuple => {
            let depth = depth.checked_sub(1).ok_or(ReadError::BadArgument)?;
            let elements = elements_of(term).ok_or(ReadError::BadArgument)?;
            elements.map(|element| arg(element, depth)).collect::<Result<_, _>>().map(Arg::Tuple)
        }
        _ => Err(ReadError::BadArgument),
    }
}

fn list(term: Term<'_>, depth: usize) -> Result<Vec<Arg<'_>>, ReadError> {
    let depth = depth.checked_sub(1).ok_or(ReadError::BadArgument)?;
    each(term, |item| arg(item, depth))
}

#[inline]
fn bytes(term: Term<'_>) -> Result<&[u8], ReadError> {
    bytes_of(term).ok_or(ReadError::BadArgument)
}

fn bad(_: rustler::Error) -> ReadError {
    ReadError::BadArgument
}

fn atom_arg(term: Term<'_>) -> Result<Arg<'static>, ReadError> {
    if atom::nil() == term {
        return Ok(Arg::Nil);
    }
    if atom::true_() == term || atom::false_() == term {
        return Ok(Arg::Bool(atom::true_() == term));
    }
    atom_name(term).map(Arg::Word)
}

/// The names of the atoms that callers used. The VM never forgets an atom, so neither do we.
static ATOM_NAMES: LazyLock<RwLock<HashMap<ErlNifTerm, &'static str, RandomState>>> = LazyLock::new(RwLock::default);

fn atom_name(term: Term<'_>) -> Result<&'static str, ReadError> {
    let atom = term.as_c_arg();
    if let Some(name) = ATOM_NAMES.read().get(&atom) {
        return Ok(name);
    }
    let name = term.atom_to_string().map_err(bad)?;
    Ok(ATOM_NAMES.write().entry(atom).or_insert_with(|| String::leak(name)))
}

/// A database and a key in it.
pub fn place<'a>(db_term: Term<'a>, key: Term<'a>) -> Result<(u32, &'a [u8]), ReadError> {
    Ok((db(db_term)?, bytes(key)?))
}

/// A database and what to watch in it: `{:key, key}`, `{:prefix, prefix}` or `{:pattern, glob}`.
pub fn watched<'a>(db_term: Term<'a>, watched: Term<'a>) -> Result<(u32, Watched<&'a [u8]>), ReadError> {
    let (what, name): (Atom, Term<'a>) = watched.decode().map_err(bad)?;
    let (db, name) = place(db_term, name)?;
    let watched = if what == atoms::prefix() {
        Watched::Prefix(name)
    } else if what == atoms::pattern() {
        Watched::Pattern(name)
    } else {
        Watched::Key(name)
    };
    match watched {
        Watched::Pattern(pattern) if pattern.len() > PATTERN_BYTES_MAX => Err(ReadError::BadArgument),
        watched => Ok((db, watched)),
    }
}

/// How to watch, and whether the process acknowledges: `{:command | :value | :key, max_pending,
/// link?, acknowledges?}`. The caller has checked its options.
pub fn manner(term: Term<'_>) -> Result<(Manner, bool), ReadError> {
    let (notify, max_pending, link, acknowledges): (Atom, u32, bool, bool) = term.decode().map_err(bad)?;
    let notify = if notify == atoms::value() {
        Notify::Value
    } else if notify == atoms::key() {
        Notify::Key
    } else {
        Notify::Command
    };
    Ok((Manner { notify, max_pending, link }, acknowledges))
}
