//! The command tuple of a write, for watchers: the command's name, and its arguments with their
//! meaning.

use crate::cursor::{ArgCursor, pairs};
use crate::number::{parse_float, parse_int};
use crate::ops::stream_options::skip_add_options;
use crate::registry;
use crate::row::{Part, Write};
use bytes::Bytes;

/// `{name, field, ...}` on the BEAM.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuple {
    pub name: &'static str,
    pub fields: Vec<Field>,
}

/// An argument of a tuple.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Bytes(Bytes),
    Int(i64),
    Float(f64),
    /// An atom.
    Word(&'static str),
    List(Vec<Field>),
    Pair(Box<(Field, Field)>),
}

impl Tuple {
    /// About how many bytes its arguments take.
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(Field::bytes).fold(0, usize::saturating_add)
    }
}

impl Field {
    fn bytes(&self) -> usize {
        match self {
            Field::Bytes(bytes) => size_of::<u64>().saturating_add(bytes.len()),
            Field::Int(_) | Field::Float(_) | Field::Word(_) => size_of::<u64>(),
            Field::List(parts) => parts.iter().map(Field::bytes).fold(0, usize::saturating_add),
            Field::Pair(pair) => pair.0.bytes().saturating_add(pair.1.bytes()),
        }
    }
}

/// The keywords that become atoms. Anything else stays bytes: a stream must never create new atoms.
const WORDS: &[&str] = &[
    "absttl",
    "acked",
    "after",
    "aggregate",
    "alpha",
    "and",
    "andor",
    "asc",
    "before",
    "bulk",
    "by",
    "byfloat",
    "byint",
    "bylex",
    "byscore",
    "ch",
    "count",
    "create",
    "createconsumer",
    "db",
    "delconsumer",
    "delref",
    "desc",
    "destroy",
    "diff",
    "diff1",
    "entriesadded",
    "enx",
    "ex",
    "exactly",
    "exat",
    "fail",
    "fatal",
    "fnx",
    "force",
    "freq",
    "fxx",
    "get",
    "getreg",
    "gt",
    "idle",
    "idletime",
    "idmp-duration",
    "idmp-maxsize",
    "incr",
    "incrby",
    "justid",
    "keepref",
    "keepttl",
    "lastid",
    "lbound",
    "left",
    "limit",
    "lt",
    "max",
    "maxdeletedid",
    "maxlen",
    "min",
    "minid",
    "not",
    "nx",
    "obo",
    "one",
    "or",
    "overflow",
    "persist",
    "px",
    "pxat",
    "ranges",
    "replace",
    "retrycount",
    "rev",
    "right",
    "sat",
    "saturate",
    "set",
    "setid",
    "silent",
    "store",
    "storedist",
    "sum",
    "time",
    "todense",
    "ubound",
    "weights",
    "withscores",
    "withvalues",
    "wrap",
    "xor",
    "xx",
];

/// The tuple of a command; `args` contain the command's name. A command without a row, or with
/// arguments that do not fit its row, becomes `{:generic, [name | args]}`.
pub fn tuple(args: &[&[u8]]) -> Tuple {
    let known = args.split_first().and_then(|(name, rest)| {
        let row = registry::write(name)?;
        Some(Tuple { name: row.name, fields: fields(row, rest)? })
    });
    known.unwrap_or_else(|| generic(args))
}

/// `{:generic, [name | args]}`: a command as it arrived.
pub fn generic(args: &[&[u8]]) -> Tuple {
    Tuple { name: "generic", fields: vec![list(args)] }
}

fn fields(row: &Write, args: &[&[u8]]) -> Option<Vec<Field>> {
    let mut args = ArgCursor::new(args);
    let mut fields = Vec::with_capacity(row.shape.len());
    for part in row.shape {
        match part {
            Part::Dropped => {
                args.rest();
            }
            Part::Scored => fields.extend(scored(&mut args)?),
            Part::Fields => fields.extend(counted_fields(&mut args, 1)?),
            Part::FieldPairs => fields.extend(counted_fields(&mut args, 2)?),
            Part::PlainFields => fields.push(plain_fields(&mut args)?),
            Part::Ids => fields.extend(ids(&mut args)?),
            Part::AddOptions => skip_add_options(&mut args).ok()?,
            // A command may end without its options.
            Part::Options if args.is_empty() => fields.push(Field::List(Vec::new())),
            _ => fields.push(field(*part, &mut args)?),
        }
    }
    args.is_empty().then_some(fields)
}

fn field(part: Part, args: &mut ArgCursor<'_>) -> Option<Field> {
    Some(match part {
        Part::Key | Part::Source | Part::Bin => bytes(args.bytes().ok()?),
        Part::Int => Field::Int(args.int().ok()?),
        Part::Float => score_field(args.float().ok()?),
        Part::Word => word(args.bytes().ok()?),
        Part::Keys | Part::Sources | Part::Bins => list(args.rest()),
        Part::CountedSources | Part::CountedBins => list(args.counted().ok()?),
        Part::KeyPairs | Part::Pairs => pair_list(args.rest())?,
        Part::CountedPairs => {
            let count = usize::try_from(args.int().ok()?).ok()?;
            pair_list(args.take(count.checked_mul(2)?).ok()?)?
        }
        Part::Options => Field::List(args.rest().iter().map(|arg| option(arg)).collect()),
        Part::Scored
        | Part::Fields
        | Part::PlainFields
        | Part::FieldPairs
        | Part::Ids
        | Part::AddOptions
        | Part::Dropped => return None,
    })
}

fn scored(args: &mut ArgCursor<'_>) -> Option<[Field; 2]> {
    let mut flags = Vec::new();
    while args.peek().is_some_and(|next| parse_float(next).is_none()) {
        flags.push(word(args.bytes().ok()?));
    }
    let scored = pairs(args.rest())
        .ok()?
        .map(|(score, member)| Some(Field::Pair(Box::new((score_field(parse_float(score)?), bytes(member))))));
    Some([Field::List(scored.collect::<Option<_>>()?), Field::List(flags)])
}

fn counted_fields(args: &mut ArgCursor<'_>, width: usize) -> Option<[Field; 2]> {
    let [before, groups, after] = args.fields(width).ok()?;
    let options = before.iter().chain(after).map(|arg| option(arg)).collect();
    let fields = if width == 2 { pair_list(groups)? } else { list(groups) };
    Some([Field::List(options), fields])
}

fn plain_fields(args: &mut ArgCursor<'_>) -> Option<Field> {
    match args.fields(1).ok()? {
        [[], names, []] => Some(list(names)),
        _ => None,
    }
}

fn ids(args: &mut ArgCursor<'_>) -> Option<[Field; 2]> {
    let [before, ids, after] = args.counted_after("ids", 1).ok()?;
    let options = before.iter().chain(after).map(|arg| option(arg)).collect();
    Some([Field::List(options), list(ids)])
}

/// A float of the BEAM cannot hold an infinity.
fn score_field(score: f64) -> Field {
    match score {
        f64::INFINITY => Field::Word("pos_inf"),
        f64::NEG_INFINITY => Field::Word("neg_inf"),
        finite => Field::Float(finite),
    }
}

fn option(arg: &[u8]) -> Field {
    match word(arg) {
        Field::Bytes(_) => parse_int(arg).map(Field::Int).unwrap_or_else(|| bytes(arg)),
        word => word,
    }
}

fn known_word(arg: &[u8]) -> Option<&'static str> {
    WORDS.iter().find(|word| arg.eq_ignore_ascii_case(word.as_bytes())).copied()
}

/// Whether an argument looks like an option of some command, in any case.
pub fn is_option(arg: &[u8]) -> bool {
    known_word(arg).is_some()
}

fn word(arg: &[u8]) -> Field {
    let known = known_word(arg);
    known.map_or_else(|| bytes(arg), Field::Word)
}

fn pair_list(args: &[&[u8]]) -> Option<Field> {
    let pairs = pairs(args).ok()?.map(|(a, b)| Field::Pair(Box::new((bytes(a), bytes(b)))));
    Some(Field::List(pairs.collect()))
}

fn list(args: &[&[u8]]) -> Field {
    Field::List(args.iter().map(|arg| bytes(arg)).collect())
}

fn bytes(arg: &[u8]) -> Field {
    Field::Bytes(Bytes::copy_from_slice(arg))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: &str) -> Tuple {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        tuple(&args)
    }

    #[test]
    fn options_of_set_are_dropped() {
        let set = of("SET k v PXAT 123");
        assert_eq!(set, Tuple { name: "set", fields: vec![bytes(b"k"), bytes(b"v")] });
    }

    #[test]
    fn what_does_not_fit_is_generic() {
        assert_eq!(of("ZINCRBY z -inf m").fields.get(1), Some(&Field::Word("neg_inf")));
        assert_eq!(of("INCRBY k x"), generic(&[b"INCRBY", b"k", b"x"]));
        assert_eq!(of("NOSUCH a"), generic(&[b"NOSUCH", b"a"]));
        assert_eq!(tuple(&[]), generic(&[]));
    }

    #[test]
    fn counted_fields_stand_behind_their_options() {
        let fields = Field::List(vec![bytes(b"f"), bytes(b"g")]);
        let options = Field::List(vec![Field::Word("nx")]);
        let expected = vec![bytes(b"h"), Field::Int(5), options, fields];
        assert_eq!(of("HPEXPIREAT h 5 NX FIELDS 2 f g"), Tuple { name: "hpexpireat", fields: expected });
    }

    #[test]
    fn numbers_words_and_groups_are_told_apart() {
        let list = |items: &[&str]| Field::List(items.iter().map(|item| bytes(item.as_bytes())).collect());
        let pair = |a: &str, b: &str| Field::Pair(Box::new((bytes(a.as_bytes()), bytes(b.as_bytes()))));
        for (command, fields) in [
            ("PEXPIREAT k 5 GT", vec![bytes(b"k"), Field::Int(5)]),
            ("DEL a b", vec![list(&["a", "b"])]),
            ("MSET a 1 b 2", vec![Field::List(vec![pair("a", "1"), pair("b", "2")])]),
            (
                "MSETEX 1 a 1 PXAT 9",
                vec![Field::List(vec![pair("a", "1")]), Field::List(vec![Field::Word("pxat"), Field::Int(9)])],
            ),
            ("BITOP AND d a b", vec![Field::Word("and"), bytes(b"d"), list(&["a", "b"])]),
            ("SETRANGE k 2 x", vec![bytes(b"k"), Field::Int(2), bytes(b"x")]),
            ("COPY a b DB 1", vec![bytes(b"a"), bytes(b"b"), Field::List(vec![Field::Word("db"), Field::Int(1)])]),
            ("SORT a STORE b", vec![bytes(b"a"), Field::List(vec![Field::Word("store"), bytes(b"b")])]),
            ("SWAPDB 0 1", vec![Field::Int(0), Field::Int(1)]),
            ("FLUSHALL ASYNC", vec![]),
            ("PFDEBUG TODENSE k", vec![Field::Word("todense"), bytes(b"k"), Field::List(vec![])]),
        ] {
            let tuple = of(command);
            assert_eq!(
                (tuple.name.to_uppercase().as_str(), tuple.fields),
                (command.split(' ').next().unwrap(), fields)
            );
        }
    }

    #[test]
    fn the_words_are_sorted_and_lower_case() {
        assert!(WORDS.iter().all(|word| word.bytes().all(|b| !b.is_ascii_uppercase())));
    }
}
