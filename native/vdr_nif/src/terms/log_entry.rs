//! Lines for the Logger.

use super::primitive::{binary, word};
use rustler::{Encoder, Env, Term};
use std::time::UNIX_EPOCH;
use vdr_trace::{Entry, Level};

mod atoms {
    rustler::atoms! { dropped }
}

/// A list of `{level, time_us, text}` and `{:dropped, count}`. The time is Unix time.
pub fn log_entries<'a>(env: Env<'a>, entries: &[Entry]) -> Term<'a> {
    entries.iter().map(|entry| log_entry(env, entry)).collect::<Vec<_>>().encode(env)
}

fn log_entry<'a>(env: Env<'a>, entry: &Entry) -> Term<'a> {
    match entry {
        Entry::Line(line) => {
            let time_us = line.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
            let time_us = u64::try_from(time_us).unwrap_or(u64::MAX);
            (word(env, level(line.level)), time_us, binary(env, line.text.as_bytes())).encode(env)
        }
        Entry::Dropped(count) => (atoms::dropped(), count).encode(env),
    }
}

/// The Logger has nothing below `:debug`.
fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}
