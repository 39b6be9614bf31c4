//! A snapshot to read from, and the shortest way to run a source on it.

use std::sync::Arc;
use vdr_commands::Arg;
use vdr_data::blob::Blob;
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::{Entry, Keyspace};
use vdr_data::value::{Hash, List, Score, ZSet};
use vdr_lua::{Engine, Limits, LuaValue, ScriptError, Subject};
use vdr_replica::live::Snapshot;

/// A leaderboard of `members` (the first three at half points), an item and its owner, a list,
/// 10,000 small strings.
pub fn subject(members: usize) -> Subject {
    let mut keyspace = Keyspace::default();
    let db = keyspace.db_mut(0);
    let scores = (0..members).filter_map(|i| Score::new(i as f64 + if i < 3 { 0.5 } else { 0.0 }));
    let names = (0..members).map(|i| Blob::new(format!("player:{i:06}").as_bytes()));
    db.insert(b"leaderboard", Entry::new(ZSet::from_members(names.zip(scores), members <= 128)));
    db.insert(b"item:456:owner_id", Entry::new(Blob::from("77")));
    let fields = [("name", "Ona"), ("city", "Kaunas")];
    let fields = fields.map(|(name, value)| (name, value, Expiry::NEVER));
    db.insert(b"user:77", Entry::new(Hash::from_iter(fields)));
    db.insert(b"queue", Entry::new(List::from_iter(["a", "b"])));
    for i in 0..10_000 {
        db.insert(format!("k:{i:05}").as_bytes(), Entry::new(Blob::from_int(i)));
    }
    Subject {
        snapshot: Arc::new(Snapshot { keyspace, ..Snapshot::default() }),
        db: 0,
        now_ms: 1_000_000,
        abandoned: None,
    }
}

pub fn run_with(
    engine: &Engine,
    subject: &Subject,
    source: &str,
    keys: &[&[u8]],
    args: &[Arg<'_>],
    limits: Limits,
) -> Result<LuaValue, ScriptError> {
    let script = engine.script(source.as_bytes())?;
    engine.run(&script, subject.clone(), keys, args, limits)
}
