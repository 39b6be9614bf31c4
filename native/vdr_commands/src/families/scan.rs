//! KEYS and SCAN.
//!
//! A scan's cursor is a position in the order of the keys' hashes, which is the order of the trie
//! that holds them. A key has the same position in every snapshot of this process. So a scan needs
//! no state, may continue on any later snapshot, even one behind a full sync, and returns every key
//! that existed all the time.

use crate::args::{Arg, Args};
use crate::error::ReadError;
use crate::ops::glob;
use crate::reply::Reply;
use crate::row::{Cost, Read};
use vdr_data::blob::Blob;
use vdr_data::keyspace::{EntryRef, View};
use vdr_data::value::Kind;

pub const READS: &[Read] = &[
    Read { name: "keys", args: &["pattern"], cost: Cost::Keys(keys_elements), run: keys },
    Read { name: "scan", args: &["cursor", "?options"], cost: Cost::Elements(scan_elements), run: scan },
];

/// The server's default COUNT.
const COUNT: usize = 10;
/// Positions in the map are multiples of 16. Halved they fit an integer of the server's protocol.
const CURSOR_SHIFT: u32 = 1;

fn keys<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let pattern = args.bytes()?;
    let (from, to) = candidates(view, pattern);
    let matching = view.db.keys(from, to).map(|(key, ())| key).filter(|key| glob::matches(pattern, key));
    Ok(Reply::blobs(matching.filter(|key| view.entry(key).is_some())))
}

fn keys_elements(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    let (from, to) = candidates(view, args.bytes().ok()?);
    Some(to - from)
}

/// The range of ranks of the keys that begin as the pattern does.
fn candidates(view: View<'_>, pattern: &[u8]) -> (usize, usize) {
    let (prefix, whole) = glob::literal_prefix(pattern);
    if whole {
        return view.db.rank(&prefix).map_or((0, 0), |rank| (rank, rank + 1));
    }
    beginning_with(view, prefix)
}

/// The range of ranks of the keys with a prefix.
fn beginning_with(view: View<'_>, prefix: Vec<u8>) -> (usize, usize) {
    let from = view.db.rank(&prefix).unwrap_or_else(|rank| rank);
    let mut end = prefix;
    while end.pop_if(|last| *last == u8::MAX).is_some() {}
    let to = match end.last_mut() {
        None => view.db.len(),
        Some(last) => {
            *last += 1;
            view.db.rank(&end).unwrap_or_else(|rank| rank)
        }
    };
    (from, to)
}

/// The most keys that one call of [`walk`] visits.
const LOOKED_AT_MAX: usize = 10_000;

/// The keys that a walk returns.
#[derive(Default)]
pub struct Wanted<'a> {
    pub prefix: &'a [u8],
    pub pattern: Option<&'a [u8]>,
    pub kind: Option<Kind>,
}

/// A portion of a walk.
pub struct Portion<'s> {
    pub keys: Vec<&'s Blob>,
    /// The key after which the next portion begins; none at the end.
    pub next: Option<&'s Blob>,
}

/// Up to `count` wanted keys after a key, in byte order. There may be fewer, or none, if few of the
/// visited keys are wanted.
pub fn walk<'s>(view: View<'s>, after: Option<&[u8]>, wanted: &Wanted<'_>, count: usize) -> Portion<'s> {
    let (mut from, mut to) = beginning_with(view, wanted.prefix.to_vec());
    if let Some(pattern) = wanted.pattern {
        let (first, end) = candidates(view, pattern);
        (from, to) = (from.max(first), to.min(end));
    }
    if let Some(after) = after {
        from = from.max(view.db.rank(after).map_or_else(|rank| rank, |rank| rank + 1));
    }
    let mut keys = Vec::new();
    for (seen, (key, ())) in view.db.keys(from, to).enumerate() {
        let fits = wanted.pattern.is_none_or(|pattern| glob::matches(pattern, key));
        if fits && view.kind(key).is_some_and(|kind| wanted.kind.is_none_or(|wanted| wanted == kind)) {
            keys.push(key);
        }
        if keys.len() >= count || seen + 1 >= LOOKED_AT_MAX {
            return Portion { keys, next: Some(key) };
        }
    }
    Portion { keys, next: None }
}

fn scan<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let from = u64::try_from(args.int()?).map_err(|_| ReadError::BadArgument)?;
    let options = Options::parse(args)?;
    let mut keys = Vec::new();
    let next = view.db.scan(from << CURSOR_SHIFT, options.count, |entry| {
        if options.wants(view, entry) {
            keys.push(Reply::Slice(entry.key()));
        }
    });
    // The cursor of the beginning stands for the end, too: no other leaf begins at 0.
    let next = next.map_or(0, |position| (position >> CURSOR_SHIFT) as i64);
    Ok(Reply::Pair(Box::new((Reply::Int(next), Reply::List(keys)))))
}

fn scan_elements(view: View<'_>, args: &mut Args<'_>) -> Option<usize> {
    args.int().ok()?;
    Some(Options::parse(args).ok()?.count.min(view.db.len()))
}

struct Options<'a> {
    pattern: Option<&'a [u8]>,
    kind: Option<&'a str>,
    count: usize,
}

impl<'a> Options<'a> {
    /// `[{match, pattern}, {count, n}, {type, name}]`, each of them optional.
    fn parse(args: &mut Args<'a>) -> Result<Self, ReadError> {
        let mut options = Options { pattern: None, kind: None, count: COUNT };
        if args.is_empty() {
            return Ok(options);
        }
        let Arg::List(list) = args.value()? else {
            return Err(ReadError::BadArgument);
        };
        for option in list {
            let (Arg::Tuple(pair) | Arg::List(pair)) = option else {
                return Err(ReadError::BadArgument);
            };
            let mut pair = Args::new(pair);
            match pair.word()? {
                "match" => options.pattern = Some(pair.bytes()?),
                "count" => options.count = pair.count()?,
                "type" => options.kind = Some(pair.word()?),
                _ => return Err(ReadError::BadArgument),
            }
            if !pair.is_empty() {
                return Err(ReadError::BadArgument);
            }
        }
        options.check()
    }

    fn check(self) -> Result<Self, ReadError> {
        let kinds = [Kind::String, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash, Kind::Stream, Kind::Other];
        let known = self.kind.is_none_or(|name| kinds.iter().any(|kind| kind.name() == name));
        if known && self.count > 0 { Ok(self) } else { Err(ReadError::BadArgument) }
    }

    /// Whether a key matches and has not expired.
    fn wants(&self, view: View<'_>, entry: EntryRef<'_>) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, entry.key()))
            && !view.is_past(entry.expiry())
            && self.kind.is_none_or(|name| entry.value().kind().name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Mirror, Rng};
    use std::collections::BTreeSet;

    /// More keys than one leaf of the trie has.
    const LEAF_KEYS: usize = 17;

    fn call(mirror: &Mirror, cursor: i64, options: &[(&'static str, Arg<'_>)]) -> (i64, Vec<String>) {
        let options = options.iter().map(|(name, value)| Arg::Tuple(vec![Arg::Word(name), value.clone()])).collect();
        let Ok(Reply::Pair(pair)) = mirror.read("scan", &[Arg::Int(cursor), Arg::List(options)]) else { panic!() };
        let (Reply::Int(next), Reply::List(keys)) = *pair else { panic!() };
        let name = |key: &Reply<'_>| match key {
            Reply::Slice(key) => String::from_utf8_lossy(key).into(),
            other => panic!("{other:?}"),
        };
        (next, keys.iter().map(name).collect())
    }

    fn filled(keys: usize) -> Mirror {
        let mut mirror = Mirror::new();
        for key in 0..keys {
            mirror.run(&[&format!("set key:{key} 1")]);
        }
        mirror
    }

    #[test]
    fn a_scan_of_one_snapshot_returns_every_key_once() {
        for (keys, count) in [(0, 10), (1, 1), (9, 10), (10, 10), (500, 10), (500, 1), (500, 100_000)] {
            let mirror = filled(keys);
            let (mut cursor, mut seen, mut calls) = (0, Vec::new(), 0);
            loop {
                let (next, keys) = call(&mirror, cursor, &[("count", Arg::Int(count))]);
                calls += 1;
                assert!(keys.len() < count as usize + LEAF_KEYS, "{} keys for COUNT {count}", keys.len());
                seen.extend(keys);
                assert!(next == 0 || next > cursor);
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
            let unique: BTreeSet<_> = seen.iter().collect();
            assert_eq!((seen.len(), unique.len()), (keys, keys));
            assert!(calls <= keys / count as usize + 1, "{keys} keys by {count}: {calls} calls");
        }
    }

    /// Half of the keys stay; the others come and go between the calls, and now and then a full
    /// sync builds the data anew.
    #[test]
    fn keys_that_stay_are_returned_whatever_else_happens() {
        for seed in 0..20 {
            let mut rng = Rng(seed);
            let mut mirror = filled(200);
            let (mut cursor, mut seen) = (0, BTreeSet::new());
            loop {
                let (next, keys) = call(&mirror, cursor, &[]);
                seen.extend(keys);
                cursor = next;
                if cursor == 0 {
                    break;
                }
                if rng.below(4) == 0 {
                    let keys: Vec<Vec<u8>> = mirror.keyspace.db(0).iter().map(|entry| entry.key().to_vec()).collect();
                    mirror = Mirror::new();
                    keys.iter().for_each(|key| mirror.apply(&[b"set", key, b"1"]).unwrap());
                }
                // Growth and shrinking split and join leaves.
                let (changes, dels) = (rng.below(2000), rng.below(8));
                for _ in 0..changes {
                    let key = 100 + rng.below(3000);
                    let command = if rng.below(8) < dels { "del" } else { "set" };
                    mirror.run(&[&format!("{command} key:{key} 1")]);
                }
            }
            assert!((0..100).all(|key| seen.contains(&format!("key:{key}"))), "seed {seed}");
        }
    }

    #[test]
    fn options_filter_and_wrong_ones_are_refused() {
        let mut mirror = Mirror::new();
        mirror.run(&["set a 1", "set b 1 pxat 1", "sadd sa 1", "rpush la 1"]);
        let all = |options: &[(&'static str, Arg<'_>)]| {
            let mut keys = call(&mirror, 0, options).1;
            keys.sort();
            keys.join(" ")
        };
        assert_eq!(all(&[]), "a la sa");
        assert_eq!(all(&[("match", Arg::Bytes(b"?a"))]), "la sa");
        assert_eq!(all(&[("type", Arg::Word("set")), ("match", Arg::Bytes(b"*a"))]), "sa");
        assert_eq!(all(&[("type", Arg::Bytes(b"string"))]), "a");
        let bad = |options: Arg<'_>| {
            assert_eq!(mirror.read("scan", &[Arg::Int(0), options]), Err(ReadError::BadArgument));
        };
        for (name, value) in [
            ("type", Arg::Word("sett")),
            ("count", Arg::Int(0)),
            ("count", Arg::Int(-1)),
            ("match", Arg::Int(1)),
            ("matches", Arg::Bytes(b"*")),
        ] {
            bad(Arg::List(vec![Arg::Tuple(vec![Arg::Word(name), value])]));
        }
        bad(Arg::List(vec![Arg::Tuple(vec![Arg::Word("count")])]));
        bad(Arg::List(vec![Arg::Word("count")]));
        bad(Arg::Word("count"));
        assert_eq!(mirror.ask("scan -1"), "BadArgument");
    }

    #[test]
    fn patterns_look_only_at_keys_that_begin_as_they_do() {
        let mut mirror = filled(100);
        mirror.run(&["set other 1", "set * 1"]);
        mirror.apply(&[b"set", b"\xff\xffz", b"1"]).unwrap();
        assert_eq!(
            mirror.ask("keys key:1?"),
            "[key:10 key:11 key:12 key:13 key:14 key:15 key:16 key:17 key:18 key:19]"
        );
        assert_eq!(
            (mirror.ask("keys other"), mirror.ask("keys \\*"), mirror.ask("keys nothing")),
            ("[other]".into(), "[*]".into(), "[]".into())
        );
        assert_eq!(
            (mirror.elements("keys key:1*"), mirror.elements("keys o*"), mirror.elements("keys *")),
            (11, 1, 103)
        );
        let high = mirror.read("keys", &[Arg::Bytes(b"\xff\xff*")]);
        assert_eq!(high, Ok(Reply::List(vec![Reply::Blob(&Blob::new(b"\xff\xffz"))])));
    }

    #[test]
    fn a_walk_goes_over_the_wanted_keys_in_order() {
        let mut mirror = filled(25_000);
        mirror.run(&["sadd key:5x 1", "set key:6x 1 pxat 1", "set other 1", "set kez 1"]);
        let view = mirror.keyspace.view(0, 1000);
        let all = |wanted: &Wanted<'_>, count: usize| {
            let (mut after, mut seen) = (None, Vec::new());
            loop {
                let portion = walk(view, after, wanted, count);
                assert!(portion.keys.len() <= count);
                seen.extend(portion.keys.iter().map(|key| String::from_utf8_lossy(key).to_string()));
                match portion.next {
                    Some(next) => after = Some(next.as_bytes()),
                    None => return seen,
                }
            }
        };
        let prefix = Wanted { prefix: b"key:", ..Wanted::default() };
        let keys = all(&prefix, 999);
        assert_eq!((keys.len(), keys.is_sorted()), (25_001, true));
        assert_eq!(all(&Wanted { kind: Some(Kind::Set), ..prefix }, 5), ["key:5x"]);
        let pattern = Some(&b"*x"[..]);
        assert_eq!(all(&Wanted { pattern, ..Wanted::default() }, 5), ["key:5x"]);
        let pattern = Some(&b"k*z"[..]);
        assert_eq!(all(&Wanted { pattern, prefix: b"ke", kind: None }, 1), ["kez"]);
        assert_eq!(all(&Wanted { pattern, prefix: b"o", kind: None }, 1), [""; 0]);
        assert_eq!(all(&Wanted::default(), 100_000).len(), 25_003);
    }
}
