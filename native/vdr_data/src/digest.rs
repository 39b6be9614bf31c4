//! The server's DEBUG DIGEST over a keyspace: equal digests at equal offsets prove that the mirror
//! equals the primary.
//!
//! Like the server's, the digest covers every stored key, expired ones included. It leaves out
//! expiry times (but not whether a key has one), encodings and access clocks. It costs about seven
//! SHA-1 blocks per key.

use crate::fpconv::{grisu2, printf_17g};
use crate::keyspace::{EntryRef, Keyspace};
use crate::value::{Hash, Stream, ValueRef, ZSet};
use sha1::{Digest as _, Sha1};
use std::fmt;

/// A digest. Its text is 40 hex digits, as the server prints them. The default is the digest of no
/// data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 20]);

impl Digest {
    /// Mixes in data without order. Mixing the same data twice undoes it.
    fn xor(&mut self, bytes: &[u8]) {
        let hash: [u8; 20] = Sha1::digest(bytes).into();
        self.0.iter_mut().zip(hash).for_each(|(sum, byte)| *sum ^= byte);
    }

    /// Mixes in data that has an order.
    fn mix(&mut self, bytes: &[u8]) {
        self.mix_parts(std::iter::once(bytes));
    }

    /// As [`Digest::mix`], for data in pieces that follow each other.
    fn mix_parts<'p>(&mut self, parts: impl Iterator<Item = &'p [u8]>) {
        let mut hash = Sha1::new();
        parts.for_each(|part| hash.update(part));
        self.0.iter_mut().zip(hash.finalize()).for_each(|(sum, byte)| *sum ^= byte);
        self.0 = Sha1::digest(self.0).into();
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How the digests of servers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    scores: Scores,
    field_expiry: FieldExpiry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scores {
    Printf17g,
    Grisu2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldExpiry {
    /// The digest ignores it.
    Unseen,
    /// A field with an expiry is marked, and counts until it is deleted.
    Marked,
    /// An expired field is left out. Fields with an expiry have no mark.
    PastLeftOut,
}

impl Dialect {
    /// The dialect of a server by its name (`redis`, `valkey`; any other name counts as `redis`)
    /// and its version. For Valkey this is `valkey_version`, not the `redis_version` that it shows
    /// for compatibility. A version without a leading number counts as the newest.
    pub fn of(server_name: &str, version: &str) -> Self {
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
        let version = match numbers.next().flatten() {
            Some(major) => (major, numbers.next().flatten().unwrap_or(0)),
            None => (u32::MAX, 0),
        };
        let valkey = server_name.eq_ignore_ascii_case("valkey");
        Dialect {
            scores: if !valkey && version < (7, 2) { Scores::Printf17g } else { Scores::Grisu2 },
            field_expiry: match valkey {
                true if version >= (9, 0) => FieldExpiry::PastLeftOut,
                false if version >= (7, 4) => FieldExpiry::Marked,
                _ => FieldExpiry::Unseen,
            },
        }
    }
}

/// The data has values of modules. Their contents are unknown, so no digest of ours can equal the
/// server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotComparable {
    pub others: usize,
}

impl NotComparable {
    /// How many keys have such values.
    pub fn keys(&self) -> usize {
        self.others
    }
}

/// The digest of all databases. `now_ms` matters only for servers that leave out expired fields.
pub fn digest(keyspace: &Keyspace, dialect: Dialect, now_ms: i64) -> Result<Digest, NotComparable> {
    let mut all = Digest::default();
    let mut unknown = NotComparable::default();
    for (index, db) in keyspace.dbs() {
        all.mix(&index.to_be_bytes());
        for entry in db.iter() {
            let mut one = Digest::default();
            one.mix(entry.key());
            match add_entry(&mut one, entry, dialect, now_ms) {
                Ok(()) => all.xor(&one.0),
                Err(more) => unknown.others += more.others,
            }
        }
    }
    if unknown == NotComparable::default() { Ok(all) } else { Err(unknown) }
}

/// The server's DEBUG DIGEST-VALUE: the digest of one key's value, without its name. For a missing
/// key it is [`Digest::default`].
pub fn digest_value(entry: EntryRef<'_>, dialect: Dialect, now_ms: i64) -> Result<Digest, NotComparable> {
    let mut one = Digest::default();
    add_entry(&mut one, entry, dialect, now_ms).map(|()| one)
}

fn add_entry(sum: &mut Digest, entry: EntryRef<'_>, dialect: Dialect, now_ms: i64) -> Result<(), NotComparable> {
    match entry.value() {
        ValueRef::String(string) => {
            sum.mix(&type_mark(0));
            sum.mix_parts(string.parts(0, string.len()));
        }
        ValueRef::List(list) => {
            sum.mix(&type_mark(1));
            list.iter().for_each(|element| sum.mix(&element));
        }
        ValueRef::Set(set) => {
            sum.mix(&type_mark(2));
            set.iter().for_each(|member| sum.xor(&member));
        }
        ValueRef::ZSet(zset) => {
            sum.mix(&type_mark(3));
            add_zset(sum, zset, dialect.scores);
        }
        ValueRef::Hash(hash) => {
            sum.mix(&type_mark(4));
            add_hash(sum, hash, dialect.field_expiry, now_ms);
        }
        ValueRef::Stream(stream) => {
            sum.mix(&type_mark(6));
            add_stream(sum, stream);
        }
        ValueRef::Other | ValueRef::Unknown => return Err(NotComparable { others: 1 }),
    }
    if entry.expiry().is_set() {
        sum.xor(b"!!expire!!");
    }
    Ok(())
}

/// The server's number of a type, in network order.
fn type_mark(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn add_zset(sum: &mut Digest, zset: &ZSet, scores: Scores) {
    for (member, score) in zset.iter() {
        let text = match scores {
            Scores::Printf17g => printf_17g(score.get()),
            Scores::Grisu2 => grisu2(score.get()),
        };
        let mut element = Digest::default();
        element.mix(&member);
        element.mix(text.as_bytes());
        sum.xor(&element.0);
    }
}

fn add_stream(sum: &mut Digest, stream: &Stream) {
    for (id, fields) in stream.iter() {
        // The server uses a dot here, and a dash everywhere else.
        sum.mix(format!("{}.{}", id.ms, id.seq).as_bytes());
        for (name, value) in fields.iter() {
            sum.mix(name);
            sum.mix(value);
        }
    }
}

fn add_hash(sum: &mut Digest, hash: &Hash, expiry: FieldExpiry, now_ms: i64) {
    for (name, field) in hash.iter() {
        if expiry == FieldExpiry::PastLeftOut && field.expiry.is_past(now_ms) {
            continue;
        }
        let mut element = Digest::default();
        element.mix(&name);
        element.mix(&field.value);
        if expiry == FieldExpiry::Marked && field.expiry.is_set() {
            element.xor(b"!!hexpire!!");
        }
        sum.xor(&element.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;
    use crate::expiry::Expiry;
    use crate::keyspace::{Db, Entry};
    use crate::value::Value;
    use crate::value::stream::{Group, Id};
    use crate::value::{List, Score, Set};

    const EVERY_SERVER: [(&str, &str); 8] = [
        ("redis", "7.0.15"),
        ("redis", "7.2.6"),
        ("redis", "7.4.1"),
        ("redis", "8.0.6"),
        ("redis", "8.6.3"),
        ("valkey", "8.0.1"),
        ("valkey", "8.1.1"),
        ("valkey", "9.1.2"),
    ];

    const NOW_MS: i64 = 1_000_000;

    fn digest_of(entry: &Entry, dialect: Dialect) -> Digest {
        let mut db = Db::default();
        db.insert(b"key", entry.clone());
        digest_value(db.get(b"key").unwrap(), dialect, NOW_MS).unwrap()
    }

    fn expect(entry: &Entry, hex: &str) {
        for (name, version) in EVERY_SERVER {
            let digest = digest_of(entry, Dialect::of(name, version));
            assert_eq!(digest.to_string(), hex, "{name} {version}");
        }
    }

    fn bar(expiry: Expiry) -> Entry {
        Entry { value: Value::String(Blob::from("bar")), expiry }
    }

    fn expect_all(dbs: &[u32], expiry: Expiry, hex: &str) {
        let mut keyspace = Keyspace::default();
        for db in dbs {
            keyspace.db_mut(*db).insert(b"foo", bar(expiry));
        }
        for (name, version) in EVERY_SERVER {
            let digest = digest(&keyspace, Dialect::of(name, version), NOW_MS).unwrap();
            assert_eq!(digest.to_string(), hex, "{name} {version}");
        }
    }

    #[test]
    fn a_whole_dataset_has_the_digest_of_the_servers() {
        expect_all(&[], Expiry::NEVER, "0000000000000000000000000000000000000000");
        expect_all(&[0], Expiry::NEVER, "d2ab4820c1be0580ea28efbfe8bfa1dc05bb802a");
        expect_all(&[1], Expiry::NEVER, "ca1ca3c163c25b0650d3afe1417fd35e01ab7498");
        expect_all(&[0, 1], Expiry::NEVER, "7e443c2bc3bfcaf4ef6f488ab938c507dfb85eb8");
        expect_all(&[0], Expiry::at(NOW_MS + 1), "8b0c6d22108f15467022bc27c005787072eb4c4b");
        expect_all(&[0], Expiry::at(NOW_MS - 1), "8b0c6d22108f15467022bc27c005787072eb4c4b");
    }

    #[test]
    fn every_type_has_the_digest_of_the_servers() {
        expect(&bar(Expiry::NEVER), "68467c70ae30376e7ce005bcc8827f5ba7fd67dc");
        let words = || ["a", "b"].map(Blob::from).into_iter();
        expect(&Entry::new(List::from_iter(words())), "62f55a532623cf6c3d81081db480b6fd8461eb3f");
        expect(&Entry::new(Set::from_iter(words())), "dd99329063ca0f1f28df2ac68d94b82fd95501c6");
        let scores = [1.5, f64::INFINITY].map(|score| Score::new(score).unwrap());
        let zset = ZSet::from_members(words().zip(scores), true);
        expect(&Entry::new(zset), "e59228f0b3b4ebae6975e3449a12b75db333f555");
        expect(&Entry::new(hash_with(Expiry::NEVER)), "90c76e9e9f4c62d642a34fc97c7dad503b51f906");
    }

    /// A thousand random doubles. Grisu2 does not write one of them, the 39th, in its shortest
    /// form. Both digests are answers of real servers: the first of 7.0.15, the second of Redis
    /// 8.0.2, Valkey 8.1.1 and 9.1.2.
    #[test]
    fn random_scores_have_the_digest_of_the_servers() {
        let step =
            |bits: &u64| Some(bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let doubles =
            std::iter::successors(Some(1), step).skip(1).map(f64::from_bits).filter(|score| score.is_finite());
        let members = doubles.take(1000).zip(0..).map(|(score, i)| (Blob::from_int(i), Score::new(score).unwrap()));
        let entry = Entry::new(ZSet::from_members(members, false));
        let of = |name, version| digest_of(&entry, Dialect::of(name, version)).to_string();
        assert_eq!(of("redis", "7.0.15"), "6cfa9c5ff5fb1a5f2949b1d13943da34dc825411");
        assert_eq!(of("redis", "8.0.2"), "2adb15e7c26b5835af4274259a66ecc7a6ed8709");
        assert_eq!(of("valkey", "8.1.1"), "2adb15e7c26b5835af4274259a66ecc7a6ed8709");
        assert_eq!(of("valkey", "9.1.2"), "2adb15e7c26b5835af4274259a66ecc7a6ed8709");
    }

    /// As answered by real servers after the same writes.
    #[test]
    fn a_dataset_of_all_types_in_two_databases_has_the_digest_of_the_servers() {
        let mut keyspace = Keyspace::default();
        let db = keyspace.db_mut(0);
        let blobs = |texts: &[&str]| texts.iter().map(|text| Blob::from(*text)).collect::<Vec<_>>();
        db.insert(b"s", Entry::new(Blob::from("12345")));
        let list = List::from_iter(blobs(&["a", "", "c"]));
        db.insert(b"l", Entry { value: list.into(), expiry: Expiry::at(NOW_MS) });
        db.insert(b"t", Entry::new(Set::from_iter(blobs(&["x", "y", "3"]))));
        let scores = [0.1, 1e8, f64::NEG_INFINITY, 0.300_000_000_000_000_04].map(|score| Score::new(score).unwrap());
        let zset = ZSet::from_members(blobs(&["m", "n", "o", "p"]).into_iter().zip(scores), true);
        db.insert(b"z", Entry::new(zset));
        let fields = [("f", "v"), ("g", "")].map(|(name, value)| (name, value, Expiry::NEVER));
        db.insert(b"h", Entry::new(Hash::from_iter(fields)));
        keyspace.db_mut(9).insert(b"other", Entry::new(Blob::from("db")));
        let of = |name, version| digest(&keyspace, Dialect::of(name, version), NOW_MS).unwrap().to_string();
        assert_eq!(of("redis", "7.0.15"), "1b2e3ce43365f5d4e5c9e4e3337edba0b6ae7c91");
        assert_eq!(of("redis", "8.0.2"), "22eb069ab9e103032acae606f01c4d182efe77d3");
        assert_eq!(of("valkey", "8.1.1"), "22eb069ab9e103032acae606f01c4d182efe77d3");
        assert_eq!(of("valkey", "9.1.2"), "22eb069ab9e103032acae606f01c4d182efe77d3");
    }

    fn hash_with(expiry: Expiry) -> Hash {
        Hash::from_iter([("f", "v", expiry)])
    }

    #[test]
    fn the_expiry_of_a_field_is_marked_unseen_or_obeyed_as_the_server_does() {
        let plain = "90c76e9e9f4c62d642a34fc97c7dad503b51f906";
        let marked = "74b891d3701022bf67574b56900ce11f3e5270b3";
        let empty = digest_of(&Entry::new(Hash::default()), Dialect::of("redis", "8.6.3"));
        for (name, version) in EVERY_SERVER {
            let of = |ms| {
                let entry = Entry::new(hash_with(Expiry::at(ms)));
                digest_of(&entry, Dialect::of(name, version)).to_string()
            };
            let (live, past) = match (name, version) {
                ("redis", "7.4.1" | "8.0.6" | "8.6.3") => (marked, marked.to_string()),
                ("valkey", "9.1.2") => (plain, empty.to_string()),
                _ => (plain, plain.to_string()),
            };
            assert_eq!((of(NOW_MS).as_str(), of(NOW_MS - 1)), (live, past), "{name} {version}");
        }
    }

    #[test]
    fn a_stream_is_its_entries_and_nothing_else() {
        let fields = |value: &str| [(Blob::from("f"), Blob::from(value))].into();
        let mut stream = Stream::from_sorted(vec![(Id::new(1, 2), fields("v"))]);
        expect(&Entry::new(stream.clone()), "e447c781d6afa47d4b7e754569e4d422c853f851");
        stream.put_group(Blob::from("g"), Group::default());
        stream.last_id = Id::new(9, 9);
        stream.entries_added = 7;
        expect(&Entry::new(stream), "e447c781d6afa47d4b7e754569e4d422c853f851");
    }

    #[test]
    fn a_version_is_read_by_its_numbers() {
        assert_eq!(Dialect::of("redis", "7.10.0"), Dialect::of("redis", "7.4.0"));
        assert_eq!(Dialect::of("redis", "6.2"), Dialect::of("redis", "7.0.15"));
        assert_eq!(Dialect::of("redis", "255.255.255"), Dialect::of("redis", "unstable"));
        assert_eq!(Dialect::of("Valkey", "7.2.5"), Dialect::of("redis", "7.2.5"));
    }

    #[test]
    fn values_without_data_are_counted_and_never_digested() {
        let mut keyspace = Keyspace::default();
        for (key, value) in [("a", Value::Other), ("b", Stream::default().into()), ("c", Value::Other)] {
            keyspace.db_mut(3).insert(key.as_bytes(), Entry { value, expiry: Expiry::NEVER });
        }
        keyspace.db_mut(3).insert(b"d", bar(Expiry::NEVER));
        let dialect = Dialect::of("valkey", "9.1.2");
        assert_eq!(digest(&keyspace, dialect, NOW_MS), Err(NotComparable { others: 2 }));
    }
}
