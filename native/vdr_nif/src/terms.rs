//! Terms of the BEAM to values of the core and back. Nothing else in this crate knows what a term means.

mod batch;
mod handler;
mod link;

pub use batch::{Commands, commands_message, link_lost, replication_start, streaming_start};
pub use handler::{handler_status, initial, only};
pub use link::{link_config, on_unknown};

use crate::home;
use crate::source::now_ms;
use crate::store::Store;
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use rustler::sys::ErlNifTerm;
use rustler::types::atom;
use rustler::types::tuple::{get_tuple, make_tuple};
use rustler::{Atom, Binary, Encoder, Env, NewBinary, NifMap, NifStruct, Term, TermType};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use vdr_commands::{Arg, Field, Portion, ReadError, Reply, Tuple};
use vdr_data::blob::Blob;
use vdr_data::keyspace::Change;
use vdr_data::value::StringRef;
use vdr_link::{LinkEnd, LinkState, Retry};
use vdr_lua::{Kind, LuaValue, ScriptError};
use vdr_rdb::{Group, RdbError, Survey};
use vdr_replica::watch::{Event, Watched};
use vdr_snapmap::Loan;

/// How deep lists and tuples may nest in an argument: `{:exclusive, 1.0}` in a list of options is three.
const DEPTH_MAX: usize = 4;

/// A database number.
pub fn db(term: Term<'_>) -> Result<u32, ReadError> {
    term.decode().map_err(|_| ReadError::BadArgument)
}

/// The arguments of a read: hardly any takes more, and then they need no allocation.
pub type ArgList<'a> = SmallVec<[Arg<'a>; 4]>;

/// A list of arguments.
pub fn args(term: Term<'_>) -> Result<ArgList<'_>, ReadError> {
    // An improper list has no length.
    let mut args = ArgList::with_capacity(term.list_length().map_err(bad)?);
    for item in term.into_list_iterator().map_err(bad)? {
        args.push(arg(item, DEPTH_MAX)?);
    }
    Ok(args)
}

/// Whether a term holds no more than `max` things, of which no more are looked at: decoding is work too.
pub fn fits(term: Term<'_>, max: usize) -> bool {
    fits_in(term, DEPTH_MAX + 1, &mut { max })
}

/// What is nested deeper is refused before it is decoded.
fn fits_in(term: Term<'_>, depth: usize, left: &mut usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    let mut each = |item: Term<'_>| match left.checked_sub(1) {
        Some(less) => {
            *left = less;
            fits_in(item, depth, left)
        }
        None => false,
    };
    match term.get_type() {
        TermType::List => {
            // An iterator would panic at the end of an improper list.
            let mut rest = term;
            while let Ok((item, tail)) = rest.list_get_cell() {
                if !each(item) {
                    return false;
                }
                rest = tail;
            }
            true
        }
        TermType::Tuple => get_tuple(term).is_ok_and(|items| items.into_iter().all(each)),
        _ => true,
    }
}

/// `{name, args...}`.
pub fn operation(term: Term<'_>) -> Result<(Term<'_>, ArgList<'_>), ReadError> {
    let terms = get_tuple(term).map_err(|_| ReadError::BadArgument)?;
    let (name, args) = terms.split_first().ok_or(ReadError::BadArgument)?;
    Ok((*name, args.iter().map(|term| arg(*term, DEPTH_MAX)).collect::<Result<_, _>>()?))
}

/// A list of lists of binaries: commands as a client writes them.
pub fn commands(term: Term<'_>) -> Result<Vec<Vec<&[u8]>>, ReadError> {
    let commands: Vec<Vec<Binary<'_>>> = term.decode().map_err(|_| ReadError::BadArgument)?;
    Ok(commands.iter().map(|words| words.iter().map(Binary::as_slice).collect()).collect())
}

/// Keys, members, fields and numbers, and nothing else.
pub fn plain_args<const N: usize>(terms: [Term<'_>; N]) -> Result<[Arg<'_>; N], ReadError> {
    let mut args = [const { Arg::Nil }; N];
    for (arg, term) in args.iter_mut().zip(terms) {
        *arg = match Binary::from_term(term) {
            Ok(bytes) => Arg::Bytes(bytes.as_slice()),
            Err(_) => term.decode().map(Arg::Int).map_err(bad)?,
        };
    }
    Ok(args)
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

/// The codes of this crate and of the crates below, for the test that gives each its sentence.
pub const ERROR_CODES: &[&str] = &[
    "already_registered",
    "bad_argument",
    "bad_rdb_transfer",
    "bad_reply",
    "bgsave_failed",
    "busy",
    "closed",
    "command_too_long",
    "connect_failed",
    "connect_timeout",
    "connection_refused",
    "connection_reset",
    "connection_timed_out",
    "diverged",
    "handshake_timeout",
    "host_not_found",
    "host_unreachable",
    "io_error",
    "loading",
    "master_down",
    "misconf",
    "network_unreachable",
    "no_instance",
    "no_master_link",
    "no_password_set",
    "no_permission",
    "no_thread",
    "not_found",
    "not_mirrored",
    "not_ready",
    "not_redis",
    "panicked",
    "password_required",
    "pending_output",
    "permission_denied",
    "process_gone",
    "protected_mode",
    "protocol",
    "psync_forbidden",
    "rdb_bad_magic",
    "rdb_checksum",
    "rdb_corrupt",
    "rdb_too_large",
    "rdb_truncated",
    "rdb_unknown_type",
    "rdb_unsupported_version",
    "read_timeout",
    "refused",
    "socket_not_found",
    "stale",
    "stopped",
    "superseded",
    "sync_aborted",
    "tls_bad_certificate",
    "tls_bad_config",
    "tls_certificate_expired",
    "tls_certificate_not_yet_valid",
    "tls_certificate_revoked",
    "tls_client_certificate_refused",
    "tls_client_certificate_required",
    "tls_handshake_failed",
    "tls_no_system_roots",
    "tls_not_spoken",
    "tls_protocol",
    "tls_unknown_ca",
    "tls_version_refused",
    "tls_wrong_name",
    "too_many_clients",
    "unknown_value",
    "write_timeout",
    "wrong_password",
    "wrong_role",
    "wrong_type",
];

/// How the errors of reads are called on the BEAM.
pub const fn code(error: ReadError) -> &'static str {
    match error {
        ReadError::WrongType => "wrong_type",
        ReadError::UnknownValue => "unknown_value",
        ReadError::BadArgument => "bad_argument",
    }
}

/// An atom. The words are the core's own, short and of ASCII, so there is always one.
pub fn word<'a>(env: Env<'a>, word: &str) -> Term<'a> {
    Atom::from_str(env, word).unwrap_or_else(|_| atom::undefined()).to_term(env)
}

/// `{:ok, value}` or `{:error, {:lua, kind, message}}`.
pub fn script_answer<'a>(env: Env<'a>, answer: &Result<LuaValue, ScriptError>) -> Term<'a> {
    match answer {
        Ok(value) => (atom::ok(), lua_value(env, value)).encode(env),
        Err(error) => script_error(env, error),
    }
}

pub fn script_error<'a>(env: Env<'a>, error: &ScriptError) -> Term<'a> {
    let kind = match error.kind {
        Kind::Syntax => "syntax",
        Kind::Runtime => "runtime",
        Kind::Timeout => "timeout",
        Kind::Memory => "memory",
        Kind::Result => "result",
    };
    env.error_tuple((words::lua(), word(env, kind), error.message.as_str()))
}

fn lua_value<'a>(env: Env<'a>, value: &LuaValue) -> Term<'a> {
    match value {
        LuaValue::Nil => atom::nil().to_term(env),
        LuaValue::Bool(flag) => flag.encode(env),
        LuaValue::Int(int) => int.encode(env),
        LuaValue::Float(float) => float.encode(env),
        LuaValue::Bytes(bytes) => binary(env, bytes),
        LuaValue::List(items) => items.iter().map(|item| lua_value(env, item)).collect::<Vec<_>>().encode(env),
        LuaValue::Map(entries) => {
            let (keys, values): (Vec<Term<'a>>, Vec<Term<'a>>) =
                entries.iter().map(|(key, value)| (binary(env, key), lua_value(env, value))).unzip();
            // Its keys are unique.
            Term::map_from_term_arrays(env, &keys, &values).unwrap_or_else(|_| Term::map_new(env))
        }
    }
}

/// The keys of a walk and where it goes on: `{:ok, keys, next}`.
pub fn portion<'a>(env: Env<'a>, portion: &Portion<'_>) -> Term<'a> {
    let keys: Vec<Term<'a>> = portion.keys.iter().map(|key| blob(env, key)).collect();
    let next = portion.next.map_or_else(|| atom::nil().to_term(env), |key| blob(env, key));
    (atom::ok(), keys, next).encode(env)
}

/// `{:added | :changed | :removed, key}`.
pub fn change<'a>(env: Env<'a>, key: &Blob, change: Change) -> Term<'a> {
    (word(env, change.name()), blob(env, key)).encode(env)
}

fn reply<'a>(env: Env<'a>, value: Reply<'_>) -> Term<'a> {
    match value {
        Reply::Nil => atom::nil().to_term(env),
        Reply::Bool(flag) => flag.encode(env),
        Reply::Int(int) => int.encode(env),
        Reply::Float(float) => float.encode(env),
        Reply::Blob(value) => blob(env, value),
        Reply::Long(value) => shown(env, value.lend(), value.as_bytes()),
        Reply::Slice(bytes) => binary(env, bytes),
        Reply::Bytes(bytes) => binary(env, &bytes),
        Reply::Word(name) => word(env, name),
        Reply::List(items) => items.into_iter().map(|item| reply(env, item)).collect::<Vec<_>>().encode(env),
        Reply::Pair(pair) => make_tuple(env, &[reply(env, pair.0), reply(env, pair.1)]),
        Reply::Pairs(pairs) => {
            let pair = |(a, b)| make_tuple(env, &[reply(env, a), reply(env, b)]);
            pairs.into_iter().map(pair).collect::<Vec<_>>().encode(env)
        }
        Reply::Map(pairs) => {
            let pair = |(field, value)| make_tuple(env, &[string(env, field), string(env, value)]);
            pairs.into_iter().map(pair).collect::<Vec<_>>().encode(env)
        }
        Reply::Record(fields) => record(env, fields),
    }
}

/// A map keyed by atoms.
fn record<'a>(env: Env<'a>, fields: Vec<(&'static str, Reply<'_>)>) -> Term<'a> {
    let pairs: Vec<_> = fields.into_iter().map(|(name, value)| (word(env, name), reply(env, value))).collect();
    Term::map_from_pairs(env, &pairs).unwrap_or_else(|_| atom::nil().to_term(env))
}

fn blob<'a>(env: Env<'a>, blob: &Blob) -> Term<'a> {
    shown(env, blob.lend(), blob)
}

/// A binary that shows what is lent, or a copy of the bytes.
fn shown<'a>(env: Env<'a>, loan: Option<Loan<'_>>, bytes: &[u8]) -> Term<'a> {
    loan.map_or_else(|| binary(env, bytes), |loan| home::show(env, loan))
}

fn string<'a>(env: Env<'a>, string: StringRef<'_>) -> Term<'a> {
    match string {
        StringRef::Packed(bytes) => binary(env, bytes),
        StringRef::Long(value) => shown(env, value.lend(), value.as_bytes()),
        StringRef::Shared(value) => blob(env, value),
    }
}

pub fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}

/// A database and a key in it.
pub fn place<'a>(db_term: Term<'a>, key: Term<'a>) -> Result<(u32, &'a [u8]), ReadError> {
    Ok((db(db_term)?, Binary::from_term(key).map_err(bad)?.as_slice()))
}

/// A database, and what is watched of it: `{:key, key}` or `{:prefix, prefix}`.
pub fn watched<'a>(db_term: Term<'a>, watched: Term<'a>) -> Result<(u32, Watched<&'a [u8]>), ReadError> {
    let (what, name): (Atom, Term<'a>) = watched.decode().map_err(bad)?;
    let (db, name) = place(db_term, name)?;
    Ok((db, if what == words::prefix() { Watched::Prefix(name) } else { Watched::Key(name) }))
}

/// What a watcher receives behind its reference.
pub fn event<'a>(env: Env<'a>, event: &Event) -> Term<'a> {
    match event {
        Event::Update { command, db, key, offset } => {
            let key = key.as_ref().map_or_else(|| atom::nil().to_term(env), |key| blob(env, key));
            UpdateEvent { command: tuple(env, command), db: *db, key, offset: *offset }.encode(env)
        }
        Event::Init { offset } => InitEvent { offset: *offset }.encode(env),
    }
}

#[derive(NifStruct)]
#[module = "Vdr.WatchEvent.Update"]
#[rustler(encode)]
struct UpdateEvent<'a> {
    command: Term<'a>,
    db: u32,
    key: Term<'a>,
    offset: u64,
}

#[derive(NifStruct)]
#[module = "Vdr.WatchEvent.Init"]
#[rustler(encode)]
struct InitEvent {
    offset: u64,
}

fn tuple<'a>(env: Env<'a>, tuple: &Tuple) -> Term<'a> {
    let name = word(env, tuple.name);
    let terms: Vec<Term<'a>> = std::iter::once(name).chain(tuple.fields.iter().map(|part| field(env, part))).collect();
    make_tuple(env, &terms)
}

fn field<'a>(env: Env<'a>, part: &Field) -> Term<'a> {
    match part {
        Field::Bytes(bytes) => binary(env, bytes),
        Field::Int(int) => int.encode(env),
        Field::Float(float) => match Reply::score(*float) {
            Reply::Word(name) => word(env, name),
            _ => float.encode(env),
        },
        Field::Word(name) => word(env, name),
        Field::List(parts) => parts.iter().map(|part| field(env, part)).collect::<Vec<_>>().encode(env),
        Field::Pair(pair) => make_tuple(env, &[field(env, &pair.0), field(env, &pair.1)]),
    }
}

/// `{:unknown_command, name}`: the first time that the stream brought one.
pub fn unknown_command<'a>(env: Env<'a>, name: &str) -> Term<'a> {
    (words::unknown_command(), name).encode(env)
}

/// `{:state, state}`.
pub fn link_state(env: Env<'_>, state: LinkState) -> Term<'_> {
    (words::state(), word(env, state.as_str())).encode(env)
}

/// `:ready`.
pub fn ready(env: Env<'_>) -> Term<'_> {
    words::ready().to_term(env)
}

/// `:guard_given_up`.
pub fn guard_given_up(env: Env<'_>) -> Term<'_> {
    words::guard_given_up().to_term(env)
}

/// `{:ended, code, detail, :soon | :slowly | :never}`.
pub fn link_end<'a>(env: Env<'a>, end: &LinkEnd) -> Term<'a> {
    let retry = match end.retry() {
        Retry::Soon => words::soon(),
        Retry::Slowly => words::slowly(),
        Retry::Never => words::never(),
    };
    (words::ended(), word(env, end.code()), end.cause.to_string(), retry).encode(env)
}

/// How an instance stands.
#[derive(NifMap)]
#[rustler(encode)]
struct Status<'a> {
    state: Term<'a>,
    connected: bool,
    ready: bool,
    stale: bool,
    stale_ms: Option<i64>,
    last_message_ms_ago: Option<i64>,
    role: Option<Term<'a>>,
    replication_id: Option<String>,
    offset: u64,
    primary_offset: u64,
    lag_bytes: u64,
    commands_applied: u64,
    full_syncs: u64,
    partial_syncs: u64,
    loading_bytes: u64,
    loading_keys: u64,
    guard_window_ms: Option<i64>,
    divergences: u64,
    guard_windows_given_up: u64,
    complete: bool,
    unknown_values: usize,
    unknown_commands: HashMap<String, u64>,
    keys: HashMap<u32, usize>,
    server: Option<Server>,
    watches: usize,
    snapshots_held: usize,
    snapshots_oldest_ms: Option<i64>,
    snapshots_written_since_bytes: Option<u64>,
    snapshots_before_full_sync: bool,
}

#[derive(NifMap)]
#[rustler(encode)]
struct Server {
    name: &'static str,
    version: String,
}

pub fn status<'a>(env: Env<'a>, store: &Store) -> Term<'a> {
    let (inner, now_ms) = (store.inner(), now_ms());
    let (status, state) = (&inner.shared.status, inner.seat.standing.state());
    let snapshot = store.live().load();
    let (snapshots_held, oldest) = store.holdings().oldest();
    let guard_since_ms = status.guard_window_since_ms.load(Ordering::Relaxed);
    let (offset, full_syncs) = (status.offset.load(Ordering::Relaxed), status.full_syncs.load(Ordering::Relaxed));
    let received = status.received.load(Ordering::Relaxed);
    let ready = snapshot.is_some();
    let stale = ready && state != Some(LinkState::Streaming);
    let status = Status {
        state: word(env, state.unwrap_or(LinkState::Init).as_str()),
        connected: state.is_some_and(|state| state != LinkState::Init),
        ready,
        stale,
        stale_ms: if stale { inner.seat.standing.stale_ms() } else { None },
        last_message_ms_ago: inner.seat.standing.silent_ms(),
        role: inner.seat.standing.role().map(|role| word(env, role.as_str())),
        replication_id: Some(status.replication_id.lock().to_string()).filter(|id| !id.is_empty()),
        offset,
        primary_offset: received.max(offset),
        lag_bytes: received.saturating_sub(offset),
        commands_applied: status.commands_applied.load(Ordering::Relaxed),
        full_syncs,
        partial_syncs: status.partial_syncs.load(Ordering::Relaxed),
        loading_bytes: status.loading_bytes.load(Ordering::Relaxed),
        loading_keys: status.loading_keys.load(Ordering::Relaxed),
        guard_window_ms: (guard_since_ms != 0).then(|| now_ms.saturating_sub(guard_since_ms).max(0)),
        divergences: status.divergences.load(Ordering::Relaxed),
        guard_windows_given_up: status.guard_windows_given_up.load(Ordering::Relaxed),
        complete: !status.incomplete.load(Ordering::Relaxed),
        unknown_values: snapshot.as_ref().map_or(0, |all| all.keyspace.unknown_values()),
        unknown_commands: status.unknown_commands.lock().iter().map(|(name, count)| (name.clone(), *count)).collect(),
        keys: snapshot.iter().flat_map(|all| all.keyspace.dbs()).map(|(index, db)| (index, db.len())).collect(),
        server: snapshot
            .as_ref()
            .and_then(|all| all.server.as_deref())
            .map(|server| Server { name: server.name, version: server.version.clone() }),
        watches: inner.shared.watches.len(),
        snapshots_held,
        snapshots_oldest_ms: oldest.map(|held| now_ms.saturating_sub(held.since_ms).max(0)),
        snapshots_written_since_bytes: oldest.map(|held| offset.saturating_sub(held.offset)),
        snapshots_before_full_sync: oldest.is_some_and(|held| held.full_syncs < full_syncs),
    };
    status.encode(env)
}

mod words {
    rustler::atoms! { state, ready, ended, soon, slowly, never, guard_given_up, lua, unknown_command, prefix }
}

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

/// What a survey of a snapshot file found.
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
        server: survey
            .seen()
            .server
            .as_ref()
            .map(|server| Server { name: server.name, version: server.version.clone() }),
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
