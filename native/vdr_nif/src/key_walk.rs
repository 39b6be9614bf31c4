//! Key walks as NIFs: the keys of a database in order, a portion at a time.

use crate::source::SourceRef;
use crate::terms;
use rustler::types::atom;
use rustler::{Binary, Env, NifResult, Term};
use vdr_commands::{ReadError, Wanted, walk};
use vdr_data::value::Kind;
use vdr_link::now_ms;

const KINDS: &[Kind] = &[Kind::String, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash, Kind::Stream, Kind::Other];

/// The next keys: `{:ok, keys, next}`. Pass `next` as `after` for more; it is nil at the end. The
/// filter is `{prefix, pattern, kind}`, with nil for no pattern and any kind.
#[rustler::nif(schedule = "DirtyCpu")]
fn walk_keys<'a>(
    env: Env<'a>,
    source: SourceRef,
    db: Term<'a>,
    after: Option<Binary<'a>>,
    (prefix, pattern, kind): (Binary<'a>, Option<Binary<'a>>, Term<'a>),
    count: usize,
) -> NifResult<Term<'a>> {
    let Ok(db) = terms::db(db) else { return Ok(terms::answer(env, &Err(ReadError::BadArgument))) };
    let kind = if atom::nil() == kind { None } else { Some(kind_of(env, kind)?) };
    let wanted = Wanted { prefix: prefix.as_slice(), pattern: pattern.as_ref().map(Binary::as_slice), kind };
    let after = after.as_ref().map(Binary::as_slice);
    let portion = source
        .read_long(|snapshot| terms::portion(env, &walk(snapshot.view(db, now_ms()), after, &wanted, count.max(1))));
    Ok(portion.unwrap_or_else(|| env.error_tuple(source.unreadable())))
}

fn kind_of<'a>(env: Env<'a>, kind: Term<'a>) -> NifResult<Kind> {
    KINDS.iter().copied().find(|known| terms::word(env, known.name()) == kind).ok_or(rustler::Error::BadArg)
}
