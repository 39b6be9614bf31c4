//! The properties of a stream and its groups, under the server's names with underscores.

use super::reads::{entry, fields_of, id_reply};
use crate::args::Args;
use crate::error::ReadError;
use crate::reply::Reply;
use vdr_data::blob::Blob;
use vdr_data::keyspace::View;
use vdr_data::value::Stream;
use vdr_data::value::stream::{Fields, Group, Id};

/// The first and the last entry are part of the reply.
pub fn stream_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let stream = view.stream(args.bytes().ok()?).ok()??;
    Some(fields_of(stream.first().into_iter().chain(stream.last())))
}

/// `XINFO STREAM`, without the properties of the server's own structure (radix trees); nil if there
/// is no key.
pub fn xinfo_stream<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let Some(stream) = view.stream(args.bytes()?)? else { return Ok(Reply::Nil) };
    let edge = |edge: Option<(&Id, &'s Fields)>| edge.map_or(Reply::Nil, |edge| Reply::Pair(Box::new(entry(edge))));
    Ok(Reply::Record(vec![
        ("length", Reply::int(stream.counted())),
        ("last_generated_id", id_reply(stream.last_id)),
        ("max_deleted_entry_id", id_reply(stream.max_deleted_id)),
        ("entries_added", counter(stream.entries_added)),
        ("recorded_first_entry_id", id_reply(stream.first_id())),
        ("groups", Reply::int(stream.groups().len())),
        ("first_entry", edge(stream.first())),
        ("last_entry", edge(stream.last())),
    ]))
}

pub fn groups_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    Some(view.stream(args.bytes().ok()?).ok()??.groups().size_hint().0)
}

/// `XINFO GROUPS`: one record for each group, in byte order of their names.
pub fn xinfo_groups<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let Some(stream) = view.stream(args.bytes()?)? else { return Ok(Reply::List(Vec::new())) };
    Ok(Reply::List(stream.groups().map(|(name, group)| group_record(stream, name, group)).collect()))
}

fn group_record<'s>(stream: &Stream, name: &'s Blob, group: &Group) -> Reply<'s> {
    Reply::Record(vec![
        ("name", Reply::Blob(name)),
        ("consumers", Reply::int(group.consumers().size_hint().0)),
        ("pending", Reply::int(group.pending_len())),
        ("last_delivered_id", id_reply(group.last_id)),
        ("entries_read", group.entries_read.map_or(Reply::Nil, counter)),
        ("lag", lag(stream, group).map_or(Reply::Nil, Reply::Int)),
    ])
}

pub fn pending_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let stream = view.stream(args.bytes().ok()?).ok()??;
    Some(stream.group(args.bytes().ok()?)?.consumers().size_hint().0)
}

/// `XPENDING key group`: the number of pending entries, the first and the last, and the number for
/// each consumer that has some; nil if there is no such key or group.
pub fn xpending<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, group) = (args.bytes()?, args.bytes()?);
    let Some(group) = view.stream(key)?.and_then(|stream| stream.group(group)) else { return Ok(Reply::Nil) };
    let id = |edge: Option<Id>| edge.map_or(Reply::Nil, id_reply);
    let waiting = group.consumers().filter(|(_, consumer)| consumer.pending_len() > 0);
    Ok(Reply::Record(vec![
        ("pending", Reply::int(group.pending_len())),
        ("min", id(group.pending().next().map(|(id, _)| *id))),
        ("max", id(group.pending().next_back().map(|(id, _)| *id))),
        (
            "consumers",
            Reply::Pairs(waiting.map(|(name, of)| (Reply::Blob(name), Reply::int(of.pending_len()))).collect()),
        ),
    ]))
}

fn counter<'s>(count: u64) -> Reply<'s> {
    Reply::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

/// The group's lag: how many entries it has not received yet; `None` if deletions make it
/// unknown without counting.
fn lag(stream: &Stream, group: &Group) -> Option<i64> {
    let (first_id, len) = (stream.first_id(), stream.counted() as u64);
    let read = if stream.is_empty() {
        stream.entries_added
    } else if group.last_id < first_id && stream.max_deleted_id < first_id {
        stream.entries_added.saturating_sub(len)
    } else {
        let holes_ahead = stream.max_deleted_id != Id::MIN && group.last_id <= stream.max_deleted_id;
        let known = group.entries_read.filter(|_| !holes_ahead);
        known.or_else(|| entries_up_to(stream, group.last_id))?
    };
    let difference = i128::from(stream.entries_added) - i128::from(read);
    i64::try_from(difference).ok()
}

/// How many entries were ever added up to an id, for a stream that has entries now.
fn entries_up_to(stream: &Stream, id: Id) -> Option<u64> {
    let (first_id, before) = (stream.first_id(), stream.entries_added.saturating_sub(stream.counted() as u64));
    let whole = stream.max_deleted_id < first_id;
    match id {
        _ if id != Id::MIN && id < stream.max_deleted_id => None,
        _ if id == stream.last_id => Some(stream.entries_added),
        _ if id < first_id && whole => Some(before),
        _ if id == first_id && whole => Some(before.saturating_add(1)),
        _ => None,
    }
}
