//! Hashes. The commands on the expiry of single fields stand in [`ttl`].
//!
//! No reader sees an expired field (only `HLEN` counts it, as the server does). A command of the
//! stream does see it, until the primary's `HDEL` removes it.

mod reads;
mod writes;
mod ttl;

#[cfg(test)]
mod tests;

use crate::ops::costs;
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::{Each, Replaces};
use crate::row::Part::{Bin, Bins, FieldPairs, Fields, Float, Int, Key, Pairs, PlainFields};
use crate::row::{Cost, Leaves, Read, Write, row};
use vdr_data::value::{Hash, Kind};

pub const READS: &[Read] = &[
    Read { name: "hget", args: &["key", "field"], cost: Cost::Point, run: reads::hget },
    Read { name: "hmget", args: &["key", "fields"], cost: Cost::Elements(costs::names), run: reads::hmget },
    Read { name: "hgetall", args: &["key"], cost: Cost::Elements(costs::len::<Hash>), run: reads::hgetall },
    Read { name: "hkeys", args: &["key"], cost: Cost::Elements(costs::len::<Hash>), run: reads::hkeys },
    Read { name: "hvals", args: &["key"], cost: Cost::Elements(costs::len::<Hash>), run: reads::hvals },
    Read { name: "hlen", args: &["key"], cost: Cost::Point, run: reads::hlen },
    Read { name: "hexists", args: &["key", "field"], cost: Cost::Point, run: reads::hexists },
    Read { name: "hstrlen", args: &["key", "field"], cost: Cost::Point, run: reads::hstrlen },
    Read {
        name: "hrandfield",
        args: &["key", "?count", "?with_values"],
        cost: Cost::Elements(reads::sample_len),
        run: reads::hrandfield,
    },
    Read { name: "hfirst", args: &["key", "count"], cost: Cost::Elements(costs::edge_len::<Hash>), run: reads::hfirst },
    Read { name: "hlast", args: &["key", "count"], cost: Cost::Elements(costs::edge_len::<Hash>), run: reads::hlast },
    Read {
        name: "hnext",
        args: &["key", "field", "count"],
        cost: Cost::Elements(costs::step_len::<Hash>),
        run: reads::hnext,
    },
    Read {
        name: "hprev",
        args: &["key", "field", "count"],
        cost: Cost::Elements(costs::step_len::<Hash>),
        run: reads::hprev,
    },
];

const HASH: Leaves = Leaves::Kind(Kind::Hash);

pub const WRITES: &[Write] = &[
    row("hset", &[Key, Pairs], InShape, HASH, Each, writes::hset),
    row("hmset", &[Key, Pairs], InShape, HASH, Each, writes::hset),
    row("hsetc", &[Key, Bins], InShape, HASH, Replaces, writes::hsetc),
    row("hsetnx", &[Key, Bin, Bin], InShape, HASH, Each, writes::hsetnx),
    row("hdel", &[Key, Bins], InShape, HASH, Each, writes::hdel),
    row("hincrby", &[Key, Bin, Int], InShape, HASH, Each, writes::hincrby),
    row("hincrbyfloat", &[Key, Bin, Float], InShape, HASH, Each, writes::hincrbyfloat),
    row("hexpire", &[Key, Int, Fields], InShape, HASH, Each, ttl::hexpire),
    row("hpexpire", &[Key, Int, Fields], InShape, HASH, Each, ttl::hpexpire),
    row("hexpireat", &[Key, Int, Fields], InShape, HASH, Each, ttl::hexpireat),
    row("hpexpireat", &[Key, Int, Fields], InShape, HASH, Each, ttl::hpexpireat),
    row("hpersist", &[Key, PlainFields], InShape, HASH, Each, ttl::hpersist),
    row("hgetdel", &[Key, PlainFields], InShape, HASH, Each, ttl::hgetdel),
    row("hgetex", &[Key, Fields], InShape, HASH, Each, ttl::hgetex),
    row("hsetex", &[Key, FieldPairs], InShape, HASH, Each, ttl::hsetex),
];
