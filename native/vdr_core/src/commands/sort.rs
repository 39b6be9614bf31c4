//! SORT with STORE: the only SORT that changes anything.
//!
//! With STORE the server compares bytes, never by locale. Elements of equal weight are ordered by their bytes, so the
//! result is one and the same everywhere, but for ALPHA with BY where weights are equal: there the server's order comes from its
//! sorting algorithm and its hash tables. We keep the source's order.

use super::strings::stored;
use super::write::parse_float;
use super::{Apply, ApplyError, Part, Touch, Touches, Words, Write, Written};
use crate::blob::Blob;
use crate::value::{List, Value};
use std::cmp::Ordering;

pub const WRITES: &[Write] = &[Write {
    name: "sort",
    shape: &[Part::Source, Part::Options],
    touches: Touches::Special(sort_touches),
    run: sort,
}];

#[derive(Default)]
struct Options<'a> {
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    limit: Option<(i64, i64)>,
    descending: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(words: &mut Words<'a>) -> Result<Self, ApplyError> {
        let mut options = Options::default();
        while !words.is_empty() {
            if words.take_word("by") {
                options.by = Some(words.bytes()?);
            } else if words.take_word("get") {
                options.get.push(words.bytes()?);
            } else if words.take_word("limit") {
                options.limit = Some((words.int()?, words.int()?));
            } else if words.take_word("store") {
                options.store = Some(words.bytes()?);
            } else if words.take_word("desc") {
                options.descending = true;
            } else if words.take_word("asc") {
                options.descending = false;
            } else if words.take_word("alpha") {
                options.alpha = true;
            } else {
                return Err(ApplyError::BadArguments);
            }
        }
        Ok(options)
    }

    /// A BY pattern without a star is the same for every element: do not sort.
    fn unsorted(&self) -> bool {
        self.by.is_some_and(|pattern| !pattern.contains(&b'*'))
    }

    /// The places of the result that LIMIT keeps.
    fn limits(&self, len: usize) -> (usize, usize) {
        let Some((offset, count)) = self.limit else {
            return (0, len);
        };
        let from = usize::try_from(offset).unwrap_or(0).min(len);
        let to = usize::try_from(count).map_or(len, |count| from.saturating_add(count).min(len));
        (from, to)
    }
}

fn sort(apply: &mut Apply<'_>, words: &mut Words<'_>) -> Written {
    let key = words.bytes()?;
    let mut options = Options::parse(words)?;
    let Some(store) = options.store else {
        return Ok(());
    };
    unpack(apply, key)?;
    let mut elements = elements(apply, key, &mut options)?;
    if !options.unsorted() {
        elements = sorted(apply, elements, &options)?;
    }
    let (from, to) = options.limits(elements.len());
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

/// A sorted set that is sorted becomes a skiplist on the server, and from then on keeps the sign of a zero.
fn unpack(apply: &mut Apply<'_>, key: &[u8]) -> Written {
    match apply.get(key).map(|entry| &entry.value) {
        Some(Value::ZSet(zset)) if zset.is_listpack() => apply.zset(key, |zset| {
            zset.become_skiplist();
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// The source's elements in the order in which an unsorted result has them.
fn elements(apply: &Apply<'_>, key: &[u8], options: &mut Options<'_>) -> Result<Vec<Blob>, ApplyError> {
    // What is not sorted can still be read from its end.
    let backward = options.descending && options.unsorted();
    Ok(match apply.get(key).map(|entry| &entry.value) {
        None => Vec::new(),
        Some(Value::List(list)) if backward => list.iter().rev().cloned().collect(),
        Some(Value::List(list)) => list.iter().cloned().collect(),
        Some(Value::Set(set)) => {
            // Sets have no order, so what would be unsorted is sorted by bytes, for replicas' sake.
            if options.unsorted() {
                options.by = None;
                options.alpha = true;
            }
            set.iter().cloned().collect()
        }
        Some(Value::ZSet(zset)) => {
            let members = zset.iter().map(|(member, _)| member.clone());
            if backward { members.rev().collect() } else { members.collect() }
        }
        Some(_) => return Err(ApplyError::WrongType),
    })
}

fn sorted(apply: &Apply<'_>, elements: Vec<Blob>, options: &Options<'_>) -> Result<Vec<Blob>, ApplyError> {
    let weight = |element: &Blob| match options.by {
        Some(pattern) => lookup(apply, pattern, element),
        None => Some(element.clone()),
    };
    let directed = |order: Ordering| if options.descending { order.reverse() } else { order };
    if options.alpha {
        let mut weighted: Vec<(Option<Blob>, Blob)> =
            elements.into_iter().map(|element| (weight(&element), element)).collect();
        weighted.sort_by(|a, b| directed(a.0.cmp(&b.0)));
        return Ok(weighted.into_iter().map(|(_, element)| element).collect());
    }
    let mut weighted = Vec::with_capacity(elements.len());
    for element in elements {
        let number = weight(&element).map_or(Some(0.0), |text| parse_weight(&text));
        weighted.push((number.ok_or(ApplyError::NotANumber)?, element));
    }
    weighted.sort_by(|a, b| directed(a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(&b.1))));
    Ok(weighted.into_iter().map(|(_, element)| element).collect())
}

/// As strtod reads a C string: blanks may precede the number, nothing at all is 0, and a NUL ends it.
fn parse_weight(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next()?;
    if text.is_empty() {
        return Some(0.0);
    }
    let number = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r')).and_then(|at| text.get(at..))?;
    parse_float(number)
}

/// The value that a BY or GET pattern names for an element: `#` the element itself, `k_*` a string, `k_*->f` a hash's field.
fn lookup(apply: &Apply<'_>, pattern: &[u8], element: &Blob) -> Option<Blob> {
    if pattern == b"#" {
        return Some(element.clone());
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let (prefix, rest) = (pattern.get(..star)?, pattern.get(star + 1..)?);
    let arrow = rest.windows(2).position(|two| two == b"->").filter(|at| at + 2 < rest.len());
    let key = |suffix: Option<&[u8]>| [prefix, element, suffix.unwrap_or_default()].concat();
    match arrow {
        None => stored(apply, &key(Some(rest))).ok().flatten().cloned(),
        Some(at) => match &apply.get(&key(rest.get(..at)))?.value {
            Value::Hash(hash) => hash.get(rest.get(at + 2..)?).map(|field| field.value.clone()),
            _ => None,
        },
    }
}

fn sort_touches(db: u32, args: &[&[u8]], touch: &mut dyn FnMut(Touch<'_>)) {
    let options = args.get(1..).map(|rest| Options::parse(&mut Words::new(rest)));
    if let Some(Ok(Options { store: Some(key), .. })) = options {
        touch(Touch::Key { db, key });
    }
}
