//! The publisher's look-ups: whom a write affects.
//!
//! A write that affects nobody takes no lock: [`Finder`] knows the filters of the table, and the
//! lengths of the heads that it met lately, as of the beginning of a batch of writes.

use super::affixes::{HEAD, Head, KnownAffixes};
use super::event::{Kind, Notify};
use super::filter::Filters;
use super::table::{Item, Place, Sort, Table, may_hold};
use super::watcher::Watch;
use super::{Hit, Map, Watches};
use std::cell::OnceCell;
use std::sync::Arc;
use vdr_commands::{Affected, Tuple, glob};
use vdr_data::blob::Blob;

/// How many heads the publisher remembers, each in the one place that it can have.
const HEADS: usize = 512;

/// See the module.
pub struct Finder {
    watches: Arc<Watches>,
    filters: Filters,
    affixes: KnownAffixes,
    heads: Heads,
    /// The keys that the next writes probably affect.
    ahead: Vec<Ahead>,
    /// Which of them is expected next.
    next: usize,
    /// The patterns that a key matches: kept for its memory.
    matching: Vec<Blob>,
}

/// What the filters say about a key.
struct Ahead {
    db: u32,
    /// Its address and length: a key is recognised, and not compared.
    key: (usize, usize),
    hash: u64,
    may_hold: bool,
}

fn identity(key: &[u8]) -> (usize, usize) {
    (key.as_ptr().addr(), key.len())
}

impl Finder {
    pub fn new(watches: &Arc<Watches>) -> Self {
        Finder {
            watches: watches.clone(),
            filters: Filters::default(),
            affixes: KnownAffixes::default(),
            heads: Heads::default(),
            ahead: Vec::new(),
            next: 0,
            matching: Vec::new(),
        }
    }

    /// To be called before writes are applied. A watch that a write of them overlooks is new: it
    /// was added after this, and then finds the writes unpublished. A watch that does not find them
    /// so is seen by every look-up. See [`Unpublished`](super::filter::Unpublished).
    pub fn begin(&mut self) {
        self.watches.unpublished.begin();
        self.affixes = self.watches.affixes.known();
        self.watches.table.refresh(&mut self.filters);
        self.ahead.clear();
    }

    /// Asks the filters about the keys that the next writes probably affect, so that the cache
    /// misses overlap. The same slices must come to [`Finder::affected`] before others take their
    /// place in memory: at the latest, the next call of this or of [`Finder::begin`] forgets them.
    pub fn look_ahead<'k>(&mut self, db: u32, keys: impl Iterator<Item = &'k [u8]>) {
        self.ahead.clear();
        self.next = 0;
        if !self.watches.is_empty() {
            let (table, filters) = (&self.watches.table, &self.filters);
            self.ahead.extend(keys.map(|key| {
                let hash = table.hash((db, Sort::Key, key));
                Ahead { db, key: identity(key), hash, may_hold: may_hold(filters, hash) }
            }));
        }
    }

    /// The hash of a key that watches may have.
    fn hash_if_held(&mut self, db: u32, key: &[u8]) -> Option<u64> {
        let is_this = |ahead: &Ahead| ahead.db == db && ahead.key == identity(key);
        let (hash, may_hold) = match self.ahead.iter().skip(self.next).position(is_this) {
            Some(skipped) => {
                self.next += skipped;
                self.ahead.get(self.next).map(|ahead| (ahead.hash, ahead.may_hold))?
            }
            None => {
                let hash = self.watches.table.hash((db, Sort::Key, key));
                (hash, may_hold(&self.filters, hash))
            }
        };
        may_hold.then_some(hash)
    }

    /// Collects in `hits` whom one write affects. `touches` enumerates the affected keys; `command`
    /// makes the command's tuple, once.
    pub fn affected(
        &mut self,
        touches: impl FnOnce(&mut dyn FnMut(Affected<'_>)),
        command: impl Fn() -> Tuple,
        offset: u64,
        hits: &mut Vec<Hit>,
    ) {
        let first = hits.len();
        let mut affected =
            AffectedWatches { hits, first, offset, command, tuple: OnceCell::new(), keys: 0, of_write: None };
        touches(&mut |touch| match touch {
            Affected::Key { db, key } => self.affected_by_key(db, key, &mut affected),
            Affected::Db(_) | Affected::All => {
                let is_touched = |db: u32| matches!(touch, Affected::All) || touch == Affected::Db(db);
                self.watches.table.for_each_in(is_touched, |watch| {
                    let key = Some(watch.target.name.clone()).filter(|_| watch.target.kind == Kind::Key);
                    affected.add(watch, key);
                });
            }
        });
    }

    fn affected_by_key(&mut self, db: u32, key: &[u8], affected: &mut AffectedWatches<'_, impl Fn() -> Tuple>) {
        affected.next_key();
        if let Some(hash) = self.hash_if_held(db, key) {
            let add = |watch: &Arc<Watch>| affected.add(watch, Some(Blob::new(key)));
            self.watches.table.for_each((db, Sort::Key, key), hash, add);
        }
        let table = Known { table: &self.watches.table, filters: &self.filters };
        let mut look_up = |sort, name: &[u8]| {
            table.watches((db, sort, name), |watch| affected.add(watch, Some(Blob::new(key))));
        };
        let KnownAffixes { starts, ends, insides, changes } = self.affixes;
        if let Some(shortest) = starts {
            for len in shortest..=HEAD.min(key.len()) {
                let head = Head::of(db, Sort::StartHead, key.iter().copied(), len);
                for (len, sort) in self.heads.lengths(head, changes, &table) {
                    let Some(start) = key.get(..*len) else { break };
                    match sort {
                        Sort::Prefix => look_up(Sort::Prefix, start),
                        _ => table.matching((db, *sort, start), key, &mut self.matching),
                    }
                }
            }
        }
        if let Some(shortest) = ends {
            for len in shortest..=HEAD.min(key.len()) {
                let head = Head::of(db, Sort::EndHead, key.iter().rev().copied(), len);
                for (len, sort) in self.heads.lengths(head, changes, &table) {
                    let Some(end) = key.len().checked_sub(*len).and_then(|from| key.get(from..)) else { break };
                    table.matching((db, *sort, end), key, &mut self.matching);
                }
            }
        }
        if insides {
            for (len, sort) in self.heads.lengths(Head::of_insides(db), changes, &table) {
                match len {
                    0 => table.matching((db, *sort, b""), key, &mut self.matching),
                    len => key.windows(*len).for_each(|part| {
                        table.matching((db, *sort, part), key, &mut self.matching);
                    }),
                }
            }
        }
        self.matching.drain(..).for_each(|pattern| look_up(Sort::Pattern, &pattern));
    }
}

/// The table as the publisher knows it.
struct Known<'t> {
    table: &'t Table,
    filters: &'t Filters,
}

impl Known<'_> {
    /// Calls `found` with the watches of a place.
    fn watches(&self, place: Place<'_>, found: impl FnMut(&Arc<Watch>)) {
        let hash = self.table.hash(place);
        if may_hold(self.filters, hash) {
            self.table.for_each(place, hash, found);
        }
    }

    fn items(&self, place: Place<'_>, found: impl FnMut(&Item)) {
        let hash = self.table.hash(place);
        if may_hold(self.filters, hash) {
            self.table.for_each_item(place, hash, found);
        }
    }

    /// Adds the patterns of an anchor that a key matches, each once: a key may have the anchor at
    /// several places.
    fn matching(&self, anchor: Place<'_>, key: &[u8], matching: &mut Vec<Blob>) {
        self.items(anchor, |item| {
            if let Item::Pattern(pattern) = item
                && glob::matches(pattern, key)
                && (anchor.1 != Sort::InsideAnchor || !matching.contains(pattern))
            {
                matching.push(pattern.clone());
            }
        });
    }
}

/// The lengths of the heads that the publisher met lately.
#[derive(Default)]
struct Heads(Vec<KnownHead>);

#[derive(Clone, Default)]
struct KnownHead {
    head: Option<Head>,
    /// How often the lengths of any head had changed.
    changes: usize,
    /// In ascending order.
    lengths: Vec<(usize, Sort)>,
}

impl Heads {
    fn lengths(&mut self, head: Head, changes: usize, table: &Known<'_>) -> &[(usize, Sort)] {
        if self.0.is_empty() {
            self.0.resize(HEADS, KnownHead::default());
        }
        let place = (head.mixed() >> 32) as usize % HEADS;
        let Some(known) = self.0.get_mut(place) else { return &[] };
        if known.head != Some(head) || known.changes != changes {
            known.head = Some(head);
            known.changes = changes;
            known.lengths.clear();
            table.items(head.place(), |item| {
                if let Item::Length(len, sort) = item {
                    known.lengths.push((*len, *sort));
                }
            });
        }
        &known.lengths
    }
}

/// The watches that one write affects.
struct AffectedWatches<'h, C> {
    hits: &'h mut Vec<Hit>,
    /// Where those of this write begin.
    first: usize,
    offset: u64,
    command: C,
    tuple: OnceCell<Arc<Tuple>>,
    /// How many keys the write affected so far.
    keys: usize,
    /// From the second key on: where each watch of several keys stands in `hits`, by address.
    of_write: Option<Map<usize, usize>>,
}

impl<C: Fn() -> Tuple> AffectedWatches<'_, C> {
    fn next_key(&mut self) {
        self.keys += 1;
        if self.keys > 1 && self.of_write.is_none() {
            let hits = self.hits.iter().enumerate().skip(self.first);
            self.of_write = Some(hits.map(|(place, hit)| (hit.watch.address(), place)).collect());
        }
    }

    fn add(&mut self, watch: &Arc<Watch>, key: Option<Blob>) {
        let of_commands = watch.manner.notify == Notify::Command;
        // One message for each watch, however many keys of the prefix a write affects: each message
        // carries the whole command.
        if of_commands
            && watch.target.kind != Kind::Key
            && let Some(of_write) = &mut self.of_write
        {
            let place = *of_write.entry(watch.address()).or_insert(self.hits.len());
            if let Some(hit) = self.hits.get_mut(place) {
                hit.key = hit.key.take().filter(|other| Some(other) == key.as_ref());
                return;
            }
        }
        let command = &self.command;
        let tuple = || self.tuple.get_or_init(|| Arc::new(command())).clone();
        let command = of_commands.then(tuple);
        self.hits.push(Hit { watch: watch.clone(), key, command, offset: self.offset });
    }
}

#[cfg(test)]
mod tests;
