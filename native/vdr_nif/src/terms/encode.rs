//! Replies: values of the core to terms of the BEAM.

use super::errors::code;
use super::primitive::{binary, list, pair, word};
use crate::resource_bytes;
use rustler::types::atom;
use rustler::types::tuple::make_tuple;
use rustler::{Encoder, Env, Term};
use vdr_commands::{Field, Portion, ReadError, Reply, Tuple};
use vdr_data::blob::Blob;
use vdr_data::keyspace::Change;
use vdr_data::value::StringRef;
use vdr_snapmap::ExportedBytes;

/// `{:ok, value}` or `{:error, code}`. Takes a reference, as all of this module does: a move of a
/// reply costs more than reading it.
#[inline]
pub fn answer<'a>(env: Env<'a>, answer: &Result<Reply<'_>, ReadError>) -> Term<'a> {
    match answer {
        Ok(value) => pair(env, atom::ok().to_term(env), reply(env, value)),
        Err(error) => env.error_tuple(word(env, code(*error))),
    }
}

/// `{:ok, terms}`.
#[inline]
pub fn ok_list<'a>(env: Env<'a>, terms: Vec<Term<'a>>) -> Term<'a> {
    pair(env, atom::ok().to_term(env), list(env, terms.into_iter()))
}

/// The keys of a walk, and the key after which it continues: `{:ok, keys, next}`.
pub fn portion<'a>(env: Env<'a>, portion: &Portion<'_>) -> Term<'a> {
    let keys: Vec<Term<'a>> = portion.keys.iter().map(|key| blob(env, key)).collect();
    let next = portion.next.map_or_else(|| atom::nil().to_term(env), |key| blob(env, key));
    (atom::ok(), keys, next).encode(env)
}

/// `{:added | :changed | :removed, key}`.
pub fn change<'a>(env: Env<'a>, key: &Blob, change: Change) -> Term<'a> {
    (word(env, change.name()), blob(env, key)).encode(env)
}

pub fn reply<'a>(env: Env<'a>, value: &Reply<'_>) -> Term<'a> {
    match value {
        Reply::Nil => atom::nil().to_term(env),
        Reply::Bool(flag) => flag.encode(env),
        Reply::Int(int) => int.encode(env),
        Reply::Float(float) => float.encode(env),
        Reply::Blob(value) => blob(env, value),
        Reply::Long(value) => bytes(env, value.export(), value.as_bytes()),
        Reply::Slice(bytes) => binary(env, bytes),
        Reply::Bytes(bytes) => binary(env, bytes),
        Reply::Word(name) => word(env, name),
        Reply::List(items) => list(env, items.iter().map(|item| reply(env, item))),
        Reply::Strings(strings) => list(env, strings.iter().map(|each| string(env, *each))),
        Reply::Pair(parts) => pair(env, reply(env, &parts.0), reply(env, &parts.1)),
        Reply::Pairs(pairs) => list(env, pairs.iter().map(|(a, b)| pair(env, reply(env, a), reply(env, b)))),
        Reply::Map(pairs) => {
            list(env, pairs.iter().map(|(field, value)| pair(env, string(env, *field), string(env, *value))))
        }
        Reply::Record(fields) => record(env, fields),
    }
}

/// A map keyed by atoms.
fn record<'a>(env: Env<'a>, fields: &[(&'static str, Reply<'_>)]) -> Term<'a> {
    let pairs: Vec<_> = fields.iter().map(|(name, value)| (word(env, name), reply(env, value))).collect();
    Term::map_from_pairs(env, &pairs).unwrap_or_else(|_| atom::nil().to_term(env))
}

#[inline]
pub fn blob<'a>(env: Env<'a>, blob: &Blob) -> Term<'a> {
    bytes(env, blob.export(), blob)
}

/// A binary that refers to exported bytes, or a copy of the bytes.
#[inline]
fn bytes<'a>(env: Env<'a>, exported: Option<ExportedBytes<'_>>, bytes: &[u8]) -> Term<'a> {
    exported.map_or_else(|| binary(env, bytes), |exported| resource_bytes::binary(env, exported))
}

#[inline]
fn string<'a>(env: Env<'a>, string: StringRef<'_>) -> Term<'a> {
    match string {
        StringRef::Packed(bytes) => binary(env, bytes),
        StringRef::Long(value) => bytes(env, value.export(), value.as_bytes()),
        StringRef::Shared(value) => blob(env, value),
    }
}

/// A command as a tuple: `{name, fields...}`.
pub fn tuple<'a>(env: Env<'a>, tuple: &Tuple) -> Term<'a> {
    let name = word(env, tuple.name);
    let terms: Vec<Term<'a>> = std::iter::once(name).chain(tuple.fields.iter().map(|part| field(env, part))).collect();
    make_tuple(env, &terms)
}

pub fn field<'a>(env: Env<'a>, part: &Field) -> Term<'a> {
    match part {
        Field::Bytes(bytes) => binary(env, bytes),
        Field::Int(int) => int.encode(env),
        Field::Float(float) => match Reply::score(*float) {
            Reply::Word(name) => word(env, name),
            _ => float.encode(env),
        },
        Field::Word(name) => word(env, name),
        Field::List(parts) => list(env, parts.iter().map(|part| field(env, part))),
        Field::Pair(parts) => pair(env, field(env, &parts.0), field(env, &parts.1)),
    }
}
