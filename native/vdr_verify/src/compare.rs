//! Finds the smallest difference between a server and a snapshot of it.

use crate::command::cmd;
use crate::contrast::{Rows, contrast};
use crate::generate::DATABASES;
use crate::history::History;
use crate::streams;
use std::collections::HashSet;
use std::io;
use vdr_data::digest::{self, Dialect};
use vdr_data::keyspace::{EntryRef, Keyspace};
use vdr_data::value::ValueRef;
use vdr_testkit::{Client, Command, Reply};

/// A key that differs between the two sides.
#[derive(Debug)]
pub struct Difference {
    pub db: u32,
    pub key: Vec<u8>,
    pub text: String,
}

/// Compares every key of a quiet server with the snapshot: presence, value, expiry, field expiry.
pub fn differences(client: &mut Client, ours: &Keyspace, dialect: Dialect, now_ms: i64) -> io::Result<Vec<Difference>> {
    let mut found = Vec::new();
    for db in 0..DATABASES {
        client.call(&["SELECT", &db.to_string()])?;
        let mut keys: Vec<Vec<u8>> = scan(client)?;
        keys.extend(ours.db(db).iter().map(|entry| entry.key().to_vec()));
        keys.sort();
        keys.dedup();
        for key in keys {
            if let Some(text) = difference(client, ours, db, &key, dialect, now_ms)? {
                found.push(Difference { db, key, text });
            }
        }
    }
    Ok(found)
}

/// Those of the differences whose keys differed before, too.
pub fn lasting(mut now: Vec<Difference>, before: &[Difference]) -> Vec<Difference> {
    let keys: HashSet<(u32, &[u8])> = before.iter().map(|one| (one.db, one.key.as_slice())).collect();
    now.retain(|one| keys.contains(&(one.db, one.key.as_slice())));
    now
}

fn scan(client: &mut Client) -> io::Result<Vec<Vec<u8>>> {
    let (mut keys, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let mut page = client.call(&["SCAN", &cursor, "COUNT", "1000"])?.items().into_iter();
        cursor = page.next().map_or_else(|| "0".to_owned(), |cursor| cursor.text());
        for key in page.next().map(Reply::items).unwrap_or_default() {
            keys.extend(match key {
                Reply::Bulk(Some(key)) => Some(key),
                _ => None,
            });
        }
        if cursor == "0" {
            return Ok(keys);
        }
    }
}

fn difference(
    client: &mut Client,
    ours: &Keyspace,
    db: u32,
    key: &[u8],
    dialect: Dialect,
    now_ms: i64,
) -> io::Result<Option<String>> {
    let entry = ours.db(db).get(key);
    let replies = client.pipeline(&[cmd!["DEBUG", "DIGEST-VALUE", key], cmd!["PEXPIRETIME", key]])?;
    let mut replies = replies.into_iter();
    let theirs = replies.next().map(Reply::items).unwrap_or_default().first().map(Reply::text).unwrap_or_default();
    let their_expiry = replies.next();
    let mine = match entry {
        None => "0".repeat(40),
        Some(entry) => digest::digest_value(entry, dialect, now_ms).map_or("not comparable".into(), |d| d.to_string()),
    };
    let expiry = expiry_difference(entry, their_expiry);
    if mine != theirs {
        let ours = entry.map_or_else(Rows::nothing, |entry| Rows::of_mirror(entry.value()));
        let values = contrast(&ours, &read_whole(client, key)?);
        return Ok(Some(expiry.into_iter().fold(values, |text, expiry| format!("{text}; {expiry}"))));
    }
    if expiry.is_some() {
        return Ok(expiry);
    }
    match entry.map(EntryRef::value) {
        Some(ValueRef::Hash(hash)) if hash.has_expiring_fields() => {
            let names: Vec<Vec<u8>> = hash.iter().map(|(name, _)| name.to_vec()).collect();
            let mut command: Command = cmd!["HPEXPIRETIME", key, "FIELDS", names.len().to_string()];
            command.extend(names);
            let theirs = client.pipeline(&[command])?.pop().map(Reply::items).unwrap_or_default();
            let ours: Vec<i64> = hash.iter().map(|(_, field)| field.expiry.get().unwrap_or(-1)).collect();
            let theirs: Vec<i64> =
                theirs.iter().map(|reply| if let Reply::Int(ms) = reply { *ms } else { -9 }).collect();
            // The server reports a field past its time as missing.
            let same = ours.iter().zip(&theirs).all(|(a, b)| a == b || *b == -2);
            Ok((!same).then(|| format!("field expiry: ours {ours:?}, theirs {theirs:?}")))
        }
        Some(ValueRef::Stream(stream)) => {
            streams::difference(client, key, stream, dialect != Dialect::of("redis", "7.0"))
        }
        _ => Ok(None),
    }
}

/// Compares the server's answer to PEXPIRETIME with our entry.
fn expiry_difference(entry: Option<EntryRef<'_>>, theirs: Option<Reply>) -> Option<String> {
    let theirs = match theirs {
        Some(Reply::Int(ms)) if ms >= 0 => Some(ms),
        // The server reports a key past its time as missing, even while it stores the key.
        Some(Reply::Int(-2)) => return None,
        _ => None,
    };
    let ours = entry.and_then(|entry| entry.expiry().get());
    (ours != theirs).then(|| format!("expiry: ours {ours:?}, theirs {theirs:?}"))
}

fn read_whole(client: &mut Client, key: &[u8]) -> io::Result<Rows> {
    let kind = client.pipeline(&[cmd!["TYPE", key]])?.pop().map(|reply| reply.text()).unwrap_or_default();
    let read = match kind.as_str() {
        "string" => cmd!["GET", key],
        "list" => cmd!["LRANGE", key, "0", "-1"],
        "set" => cmd!["SMEMBERS", key],
        "zset" => cmd!["ZRANGE", key, "0", "-1", "WITHSCORES"],
        "hash" => cmd!["HGETALL", key],
        "stream" => cmd!["XRANGE", key, "-", "+"],
        _ => return Ok(Rows::nothing()),
    };
    Ok(Rows::of_server(&kind, client.pipeline(&[read])?.pop()))
}

/// A report for people.
pub fn report(differences: &[Difference], history: &History) -> String {
    let mut text = String::new();
    for difference in differences.iter().take(5) {
        let key = difference.key.escape_ascii();
        text += &format!("  db {} key {key}\n    {}\n", difference.db, difference.text);
        for line in history.about(difference.db, &difference.key) {
            text += &format!("    {line}\n");
        }
    }
    text
}
