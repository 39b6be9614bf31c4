//! Hashes. What gives single fields a time to live stands in [`ttl`].
//!
//! A field past its time is absent for every reader (`HLEN` alone counts it, as the server does), and present for every
//! command of the stream: the primary's `HDEL` takes it away.

mod reads;
mod writes;
mod ttl;

#[cfg(test)]
mod tests;

use crate::context::Apply;
use crate::cursor::Words;
use crate::error::Written;
use crate::row::{Cost, Part, Read, Touches, Write};

pub const READS: &[Read] = &[
    Read { name: "hget", args: &["key", "field"], cost: Cost::Point, run: reads::hget },
    Read { name: "hmget", args: &["key", "fields"], cost: Cost::Elements(reads::asked), run: reads::hmget },
    Read { name: "hgetall", args: &["key"], cost: Cost::Elements(reads::len), run: reads::hgetall },
    Read { name: "hkeys", args: &["key"], cost: Cost::Elements(reads::len), run: reads::hkeys },
    Read { name: "hvals", args: &["key"], cost: Cost::Elements(reads::len), run: reads::hvals },
    Read { name: "hlen", args: &["key"], cost: Cost::Point, run: reads::hlen },
    Read { name: "hexists", args: &["key", "field"], cost: Cost::Point, run: reads::hexists },
    Read { name: "hstrlen", args: &["key", "field"], cost: Cost::Point, run: reads::hstrlen },
    Read {
        name: "hrandfield",
        args: &["key", "?count", "?with_values"],
        cost: Cost::Elements(reads::sample_len),
        run: reads::hrandfield,
    },
    Read { name: "hfirst", args: &["key", "count"], cost: Cost::Elements(reads::edge_len), run: reads::hfirst },
    Read { name: "hlast", args: &["key", "count"], cost: Cost::Elements(reads::edge_len), run: reads::hlast },
    Read { name: "hnext", args: &["key", "field", "count"], cost: Cost::Elements(reads::step_len), run: reads::hnext },
    Read { name: "hprev", args: &["key", "field", "count"], cost: Cost::Elements(reads::step_len), run: reads::hprev },
];

pub const WRITES: &[Write] = &[
    row("hset", &[Part::Key, Part::Pairs], writes::hset),
    row("hmset", &[Part::Key, Part::Pairs], writes::hset),
    row("hsetnx", &[Part::Key, Part::Bin, Part::Bin], writes::hsetnx),
    row("hdel", &[Part::Key, Part::Bins], writes::hdel),
    row("hincrby", &[Part::Key, Part::Bin, Part::Int], writes::hincrby),
    row("hincrbyfloat", &[Part::Key, Part::Bin, Part::Float], writes::hincrbyfloat),
    row("hexpire", &[Part::Key, Part::Int, Part::Fields], ttl::hexpire),
    row("hpexpire", &[Part::Key, Part::Int, Part::Fields], ttl::hpexpire),
    row("hexpireat", &[Part::Key, Part::Int, Part::Fields], ttl::hexpireat),
    row("hpexpireat", &[Part::Key, Part::Int, Part::Fields], ttl::hpexpireat),
    row("hpersist", &[Part::Key, Part::Fields], ttl::hpersist),
    row("hgetdel", &[Part::Key, Part::Fields], ttl::hgetdel),
    row("hgetex", &[Part::Key, Part::Fields], ttl::hgetex),
    row("hsetex", &[Part::Key, Part::FieldPairs], ttl::hsetex),
];

const fn row(name: &'static str, shape: &'static [Part], run: fn(&mut Apply<'_>, &mut Words<'_>) -> Written) -> Write {
    Write { name, shape, touches: Touches::Shape, run }
}
