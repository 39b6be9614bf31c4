//! Reads of entries.

use crate::args::Args;
use crate::error::ReadError;
use crate::ops::stream_ids::{end, id, start};
use crate::reply::Reply;
use crate::row::MEASURED_MAX;
use vdr_data::keyspace::View;
use vdr_data::value::Stream;
use vdr_data::value::stream::{Fields, Id};

/// The entries that a read asks for: ids from the first to the second, at most `count`.
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

    /// The entries after an id. There is none after the greatest.
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

/// The limit of a read; there is none if the caller passes nothing or nil.
fn count(args: &mut Args<'_>) -> Result<usize, ReadError> {
    if args.is_empty() || args.take_nil() { Ok(usize::MAX) } else { args.count() }
}

type Parse = fn(&mut Args<'_>) -> Result<Wanted, ReadError>;

/// The cost of an entry is the number of its fields, which has no bound.
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

pub fn fields_of<'s>(entries: impl Iterator<Item = (&'s Id, &'s Fields)>) -> usize {
    entries.map(|(_, fields)| fields.len().max(1)).sum()
}

pub fn range_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    wanted_len(view, args, Wanted::range, false)
}

pub fn revrange_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    wanted_len(view, args, Wanted::reversed, true)
}

pub fn read_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    wanted_len(view, args, Wanted::after, false)
}

/// An entry: its id, then its fields with their values in order.
pub fn entry<'s>((id, fields): (&Id, &'s Fields)) -> (Reply<'s>, Reply<'s>) {
    let pairs = fields.iter().map(|(name, value)| (Reply::Blob(name), Reply::Blob(value))).collect();
    (id_reply(*id), Reply::Pairs(pairs))
}

pub fn id_reply<'s>(id: Id) -> Reply<'s> {
    Reply::Bytes(id.to_string().into_bytes())
}

pub fn xlen<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.stream(args.bytes()?)?.map_or(0, Stream::counted)))
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

pub fn xrange<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    entries(view, args, Wanted::range, false)
}

pub fn xrevrange<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    entries(view, args, Wanted::reversed, true)
}

pub fn xread<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    entries(view, args, Wanted::after, false)
}
