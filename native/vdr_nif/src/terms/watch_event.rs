//! Events of watches.

use super::encode::{blob, tuple};
use rustler::types::atom;
use rustler::{Encoder, Env, NifStruct, Term};
use vdr_replica::watch::Event;

/// The payload of a watcher's message.
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
