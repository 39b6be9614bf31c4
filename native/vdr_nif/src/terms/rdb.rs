//! Surveys and errors of snapshot files.

use super::primitive::{binary, word};
use super::status::Server;
use rustler::{Encoder, Env, NifMap, Term};
use vdr_rdb::{Group, RdbError, Survey};

/// `{code, %{offset: bytes, key: key | nil, detail: text}}`.
pub fn rdb_error<'a>(env: Env<'a>, error: &RdbError) -> Term<'a> {
    let key = error.key.as_deref().map(|key| binary(env, key));
    let about = RdbFault { offset: error.offset_bytes, key, detail: error.fault.to_string() };
    (word(env, error.code()), about).encode(env)
}

#[derive(NifMap)]
#[rustler(encode)]
struct RdbFault<'a> {
    offset: u64,
    key: Option<Term<'a>>,
    detail: String,
}

/// The result of a survey, as a map.
pub fn survey<'a>(env: Env<'a>, survey: &Survey, version: u32, bytes: u64) -> Term<'a> {
    let kinds = survey.kinds.iter().map(|((db, kind), group)| (*db, word(env, kind), counts(group)));
    let prefixes = survey.prefixes.iter().map(|(prefix, group)| (binary(env, prefix), counts(group)));
    let biggest = survey
        .biggest()
        .into_iter()
        .map(|size| (size.db, word(env, size.kind), binary(env, &size.key), (size.elements, size.bytes)));
    let about = About {
        version,
        file_bytes: bytes,
        server: survey.summary().server.as_ref().map(Server::new),
        total: counts(&survey.total),
        kinds: kinds.collect(),
        prefixes: prefixes.collect(),
        other_prefixes: counts(&survey.other_prefixes),
        biggest: biggest.collect(),
        expiries: survey.expiries.to_vec(),
        expiry_bounds_ms: Survey::times_ms().to_vec(),
    };
    about.encode(env)
}

/// Keys, elements, bytes.
type Counts = (u64, u64, u64);

fn counts(group: &Group) -> Counts {
    (group.keys, group.elements, group.bytes)
}

#[derive(NifMap)]
#[rustler(encode)]
struct About<'a> {
    version: u32,
    file_bytes: u64,
    server: Option<Server>,
    total: Counts,
    kinds: Vec<(u32, Term<'a>, Counts)>,
    prefixes: Vec<(Term<'a>, Counts)>,
    other_prefixes: Counts,
    biggest: Vec<(u32, Term<'a>, Term<'a>, (u64, u64))>,
    expiries: Vec<u64>,
    expiry_bounds_ms: Vec<i64>,
}
