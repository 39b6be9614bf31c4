//! SORT with STORE: the only SORT that changes data.
//!
//! With STORE the server compares bytes, never by locale. It orders elements of equal weight by
//! their bytes, so the result is the same everywhere. The exception is ALPHA with BY and equal
//! weights: there the server's order comes from its C library and its hash tables. If such elements
//! are in the result, its value is not known.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult};
use crate::number::parse_float;
use crate::ops::strings::stored;
use crate::row::AffectedKeys::Special;
use crate::row::Effect::Sorts;
use crate::row::Part::{Options, Source};
use crate::row::{Affected, Leaves, Write, row};
use std::cmp::Ordering;
use std::ops::Range;
use vdr_data::blob::Blob;
use vdr_data::keyspace::EntryRef;
use vdr_data::value::Kind;
use vdr_data::value::{List, StringRef, ValueRef};

const LIST: Leaves = Leaves::Kind(Kind::List);

pub const WRITES: &[Write] = &[row("sort", &[Source, Options], Special(sort_affected), LIST, Sorts, sort)];

#[derive(Default)]
struct SortOptions<'a> {
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    limit: Option<(i64, i64)>,
    descending: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

impl<'a> SortOptions<'a> {
    fn parse(args: &mut ArgCursor<'a>) -> Result<Self, ApplyError> {
        let mut options = SortOptions::default();
        while !args.is_empty() {
            if args.take_word("by") {
                options.by = Some(args.bytes()?);
            } else if args.take_word("get") {
                options.get.push(args.bytes()?);
            } else if args.take_word("limit") {
                options.limit = Some((args.int()?, args.int()?));
            } else if args.take_word("store") {
                options.store = Some(args.bytes()?);
            } else if args.take_word("desc") {
                options.descending = true;
            } else if args.take_word("asc") {
                options.descending = false;
            } else if args.take_word("alpha") {
                options.alpha = true;
            } else {
                return Err(ApplyError::BadArguments);
            }
        }
        Ok(options)
    }

    /// A BY pattern without a star is the same for every element, so nothing is sorted.
    fn unsorted(&self) -> bool {
        self.by.is_some_and(|pattern| !pattern.contains(&b'*'))
    }

    /// The positions of the result that LIMIT keeps.
    fn limits(&self, len: usize) -> (usize, usize) {
        let Some((offset, count)) = self.limit else {
            return (0, len);
        };
        let from = usize::try_from(offset).unwrap_or(0).min(len);
        let to = usize::try_from(count).map_or(len, |count| from.saturating_add(count).min(len));
        (from, to)
    }
}

fn sort(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    let mut options = SortOptions::parse(args)?;
    let Some(store) = options.store else {
        return Ok(());
    };
    unpack(apply, key)?;
    let mut elements = elements(apply, key, &mut options)?;
    let (from, to) = options.limits(elements.len());
    if !options.unsorted() {
        let Some(sorted) = sorted(apply, elements, &options, from..to)? else {
            apply.doubt(store);
            return Ok(());
        };
        elements = sorted;
    }
    let kept = elements.get(from..to).unwrap_or_default();
    let result: List = if options.get.is_empty() {
        kept.iter().cloned().collect()
    } else {
        let pairs = kept.iter().flat_map(|element| options.get.iter().map(move |get| (get, element)));
        pairs.map(|(get, element)| lookup(apply, get, element).unwrap_or_default()).collect()
    };
    apply.store(store, result);
    Ok(())
}

/// SORT turns a sorted set into a skiplist on the server. From then on it keeps the sign of a zero.
fn unpack(apply: &mut Apply<'_>, key: &[u8]) -> ApplyResult {
    match apply.get(key).map(EntryRef::value) {
        Some(ValueRef::ZSet(zset)) if zset.is_listpack() => apply.zset(key, |zset| {
            zset.become_skiplist();
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// The elements of the source, in the order that an unsorted result has.
fn elements(apply: &Apply<'_>, key: &[u8], options: &mut SortOptions<'_>) -> Result<Vec<Blob>, ApplyError> {
    let mut elements: Vec<Blob> = match apply.get(key).map(EntryRef::value) {
        None => Vec::new(),
        Some(ValueRef::List(list)) => list.iter().map(StringRef::to_blob).collect(),
        Some(ValueRef::Set(set)) => {
            // Sets have no order, so the server sorts by bytes instead: replicas must get the same
            // result.
            if options.unsorted() {
                options.by = None;
                options.alpha = true;
            }
            set.iter().map(StringRef::to_blob).collect()
        }
        Some(ValueRef::ZSet(zset)) => zset.iter().map(|(member, _)| member.to_blob()).collect(),
        Some(_) => return Err(ApplyError::WrongType),
    };
    // DESC reads an unsorted source from its end.
    if options.unsorted() && options.descending {
        elements.reverse();
    }
    Ok(elements)
}

/// The elements in order; `None` if the places of `shown` have no order of their own.
fn sorted(
    apply: &Apply<'_>,
    elements: Vec<Blob>,
    options: &SortOptions<'_>,
    shown: Range<usize>,
) -> Result<Option<Vec<Blob>>, ApplyError> {
    let weight = |element: &Blob| match options.by {
        Some(pattern) => lookup(apply, pattern, element),
        None => Some(element.clone()),
    };
    let directed = |order: Ordering| if options.descending { order.reverse() } else { order };
    if options.alpha {
        let mut weighted: Vec<(Option<Blob>, Blob)> =
            elements.into_iter().map(|element| (weight(&element), element)).collect();
        weighted.sort_by(|a, b| directed(a.0.cmp(&b.0)));
        let mut at = 0;
        for equals in weighted.chunk_by(|a, b| a.0 == b.0) {
            let places = at..at + equals.len();
            at = places.end;
            let is_shown = places.start < shown.end && places.end > shown.start;
            if is_shown && equals.iter().any(|(_, element)| Some(element) != equals.first().map(|(_, first)| first)) {
                return Ok(None);
            }
        }
        return Ok(Some(weighted.into_iter().map(|(_, element)| element).collect()));
    }
    let mut weighted = Vec::with_capacity(elements.len());
    for element in elements {
        let number = weight(&element).map_or(Some(0.0), |text| parse_weight(&text));
        weighted.push((number.ok_or(ApplyError::NotANumber)?, element));
    }
    weighted.sort_by(|a, b| directed(a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(&b.1))));
    Ok(Some(weighted.into_iter().map(|(_, element)| element).collect()))
}

/// Reads a number as strtod reads a C string: blanks may precede it, an empty text is 0, and a NUL
/// ends it.
fn parse_weight(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next()?;
    if text.is_empty() {
        return Some(0.0);
    }
    let number = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r')).and_then(|at| text.get(at..))?;
    parse_float(number)
}

/// The value that a BY or GET pattern names for an element: `#` is the element itself, `k_*` a
/// string, `k_*->f` a field of a hash.
fn lookup(apply: &Apply<'_>, pattern: &[u8], element: &Blob) -> Option<Blob> {
    if pattern == b"#" {
        return Some(element.clone());
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let (prefix, rest) = (pattern.get(..star)?, pattern.get(star + 1..)?);
    let arrow = rest.windows(2).position(|two| two == b"->").filter(|at| at + 2 < rest.len());
    let key = |suffix: Option<&[u8]>| [prefix, element, suffix.unwrap_or_default()].concat();
    match arrow {
        None => stored(apply, &key(Some(rest))).ok().flatten().map(StringRef::to_blob),
        Some(at) => match apply.get(&key(rest.get(..at)))?.value() {
            ValueRef::Hash(hash) => hash.get(rest.get(at + 2..)?).map(|field| field.value.to_blob()),
            _ => None,
        },
    }
}

fn sort_affected(db: u32, args: &[&[u8]], report: &mut dyn FnMut(Affected<'_>)) {
    let options = args.get(1..).map(|rest| SortOptions::parse(&mut ArgCursor::new(rest)));
    if let Some(Ok(SortOptions { store: Some(key), .. })) = options {
        report(Affected::Key { db, key });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Mirror, affected};

    fn filled() -> Mirror {
        let mut mirror = Mirror::new();
        mirror.run(&[
            "rpush l 10 9 2 1 33 x1",
            "rpush n 10 9 2 1 33",
            "sadd s c a b",
            "zadd z 3 c 1 b 2 a",
            "mset w_10 1 w_9 3 w_2 2",
            "hset h_10 f ten",
            "hset h_9 f nine",
        ]);
        mirror
    }

    /// A real server returned each answer.
    #[test]
    fn results_are_stored_in_the_servers_order() {
        let mut mirror = filled();
        for (command, answer) in [
            ("sort n store d", "[1 2 9 10 33]"),
            ("sort n desc limit 1 2 store d", "[10 9]"),
            ("sort n limit -3 2 store d", "[1 2]"),
            ("sort n limit 3 -1 store d", "[10 33]"),
            ("sort l ALPHA STORE d", "[1 10 2 33 9 x1]"),
            ("sort n by w_* store d", "[1 33 10 2 9]"),
            ("sort s by nosort store d", "[a b c]"),
            ("sort z by nosort desc store d", "[c a b]"),
            ("sort z by nosort limit 1 9 store d", "[a c]"),
            ("sort n by nosort desc limit 0 2 store d", "[33 1]"),
            ("sort n by w_* desc get # get h_*->f get w_* store d", "[9 nine 3 2  2 10 ten 1 33   1  ]"),
            ("sort s alpha desc get none get # store d", "[ c  b  a]"),
            ("sort n get h_*-> limit 0 2 store d", "[ ]"),
        ] {
            mirror.run(&[command]);
            assert_eq!(mirror.ask("lrange d 0 -1"), answer, "{command}");
        }
    }

    /// Which of the elements with one weight comes first is up to the server's C library.
    #[test]
    fn a_result_whose_order_only_the_server_knows_is_in_doubt() {
        let mut mirror = filled();
        mirror.run(&["mset v_a x v_b x v_c y"]);
        for (command, is_known) in [
            ("sort s by v_* alpha store d", false),
            ("sort s by v_* alpha limit 2 1 store d", true),
            ("sort s by v_* alpha limit 1 1 store d", false),
            ("sort s by v_* alpha desc limit 0 1 store d", true),
            ("sort z by none_* alpha store d", false),
            ("sort n by w_* alpha limit 2 9 store d", true),
            ("sort s by v_* alpha limit 9 1 store d", true),
        ] {
            mirror.run(&["set d old ex 5", command]);
            let answer = mirror.ask("lrange d 0 -1");
            assert_eq!(answer != "UnknownValue", is_known, "{command}: {answer}");
        }
        // Equal elements are no tie.
        mirror.run(&["rpush twice a a c", "sort twice by v_* alpha store d"]);
        assert_eq!(mirror.ask("lrange d 0 -1"), "[a a c]");
    }

    #[test]
    fn an_empty_result_deletes_and_a_full_one_replaces_any_type() {
        let mut mirror = filled();
        mirror.run(&["set d 1 pxat 5000000", "sort n store d"]);
        assert_eq!((mirror.ask("type d"), mirror.expires("d")), ("list".into(), None));
        mirror.run(&["sort n limit 9 1 store d"]);
        assert!(!mirror.has("d"));
        mirror.run(&["set d 1", "sort missing store d"]);
        assert!(!mirror.has("d"));
        mirror.run(&["sort n store n"]);
        assert_eq!(mirror.ask("lrange n 0 -1"), "[1 2 9 10 33]");
    }

    #[test]
    fn what_the_server_refuses_is_an_error() {
        let mut mirror = filled();
        mirror.fails("sort l store d", ApplyError::NotANumber);
        mirror.fails("sort n by h_*->f store d", ApplyError::NotANumber);
        mirror.fails("sort w_10 store d", ApplyError::WrongType);
        mirror.fails("sort n limit 1 store d", ApplyError::BadArguments);
        mirror.fails("sort n upwards store d", ApplyError::BadArguments);
    }

    #[test]
    fn weights_are_read_as_c_reads_them() {
        for (text, weight) in [
            ("", Some(0.0)),
            (" \t7", Some(7.0)),
            ("1\0x", Some(1.0)),
            ("0x10", Some(16.0)),
            ("-inf", Some(f64::NEG_INFINITY)),
        ] {
            assert_eq!(parse_weight(text.as_bytes()), weight, "{text:?}");
        }
        for text in [" ", "x", "1 ", "nan"] {
            assert_eq!(parse_weight(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn only_the_destination_is_touched_even_when_a_pattern_is_named_store() {
        assert_eq!(affected("sort n get store desc store d"), ["d"]);
        assert_eq!(affected("sort n"), [""; 0]);
    }
}
