//! Reads as NIFs: one entry for all rows, and its twin on dirty schedulers.

use crate::entry::entries;
use crate::source::Source;
use crate::terms;
use foldhash::fast::RandomState;
use rustler::sys::ErlNifTerm;
use rustler::{Atom, Encoder, Env, Term};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};
use vdr_commands::{Arg, Cost, Read, ReadError, Reply};
use vdr_data::keyspace::{Now, View};
use vdr_link::now_ms;
use vdr_replica::live::Snapshot;

/// Calls that touch more elements run on dirty schedulers. So calls on normal schedulers stay well
/// under a millisecond, which is the BEAM's limit for a NIF. An element of a range takes some 100
/// ns. A key with a value of a few KB takes up to 2 us when neither is cached, and more on a slow
/// machine.
pub const ELEMENTS_MAX: usize = 200;

/// Calls with more argument terms run there too: decoding takes some 20 ns per term.
const TERMS_MAX: usize = 4000;

mod atoms {
    rustler::atoms! { dirty, bad_command }
}

/// The rows by the VM's number of their name's atom, so that a look-up allocates nothing.
static ROWS: OnceLock<HashMap<ErlNifTerm, &'static Read, RandomState>> = OnceLock::new();

pub fn index_rows(env: Env<'_>) -> bool {
    let rows: Result<HashMap<_, _, _>, rustler::Error> =
        vdr_commands::reads().map(|row| Ok((Atom::from_str(env, row.name)?.as_c_arg(), row))).collect();
    rows.map(|rows| ROWS.get_or_init(|| rows)).is_ok()
}

fn row(name: Term<'_>) -> Option<&'static Read> {
    ROWS.get()?.get(&name.as_c_arg()).copied()
}

/// Every read as `{name, [argument name]}`.
#[rustler::nif]
fn commands(env: Env<'_>) -> Vec<Term<'_>> {
    vdr_commands::reads().map(|row| (terms::word(env, row.name), row.args).encode(env)).collect()
}

/// Every code of this library: in `{:error, code}`, and for the end of a link.
#[rustler::nif]
fn error_codes(env: Env<'_>) -> Vec<Term<'_>> {
    terms::ERROR_CODES.iter().map(|code| terms::word(env, code)).collect()
}

entries! {
    /// `{:ok, value}`, `{:error, code}`, or `:dirty`: too large for a normal scheduler, call
    /// [`read_dirty`].
    fn read(env, source, db, name, args) {
        Ok(call(env, source.decode()?, db, name, args, Some(ELEMENTS_MAX)))
    }

    /// The answers to `[{name, args...}]`, all on one snapshot: `{:ok, [answer]}`, `{:error,
    /// code}`, or `:dirty`: call [`read_tx_dirty`].
    fn read_tx(env, source, db, operations) {
        Ok(call_all(env, source.decode()?, db, operations, Some(ELEMENTS_MAX)))
    }
}

#[rustler::nif(schedule = "DirtyCpu")]
fn read_dirty<'a>(env: Env<'a>, source: &'a Source, db: Term<'a>, name: Term<'a>, args: Term<'a>) -> Term<'a> {
    call(env, source, db, name, args, None)
}

fn call<'a>(
    env: Env<'a>,
    source: &Source,
    db: Term<'a>,
    name: Term<'a>,
    args: Term<'a>,
    elements_max: Option<usize>,
) -> Term<'a> {
    if elements_max.is_some() && !terms::fits(args, TERMS_MAX) {
        return atoms::dirty().to_term(env);
    }
    let (Some(row), Ok(db), Ok(args)) = (row(name), terms::db(db), terms::args(args)) else {
        return terms::answer(env, &Err(ReadError::BadArgument));
    };
    on(env, source, elements_max, |snapshot| {
        let view = snapshot.view(db, now(row));
        if elements_max.is_some_and(|max| row.builds_index(view) || row.elements(view, &args) > max) {
            return atoms::dirty().to_term(env);
        }
        answer(env, &row.call(view, &args), elements_max.is_some()).unwrap_or_else(|| atoms::dirty().to_term(env))
    })
}

/// The answer as a term. `None` if it takes a dirty scheduler, and this is none, because it copies
/// a long string.
#[inline]
fn answer<'a>(env: Env<'a>, reply: &Result<Reply<'_>, ReadError>, on_scheduler: bool) -> Option<Term<'a>> {
    let copies = on_scheduler && reply.as_ref().is_ok_and(Reply::copies_long_string);
    (!copies).then(|| terms::answer(env, reply))
}

/// The time for one call. A read of a single key reads the clock only if the key expires.
fn now(row: &Read) -> Now {
    match row.cost {
        Cost::Point => Now::Clock(now_ms),
        Cost::Elements(_) | Cost::Keys(_) => Now::At(now_ms()),
    }
}

/// Entries for the reads that users call most. They answer as `read` does, without an argument list
/// and a look-up by name, which makes them a quarter faster.
macro_rules! point_entries {
    ($($name:ident($($arg:ident),*);)*) => {
        entries! {$(
            fn $name(env, source, db, $($arg),*) {
                static ROW: LazyLock<Option<&'static Read>> = LazyLock::new(|| vdr_commands::read(stringify!($name)));
                Ok(point(env, source.decode()?, db, *ROW, &[$(terms::plain_arg($arg)),*]))
            }
        )*}
    };
}

point_entries! {
    get(key);
    hget(key, field);
    sismember(key, member);
    zscore(key, member);
    lindex(key, index);
}

/// A read that takes constant time, unless it copies a long string.
#[inline]
fn point<'a>(env: Env<'a>, source: &Source, db: Term<'a>, row: Option<&'static Read>, args: &[Arg<'_>]) -> Term<'a> {
    let (Some(row), Ok(db)) = (row, terms::db(db)) else {
        return terms::answer(env, &Err(ReadError::BadArgument));
    };
    on(env, source, Some(ELEMENTS_MAX), |snapshot| {
        let reply = row.call(snapshot.view(db, now(row)), args);
        answer(env, &reply, true).unwrap_or_else(|| atoms::dirty().to_term(env))
    })
}

/// Reads the source's current snapshot. `elements_max` is `None` on dirty schedulers only.
pub fn on<'a>(
    env: Env<'a>,
    source: &Source,
    elements_max: Option<usize>,
    read: impl FnOnce(&Snapshot) -> Term<'a>,
) -> Term<'a> {
    let answer = if elements_max.is_some() { source.read(read) } else { source.read_long(read) };
    answer.unwrap_or_else(|| env.error_tuple(source.unreadable()))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn read_tx_dirty<'a>(env: Env<'a>, source: &'a Source, db: Term<'a>, operations: Term<'a>) -> Term<'a> {
    call_all(env, source, db, operations, None)
}

/// One operation of a list: the term, and the row, if the term is valid.
struct Operation<'a> {
    term: Term<'a>,
    row: Option<&'static Read>,
    /// Its arguments, among those of all operations.
    args: Range<usize>,
}

impl<'a> Operation<'a> {
    #[inline]
    fn new(term: Term<'a>, args: &mut Vec<Arg<'a>>) -> Self {
        let from = args.len();
        let row = terms::operation(term, args).ok().and_then(row);
        Operation { term, row, args: from..args.len() }
    }

    #[inline]
    fn args<'s>(&self, args: &'s [Arg<'a>]) -> &'s [Arg<'a>] {
        args.get(self.args.clone()).unwrap_or_default()
    }

    /// At least one, since each operation has an answer.
    #[inline]
    fn elements(&self, view: View<'_>, args: &[Arg<'a>]) -> usize {
        let of_row = |row: &Read| if row.builds_index(view) { usize::MAX } else { row.elements(view, self.args(args)) };
        self.row.map_or(1, of_row).max(1)
    }

    /// As [`answer`].
    #[inline]
    fn answer(&self, env: Env<'a>, view: View<'_>, args: &[Arg<'a>], on_scheduler: bool) -> Option<Term<'a>> {
        let reply = match self.row {
            Some(row) => row.call(view, self.args(args)),
            None => Err(ReadError::BadArgument),
        };
        match reply {
            Err(ReadError::BadArgument) => Some(env.error_tuple((atoms::bad_command(), self.term))),
            reply => answer(env, &reply, on_scheduler),
        }
    }
}

fn call_all<'a>(
    env: Env<'a>,
    source: &Source,
    db: Term<'a>,
    operations: Term<'a>,
    elements_max: Option<usize>,
) -> Term<'a> {
    if elements_max.is_some() && !terms::fits(operations, TERMS_MAX) {
        return atoms::dirty().to_term(env);
    }
    // An improper list has no length.
    let (Ok(db), Ok(length)) = (terms::db(db), operations.list_length()) else {
        return terms::answer(env, &Err(ReadError::BadArgument));
    };
    let mut args = Vec::with_capacity(2 * length);
    let operations: Vec<_> = terms::items_of(operations).map(|term| Operation::new(term, &mut args)).collect();
    on(env, source, elements_max, |snapshot| {
        let view = snapshot.view(db, now_ms());
        if elements_max.is_some_and(|max| exceed(&operations, view, &args, max)) {
            return atoms::dirty().to_term(env);
        }
        let on_scheduler = elements_max.is_some();
        let answers = operations.iter().map(|each| each.answer(env, view, &args, on_scheduler));
        let answers: Option<Vec<Term<'a>>> = answers.collect();
        answers.map_or_else(|| atoms::dirty().to_term(env), |answers| terms::ok_list(env, answers))
    })
}

/// Whether all operations together touch more than `max` elements. Stops estimating there, since
/// estimating is work too.
fn exceed<'a>(operations: &[Operation<'a>], view: View<'_>, args: &[Arg<'a>], max: usize) -> bool {
    operations.iter().try_fold(max, |left, each| left.checked_sub(each.elements(view, args))).is_none()
}
