//! A full sync as commands: applied one after the other, they make the keyspace that the file
//! holds.

use crate::files::{files, own_files, shared_folder};
use std::collections::BTreeMap;
use vdr_data::digest::{Dialect, digest};
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::{Db, Keyspace};
use vdr_data::value::stream::Group;
use vdr_data::value::{Kind, Stream, ValueRef};
use vdr_rdb::{KeyspaceBuilder, Loader, Visit};
use vdr_replica::batch::SnapshotBatcher;
use vdr_replica::stream::Applier;

/// `false`: the file cannot be read.
fn load(bytes: &[u8], visit: &mut impl Visit) -> bool {
    let mut loader = Loader::new();
    bytes.chunks(4096).all(|piece| loader.feed(piece, visit).is_ok())
}

fn by_commands(bytes: &[u8]) -> Keyspace {
    let (mut chunks, mut applier) = (SnapshotBatcher::new(Some(0)), Applier::new(Keyspace::default(), 0, 0, None));
    assert!(load(bytes, &mut chunks));
    let batch = chunks.batch();
    for command in batch.commands() {
        let select = command.db.to_string();
        applier.command(&[b"SELECT", select.as_bytes()], 0, 0).unwrap();
        let args: Vec<&[u8]> = batch.args(command).collect();
        applier.command(&args, 0, 0).unwrap_or_else(|error| panic!("{error:?}: {args:?}"));
    }
    applier.visible().unwrap().0.clone()
}

fn group(group: &Group) -> String {
    let pending: Vec<_> = group.pending().collect();
    let consumers: Vec<_> = group.consumers().map(|(name, consumer)| (name, consumer.pending_len())).collect();
    format!("{} {:?} {pending:?} {consumers:?}", group.last_id, group.entries_read)
}

/// What of a stream its digest does not cover, but for the times that no command says; an entry
/// that is gone waits for nobody any more.
fn beside_entries(mut stream: Stream) -> String {
    let names: Vec<_> = stream.groups().map(|(name, _)| name.clone()).collect();
    for name in &names {
        let gone: Vec<_> = stream.group(name).unwrap().pending().map(|(id, _)| *id).collect();
        for id in gone.into_iter().filter(|id| stream.get(*id).is_none()).collect::<Vec<_>>() {
            stream.group_mut(name).unwrap().acknowledge(id);
        }
    }
    let groups: Vec<_> = stream.groups().map(|(name, of)| (name, group(of))).collect();
    format!("{} {} {} {groups:?}", stream.last_id, stream.max_deleted_id, stream.entries_added)
}

/// A stream's account of itself, and the times of a hash's fields.
fn beside(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Stream(stream) => beside_entries(stream.as_ref().clone()),
        ValueRef::Hash(hash) => format!("{:?}", hash.iter().map(|(_, field)| field.expiry).collect::<Vec<_>>()),
        _ => String::new(),
    }
}

/// What digests do not cover, by key; no server's commands make the values of modules.
fn undigested(db: &Db) -> BTreeMap<&[u8], (Expiry, String)> {
    let kept = db.iter().filter(|entry| entry.value().kind() != Kind::Other);
    kept.map(|entry| (entry.key(), (entry.expiry(), beside(entry.value())))).collect()
}

fn streams(db: &Db) -> usize {
    db.iter().filter(|entry| entry.value().kind() == Kind::Stream).count()
}

/// Answers how many streams and how many times of expiry were compared.
fn compare(name: &str, bytes: &[u8]) -> (usize, usize) {
    let mut builder = KeyspaceBuilder::new();
    if !load(bytes, &mut builder) {
        return (0, 0);
    }
    let (expected, found) = (builder.into_keyspace(), by_commands(bytes));
    let mut compared = (0, 0);
    for (index, db) in expected.dbs() {
        let facts = undigested(db);
        assert_eq!(undigested(found.db(index)), facts, "{name} db {index}");
        let expiring = facts.values().filter(|(expiry, _)| expiry.is_set()).count();
        compared = (compared.0 + streams(db), compared.1 + expiring);
    }
    for (server, version) in [("redis", "7.0.15"), ("redis", "8.0.2"), ("valkey", "9.1.2")] {
        let of = |keyspace: &Keyspace| digest(keyspace, Dialect::of(server, version), 0);
        let modules = of(&expected).is_err();
        assert!(modules || of(&found) == of(&expected), "{name} by {server} {version}");
    }
    compared
}

#[test]
fn our_own_files_are_what_their_commands_make() {
    let total = own_files().iter().map(|(name, bytes, _)| compare(name, bytes)).collect::<Vec<_>>();
    assert!(total.iter().map(|(_, expiries)| expiries).sum::<usize>() > 10, "{total:?}");
    assert!(total.iter().map(|(streams, _)| streams).sum::<usize>() > 3, "{total:?}");
}

#[test]
fn shared_files_are_what_their_commands_make() {
    let Some(root) = shared_folder() else { return };
    let mut streams = 0;
    for folder in ["redis", "valkey", "redis-rdb-tools", "generated"] {
        for (name, bytes) in files(&root.join(folder)) {
            streams += compare(&format!("{folder}/{name}"), &bytes).0;
        }
    }
    assert!(streams > 15, "{streams}");
}
