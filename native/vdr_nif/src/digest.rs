//! Digests as NIFs: what `DEBUG DIGEST` and `DEBUG DIGEST-VALUE` of the primary would say.

use crate::read::on;
use crate::source::{SourceRef, now_ms};
use crate::terms;
use rustler::types::atom;
use rustler::{Encoder, Env, Term};
use vdr_commands::ReadError;
use vdr_data::digest::{self, Dialect, Digest, NotComparable};
use vdr_replica::live::Snapshot;

mod atoms {
    rustler::atoms! { not_comparable }
}

/// `{:ok, hex}` or `{:error, {:not_comparable, keys}}`.
#[rustler::nif(name = "digest", schedule = "DirtyCpu")]
fn of_all<'a>(env: Env<'a>, source: SourceRef) -> Term<'a> {
    on(env, &source, None, |snapshot| answer(env, digest::digest(&snapshot.keyspace, dialect(snapshot), now_ms())))
}

/// As `digest`, of one key; of a missing one it is all zeros. A value may be large.
#[rustler::nif(schedule = "DirtyCpu")]
fn digest_value<'a>(env: Env<'a>, source: SourceRef, db: Term<'a>, key: Term<'a>) -> Term<'a> {
    let Ok((db, key)) = terms::place(db, key) else { return terms::answer(env, Err(ReadError::BadArgument)) };
    on(env, &source, None, |snapshot| {
        let entry = snapshot.keyspace.db(db).get(key);
        answer(
            env,
            entry.map_or(Ok(Digest::default()), |entry| digest::digest_value(entry, dialect(snapshot), now_ms())),
        )
    })
}

/// That of the server which wrote the file that the snapshot began with; of nobody's, the newest.
fn dialect(snapshot: &Snapshot) -> Dialect {
    snapshot
        .server
        .as_deref()
        .map_or_else(|| Dialect::of("redis", "newest"), |server| Dialect::of(server.name, &server.version))
}

fn answer(env: Env<'_>, digest: Result<Digest, NotComparable>) -> Term<'_> {
    match digest {
        Ok(digest) => (atom::ok(), digest.to_string()).encode(env),
        Err(unknown) => env.error_tuple((atoms::not_comparable(), unknown.keys())),
    }
}
