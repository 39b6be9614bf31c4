//! Terms of the BEAM to values of the core and back. Nothing else in this crate knows what a term means.

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use rustler::sys::ErlNifTerm;
use rustler::types::atom;
use rustler::types::tuple::{get_tuple, make_tuple};
use rustler::{Atom, Binary, Encoder, Env, NewBinary, Resource, ResourceArc, Term, TermType};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use vdr_core::blob::Blob;
use vdr_core::commands::{Arg, ReadError, Reply};

/// How deep lists and tuples may nest in an argument: `{:exclusive, 1.0}` in a list of options is three.
const DEPTH_MAX: usize = 4;

/// Values of at least this many bytes are handed out without a copy. Below it the copy costs less than the resource
/// that keeps a shared value alive.
const SHARE_BYTES_MIN: usize = 512;

/// A database number.
pub fn db(term: Term<'_>) -> Result<u32, ReadError> {
    term.decode().map_err(|_| ReadError::BadArgument)
}

/// A list of arguments.
pub fn args(term: Term<'_>) -> Result<Vec<Arg<'_>>, ReadError> {
    list(term, DEPTH_MAX)
}

/// `{name, args...}`.
pub fn operation(term: Term<'_>) -> Result<(Term<'_>, Vec<Arg<'_>>), ReadError> {
    let terms = get_tuple(term).map_err(|_| ReadError::BadArgument)?;
    let (name, args) = terms.split_first().ok_or(ReadError::BadArgument)?;
    Ok((*name, args.iter().map(|term| arg(*term, DEPTH_MAX)).collect::<Result<_, _>>()?))
}

/// A list of lists of binaries: commands as a client writes them.
pub fn commands(term: Term<'_>) -> Result<Vec<Vec<&[u8]>>, ReadError> {
    let commands: Vec<Vec<Binary<'_>>> = term.decode().map_err(|_| ReadError::BadArgument)?;
    Ok(commands.iter().map(|words| words.iter().map(Binary::as_slice).collect()).collect())
}

fn arg(term: Term<'_>, depth: usize) -> Result<Arg<'_>, ReadError> {
    match term.get_type() {
        TermType::Binary => Binary::from_term(term).map(|bytes| Arg::Bytes(bytes.as_slice())).map_err(bad),
        TermType::Integer => term.decode().map(Arg::Int).map_err(bad),
        TermType::Float => term.decode().map(Arg::Float).map_err(bad),
        TermType::Atom => Ok(atom_arg(term)?),
        TermType::List => list(term, depth).map(Arg::List),
        TermType::Tuple => {
            let depth = depth.checked_sub(1).ok_or(ReadError::BadArgument)?;
            let items = get_tuple(term).map_err(bad)?;
            items.into_iter().map(|item| arg(item, depth)).collect::<Result<_, _>>().map(Arg::Tuple)
        }
        _ => Err(ReadError::BadArgument),
    }
}

fn list(term: Term<'_>, depth: usize) -> Result<Vec<Arg<'_>>, ReadError> {
    let depth = depth.checked_sub(1).ok_or(ReadError::BadArgument)?;
    // An improper list has no length.
    let mut items = Vec::with_capacity(term.list_length().map_err(bad)?);
    for item in term.into_list_iterator().map_err(bad)? {
        items.push(arg(item, depth)?);
    }
    Ok(items)
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

/// `{:ok, value}` or `{:error, code}`.
pub fn answer<'a>(env: Env<'a>, answer: Result<Reply<'_>, ReadError>) -> Term<'a> {
    match answer {
        Ok(value) => (atom::ok(), reply(env, value)).encode(env),
        Err(error) => env.error_tuple(word(env, code(error))),
    }
}

/// How the errors of reads are called on the BEAM.
pub const fn code(error: ReadError) -> &'static str {
    match error {
        ReadError::WrongType => "wrong_type",
        ReadError::BadArgument => "bad_argument",
    }
}

/// An atom. The words are the core's own, short and of ASCII, so there is always one.
pub fn word<'a>(env: Env<'a>, word: &str) -> Term<'a> {
    Atom::from_str(env, word).unwrap_or_else(|_| atom::undefined()).to_term(env)
}

fn reply<'a>(env: Env<'a>, value: Reply<'_>) -> Term<'a> {
    match value {
        Reply::Nil => atom::nil().to_term(env),
        Reply::Bool(flag) => flag.encode(env),
        Reply::Int(int) => int.encode(env),
        Reply::Float(float) => float.encode(env),
        Reply::Blob(value) => blob(env, value),
        Reply::Bytes(bytes) => binary(env, &bytes),
        Reply::Word(name) => word(env, name),
        Reply::List(items) => items.into_iter().map(|item| reply(env, item)).collect::<Vec<_>>().encode(env),
        Reply::Pair(pair) => make_tuple(env, &[reply(env, pair.0), reply(env, pair.1)]),
        Reply::Pairs(pairs) => {
            let pair = |(a, b)| make_tuple(env, &[reply(env, a), reply(env, b)]);
            pairs.into_iter().map(pair).collect::<Vec<_>>().encode(env)
        }
        Reply::Map(pairs) => {
            let pair = |(field, value)| make_tuple(env, &[blob(env, field), blob(env, value)]);
            pairs.into_iter().map(pair).collect::<Vec<_>>().encode(env)
        }
    }
}

/// Keeps a value alive for the binaries that show it.
struct Shared(Arc<[u8]>);

#[rustler::resource_impl]
impl Resource for Shared {}

fn blob<'a>(env: Env<'a>, blob: &Blob) -> Term<'a> {
    match blob.shared() {
        Some(bytes) if bytes.len() >= SHARE_BYTES_MIN => {
            ResourceArc::new(Shared(Arc::clone(bytes))).make_binary(env, |shared| &shared.0).to_term(env)
        }
        _ => binary(env, blob),
    }
}

pub fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}
