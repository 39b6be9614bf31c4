//! How a write is applied to a keyspace that holds only a part of the data.
//!
//! ```text
//! changes no key that is kept              -> Pass     SET outside 1
//! changes kept keys, reads nothing else    -> Run      SET ours 1
//! changes kept keys and others             -> Strip    MSET ours 1 outside 2: run, remove the rest
//! leaves kept keys with a type left out    -> Drop     SET ours 1, with hashes only: remove
//! reads a key left out, changes a kept one -> Missing  RENAME outside ours: only a full sync helps
//! ```

use super::criteria::Filter;
use vdr_commands::{Affected, ArgCursor, Effect, Part, Write};
use vdr_data::keyspace::Keyspace;
use vdr_data::value::Kind;

/// How to apply one write; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilteredWrite {
    Pass,
    Run,
    Strip,
    Drop,
    /// SMOVE from a set that is not kept: add the member.
    Join,
    Missing,
}

/// What a write affects of the kept keys and of the others.
#[derive(Default)]
struct Reach {
    ours: bool,
    others: bool,
    /// A kept key whose type does not matter.
    guard: bool,
}

impl Filter {
    /// How to apply a write. `args` are without its name.
    pub fn plan(&self, row: &Write, db: u32, args: &[&[u8]], keyspace: &Keyspace) -> FilteredWrite {
        let reach = self.reach(row, db, args);
        let run = if reach.others || self.kinds.is_some() { FilteredWrite::Strip } else { FilteredWrite::Run };
        let missing_if = |missing: bool| if missing { FilteredWrite::Missing } else { run };
        match row.effect {
            // A flush is the same for a part.
            Effect::WholeDatabases => FilteredWrite::Run,
            Effect::SwapsDatabases => self.swap(args),
            _ if !reach.ours && reach.others => FilteredWrite::Pass,
            // A write that affects no key at all is for its row to judge.
            _ if !reach.ours => FilteredWrite::Run,
            // The keys that it does not choose stay as they are, whatever their type.
            Effect::PicksOne if self.drops(row) => FilteredWrite::Pass,
            _ if self.drops(row) => {
                if reach.guard {
                    FilteredWrite::Strip
                } else {
                    FilteredWrite::Drop
                }
            }
            // The expiry of what it replaces is needed, and the type of that is unknown.
            Effect::ReplacesOrKeepsExpiry if self.kinds.is_some() && keeps_expiry(args) => {
                missing_if(self.lacks_one(row, db, args, keyspace))
            }
            Effect::Each | Effect::Replaces | Effect::ReplacesOrKeepsExpiry => run,
            Effect::Moves | Effect::MovesToDatabase => self.transfer(db, args, keyspace, run, FilteredWrite::Missing),
            Effect::MovesMember => self.transfer(db, args, keyspace, run, FilteredWrite::Join),
            Effect::PicksOne => missing_if(reach.others),
            Effect::SetsExpiry => {
                let there = args.first().is_some_and(|key| keyspace.db(db).get(key).is_some());
                if there || self.kinds.is_none() { run } else { FilteredWrite::Pass }
            }
            Effect::StoresFrom(kinds) | Effect::MergesFrom(kinds) => {
                missing_if(self.reads_elsewhere(row, kinds, db, args, keyspace))
            }
            Effect::Sorts => {
                let patterns = args.iter().any(|arg| arg.contains(&b'*'));
                let unknown = self.kinds.is_some() || self.prefixes.is_some() && patterns;
                missing_if(unknown || self.reads_elsewhere(row, &[], db, args, keyspace))
            }
        }
    }

    /// Whether a kept key that a command affects is missing.
    fn lacks_one(&self, row: &Write, db: u32, args: &[&[u8]], keyspace: &Keyspace) -> bool {
        let mut lacks = false;
        vdr_commands::for_each_affected(row, db, args, &mut |touch| {
            if let Affected::Key { db, key } = touch {
                lacks |= self.has_place(db, key) && keyspace.db(db).get(key).is_none();
            }
        });
        lacks
    }

    fn reach(&self, row: &Write, db: u32, args: &[&[u8]]) -> Reach {
        let mut reach = Reach::default();
        vdr_commands::for_each_affected(row, db, args, &mut |touch| match touch {
            Affected::Key { key, .. } if self.is_always(key) => (reach.ours, reach.guard) = (true, true),
            Affected::Key { db, key } if self.has_place(db, key) => reach.ours = true,
            Affected::Key { .. } => reach.others = true,
            Affected::Db(_) | Affected::All => {}
        });
        reach
    }

    /// A database that changes places with one that is not kept brings keys that are not here.
    fn swap(&self, args: &[&[u8]]) -> FilteredWrite {
        let mut args = ArgCursor::new(args);
        let mut kept = || args.int().ok().and_then(|index| u32::try_from(index).ok()).map(|db| self.has_db(db));
        match (kept(), kept()) {
            (Some(false), Some(false)) => FilteredWrite::Pass,
            (Some(a), Some(b)) if a != b => FilteredWrite::Missing,
            _ => FilteredWrite::Run,
        }
    }

    /// A key or a member goes from the first key to another. `from_others`: what to do when the
    /// first key is not kept.
    fn transfer(
        &self,
        db: u32,
        args: &[&[u8]],
        keyspace: &Keyspace,
        run: FilteredWrite,
        from_others: FilteredWrite,
    ) -> FilteredWrite {
        let Some(from) = args.first() else { return FilteredWrite::Run };
        if !self.is_always(from) && !self.has_place(db, from) {
            return from_others;
        }
        // A missing source has a type that is not kept, and so has the destination then.
        let gone = self.kinds.is_some() && keyspace.db(db).get(from).is_none();
        if gone { FilteredWrite::Drop } else { run }
    }

    /// Whether a write reads a key that may not be here. `kinds` are the types that its sources may
    /// have.
    fn reads_elsewhere(&self, row: &Write, kinds: &[Kind], db: u32, args: &[&[u8]], keyspace: &Keyspace) -> bool {
        let may_be_left_out = kinds.iter().any(|kind| !self.has_kind(*kind));
        let mut elsewhere = false;
        sources(row, args, &mut |key| {
            let absent = may_be_left_out && keyspace.db(db).get(key).is_none();
            elsewhere |= absent || !self.has_place(db, key);
        });
        elsewhere
    }
}

/// KEEPTTL follows keys and values. A value that looks like it costs a full sync.
fn keeps_expiry(args: &[&[u8]]) -> bool {
    args.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(b"keepttl"))
}

/// Calls `source` with each key that a command reads, according to its shape.
fn sources(row: &Write, args: &[&[u8]], source: &mut dyn FnMut(&[u8])) {
    let mut args = ArgCursor::new(args);
    for part in row.shape {
        match part {
            Part::Source => args.bytes().into_iter().for_each(&mut *source),
            Part::Sources => args.rest().iter().for_each(|key| source(key)),
            Part::CountedSources => args.counted().into_iter().flatten().for_each(|key| source(key)),
            Part::Key | Part::Bin | Part::Int | Part::Float | Part::Word => {
                if args.bytes().is_err() {
                    return;
                }
            }
            // No key that is read follows any other part.
            _ => return,
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
