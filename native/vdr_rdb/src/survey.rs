//! Statistics of a snapshot file for operators, counted in one pass and in constant memory.

use crate::build::{FileSummary, KeyspaceBuilder};
use crate::error::Fault;
use crate::visit::{Element, KeyHeader, Visit, Want};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use vdr_data::value::Kind;

/// How many of the largest keys are kept.
const BIGGEST_MAX: usize = 20;
/// The longest key or prefix that is kept; longer ones are truncated.
const NAME_BYTES_MAX: usize = 128;
/// The most prefixes that are counted separately. The keys of further ones are counted in
/// [`Survey::other_prefixes`].
const PREFIXES_MAX: usize = 10_000;
/// The end of a prefix.
const SEPARATOR: u8 = b':';
/// Upper bounds of the remaining time to live, in ms: a minute, an hour, a day, a week, a month, a
/// year.
const TIMES_MS: [i64; 6] = [60_000, 3_600_000, 86_400_000, 604_800_000, 2_592_000_000, 31_536_000_000];

/// Keys counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub keys: u64,
    pub elements: u64,
    /// The bytes of names and unpacked contents. For streams and modules, the bytes in the file.
    pub bytes: u64,
}

impl Group {
    fn add(&mut self, size: &KeySize) {
        self.keys += 1;
        self.elements += size.elements;
        self.bytes += size.bytes;
    }
}

/// A key and its size. Ordered by bytes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeySize {
    pub bytes: u64,
    pub elements: u64,
    pub db: u32,
    pub kind: &'static str,
    /// Truncated if it is very long.
    pub key: Vec<u8>,
}

/// The key that is being read.
struct Current {
    size: KeySize,
    file_bytes: u64,
    expiry_ms: Option<i64>,
}

/// See the module.
pub struct Survey {
    now_ms: i64,
    /// Counts by database and type.
    pub kinds: BTreeMap<(u32, &'static str), Group>,
    pub prefixes: BTreeMap<Vec<u8>, Group>,
    pub other_prefixes: Group,
    /// Keys by their remaining time to live: expired, then up to each bound of
    /// [`Survey::times_ms`], then longer.
    pub expiries: [u64; TIMES_MS.len() + 2],
    pub total: Group,
    biggest: BinaryHeap<Reverse<KeySize>>,
    current: Option<Current>,
    aux: KeyspaceBuilder,
}

impl Survey {
    /// Remaining times are measured from `now_ms`.
    pub fn new(now_ms: i64) -> Self {
        Survey {
            now_ms,
            kinds: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            other_prefixes: Group::default(),
            expiries: Default::default(),
            total: Group::default(),
            biggest: BinaryHeap::new(),
            current: None,
            aux: KeyspaceBuilder::new(),
        }
    }

    /// The bounds of [`Survey::expiries`].
    pub fn times_ms() -> &'static [i64] {
        &TIMES_MS
    }

    /// The largest keys, the largest first.
    pub fn biggest(&self) -> Vec<&KeySize> {
        let mut all: Vec<_> = self.biggest.iter().map(|Reverse(size)| size).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }

    /// The server that wrote the file, and what else the file says beside its keys.
    pub fn summary(&self) -> &FileSummary {
        self.aux.summary()
    }

    /// Ends the file: counts the last key.
    pub fn finish(&mut self) {
        self.count_current();
    }

    fn count_current(&mut self) {
        let Some(Current { mut size, file_bytes, expiry_ms }) = self.current.take() else { return };
        size.bytes = size.bytes.max(file_bytes);
        self.total.add(&size);
        self.kinds.entry((size.db, size.kind)).or_default().add(&size);
        self.prefix(&size.key).add(&size);
        if let Some(at_ms) = expiry_ms {
            let left = at_ms.saturating_sub(self.now_ms);
            let slot = if left <= 0 { 0 } else { 1 + TIMES_MS.iter().take_while(|bound| left > **bound).count() };
            self.expiries.get_mut(slot).into_iter().for_each(|count| *count += 1);
        }
        self.biggest.push(Reverse(size));
        if self.biggest.len() > BIGGEST_MAX {
            self.biggest.pop();
        }
    }

    /// The group of a key's prefix. Keys without a separator have the empty prefix.
    fn prefix(&mut self, key: &[u8]) -> &mut Group {
        let end = key.iter().position(|byte| *byte == SEPARATOR).map_or(0, |at| at + 1);
        let prefix = key.get(..end).unwrap_or_default();
        if !self.prefixes.contains_key(prefix) && self.prefixes.len() >= PREFIXES_MAX {
            return &mut self.other_prefixes;
        }
        self.prefixes.entry(prefix.to_vec()).or_default()
    }
}

impl Visit for Survey {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.aux.aux(name, value);
    }

    fn key(&mut self, header: &KeyHeader<'_>) -> Want {
        self.count_current();
        let key = header.key.get(..NAME_BYTES_MAX).unwrap_or(header.key).to_vec();
        let (bytes, kind) = (header.key.len() as u64, header.kind.name());
        let size = KeySize { bytes, elements: 0, db: header.db, kind, key };
        self.current = Some(Current { size, file_bytes: 0, expiry_ms: header.expiry.get() });
        Want::Elements
    }

    fn element(&mut self, element: Element<'_>) {
        let Some(current) = &mut self.current else { return };
        current.size.elements += 1;
        current.size.bytes += match element {
            Element::String(bytes) | Element::Item(bytes) => bytes.len(),
            Element::Field { name, value, .. } => name.len() + value.len(),
            Element::Member { member, .. } => member.len() + size_of::<f64>(),
            // Counted by their bytes in the file, see `item_read`.
            Element::Entry { .. } => 0,
        } as u64;
    }

    fn end_key(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn item_read(&mut self, bytes: usize) {
        let opaque = |current: &&mut Current| [Kind::Stream.name(), Kind::Other.name()].contains(&current.size.kind);
        self.current.as_mut().filter(opaque).into_iter().for_each(|current| current.file_bytes += bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vdr_data::expiry::Expiry;

    fn report(survey: &mut Survey, db: u32, key: &str, expiry: Expiry, items: &[&str]) {
        let header = KeyHeader { db, key: key.as_bytes(), kind: Kind::List, expiry, packed: false };
        survey.key(&header);
        items.iter().for_each(|item| survey.element(Element::Item(item.as_bytes())));
        survey.end_key().unwrap();
        survey.item_read(3);
    }

    #[test]
    fn keys_are_counted_by_type_and_prefix_and_time_left() {
        let mut survey = Survey::new(1000);
        report(&mut survey, 0, "user:1", Expiry::NEVER, &["a", "bc"]);
        report(&mut survey, 0, "user:22", Expiry::at(1000), &["x"]);
        report(&mut survey, 3, "plain", Expiry::at(61_001), &["x"]);
        survey.finish();
        assert_eq!(survey.total, Group { keys: 3, elements: 4, bytes: 9 + 8 + 6 });
        assert_eq!(survey.kinds[&(0, "list")].keys, 2);
        assert_eq!(survey.prefixes[&b"user:"[..]], Group { keys: 2, elements: 3, bytes: 17 });
        assert_eq!(survey.prefixes[&b""[..]].keys, 1);
        assert_eq!(survey.expiries, [1, 0, 1, 0, 0, 0, 0, 0]);
        let biggest: Vec<_> = survey.biggest().iter().map(|size| size.key.clone()).collect();
        assert_eq!(biggest, [&b"user:1"[..], b"user:22", b"plain"]);
    }

    #[test]
    fn memory_does_not_grow_with_the_file() {
        let mut survey = Survey::new(0);
        for n in 0..PREFIXES_MAX + 50 {
            report(&mut survey, 0, &format!("{n}:{}", "k".repeat(500)), Expiry::NEVER, &["x"]);
        }
        survey.finish();
        assert_eq!((survey.prefixes.len(), survey.other_prefixes.keys), (PREFIXES_MAX, 50));
        assert_eq!(survey.biggest().len(), BIGGEST_MAX);
        assert!(survey.biggest().iter().all(|size| size.key.len() == NAME_BYTES_MAX));
    }
}
