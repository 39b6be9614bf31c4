//! Sets.
//!
//! A primary sends `SADD` and `SREM` with all members that the client named, even those that
//! changed nothing. If `SMOVE` does not find its member, the mirror's data differs from the
//! primary's.

use crate::args::Args;
use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult, ReadError};
use crate::ops::costs;
use crate::ops::sample::{self, ranks};
use crate::reply::Reply;
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::{Each, MovesMember, StoresFrom};
use crate::row::Part::{Bin, Bins, Key, Sources};
use crate::row::{Cost, Leaves, Read, Write, row};
use std::iter::Peekable;
use vdr_data::keyspace::View;
use vdr_data::value::Kind;
use vdr_data::value::{Set, StringRef};

#[cfg(test)]
mod tests;

pub const READS: &[Read] = &[
    Read { name: "smembers", args: &["key"], cost: Cost::Elements(costs::len::<Set>), run: smembers },
    Read { name: "scard", args: &["key"], cost: Cost::Point, run: scard },
    Read { name: "sismember", args: &["key", "member"], cost: Cost::Point, run: sismember },
    Read { name: "smismember", args: &["key", "members"], cost: Cost::Elements(costs::names), run: smismember },
    Read { name: "srandmember", args: &["key", "?count"], cost: Cost::Elements(sample_len), run: srandmember },
    Read { name: "sunion", args: &["keys"], cost: Cost::Elements(sum_of_lens), run: sunion },
    Read { name: "sinter", args: &["keys"], cost: Cost::Elements(least_len), run: sinter },
    Read { name: "sdiff", args: &["keys"], cost: Cost::Elements(first_len), run: sdiff },
    Read { name: "sintercard", args: &["keys", "?limit"], cost: Cost::Elements(least_len), run: sintercard },
    Read { name: "sfirst", args: &["key", "count"], cost: Cost::Elements(costs::edge_len::<Set>), run: sfirst },
    Read { name: "slast", args: &["key", "count"], cost: Cost::Elements(costs::edge_len::<Set>), run: slast },
    Read { name: "snext", args: &["key", "member", "count"], cost: Cost::Elements(costs::step_len::<Set>), run: snext },
    Read { name: "sprev", args: &["key", "member", "count"], cost: Cost::Elements(costs::step_len::<Set>), run: sprev },
];

fn sample_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let len = costs::len::<Set>(view, args)?;
    Some(if args.is_empty() { 1 } else { sample::amount(args.int().ok()?, len) })
}

/// The lengths of the sets. A missing set counts as one member: the call has to look it up as well.
fn lens(view: View<'_>, args: &mut Args<'_>) -> Option<Vec<usize>> {
    let sets = sets(view, args).ok()?;
    Some(sets.into_iter().map(|set| set.map_or(1, Set::len)).collect())
}

fn sum_of_lens(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    Some(lens(view, args)?.into_iter().fold(0, usize::saturating_add))
}

/// An intersection looks up each member of its smallest set in the others.
fn least_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let lens = lens(view, args)?;
    Some(lens.iter().min()?.saturating_mul(lens.len()))
}

/// A difference looks up each member of its first set in the others.
fn first_len(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let lens = lens(view, args)?;
    Some(lens.first()?.saturating_mul(lens.len()))
}

/// The members that `pick` takes from a set; none of a missing one.
fn members<'s, I>(set: Option<&'s Set>, pick: impl FnOnce(&'s Set) -> I) -> Reply<'s>
where
    I: Iterator<Item = StringRef<'s>>,
{
    set.map_or_else(|| Reply::List(Vec::new()), |set| Reply::strings(pick(set)))
}

fn smembers<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(members(view.set(args.bytes()?)?, Set::iter))
}

fn scard<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::int(view.set(args.bytes()?)?.map_or(0, Set::len)))
}

fn sismember<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, member) = (args.bytes()?, args.bytes()?);
    Ok(Reply::Bool(view.set(key)?.is_some_and(|set| set.contains(member))))
}

fn smismember<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, members) = (args.bytes()?, args.byte_list()?);
    let set = view.set(key)?;
    let has = |member: &[u8]| Reply::Bool(set.is_some_and(|set| set.contains(member)));
    Ok(Reply::List(members.into_iter().map(has).collect()))
}

/// Without a count the answer is one member, or nil.
fn srandmember<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, alone) = (args.bytes()?, args.is_empty());
    let count = if alone { 1 } else { args.int()? };
    let set = view.set(key)?;
    let ranks = ranks(count, set.map_or(0, Set::len), view.now_ms(), key)?;
    let mut members = ranks.into_iter().filter_map(|rank| set?.at(rank));
    Ok(if alone { Reply::string_or_nil(members.next()) } else { Reply::strings(members) })
}

fn sets<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Vec<Option<&'s Set>>, ReadError> {
    args.byte_list()?.into_iter().map(|key| Ok(view.set(key)?)).collect()
}

fn sunion<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let sets = sets(view, args)?;
    Ok(Reply::strings(union(sets.into_iter().flatten()).into_iter()))
}

/// The members of any of the sets (union).
fn union<'s>(sets: impl Iterator<Item = &'s Set>) -> Vec<StringRef<'s>> {
    let mut members: Vec<StringRef<'_>> = sets.flat_map(Set::iter).collect();
    // The stable sort finds the runs, one for each set, and merges them.
    members.sort();
    members.dedup();
    members
}

fn sinter<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::strings(intersection(sets(view, args)?)))
}

fn sintercard<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let sets = sets(view, args)?;
    let limit = if args.is_empty() { 0 } else { args.count()? };
    let limit = if limit == 0 { usize::MAX } else { limit };
    Ok(Reply::int(intersection(sets).take(limit).count()))
}

fn sdiff<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    Ok(Reply::strings(difference(sets(view, args)?)))
}

/// The members of all sets (intersection); a missing set has none.
fn intersection(sets: Vec<Option<&Set>>) -> impl Iterator<Item = StringRef<'_>> {
    let mut sets: Vec<&Set> = sets.into_iter().collect::<Option<_>>().unwrap_or_default();
    sets.sort_by_key(|set| set.len());
    let least = sets.first().copied();
    let mut others = probes(sets.into_iter().skip(1), least);
    let in_all = move |member: &StringRef<'_>| others.iter_mut().all(|other| other.has(*member));
    least.into_iter().flat_map(Set::iter).filter(in_all)
}

/// The members of the first set that are in no other (difference).
fn difference(sets: Vec<Option<&Set>>) -> impl Iterator<Item = StringRef<'_>> {
    let first = sets.first().copied().flatten();
    let mut others = probes(sets.into_iter().skip(1).flatten(), first);
    let in_none = move |member: &StringRef<'_>| !others.iter_mut().any(|other| other.has(*member));
    first.into_iter().flat_map(Set::iter).filter(in_none)
}

/// Looks up members in a set. The caller must ask for them in byte order: if the set is not much
/// larger than the one that they come from, both are walked together, at a tenth of the cost of a
/// search for each member.
struct Probe<'s> {
    set: &'s Set,
    walk: Option<Peekable<Box<dyn Iterator<Item = StringRef<'s>> + 's>>>,
}

fn probes<'s>(sets: impl Iterator<Item = &'s Set>, asker: Option<&Set>) -> Vec<Probe<'s>> {
    let asked = asker.map_or(0, Set::len);
    let walk = |set: &'s Set| (Box::new(set.iter()) as Box<dyn Iterator<Item = StringRef<'s>> + 's>).peekable();
    sets.map(|set| Probe { set, walk: (set.len() / 8 <= asked).then(|| walk(set)) }).collect()
}

impl Probe<'_> {
    fn has(&mut self, member: StringRef<'_>) -> bool {
        let Some(walk) = &mut self.walk else {
            return self.set.contains(&member);
        };
        while walk.next_if(|next| *next < member).is_some() {}
        walk.peek().is_some_and(|next| *next == member)
    }
}

fn sfirst<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, count) = (args.bytes()?, args.count()?);
    Ok(members(view.set(key)?, |set| set.range(0, count)))
}

fn slast<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, count) = (args.bytes()?, args.count()?);
    Ok(members(view.set(key)?, |set| set.iter().rev().take(count)))
}

fn snext<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, member, count) = (args.bytes()?, args.bytes()?, args.count()?);
    Ok(members(view.set(key)?, |set| {
        let from = set.rank(member).map_or_else(|rank| rank, |rank| rank + 1);
        set.range(from, from.saturating_add(count))
    }))
}

fn sprev<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let (key, member, count) = (args.bytes()?, args.bytes()?, args.count()?);
    Ok(members(view.set(key)?, |set| {
        let to = set.rank(member).unwrap_or_else(|rank| rank);
        set.range(to.saturating_sub(count), to).rev()
    }))
}

const SET: Leaves = Leaves::Kind(Kind::Set);

pub const WRITES: &[Write] = &[
    row("sadd", &[Key, Bins], InShape, SET, Each, sadd),
    row("srem", &[Key, Bins], InShape, SET, Each, srem),
    row("smove", &[Key, Key, Bin], InShape, SET, MovesMember, smove),
    row("sinterstore", &[Key, Sources], InShape, SET, StoresFrom(&[Kind::Set]), sinterstore),
    row("sunionstore", &[Key, Sources], InShape, SET, StoresFrom(&[Kind::Set]), sunionstore),
    row("sdiffstore", &[Key, Sources], InShape, SET, StoresFrom(&[Kind::Set]), sdiffstore),
];

fn sadd(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, members) = (args.bytes()?, args.some()?);
    apply.set(key, |set| {
        members.iter().for_each(|member| {
            set.insert(member);
        });
        Ok(())
    })
}

fn srem(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (key, members) = (args.bytes()?, args.some()?);
    apply.set(key, |set| {
        members.iter().for_each(|member| {
            set.remove(member);
        });
        Ok(())
    })
}

fn smove(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let (source, destination, member) = (args.bytes()?, args.bytes()?, args.bytes()?);
    args.finish()?;
    let there = apply.stored::<Set>(source)?.is_some_and(|set| set.contains(member));
    apply.stored::<Set>(destination)?;
    if !there {
        return Err(ApplyError::Missing);
    }
    if source == destination {
        return Ok(());
    }
    apply.set(source, |set| {
        set.remove(member);
        Ok(())
    })?;
    apply.set(destination, |set| {
        set.insert(member);
        Ok(())
    })
}

fn sources<'a>(apply: &'a Apply<'_>, args: &mut ArgCursor<'_>) -> Result<Vec<Option<&'a Set>>, ApplyError> {
    args.some()?.iter().map(|key| apply.stored::<Set>(key)).collect()
}

fn sinterstore(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let destination = args.bytes()?;
    let result: Set = intersection(sources(apply, args)?).collect();
    apply.store(destination, result);
    Ok(())
}

fn sunionstore(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let destination = args.bytes()?;
    let mut sets: Vec<&Set> = sources(apply, args)?.into_iter().flatten().collect();
    sets.sort_by_key(|set| set.len());
    let result = match sets.split_last() {
        Some((most, others)) if is_little(others.iter().copied(), most) => {
            let mut all = (*most).clone();
            for member in others.iter().flat_map(|set| set.iter()) {
                all.insert(&member);
            }
            all
        }
        _ => union(sets.into_iter()).into_iter().collect(),
    };
    apply.store(destination, result);
    Ok(())
}

/// Whether it is cheaper to change a copy of `set` by the members of the others than to build a new
/// set. The copy shares what stays. One change costs as much as building about ten members.
fn is_little<'s>(others: impl Iterator<Item = &'s Set>, set: &Set) -> bool {
    others.fold(0usize, |sum, other| sum.saturating_add(other.len())) < set.len() / 10
}

fn sdiffstore(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let destination = args.bytes()?;
    let sets = sources(apply, args)?;
    let first = sets.first().copied().flatten();
    let others = sets.iter().skip(1).copied().flatten();
    let result = match first {
        Some(first) if is_little(others.clone(), first) => {
            let mut rest = first.clone();
            for member in others.flat_map(Set::iter) {
                rest.remove(&member);
            }
            rest
        }
        _ => difference(sets).collect(),
    };
    apply.store(destination, result);
    Ok(())
}
