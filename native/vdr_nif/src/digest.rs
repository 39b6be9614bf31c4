//! Digests as NIFs: the answers of the primary's `DEBUG DIGEST` and `DEBUG DIGEST-VALUE`.

use crate::read::on;
use crate::source::SourceRef;
use crate::terms;
use rustler::types::atom;
use rustler::{Encoder, Env, Term};
use vdr_commands::ReadError;
use vdr_data::digest::{self, Dialect, Digest, NotComparable};
use vdr_link::now_ms;
use vdr_replica::live::Snapshot;

mod atoms {
    rustler::atoms! { not_comparable }
}

/// `{:ok, hex}` or `{:error, {:not_comparable, keys}}`.
#[rustler::nif(name = "digest", schedule = "DirtyCpu")]
fn of_all<'a>(env: Env<'a>, source: SourceRef) -> Term<'a> {
    on(env, &source, None, |snapshot| {
        answer(env, digest::digest(&snapshot.keyspace, dialect(snapshot), snapshot.now_ms(now_ms())))
    })
}

/// As `digest`, for one key. A missing key's digest is all zeros. The value may be large.
#[rustler::nif(schedule = "DirtyCpu")]
fn digest_value<'a>(env: Env<'a>, source: SourceRef, db: Term<'a>, key: Term<'a>) -> Term<'a> {
    let Ok((db, key)) = terms::place(db, key) else { return terms::answer(env, &Err(ReadError::BadArgument)) };
    on(env, &source, None, |snapshot| {
        let entry = snapshot.keyspace.db(db).get(key);
        answer(
            env,
            entry.map_or(Ok(Digest::default()), |entry| {
                digest::digest_value(entry, dialect(snapshot), snapshot.now_ms(now_ms()))
            }),
        )
    })
}

/// The dialect of the server that wrote the snapshot file; the newest if there was no file.
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
