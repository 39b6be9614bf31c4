//! A filter beside the mirror. After each command, the filtered keyspace must equal the kept part
//! of the whole keyspace, unless the filter asked for a full sync.

use crate::command::show;
use fastrand::Rng;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use vdr_commands::{Affected, ApplyError, Rules};
use vdr_data::digest::{Dialect, digest_value};
use vdr_data::keyspace::{EntryRef, Keyspace};
use vdr_data::value::Kind;
use vdr_link::now_ms;
use vdr_replica::filter::Filter;
use vdr_replica::live::Snapshot;
use vdr_replica::stream::{self, Applier};

/// Compares everything once per this many commands, and only the affected keys otherwise.
const WHOLE_EVERY: u64 = 128;

/// How many commands a report shows.
const SHOWN: usize = 12;

/// Chooses some of the keys, databases and types that programs use.
pub fn choose(rng: &mut Rng) -> Filter {
    let some = |rng: &mut Rng, all: &[Kind]| all.iter().copied().filter(|_| rng.bool()).collect::<Vec<_>>();
    let all = [Kind::String, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash, Kind::Stream];
    let kinds = (rng.u8(0..3) > 0).then(|| some(rng, &all)).filter(|kinds| !kinds.is_empty());
    let dbs = rng.bool().then(|| (0..40).filter(|db| *db == 0 || rng.bool()).collect());
    let names = ["string:", "counter:", "bits:", "hll:", "list:", "set:", "zset:", "geo:", "hash:", "stream:"];
    let mut prefixes = names.map(|name| format!("{name}{}", ["", "1", "3"][rng.usize(0..3)])).to_vec();
    prefixes.retain(|_| rng.u8(0..3) > 0);
    let prefixes = rng.bool().then(|| prefixes.into_iter().map(String::into_bytes).collect());
    Filter::new(dbs, prefixes, kinds)
}

/// The filtered keyspace; see the module.
pub struct Filtered {
    only: Arc<Filter>,
    /// None until it copies its part from the whole keyspace, at the next point between two
    /// commands.
    applier: Option<Applier>,
    /// The selected database of the stream; then the one from before the open MULTI.
    db: u32,
    before_multi: Option<u32>,
    /// Keys that commands affected and that are not visible yet; `None` means all keys.
    affected: Option<BTreeSet<(u32, Vec<u8>)>>,
    last: VecDeque<String>,
    pub commands: u64,
    pub full_syncs: u64,
    pub wrong: Option<String>,
}

impl Filtered {
    pub fn new(only: Filter) -> Self {
        Filtered {
            only: Arc::new(only),
            applier: None,
            db: 0,
            before_multi: None,
            affected: None,
            last: VecDeque::new(),
            commands: 0,
            full_syncs: 0,
            wrong: None,
        }
    }

    /// The whole keyspace started over.
    pub fn sync(&mut self) {
        (self.applier, self.before_multi) = (None, None);
    }

    /// A link resumes: the primary sends an interrupted MULTI again.
    pub fn continued(&mut self) {
        self.db = self.before_multi.take().unwrap_or(self.db);
        self.applier.iter_mut().for_each(Applier::rewind);
    }

    /// A command that the whole keyspace has applied. It ends at `offset`, and `whole` is the
    /// published state.
    pub fn command(&mut self, args: &[&[u8]], len: usize, offset: u64, whole: Option<&Snapshot>) {
        let Some((name, rest)) = args.split_first() else { return };
        let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
        if is(b"select") {
            self.db = stream::selected(rest).unwrap_or(self.db);
        } else if is(b"multi") {
            self.before_multi = Some(self.db);
        } else if is(b"exec") {
            self.before_multi = None;
        }
        if let Some(applier) = &mut self.applier {
            self.commands += 1;
            self.last.push_back(format!("@{offset} db {} {}", self.db, show(&to_vecs(args))));
            self.last.drain(..self.last.len().saturating_sub(SHOWN));
            match applier.command(args, len, now_ms()).map_err(|divergence| divergence.error) {
                Ok(_) => self.touch(name, rest),
                Err(ApplyError::NotMirrored) => {
                    self.full_syncs += 1;
                    self.applier = None;
                }
                Err(error) => {
                    self.report(&format!("{error:?} of {}", show(&to_vecs(args))));
                    self.applier = None;
                }
            }
        }
        let Some(whole) = whole.filter(|whole| whole.offset == offset) else { return };
        match &self.applier {
            Some(applier) if applier.visible().is_some_and(|(_, at)| at == offset) => self.compare(&whole.keyspace),
            // Within a MULTI the published state is the one from before it.
            None if self.before_multi.is_none() => {
                let part = part(&whole.keyspace, &self.only);
                let rules = Rules::of_server(whole.server.as_deref());
                let applier = Applier::new(part, offset, self.db, None).rules(rules);
                self.applier = Some(applier.with_filter(Some(self.only.clone())));
                (self.affected, self.last) = (Some(BTreeSet::new()), VecDeque::new());
            }
            _ => {}
        }
    }

    fn touch(&mut self, name: &[u8], args: &[&[u8]]) {
        let Some(row) = vdr_commands::write(name) else { return };
        let affected = &mut self.affected;
        vdr_commands::for_each_affected(row, self.db, args, &mut |touch| match (touch, &mut *affected) {
            (Affected::Key { db, key }, Some(keys)) => _ = keys.insert((db, key.to_vec())),
            (Affected::Key { .. }, None) => {}
            (Affected::Db(_) | Affected::All, all) => *all = None,
        });
        if self.commands.is_multiple_of(WHOLE_EVERY) {
            self.affected = None;
        }
    }

    fn compare(&mut self, whole: &Keyspace) {
        let affected = self.affected.replace(BTreeSet::new());
        let Some((seen, _)) = self.applier.as_ref().and_then(Applier::visible) else { return };
        let wrong = match affected {
            Some(keys) => keys.into_iter().find(|(db, key)| differs(whole, seen, &self.only, *db, key)),
            None => keys(whole).chain(keys(seen)).find(|(db, key)| differs(whole, seen, &self.only, *db, key)),
        };
        if let Some((db, key)) = wrong {
            let entry = |keyspace: &Keyspace| {
                format!("{:?}", keyspace.db(db).get(&key).map(|entry| entry.to_entry()))
                    .chars()
                    .take(300)
                    .collect::<String>()
            };
            let (theirs, ours) = (entry(whole), entry(seen));
            self.report(&format!("db {db} {}\n    whole {theirs}\n    part  {ours}", key.escape_ascii()));
            self.applier = None;
        }
    }

    fn report(&mut self, what: &str) {
        let last: String = self.last.iter().map(|line| format!("\n    {line}")).collect();
        self.wrong.get_or_insert(format!("  through {:?}: {what}\n  after{last}", self.only));
    }
}

fn to_vecs(args: &[&[u8]]) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.to_vec()).collect()
}

fn keys(keyspace: &Keyspace) -> impl Iterator<Item = (u32, Vec<u8>)> {
    keyspace.dbs().flat_map(|(index, db)| db.iter().map(move |entry| (index, entry.key().to_vec())))
}

fn part(whole: &Keyspace, only: &Filter) -> Keyspace {
    let mut part = Keyspace::default();
    for (index, db) in whole.dbs() {
        for entry in db.iter().filter(|entry| only.keeps(index, entry.key(), entry.value().kind())) {
            part.db_mut(index).insert(entry.key(), entry.to_entry());
        }
    }
    part
}

/// Whether the kept part of a key differs from the whole keyspace.
fn differs(whole: &Keyspace, part: &Keyspace, only: &Filter, db: u32, key: &[u8]) -> bool {
    let kept = whole.db(db).get(key).filter(|entry| only.keeps(db, key, entry.value().kind()));
    match (kept, part.db(db).get(key)) {
        (None, None) => false,
        (Some(theirs), Some(ours)) => theirs.expiry() != ours.expiry() || value(theirs) != value(ours),
        _ => true,
    }
}

fn value(entry: EntryRef<'_>) -> Option<String> {
    digest_value(entry, Dialect::of("redis", "8.0.2"), 0).ok().map(|digest| digest.to_string())
}
