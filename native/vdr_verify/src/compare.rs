//! Finds the smallest difference between a server and a snapshot of it.

use crate::attach::History;
use crate::cmd;
use crate::generate::DATABASES;
use crate::streams;
use std::io;
use vdr_core::digest::{self, Dialect};
use vdr_core::keyspace::{EntryRef, Keyspace};
use vdr_core::value::ValueRef;
use vdr_testkit::{Client, Command, Reply};

/// A key that is not the same on both sides.
#[derive(Debug)]
pub struct Difference {
    pub db: u32,
    pub key: Vec<u8>,
    pub text: String,
}

/// Every key of a quiet server against the snapshot: presence, value, expiry, field expiry.
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
    let mine = match entry {
        None => "0".repeat(40),
        Some(entry) => digest::digest_value(entry, dialect, now_ms).map_or("not comparable".into(), |d| d.to_string()),
    };
    if mine != theirs {
        return Ok(Some(format!(
            "value: ours {}, theirs {}",
            describe(entry.map(EntryRef::value)),
            dump(client, key)?
        )));
    }
    let their_expiry = match replies.next() {
        Some(Reply::Int(ms)) if ms >= 0 => Some(ms),
        Some(Reply::Int(-2)) => return Ok(None),
        _ => None,
    };
    let our_expiry = entry.and_then(|entry| entry.expiry().get());
    if our_expiry != their_expiry {
        return Ok(Some(format!("expiry: ours {our_expiry:?}, theirs {their_expiry:?}")));
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
            // A field past its time reads as missing there.
            let same = ours.iter().zip(&theirs).all(|(a, b)| a == b || *b == -2);
            Ok((!same).then(|| format!("field expiry: ours {ours:?}, theirs {theirs:?}")))
        }
        Some(ValueRef::Stream(stream)) => {
            streams::difference(client, key, stream, dialect != Dialect::of("redis", "7.0"))
        }
        _ => Ok(None),
    }
}

fn dump(client: &mut Client, key: &[u8]) -> io::Result<String> {
    let kind = client.pipeline(&[cmd!["TYPE", key]])?.pop().map(|reply| reply.text()).unwrap_or_default();
    let read = match kind.as_str() {
        "string" => cmd!["GET", key],
        "list" => cmd!["LRANGE", key, "0", "-1"],
        "set" => cmd!["SMEMBERS", key],
        "zset" => cmd!["ZRANGE", key, "0", "-1", "WITHSCORES"],
        "hash" => cmd!["HGETALL", key],
        "stream" => cmd!["XRANGE", key, "-", "+"],
        _ => return Ok(kind),
    };
    let mut words: Vec<Vec<u8>> = Vec::new();
    match client.pipeline(&[read])?.pop() {
        Some(Reply::Array(Some(items))) => words.extend(items.iter().map(|item| item.text().into_bytes())),
        Some(other) => words.push(other.text().into_bytes()),
        None => {}
    }
    Ok(format!("{kind} of {}: {}", words.len(), crate::attach::show(&words)))
}

fn describe(value: Option<ValueRef<'_>>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let words: Vec<Vec<u8>> = match value {
        ValueRef::String(text) => vec![text.to_vec()],
        ValueRef::List(list) => list.iter().map(|item| item.to_vec()).collect(),
        ValueRef::Set(set) => set.iter().map(|member| member.to_vec()).collect(),
        ValueRef::ZSet(zset) => {
            zset.iter().flat_map(|(member, score)| [member.to_vec(), score.get().to_string().into_bytes()]).collect()
        }
        ValueRef::Hash(hash) => hash.iter().flat_map(|(name, field)| [name.to_vec(), field.value.to_vec()]).collect(),
        ValueRef::Stream(stream) => stream
            .iter()
            .flat_map(|(id, fields)| {
                let pairs = fields.iter().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]);
                std::iter::once(id.to_string().into_bytes()).chain(pairs)
            })
            .collect(),
        ValueRef::Other => Vec::new(),
    };
    format!("{} of {}: {}", value.kind().name(), words.len(), crate::attach::show(&words))
}

/// A report for people.
pub fn report(differences: &[Difference], history: &History) -> String {
    let mut text = String::new();
    for difference in differences.iter().take(5) {
        let key = difference.key.escape_ascii();
        text += &format!("  db {} key {key}\n    {}\n", difference.db, difference.text);
        for line in history.about(&difference.key) {
            text += &format!("    {line}\n");
        }
    }
    text
}
