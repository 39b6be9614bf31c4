//! Compares the parts of a stream that no digest covers: its counters, its groups, and their
//! pending entries.
//!
//! It leaves out what a primary does not send to its replicas: consumers without entries, and the
//! times when a consumer was seen.

use crate::command::cmd;
use std::io;
use vdr_data::value::Stream;
use vdr_data::value::stream::Group;
use vdr_testkit::{Client, Reply};

/// The difference between the server's description of a stream and ours. `entries_read`: whether
/// this server sends its replicas how many entries a group has read (servers before 7.4 do not).
pub fn difference(client: &mut Client, key: &[u8], ours: &Stream, entries_read: bool) -> io::Result<Option<String>> {
    let full = client.pipeline(&[cmd!["XINFO", "STREAM", key, "FULL", "COUNT", "0"]])?.pop();
    let theirs = of_server(full.map(Reply::items).unwrap_or_default(), entries_read);
    let ours = of_mirror(ours, entries_read);
    Ok((ours != theirs).then(|| format!("stream:\n      ours   {ours}\n      theirs {theirs}")))
}

fn of_mirror(stream: &Stream, entries_read: bool) -> String {
    let mut text = totals(&[
        stream.last_id.to_string(),
        stream.max_deleted_id.to_string(),
        stream.entries_added.to_string(),
        stream.first_id().to_string(),
    ]);
    for (name, group) in stream.groups() {
        let read = group.entries_read.map_or("?".to_owned(), |read| read.to_string());
        let read = if entries_read { read } else { String::new() };
        text += &format!(" | {} {} read {read}:", name.escape_ascii(), group.last_id);
        text += &waiting(group);
    }
    text
}

fn totals(parts: &[String]) -> String {
    format!("last, max deleted, added, first: {}", parts.join(" "))
}

fn waiting(group: &Group) -> String {
    let entry = |(id, of): (_, &vdr_data::value::stream::Pending)| {
        format!(
            " {id}>{}@{}x{}",
            of.consumer.as_deref().unwrap_or_default().escape_ascii(),
            of.delivered_at_ms,
            of.deliveries
        )
    };
    group.pending().map(entry).collect()
}

fn of_server(full: Vec<Reply>, entries_read: bool) -> String {
    let full = Record(full);
    let words = ["last-generated-id", "max-deleted-entry-id", "entries-added", "recorded-first-entry-id"];
    let mut text = totals(&words.map(|word| full.text(word)));
    for group in full.items("groups") {
        let group = Record(group.items());
        let read = match group.text("entries-read") {
            _ if !entries_read => String::new(),
            // Unknown: a null in this protocol.
            unknown if unknown.starts_with("Bulk") || unknown.starts_with("Array") => "?".to_owned(),
            known => known,
        };
        text += &format!(
            " | {} {} read {read}:",
            group.get("name").map(escaped).unwrap_or_default(),
            group.text("last-delivered-id")
        );
        for entry in group.items("pending") {
            let [id, consumer, at_ms, deliveries] = <[String; 4]>::try_from(escaped_items(entry)).unwrap_or_default();
            text += &format!(" {id}>{consumer}@{at_ms}x{deliveries}");
        }
    }
    text
}

fn escaped_items(reply: Reply) -> Vec<String> {
    reply.items().iter().map(escaped).collect()
}

/// Names may contain any bytes.
fn escaped(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(Some(bytes)) => bytes.escape_ascii().to_string(),
        other => other.text(),
    }
}

/// A map as a list of names and values.
struct Record(Vec<Reply>);

impl Record {
    fn get(&self, name: &str) -> Option<&Reply> {
        self.0.chunks(2).find(|pair| pair.first().is_some_and(|at| at.text() == name)).and_then(|pair| pair.get(1))
    }

    fn text(&self, name: &str) -> String {
        self.get(name).map(Reply::text).unwrap_or_default()
    }

    fn items(&self, name: &str) -> Vec<Reply> {
        self.get(name).cloned().map(Reply::items).unwrap_or_default()
    }
}
