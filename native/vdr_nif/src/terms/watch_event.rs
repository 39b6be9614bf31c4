//! Events of watches.

use super::encode::{blob, reply, tuple};
use super::primitive::word;
use rustler::types::atom;
use rustler::{Encoder, Env, NifStruct, Term};
use vdr_commands::Reply;
use vdr_data::blob::Blob;
use vdr_data::keyspace::EntryRef;
use vdr_data::value::ValueRef;
use vdr_replica::watch::Event;

/// The largest aggregate whose elements an event has. The publisher makes them into terms.
const VALUE_ELEMENTS_MAX: usize = 1000;

mod atoms {
    rustler::atoms! { large, unknown, up, down }
}

/// The payload of a watcher's message.
pub fn event<'a>(env: Env<'a>, event: &Event<'_>) -> Term<'a> {
    match event {
        Event::Update { command, db, key, offset } => {
            UpdateEvent { command: tuple(env, command), db: *db, key: name(env, *key), offset: *offset }.encode(env)
        }
        Event::Value { db, key, old, new, offset } => {
            let (old, new) = (value(env, *old), value(env, *new));
            ValueEvent { db: *db, key: name(env, *key), old, new, offset: *offset }.encode(env)
        }
        Event::Key { db, key, offset } => KeyEvent { db: *db, key: name(env, *key), offset: *offset }.encode(env),
        Event::Init { offset } => InitEvent { offset: *offset }.encode(env),
        Event::Missed { from, to, count } => MissedEvent { from: *from, to: *to, count: *count }.encode(env),
        Event::Link { up } => LinkEvent { state: if *up { atoms::up() } else { atoms::down() } }.encode(env),
    }
}

fn name<'a>(env: Env<'a>, key: Option<&Blob>) -> Term<'a> {
    key.map_or_else(|| atom::nil().to_term(env), |key| blob(env, key))
}

/// `nil`, or `{type, content}`.
fn value<'a>(env: Env<'a>, entry: Option<EntryRef<'_>>) -> Term<'a> {
    let Some(value) = entry.map(EntryRef::value) else { return atom::nil().to_term(env) };
    let content = if value.len() > VALUE_ELEMENTS_MAX { atoms::large().to_term(env) } else { content(env, value) };
    (word(env, value.kind().name()), content).encode(env)
}

/// As the reads of the type answer it.
fn content<'a>(env: Env<'a>, value: ValueRef<'_>) -> Term<'a> {
    let content = match value {
        ValueRef::String(string) => Reply::string(string),
        ValueRef::List(list) => Reply::strings(list.iter()),
        ValueRef::Set(set) => Reply::strings(set.iter()),
        ValueRef::Hash(hash) => Reply::Map(hash.iter().map(|(name, field)| (name, field.value)).collect()),
        ValueRef::ZSet(zset) => Reply::Pairs(
            zset.iter().map(|(member, score)| (Reply::string(member), Reply::score(score.get()))).collect(),
        ),
        ValueRef::Stream(stream) => Reply::Pairs(stream.iter().map(vdr_commands::stream_entry).collect()),
        ValueRef::Other | ValueRef::Unknown => return atoms::unknown().to_term(env),
    };
    reply(env, &content)
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
#[module = "Vdr.WatchEvent.Value"]
#[rustler(encode)]
struct ValueEvent<'a> {
    db: u32,
    key: Term<'a>,
    old: Term<'a>,
    new: Term<'a>,
    offset: u64,
}

#[derive(NifStruct)]
#[module = "Vdr.WatchEvent.Key"]
#[rustler(encode)]
struct KeyEvent<'a> {
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

#[derive(NifStruct)]
#[module = "Vdr.WatchEvent.Missed"]
#[rustler(encode)]
struct MissedEvent {
    from: u64,
    to: u64,
    count: u64,
}

#[derive(NifStruct)]
#[module = "Vdr.WatchEvent.Link"]
#[rustler(encode)]
struct LinkEvent {
    state: rustler::Atom,
}
