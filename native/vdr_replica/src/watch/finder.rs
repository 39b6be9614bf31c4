//! The publisher's look-ups: whom a write affects.
//!
//! A write that affects nobody takes no lock: [`Finder`] knows the filters of the table, and the
//! lengths of the heads that it met lately, as of the beginning of a batch of writes.

use super::affixes::{HEAD, Head, KnownAffixes};
use super::event::{Kind, Notify};
use super::filter::Filters;
use super::table::{Item, Place, Sort, Table, may_hold, place_hash, prefetch};
use super::watcher::Watch;
use super::{Hit, Map, Watches};
use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;
use vdr_commands::{Affected, Tuple, glob};
use vdr_data::blob::Blob;
use vdr_data::keyspace::HashedKey;

/// How many heads the publisher remembers, each in the one place that it can have.
const HEADS: usize = 512;

/// See the module.
pub struct Finder {
    watches: Arc<Watches>,
    filters: Filters,
    affixes: KnownAffixes,
    heads: Heads,
    ahead: Ahead,
    /// The patterns that a key matches: kept for its memory.
    matching: Vec<Blob>,
}

/// Most places that are looked up ahead for one key. Anchors inside of a long key have more.
const PLACES_AHEAD_MAX: usize = 64;

/// Where watches of the keys would be that the next writes probably affect.
#[derive(Default)]
struct Ahead {
    db: u32,
    /// The hashes of the places of all keys, the first key's first.
    places: Vec<u64>,
    /// For each key where its places are in `places`; `None` if they are too many.
    of_keys: Vec<Option<Range<usize>>>,
}

impl Ahead {
    fn begin(&mut self, db: u32) {
        self.db = db;
        self.places.clear();
        self.of_keys.clear();
    }

    fn places(&self, nth: usize, db: u32) -> Option<&[u64]> {
        self.places.get(self.of_keys.get(nth)?.clone()?).filter(|_| self.db == db)
    }
}

impl Finder {
    pub fn new(watches: &Arc<Watches>) -> Self {
        Finder {
            watches: watches.clone(),
            filters: Filters::default(),
            affixes: KnownAffixes::default(),
            heads: Heads::default(),
            ahead: Ahead::default(),
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
        self.ahead.begin(0);
    }

    /// Prefetches what the filters say about the keys that the next writes probably affect. Some
    /// time later, and until the next call of this or of [`Finder::begin`],
    /// [`Finder::is_unaffected`] reads it.
    pub fn look_ahead(&mut self, db: u32, keys: &[HashedKey<'_>]) {
        let Finder { watches, filters, affixes, heads, ahead, .. } = self;
        ahead.begin(db);
        if watches.is_empty() {
            return;
        }
        let known = Known { table: &watches.table, filters };
        for HashedKey { key, hash } in keys {
            let from = ahead.places.len();
            let mut add = |hash| {
                known.prefetch(hash);
                ahead.places.push(hash);
                ahead.places.len() - from > PLACES_AHEAD_MAX
            };
            if affixes.keys {
                add(place_hash(db, Sort::Key, *hash));
            }
            let too_many = heads.any_place(db, key, *affixes, &known, |place| add(known.table.hash(place)));
            ahead.of_keys.push((!too_many).then_some(from..ahead.places.len()));
        }
    }

    /// Whether no watch has the n-th key of the look-ahead in this database. `false`: one may have
    /// it.
    pub fn is_unaffected(&self, nth: usize, db: u32) -> bool {
        let known = Known { table: &self.watches.table, filters: &self.filters };
        self.ahead.places(nth, db).is_some_and(|places| !places.iter().any(|hash| known.may_hold(*hash)))
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
        let Finder { watches, filters, affixes, heads, matching, .. } = self;
        let table = Known { table: &watches.table, filters };
        let mut look_up = |place: Place<'_>| table.watches(place, |watch| affected.add(watch, Some(Blob::new(key))));
        look_up((db, Sort::Key, key));
        heads.any_place(db, key, *affixes, &table, |place| {
            match place.1 {
                Sort::Prefix => look_up(place),
                _ => table.matching(place, key, matching),
            }
            false
        });
        matching.drain(..).for_each(|pattern| look_up((db, Sort::Pattern, &pattern)));
    }
}

/// The table as the publisher knows it.
struct Known<'t> {
    table: &'t Table,
    filters: &'t Filters,
}

impl Known<'_> {
    /// Whether the place with this hash may hold something.
    fn may_hold(&self, hash: u64) -> bool {
        may_hold(self.filters, hash)
    }

    fn prefetch(&self, hash: u64) {
        prefetch(self.filters, hash);
    }

    /// Calls `found` with the watches of a place.
    fn watches(&self, place: Place<'_>, found: impl FnMut(&Arc<Watch>)) {
        let hash = self.table.hash(place);
        if self.may_hold(hash) {
            self.table.for_each(place, hash, found);
        }
    }

    fn items(&self, place: Place<'_>, found: impl FnMut(&Item)) {
        let hash = self.table.hash(place);
        if self.may_hold(hash) {
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
    /// Whether any of the places is `wanted` in which prefixes and anchors of a key are looked up.
    fn any_place(
        &mut self,
        db: u32,
        key: &[u8],
        KnownAffixes { starts, ends, insides, changes, .. }: KnownAffixes,
        table: &Known<'_>,
        mut wanted: impl FnMut(Place<'_>) -> bool,
    ) -> bool {
        if let Some(shortest) = starts {
            for len in shortest..=HEAD.min(key.len()) {
                let head = Head::of_start(db, key, len);
                for (len, sort) in self.lengths(head, changes, table) {
                    let Some(start) = key.get(..*len) else { break };
                    if wanted((db, *sort, start)) {
                        return true;
                    }
                }
            }
        }
        if let Some(shortest) = ends {
            for len in shortest..=HEAD.min(key.len()) {
                let head = Head::of_end(db, key, len);
                for (len, sort) in self.lengths(head, changes, table) {
                    let Some(end) = key.len().checked_sub(*len).and_then(|from| key.get(from..)) else { break };
                    if wanted((db, *sort, end)) {
                        return true;
                    }
                }
            }
        }
        insides
            && self.lengths(Head::of_insides(db), changes, table).iter().any(|(len, sort)| match len {
                0 => wanted((db, *sort, b"")),
                len => key.windows(*len).any(|part| wanted((db, *sort, part))),
            })
    }

    #[inline]
    fn lengths(&mut self, head: Head, changes: usize, table: &Known<'_>) -> &[(usize, Sort)] {
        if self.0.is_empty() {
            self.0.resize(HEADS, KnownHead::default());
        }
        let place = (head.mixed() >> 32) as usize % HEADS;
        let Some(known) = self.0.get_mut(place) else { return &[] };
        if known.head != Some(head) || known.changes != changes {
            known.meet(head, changes, table);
        }
        &known.lengths
    }
}

impl KnownHead {
    #[cold]
    fn meet(&mut self, head: Head, changes: usize, table: &Known<'_>) {
        self.head = Some(head);
        self.changes = changes;
        self.lengths.clear();
        table.items(head.place(), |item| {
            if let Item::Length(len, sort) = item {
                self.lengths.push((*len, *sort));
            }
        });
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
