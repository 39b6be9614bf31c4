//! Streams. What is read of entries stands in [`reads`], what a stream says of itself in [`info`], the writes in [`writes`] and
//! [`groups`].
//!
//! An id is answered as the server writes it, `"ms-seq"`.

mod reads;
mod info;
mod writes;
mod groups;
#[cfg(test)]
mod tests;

use crate::context::Apply;
use crate::cursor::Words;
use crate::error::Written;
use crate::row::{Cost, Part, Read, Touches, Write};

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

pub const WRITES: &[Write] = &[
    row("xadd", &[Part::Key, Part::AddOptions, Part::Bin, Part::Pairs], writes::xadd),
    row("xtrim", &[Part::Key, Part::Word, Part::Options], writes::xtrim),
    row("xdel", &[Part::Key, Part::Bins], writes::xdel),
    row("xdelex", &[Part::Key, Part::Ids], writes::xdelex),
    row("xackdel", &[Part::Key, Part::Bin, Part::Ids], groups::xackdel),
    row("xsetid", &[Part::Key, Part::Bin, Part::Options], writes::xsetid),
    row("xcfgset", &[Part::Key, Part::Options], writes::xcfgset),
    row("xidmprecord", &[Part::Key, Part::Bin, Part::Bin, Part::Bin], writes::xidmprecord),
    row("xack", &[Part::Key, Part::Bin, Part::Bins], groups::xack),
    row("xgroup", &[Part::Word, Part::Key, Part::Bin, Part::Bins], groups::xgroup),
    row("xclaim", &[Part::Key, Part::Bin, Part::Bin, Part::Int, Part::Bin, Part::Options], groups::xclaim),
];

const fn row(name: &'static str, shape: &'static [Part], run: fn(&mut Apply<'_>, &mut Words<'_>) -> Written) -> Write {
    Write { name, shape, touches: Touches::Shape, run }
}
