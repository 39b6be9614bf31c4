//! Streams. Reads of entries stand in [`reads`], the properties of a stream in [`info`], writes in
//! [`writes`] and [`groups`].
//!
//! Replies contain ids in the server's notation, `"ms-seq"`.

mod reads;
mod info;
mod writes;
mod groups;
#[cfg(test)]
mod tests;

pub use reads::entry;

use crate::row::AffectedKeys::InShape;
use crate::row::Effect::Each;
use crate::row::Part::{AddOptions, Bin, Bins, Ids, Int, Key, Options, Pairs, Word};
use crate::row::{Cost, Leaves, Read, Write, row};
use vdr_data::value::Kind;

pub const READS: &[Read] = &[
    Read { name: "xlen", args: &["key"], cost: Cost::Point, run: reads::xlen },
    Read {
        name: "xrange",
        args: &["key", "start", "stop", "?count"],
        cost: Cost::Elements(reads::range_len),
        run: reads::xrange,
    },
    Read {
        name: "xrevrange",
        args: &["key", "stop", "start", "?count"],
        cost: Cost::Elements(reads::revrange_len),
        run: reads::xrevrange,
    },
    Read {
        name: "xread",
        args: &["key", "after_id", "?count"],
        cost: Cost::Elements(reads::read_len),
        run: reads::xread,
    },
    Read { name: "xinfo_stream", args: &["key"], cost: Cost::Elements(info::stream_len), run: info::xinfo_stream },
    Read { name: "xinfo_groups", args: &["key"], cost: Cost::Elements(info::groups_len), run: info::xinfo_groups },
    Read { name: "xpending", args: &["key", "group"], cost: Cost::Elements(info::pending_len), run: info::xpending },
];

const STREAM: Leaves = Leaves::Kind(Kind::Stream);

pub const WRITES: &[Write] = &[
    row("xadd", &[Key, AddOptions, Bin, Pairs], InShape, STREAM, Each, writes::xadd),
    row("xtrim", &[Key, Word, Options], InShape, STREAM, Each, writes::xtrim),
    row("xdel", &[Key, Bins], InShape, STREAM, Each, writes::xdel),
    row("xdelex", &[Key, Ids], InShape, STREAM, Each, writes::xdelex),
    row("xackdel", &[Key, Bin, Ids], InShape, STREAM, Each, groups::xackdel),
    row("xsetid", &[Key, Bin, Options], InShape, STREAM, Each, writes::xsetid),
    row("xcfgset", &[Key, Options], InShape, STREAM, Each, writes::xcfgset),
    row("xidmprecord", &[Key, Bin, Bin, Bin], InShape, STREAM, Each, writes::xidmprecord),
    row("xack", &[Key, Bin, Bins], InShape, STREAM, Each, groups::xack),
    row("xnack", &[Key, Bin, Word, Ids], InShape, STREAM, Each, groups::xnack),
    row("xgroup", &[Word, Key, Bin, Bins], InShape, STREAM, Each, groups::xgroup),
    row("xclaim", &[Key, Bin, Bin, Int, Bin, Options], InShape, STREAM, Each, groups::xclaim),
];
