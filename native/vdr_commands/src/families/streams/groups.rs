//! Writes to the groups of a stream.
//!
//! A primary sends the effects of XREADGROUP, XCLAIM and XAUTOCLAIM: one XCLAIM for each entry, and
//! XGROUP SETID. It does not always send the creation of a consumer that got no entry. So consumers
//! may be missing here, and an existing consumer may be created again.

use super::writes::{all, delete, refs_and_ids};
use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use crate::ops::stream_ids::{id, parse_id, parse_id_or_edge};
use crate::rules::Rules;
use vdr_data::blob::Blob;
use vdr_data::value::Stream;
use vdr_data::value::stream::{Consumer, Group, Id};

pub fn xgroup(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let subcommand = args.bytes()?.to_ascii_lowercase();
    let (key, group) = (args.bytes()?, args.bytes()?);
    match subcommand.as_slice() {
        b"create" => create(apply, key, group, args),
        b"setid" => {
            let (at, options) = (args.bytes()?, GroupOptions::parse(args)?);
            let rules = apply.rules;
            apply.stream(key, |stream| {
                let (last_id, entries_read) = (position(stream, at)?, options.entries_read(stream, rules));
                let group = stream.group_mut(group).ok_or(ApplyError::Missing)?;
                (group.last_id, group.entries_read) = (last_id, entries_read);
                Ok(())
            })
        }
        b"destroy" => {
            args.finish()?;
            apply.stream(key, |stream| stream.remove_group(group).map(|_| ()).ok_or(ApplyError::Missing))
        }
        b"createconsumer" => {
            let consumer = args.bytes()?;
            args.finish()?;
            let now_ms = apply.now_ms;
            in_group(apply, key, group, |group| {
                group.add_consumer(consumer, Consumer::new(now_ms, None));
                Ok(())
            })
        }
        b"delconsumer" => {
            let consumer = args.bytes()?;
            args.finish()?;
            in_group(apply, key, group, |group| {
                group.remove_consumer(consumer);
                Ok(())
            })
        }
        _ => Err(ApplyError::BadArguments),
    }
}

fn in_group(
    apply: &mut Apply<'_>,
    key: &[u8],
    group: &[u8],
    change: impl FnOnce(&mut Group) -> ApplyResult,
) -> ApplyResult {
    apply.stream(key, |stream| change(stream.group_mut(group).ok_or(ApplyError::Missing)?))
}

#[derive(Default)]
struct GroupOptions {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl GroupOptions {
    fn parse(args: &mut ArgCursor<'_>) -> Result<Self, ApplyError> {
        let mut options = GroupOptions::default();
        while !args.is_empty() {
            if args.take_word("mkstream") {
                options.make_stream = true;
            } else if args.take_word("entriesread") {
                // -1 stands for an unknown number.
                options.entries_read = u64::try_from(args.int()?).ok();
            } else {
                return Err(ApplyError::BadArguments);
            }
        }
        Ok(options)
    }

    fn entries_read(&self, stream: &Stream, rules: Rules) -> Option<u64> {
        let most = if rules.entries_read_capped { stream.entries_added } else { u64::MAX };
        self.entries_read.map(|read| read.min(most))
    }
}

/// The position of a group: an id, or `$` for the end of the stream.
fn position(stream: &Stream, at: &[u8]) -> Result<Id, ApplyError> {
    if at == b"$" { Ok(stream.last_id) } else { parse_id_or_edge(at) }
}

fn create(apply: &mut Apply<'_>, key: &[u8], group: &[u8], args: &mut ArgCursor<'_>) -> ApplyResult {
    let (at, options, rules) = (args.bytes()?, GroupOptions::parse(args)?, apply.rules);
    let create = |stream: &mut Stream| {
        if stream.group(group).is_some() {
            return Err(ApplyError::OutOfRange);
        }
        let last_id = position(stream, at)?;
        stream.put_group(Blob::new(group), Group::new(last_id, options.entries_read(stream, rules)));
        Ok(())
    };
    if options.make_stream { apply.stream_or_new(key, create) } else { apply.stream(key, create) }
}

pub fn xack(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, group, ids) = (args.bytes()?, args.bytes()?, all(args.some()?)?);
    in_group(apply, key, group, |group| {
        for id in ids {
            group.acknowledge(id);
        }
        Ok(())
    })
}

/// Deletes only entries that were pending in the group.
pub fn xackdel(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, group) = (args.bytes()?, args.bytes()?);
    let (refs, ids) = refs_and_ids(args)?;
    apply.stream(key, |stream| {
        for id in ids {
            if stream.group_mut(group).ok_or(ApplyError::Missing)?.acknowledge(id) {
                delete(stream, id, refs);
            }
        }
        Ok(())
    })
}

/// XNACK (Redis 8.8): consumers give entries back, which then wait for whoever claims them. A
/// primary sends the resulting number of deliveries, and FORCE. FORCE makes entries pending that
/// were not.
pub fn xnack(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, group) = (args.bytes()?, args.bytes()?);
    let mode = ["silent", "fail", "fatal"].into_iter().find(|word| args.take_word(word));
    let mode = mode.ok_or(ApplyError::BadArguments)?;
    let [before, ids, after] = args.counted_after("ids", 1)?;
    let (mut retries, mut force) = (None, false);
    for options in [before, after] {
        let mut options = ArgCursor::new(options);
        while !options.is_empty() {
            if options.take_word("retrycount") {
                retries = Some(options.count()? as u64);
            } else if options.take_word("force") {
                force = true;
            } else {
                return Err(ApplyError::BadArguments);
            }
        }
    }
    let ids = all(ids)?;
    in_group(apply, key, group, |group| {
        for id in ids {
            let Some(before) = group.pending_of(id).map(|of| of.deliveries).or(force.then_some(0)) else { continue };
            let deliveries = retries.unwrap_or(match mode {
                "silent" => before.saturating_sub(1),
                "fatal" => FATAL_DELIVERIES,
                _ => before,
            });
            group.release(id, 0, deliveries);
        }
        Ok(())
    })
}

/// What XNACK FATAL counts: the greatest number that the server has.
const FATAL_DELIVERIES: u64 = i64::MAX as u64;

/// The options after the ids of XCLAIM.
#[derive(Default)]
struct ClaimOptions {
    delivered_at_ms: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: Option<Id>,
}

impl ClaimOptions {
    fn parse(args: &mut ArgCursor<'_>, now_ms: i64) -> Result<Self, ApplyError> {
        let mut options = ClaimOptions::default();
        while !args.is_empty() {
            if args.take_word("force") {
                options.force = true;
            } else if args.take_word("justid") {
                options.just_id = true;
            } else if args.take_word("idle") {
                options.delivered_at_ms = Some(now_ms.saturating_sub(args.int()?));
            } else if args.take_word("time") {
                options.delivered_at_ms = Some(args.int()?);
            } else if args.take_word("retrycount") {
                options.deliveries = Some(args.count()? as u64);
            } else if args.take_word("lastid") {
                options.last_id = Some(parse_id(args.bytes()?)?);
            } else {
                return Err(ApplyError::BadArguments);
            }
        }
        Ok(options)
    }
}

pub fn xclaim(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, group, consumer, min_idle_ms) = (args.bytes()?, args.bytes()?, args.bytes()?, args.int()?);
    let mut ids = Vec::new();
    while let Some(id) = args.peek().and_then(|next| id(next, 0)) {
        ids.push(id);
        args.bytes()?;
    }
    let now_ms = apply.now_ms;
    let options = ClaimOptions::parse(args, now_ms)?;
    if ids.is_empty() {
        return Err(ApplyError::BadArguments);
    }
    let claim = Claim { consumer, min_idle_ms, now_ms, options };
    apply.stream(key, |stream| {
        let there: Vec<(Id, bool)> = ids.into_iter().map(|id| (id, stream.get(id).is_some())).collect();
        let group = stream.group_mut(group).ok_or(ApplyError::Missing)?;
        group.last_id = claim.options.last_id.map_or(group.last_id, |id| id.max(group.last_id));
        group.add_consumer(consumer, Consumer::new(now_ms, None));
        for (id, there) in there {
            // A primary claims a deleted entry to say that it is no longer pending.
            if there {
                claim.one(group, id);
            } else {
                group.acknowledge(id);
            }
        }
        Ok(())
    })
}

struct Claim<'a> {
    consumer: &'a [u8],
    min_idle_ms: i64,
    now_ms: i64,
    options: ClaimOptions,
}

impl Claim<'_> {
    fn one(&self, group: &mut Group, id: Id) {
        let old = group.pending_of(id).map(|old| (old.delivered_at_ms, old.deliveries));
        let deliveries = match old {
            None if !self.options.force => return,
            None => 1,
            Some((at_ms, _)) if self.now_ms.saturating_sub(at_ms) < self.min_idle_ms => return,
            Some((_, deliveries)) => deliveries,
        };
        let once_more = deliveries.saturating_add(u64::from(!self.options.just_id));
        let deliveries = self.options.deliveries.unwrap_or(once_more);
        group.assign(id, self.consumer, self.options.delivered_at_ms.unwrap_or(self.now_ms), deliveries);
        if let Some(consumer) = group.consumer_mut(self.consumer) {
            (consumer.seen_at_ms, consumer.active_at_ms) = (self.now_ms, Some(self.now_ms));
        }
    }
}
