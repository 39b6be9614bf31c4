//! The filter of a mirror or handler, and the position that a handler starts from.

use rustler::{Atom, Binary, NifMap, NifResult, Term};
use vdr_data::value::Kind;
use vdr_replica::batch::ResumePoint;
use vdr_replica::filter::Filter;

/// The part of the data to keep, from the options.
#[derive(NifMap)]
#[rustler(decode)]
struct OnlyTerm<'a> {
    dbs: Option<Vec<u32>>,
    prefixes: Option<Vec<Binary<'a>>>,
    types: Option<Vec<Atom>>,
}

pub fn only(term: Term<'_>) -> NifResult<Option<Filter>> {
    let only: Option<OnlyTerm<'_>> = term.decode()?;
    let Some(only) = only else { return Ok(None) };
    let prefixes = only.prefixes.map(|prefixes| prefixes.iter().map(|prefix| prefix.to_vec()).collect());
    let kind = |name: &Atom| {
        let name = name.to_term(term.get_env()).atom_to_string()?;
        Kind::ALL.iter().copied().find(|kind| kind.name() == name).ok_or(rustler::Error::BadArg)
    };
    let kinds = only.types.map(|types| types.iter().map(kind).collect::<NifResult<Vec<Kind>>>()).transpose()?;
    Ok(Some(Filter::new(only.dbs, prefixes, kinds)))
}

/// nil or `{replication_id, offset, db}`.
pub fn initial(term: Term<'_>) -> NifResult<Option<(String, ResumePoint)>> {
    let initial: Option<(String, u64, u32)> = term.decode()?;
    Ok(initial.map(|(replication_id, offset, db)| (replication_id, ResumePoint { offset, db })))
}
