//! KEYS and SCAN.
//!
//! A scan's cursor is a position in the order of a fixed hash of the keys. That order depends on nothing but the keys
//! themselves, so a scan needs no state, may go over any number of snapshots, and answers every key that was there all the
//! time, whatever came and went meanwhile. No index by that hash is kept, so each call looks at every key once. To keep a whole
//! scan affordable a call answers at least a [`CALLS_MAX`]th of the keys even where COUNT asks for fewer; COUNT is a
//! hint on the server as well. Who walks many keys is better served by `first` and `next`.

use super::hll_bytes::murmur64a;
use super::keys::live_keys;
use super::{Arg, Args, Cost, Read, ReadError, Reply, glob};
use crate::blob::Blob;
use crate::keyspace::View;
use crate::value::Kind;

pub const READS: &[Read] = &[
    Read { name: "keys", args: &["pattern"], cost: Cost::Elements(keys_elements), run: keys },
    Read { name: "scan", args: &["cursor", "?options"], cost: Cost::Elements(scan_elements), run: scan },
];

/// Calls that a whole scan takes at most, roughly.
const CALLS_MAX: usize = 64;
/// The server's default COUNT.
const COUNT: usize = 10;
/// Positions are below this.
const POSITIONS: u64 = 1 << 63;

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

/// The ranks between which everything stands that begins as the pattern does.
fn candidates(view: View<'_>, pattern: &[u8]) -> (usize, usize) {
    let (prefix, whole) = glob::literal_prefix(pattern);
    if whole {
        return view.db.rank(&prefix).map_or((0, 0), |rank| (rank, rank + 1));
    }
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

fn scan<'s>(view: View<'s>, args: &mut Args<'_>) -> Result<Reply<'s>, ReadError> {
    let from = u64::try_from(args.int()?).map_err(|_| ReadError::BadArgument)?;
    let options = Options::parse(args)?;
    let to = from.saturating_add(stride(view.db.len(), options.count));
    let (next, to) = if to < POSITIONS { (to as i64, to) } else { (0, POSITIONS) };
    let window = live_keys(view, 0, view.db.len()).filter(|key| (from..to).contains(&position(key)));
    let keys = Reply::blobs(window.filter(|key| options.wants(view, key)));
    Ok(Reply::Pair(Box::new((Reply::Int(next), keys))))
}

fn scan_elements(view: View<'_>, _args: &mut Args<'_>) -> Option<usize> {
    Some(view.db.len())
}

fn position(key: &Blob) -> u64 {
    murmur64a(key, 0) >> 1
}

/// How far one call goes: positions are spread evenly, so that this many hold about `count` keys.
fn stride(keys: usize, count: usize) -> u64 {
    let wanted = count.max(keys / CALLS_MAX) as u64;
    POSITIONS.div_ceil(keys.max(1) as u64).saturating_mul(wanted)
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

    fn wants(&self, view: View<'_>, key: &Blob) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, key))
            && self.kind.is_none_or(|name| view.kind(key).is_some_and(|kind| kind.name() == name))
    }
}
