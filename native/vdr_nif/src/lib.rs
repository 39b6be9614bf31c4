//! The boundary between the BEAM and the core: resources, terms, NIFs, messages.
//!
//! This crate knows no command by name: reads are rows of the core's table, found by the atom that
//! the caller used. Only `terms` knows how values look as terms.
//!
//! The modules stand in reading order, from the ground up.

mod allocator;
mod clock;
mod dropper;
mod pool;

mod resource_bytes;
mod status;

mod entry;
mod terms;

mod recipient;
mod notices;
mod questions;

mod caller;

mod log;

mod freshness;
mod holdings;
mod link_status;
mod link_slot;

mod tags;
mod serving;
mod sampling;
mod watching;

mod handler;
mod store;

mod source;

mod link_observer;

mod client;
mod read;
mod digest;
mod feed;
mod file;
mod handler_calls;
mod instance;
mod key_diff;
mod key_walk;
mod large_keys;
mod log_calls;
#[cfg(feature = "lua")]
mod lua;
#[cfg(not(feature = "lua"))]
mod lua_not_built;
mod sentinel;
mod snapshot;
mod watch_calls;

rustler::init!("Elixir.Vdr.Native", load = load);

fn load(env: rustler::Env<'_>, _info: rustler::Term<'_>) -> bool {
    dropper::tidy_by(|| {
        allocator::give_back();
        resource_bytes::release_free();
    });
    vdr_trace::install();
    resource_bytes::open(env) && read::index_rows(env)
}

/// The version of the library, which is that of the application it was built with.
#[rustler::nif]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
