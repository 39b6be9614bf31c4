//! The test harness of command rows: a keyspace that takes commands as text.

use crate::affected::for_each_affected;
use crate::args::Arg;
use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::{ApplyError, ApplyResult, ReadError};
use crate::registry;
use crate::reply::Reply;
use crate::row::Affected;
use crate::rules::Rules;
use crate::tuple::Field;
use crate::tuple::tuple as tuple_of;
use vdr_data::expiry::Expiry;
use vdr_data::keyspace::Keyspace;
use vdr_data::value::ValueRef;

/// A mirror of one database without a primary. A command is text with blanks between its words;
/// `''` is the empty word.
pub struct Mirror {
    pub keyspace: Keyspace,
    pub now_ms: i64,
    pub rules: Rules,
}

impl Mirror {
    pub fn new() -> Self {
        Mirror { keyspace: Keyspace::default(), now_ms: 1_000_000, rules: Rules::default() }
    }

    /// A mirror after these commands, which must succeed.
    pub fn after(commands: &[&str]) -> Self {
        let mut mirror = Mirror::new();
        mirror.run(commands);
        mirror
    }

    pub fn apply(&mut self, args: &[&[u8]]) -> ApplyResult {
        let row =
            registry::write(args[0]).unwrap_or_else(|| panic!("no row for {:?}", args[0].escape_ascii().to_string()));
        let mut apply = Apply { keyspace: &mut self.keyspace, db: 0, now_ms: self.now_ms, rules: self.rules };
        (row.run)(&mut apply, &mut ArgCursor::new(&args[1..]))
    }

    pub fn attempt(&mut self, command: &str) -> ApplyResult {
        self.apply(&split(command))
    }

    /// Applies commands that must succeed.
    pub fn run(&mut self, commands: &[&str]) {
        for command in commands {
            assert_eq!(self.attempt(command), Ok(()), "{command}");
        }
    }

    /// Applies a command that must fail. It must not create a key.
    pub fn fails(&mut self, command: &str, error: ApplyError) {
        let before = self.keyspace.db(0).len();
        assert_eq!(self.attempt(command), Err(error), "{command}");
        assert_eq!(self.keyspace.db(0).len(), before, "{command}");
    }

    pub fn read<'s>(&'s self, name: &str, args: &[Arg<'_>]) -> Result<Reply<'s>, ReadError> {
        registry::read(name).unwrap().call(self.keyspace.view(0, self.now_ms), args)
    }

    /// Runs a read, and returns its reply as text: lists in brackets, pairs joined by a colon.
    pub fn ask(&self, command: &str) -> String {
        let mut args = command.split(' ').map(arg);
        let Some(Arg::Bytes(name)) = args.next() else { panic!("no name") };
        let args: Vec<Arg<'_>> = args.collect();
        match self.read(std::str::from_utf8(name).unwrap(), &args) {
            Ok(reply) => text(&reply),
            Err(error) => format!("{error:?}"),
        }
    }

    pub fn elements(&self, command: &str) -> usize {
        let args: Vec<Arg<'_>> = command.split(' ').map(arg).collect();
        let Some(Arg::Bytes(name)) = args.first() else { panic!("no name") };
        self.cost(std::str::from_utf8(name).unwrap(), &args[1..])
    }

    pub fn cost(&self, name: &str, args: &[Arg<'_>]) -> usize {
        registry::read(name).unwrap().elements(self.keyspace.view(0, self.now_ms), args)
    }

    /// A sorted set as `member=score` words in order; a dash for a missing key.
    pub fn show(&self, key: &str) -> String {
        let members = self.members(key.as_bytes());
        let words: Vec<String> = members.iter().map(|(member, score)| format!("{member}={score:?}")).collect();
        if words.is_empty() { "-".into() } else { words.join(" ") }
    }

    /// The members of a sorted set in order; none for a missing key. Asserts that an existing key
    /// has some.
    pub fn members(&self, key: &[u8]) -> Vec<(String, f64)> {
        let Some(entry) = self.keyspace.db(0).get(key) else { return Vec::new() };
        let ValueRef::ZSet(zset) = entry.value() else { panic!("another type") };
        assert!(!zset.is_empty(), "the server keeps no empty sorted set");
        zset.iter().map(|(member, score)| (String::from_utf8_lossy(&member).into_owned(), score.get())).collect()
    }

    pub fn expire(&mut self, key: &str, at_ms: i64) {
        assert!(self.keyspace.db_mut(0).set_expiry(key.as_bytes(), Expiry::at(at_ms)));
    }

    pub fn expires(&self, key: &str) -> Option<i64> {
        self.keyspace.db(0).get(key.as_bytes())?.expiry().get()
    }

    pub fn has(&self, key: &str) -> bool {
        self.keyspace.db(0).get(key.as_bytes()).is_some()
    }
}

/// Parses an argument: numbers become integers, `true` and `false` booleans, `[a,b]` a list, and
/// anything else bytes.
fn arg(word: &str) -> Arg<'_> {
    match word {
        "''" => Arg::Bytes(b""),
        "[]" => Arg::List(Vec::new()),
        "true" | "false" => Arg::Bool(word == "true"),
        _ => match (word.strip_prefix('['), word.parse()) {
            (Some(items), _) => {
                let items = items.trim_end_matches(']').split(',');
                Arg::List(items.map(|item| Arg::Bytes(item.as_bytes())).collect())
            }
            (None, Ok(int)) => Arg::Int(int),
            (None, Err(_)) => Arg::Bytes(word.as_bytes()),
        },
    }
}

fn text(reply: &Reply<'_>) -> String {
    let list = |items: Vec<String>| format!("[{}]", items.join(" "));
    match reply {
        Reply::Nil => "nil".into(),
        Reply::Long(long) => String::from_utf8_lossy(long.as_bytes()).into_owned(),
        Reply::Slice(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Reply::Bool(bool) => bool.to_string(),
        Reply::Int(int) => int.to_string(),
        Reply::Float(float) => float.to_string(),
        Reply::Blob(blob) => String::from_utf8_lossy(blob).into(),
        Reply::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Reply::Word(word) => (*word).into(),
        Reply::List(items) => list(items.iter().map(text).collect()),
        Reply::Strings(strings) => list(strings.iter().map(|string| text(&Reply::string(*string))).collect()),
        Reply::Pair(pair) => format!("{}:{}", text(&pair.0), text(&pair.1)),
        Reply::Pairs(pairs) => list(pairs.iter().map(|(a, b)| format!("{}:{}", text(a), text(b))).collect()),
        Reply::Map(fields) => {
            let field = |(name, value)| format!("{}={}", text(&Reply::string(name)), text(&Reply::string(value)));
            list(fields.iter().copied().map(field).collect())
        }
        Reply::Record(fields) => list(fields.iter().map(|(name, value)| format!("{name}={}", text(value))).collect()),
    }
}

pub fn split(command: &str) -> Vec<&[u8]> {
    command.split_whitespace().map(|word| if word == "''" { &b""[..] } else { word.as_bytes() }).collect()
}

/// The keys that a write affects, in order.
pub fn affected(command: &str) -> Vec<String> {
    let args = split(command);
    let mut keys = Vec::new();
    for_each_affected(registry::write(args[0]).unwrap(), 0, &args[1..], &mut |affected| match affected {
        Affected::Key { db: 0, key } => keys.push(String::from_utf8_lossy(key).into()),
        other => panic!("{other:?}"),
    });
    keys
}

/// The tuple that watchers of a write get, as Elixir would print it, without quotes around
/// binaries.
pub fn tuple(command: &str) -> String {
    let tuple = tuple_of(&split(command));
    let fields = tuple.fields.iter().map(field);
    format!("{{{}}}", std::iter::once(format!(":{}", tuple.name)).chain(fields).collect::<Vec<_>>().join(", "))
}

fn field(value: &Field) -> String {
    match value {
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Field::Int(int) => int.to_string(),
        Field::Float(float) => format!("{float:?}"),
        Field::Word(word) => format!(":{word}"),
        Field::List(items) => format!("[{}]", items.iter().map(field).collect::<Vec<_>>().join(", ")),
        Field::Pair(pair) => format!("{{{}, {}}}", field(&pair.0), field(&pair.1)),
    }
}

/// A small random generator. Tests that use it do the same on every run.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }

    pub fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}
