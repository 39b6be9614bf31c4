//! Streams: what is read of entries. What a stream says of itself stands in [`info`], the writes in [`writes`] and
//! [`groups`], ids as text in [`ids`].
//!
//! An id is answered as the server writes it, `"ms-seq"`.

mod groups;
mod info;
#[cfg(test)]
mod tests;
mod writes;

use crate::args::Args;
use crate::context::Apply;
use crate::cursor::Words;
use crate::error::{ReadError, Written};
use crate::ops::stream_ids::{end, id, start};
use crate::reply::Reply;
use crate::row::{Cost, MEASURED_MAX, Part, Read, Touches, Write};
use vdr_data::keyspace::View;
use vdr_data::value::Stream;
use vdr_data::value::stream::{Fields, Id};

pub const READS: &[Read] = &[
    Read { name: "xlen", args: &["key"], cost: Cost::Point, run: xlen },
    Read { name: "xrange", args: &["key", "start", "stop", "?count"], cost: Cost::Elements(range_len), run: xrange },
    Read {
        name: "xrevrange",
        args: &["key", "stop", "start", "?count"],
        cost: Cost::Elements(revrange_len),
        run: xrevrange,
    },
    Read { name: "xread", args: &["key", "after_id", "?count"], cost: Cost::Elements(read_len), run: xread },
    Read { name: "xinfo_stream", args: &["key"], cost: Cost::Elements(info::stream_len), run: info::xinfo_stream },
    Read { name: "xinfo_groups", args: &["key"], cost: Cost::Elements(info::groups_len), run: info::xinfo_groups },
    Read { name: "xpending", args: &["key", "group"], cost: Cost::Elements(info::pending_len), run: info::xpending },
];

/// Which entries a read asks for: ids from the first to the second, so many at most.
struct Wanted {
    from: Id,
    to: Id,
    count: usize,
}

impl Wanted {
    fn range(args: &mut Args<'_>) -> Result<Self, ReadError> {
        let (from, to) = (start(args.bytes()?)?, end(args.bytes()?)?);
        Ok(Wanted { from, to, count: count(args)? })
    }

    fn reversed(args: &mut Args<'_>) -> Result<Self, ReadError> {
        let (to, from) = (end(args.bytes()?)?, start(args.bytes()?)?);
        Ok(Wanted { from, to, count: count(args)? })
    }

    /// After an id: from the next one on. There is none after the greatest.
    fn after(args: &mut Args<'_>) -> Result<Self, ReadError> {
        let after = id(args.bytes()?, 0).ok_or(ReadError::BadArgument)?;
        let count = count(args)?;
        Ok(match after.next() {
            Some(from) => Wanted { from, to: Id::MAX, count },
            None => Wanted { from: Id::MAX, to: Id::MAX, count: 0 },
        })
    }

    fn len(&self, stream: &Stream) -> usize {
        stream.count(self.from, self.to).min(self.count)
    }
}

/// How many at most: all, when the caller does not say or says nil.
fn count(args: &mut Args<'_>) -> Result<usize, ReadError> {
    if args.is_empty() || args.take_nil() { Ok(usize::MAX) } else { args.count() }
}

type Parse = fn(&mut Args<'_>) -> Result<Wanted, ReadError>;

/// An entry is as much as its fields, of which one may have any number.
fn wanted_len(view: View<'_>, args: &mut Args<'_>, parse: Parse, reverse: bool) -> Option<usize> {
    let stream = view.stream(args.bytes().ok()?).ok()??;
    let wanted = parse(args).ok()?;
    let len = wanted.len(stream);
    if len > MEASURED_MAX {
        return Some(len);
    }
    let range = stream.range(wanted.from, wanted.to);
    Some(if reverse { fields_of(range.rev().take(len)) } else { fields_of(range.take(len)) })
}

fn fields_of<'s>(entries: impl Iterator<Item = (&'s Id, &'s Fields)>) -> usize {
    entries.map(|(_, fields)| fields.len().max(1)).sum()
}

fn range_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    wanted_len(view, args, Wanted::range, false)
}

fn revrange_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    wanted_len(view, args, Wanted::reversed, true)
}

fn read_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    wanted_len(view, args, Wanted::after, false)
}

/// An entry: its id, and its fields with their values in their order.
fn entry<'s>((id, fields): (&Id, &'s Fields)) -> (Reply<'s>, Reply<'s>) {
    let pairs = fields.iter().map(|(name, value)| (Reply::Blob(name), Reply::Blob(value))).collect();
    (id_reply(*id), Reply::Pairs(pairs))
}

fn id_reply<'s>(id: Id) -> Reply<'s> {
    Reply::Bytes(id.to_string().into_bytes())
}

fn xlen<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.stream(args.bytes()?)?.map_or(0, Stream::len)))
}

fn entries<'s>(view: View<'s>, args: &mut Args<'_>, parse: Parse, reverse: bool) -> Result<Reply<'s>, ReadError> {
    let key = args.bytes()?;
    let wanted = parse(args)?;
    let Some(stream) = view.stream(key)? else { return Ok(Reply::Pairs(Vec::new())) };
    let range = stream.range(wanted.from, wanted.to);
    let mut entries = Vec::with_capacity(wanted.len(stream));
    if reverse {
        entries.extend(range.rev().take(wanted.count).map(entry));
    } else {
        entries.extend(range.take(wanted.count).map(entry));
    }
    Ok(Reply::Pairs(entries))
}

fn xrange<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    entries(view, args, Wanted::range, false)
}

fn xrevrange<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    entries(view, args, Wanted::reversed, true)
}

fn xread<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    entries(view, args, Wanted::after, false)
}

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
