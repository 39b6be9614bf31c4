//! A full sync as batches of commands: each key becomes the writes that would make it, a large key
//! many of them.
//!
//! ```text
//! list    RPUSH k e1 .. en   RPUSH k ..                              PEXPIREAT k ms
//! stream  XADD k id f v      XADD k ..   XSETID k ..   XGROUP ..     PEXPIREAT k ms      see `consumer_groups`
//! ```

use super::commands::Batch;
use super::consumer_groups::Groups;
use vdr_data::expiry::Expiry;
use vdr_data::value::Kind;
use vdr_rdb::{Element, Fault, FileSummary, KeyHeader, Visit, Want, note_aux, stream};

/// Most elements that one command adds.
pub const CHUNK_ELEMENTS_MAX: usize = 512;
/// A command is closed when it has elements of this many bytes.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;

/// See the module.
pub struct SnapshotBatcher {
    offset: u64,
    /// The offset is known, and what the file says of it does not count.
    has_offset: bool,
    summary: FileSummary,
    db: u32,
    key: Vec<u8>,
    kind: Kind,
    expiry: Expiry,
    wanted: bool,
    /// The command under construction.
    open: Option<Open>,
    /// Fields of the command under construction that expire.
    expiring: Vec<(i64, Vec<u8>)>,
    groups: Groups,
    batch: Batch,
}

/// Where the arguments and bytes of a command begin in the batch, and how many elements it has.
#[derive(Clone, Copy)]
struct Open {
    first: usize,
    bytes: usize,
    elements: usize,
}

impl SnapshotBatcher {
    /// `offset` is that of the file. `None`: only the file says it, before its first key.
    pub fn new(offset: Option<u64>) -> Self {
        SnapshotBatcher {
            offset: offset.unwrap_or(0),
            has_offset: offset.is_some(),
            summary: FileSummary::default(),
            db: 0,
            key: Vec::new(),
            kind: Kind::Other,
            expiry: Expiry::NEVER,
            wanted: false,
            open: None,
            expiring: Vec::new(),
            groups: Groups::default(),
            batch: Batch::default(),
        }
    }

    /// What the file says beside its keys.
    pub fn summary(&self) -> &FileSummary {
        &self.summary
    }

    /// The commands so far. The command under construction is closed first.
    pub fn batch(&mut self) -> &mut Batch {
        self.close();
        &mut self.batch
    }

    pub fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    fn add(&mut self, words: &[&[u8]]) {
        if self.open.is_none() {
            self.open = Some(Open { first: self.batch.args.len(), bytes: self.batch.bytes.len(), elements: 0 });
            self.batch.arg(verb(self.kind));
            self.batch.arg(&self.key);
        }
        words.iter().for_each(|word| self.batch.arg(word));
        let Some(open) = &mut self.open else { return };
        open.elements += 1;
        if open.elements >= CHUNK_ELEMENTS_MAX || self.batch.bytes.len() - open.bytes >= CHUNK_BYTES_MAX {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.batch.close(self.db, self.offset, open.first);
        }
        self.expiring.sort_by_key(|(at_ms, _)| *at_ms);
        for fields in std::mem::take(&mut self.expiring).chunk_by(|(a, _), (b, _)| a == b) {
            let (Some((at_ms, _)), count) = (fields.first(), fields.len()) else { continue };
            let (at_ms, count) = (at_ms.to_string(), count.to_string());
            let head = [&b"HPEXPIREAT"[..], &self.key, at_ms.as_bytes(), b"FIELDS", count.as_bytes()];
            let words = head.into_iter().chain(fields.iter().map(|(_, field)| field.as_slice()));
            self.batch.push(self.db, self.offset, None, words);
        }
    }
}

fn verb(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::List => b"RPUSH",
        Kind::Set => b"SADD",
        Kind::ZSet => b"ZADD",
        Kind::Hash => b"HSET",
        Kind::String | Kind::Stream | Kind::Other => b"SET",
    }
}

impl Visit for SnapshotBatcher {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        note_aux(&mut self.summary, name, value);
        if !self.has_offset {
            self.offset = self.summary.offset.unwrap_or(0);
        }
    }

    fn key(&mut self, header: &KeyHeader<'_>) -> Want {
        self.wanted = header.kind != Kind::Other;
        if !self.wanted {
            return Want::Skip;
        }
        (self.db, self.kind, self.expiry) = (header.db, header.kind, header.expiry);
        self.key.clear();
        self.key.extend_from_slice(header.key);
        Want::Elements
    }

    fn element(&mut self, element: Element<'_>) {
        if !self.wanted {
            return;
        }
        match element {
            Element::String(bytes) | Element::Item(bytes) => self.add(&[bytes]),
            Element::Field { name, value, expiry } => {
                if let Some(at_ms) = expiry.get() {
                    self.expiring.push((at_ms, name.to_vec()));
                }
                self.add(&[name, value]);
            }
            Element::Member { member, score } => self.add(&[score.to_string().as_bytes(), member]),
            // One command for each entry: no command adds several.
            Element::Entry { id, fields } => {
                let (first, id) = (self.batch.args.len(), id.to_string());
                [&b"XADD"[..], &self.key, id.as_bytes()].into_iter().for_each(|word| self.batch.arg(word));
                fields.for_each(|name, value| [name, value].into_iter().for_each(|word| self.batch.arg(word)));
                self.batch.close(self.db, self.offset, first);
            }
        }
    }

    fn stream_part(&mut self, part: stream::Part<'_>) -> Result<(), Fault> {
        if !self.wanted {
            return Ok(());
        }
        let SnapshotBatcher { db, offset, key, batch, groups, .. } = self;
        groups.part(part, key, &mut |words| batch.push(*db, *offset, None, words.iter().copied()))
    }

    fn end_key(&mut self) -> Result<(), Fault> {
        if !std::mem::take(&mut self.wanted) {
            return Ok(());
        }
        self.close();
        self.groups = Groups::default();
        self.summary.keys += 1;
        if let Some(at_ms) = self.expiry.get() {
            let at_ms = at_ms.to_string();
            self.batch.push(self.db, self.offset, None, [&b"PEXPIREAT"[..], &self.key, at_ms.as_bytes()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::commands::text;
    use super::*;

    fn header(key: &'static [u8], kind: Kind, expiry: Expiry) -> KeyHeader<'static> {
        KeyHeader { db: 2, key, kind, expiry, packed: false }
    }

    fn of(kind: Kind, expiry: Expiry, elements: Vec<Element<'_>>) -> SnapshotBatcher {
        let mut batcher = SnapshotBatcher::new(Some(7));
        assert_eq!(batcher.key(&header(b"k", kind, expiry)), Want::Elements);
        elements.into_iter().for_each(|element| batcher.element(element));
        batcher.end_key().unwrap();
        batcher
    }

    #[test]
    fn a_key_is_the_writes_that_would_make_it() {
        let at = Expiry::at(5);
        let item = Element::Item;
        let member = |member, score| Element::Member { member, score };
        for (mut batcher, commands) in [
            (of(Kind::String, at, vec![Element::String(b"v")]), vec!["SET k v", "PEXPIREAT k 5"]),
            (of(Kind::List, Expiry::NEVER, vec![item(b"a"), item(b"b")]), vec!["RPUSH k a b"]),
            (of(Kind::Set, Expiry::NEVER, vec![item(b"a")]), vec!["SADD k a"]),
            (
                of(Kind::ZSet, Expiry::NEVER, vec![member(b"a", 1.5), member(b"b", f64::INFINITY)]),
                vec!["ZADD k 1.5 a inf b"],
            ),
        ] {
            assert_eq!(text(batcher.batch()), commands);
            assert!(batcher.batch().commands().all(|command| (command.db, command.offset) == (2, 7)));
        }
    }

    #[test]
    fn fields_that_expire_do_so_right_behind_their_hset() {
        let field =
            |name, at: Option<i64>| Element::Field { name, value: b"v", expiry: at.map_or(Expiry::NEVER, Expiry::at) };
        let mut batcher =
            of(Kind::Hash, Expiry::NEVER, vec![field(b"a", Some(9)), field(b"b", None), field(b"c", Some(9))]);
        assert_eq!(text(batcher.batch()), ["HSET k a v b v c v", "HPEXPIREAT k 9 FIELDS 2 a c"]);
    }

    #[test]
    fn a_large_key_comes_in_bounded_batcher() {
        let mut batcher = of(Kind::List, Expiry::at(1), vec![Element::Item(b"e"); 2 * CHUNK_ELEMENTS_MAX + 1]);
        let batch = batcher.batch();
        let sizes: Vec<usize> = batch.commands().map(|command| batch.args(command).count()).collect();
        assert_eq!(sizes, [CHUNK_ELEMENTS_MAX + 2, CHUNK_ELEMENTS_MAX + 2, 3, 3]);

        let large = vec![b'x'; CHUNK_BYTES_MAX];
        let mut batcher = of(Kind::Set, Expiry::NEVER, vec![Element::Item(&large); 3]);
        assert_eq!(batcher.batch().len(), 3);
    }
}
