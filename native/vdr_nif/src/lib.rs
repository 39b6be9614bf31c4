//! The border between the BEAM and the core: resources, terms, NIFs, messages.
//!
//! It knows no command by name: reads are rows of the core's table, found by the atom that the caller used. What a term
//! means is known to [`terms`] alone.

mod allocator;
mod digest;
mod file;
mod handler;
mod home;
mod instance;
mod link;
mod lua;
mod pool;
mod read;
mod reaper;
mod replica;
mod seat;
mod sentinel;
mod snapshot;
mod source;
mod store;
mod terms;
mod walk;
mod watcher;

rustler::init!("Elixir.Vdr.Native", load = load);

fn load(env: rustler::Env<'_>, _info: rustler::Term<'_>) -> bool {
    reaper::tidy_by(|| {
        allocator::give_back();
        home::give_up_spare();
    });
    home::open(env) && read::index_rows(env)
}
