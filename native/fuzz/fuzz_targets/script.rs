//! Runs Lua on a small keyspace: no crash, an end near the time limit, a refusal at the memory
//! limit, and afterwards the same engine and snapshot as before.
//!
//! The input is lines of commands that make the keyspace, a byte 255, and the source. If the
//! source's first byte is above 127, each byte stands for a word of the language, so that most
//! sources are valid; otherwise the source is used as it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use vdr_replica::stream::Applier;
use vdr_commands::Arg;
use vdr_data::digest::{Dialect, digest};
use vdr_data::keyspace::Keyspace;
use vdr_replica::live::Snapshot;
use vdr_lua::{Engine, Kind, Limits, LuaValue, Subject};

const LIMITS: Limits = Limits { timeout: Duration::from_millis(50), memory_bytes: 4 << 20 };
/// The time that a busy machine may add to that.
const SLACK: Duration = Duration::from_secs(5);
/// The upper bound of a result, whatever it consists of.
const RESULT_BYTES_MAX: usize = 16 << 20;
const COMMANDS_MAX: usize = 30;
const SEPARATOR: u8 = 255;

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::new);

/// The words that sources are made of. The reads follow, each as `ts.name`.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "local", "x", "y", "t", "=", "(", ")", "{", "}", "[", "]", ",", ".", "..", "+", "-", "*", "/", "%", "^", "//", "#", "==", "~=",
    "<", ">", "and", "or", "not", "nil", "true", "false", "return", "function", "end", "if", "then", "else", "elseif", "while", "do",
    "for", "in", "repeat", "until", "break", "continue", "1", "0", "2", "-1", "1e308", "2^31", "2^53", "0/0", "1/0", "'a'", "'b'",
    "'%b()'", "'(.-)'", "'[^a]*'", "'%f[%w]'", "KEYS", "ARGV", "KEYS[1]", "ARGV[1]", "pairs(", "ipairs(", "pcall(", "xpcall(", "error(",
    "assert(", "tostring(", "tonumber(", "type(", "select(", "unpack(", "setmetatable(", "getmetatable(", "rawset(", "rawget(", "next(",
    "string.rep(", "string.format(", "string.gsub(", "string.find(", "string.gmatch(", "string.pack(", "string.unpack(", "string.split(",
    "table.concat(", "table.sort(", "table.insert(", "table.move(", "table.create(", "table.clear(", "table.clone(", "table.unpack(",
    "coroutine.wrap(", "coroutine.yield(", "coroutine.create(", "coroutine.resume(", "coroutine.close(", "bit32.lshift(", "utf8.char(",
    "utf8.codes(", "math.floor(", "math.huge", "__index", "__gc", "__mode", "__call", "__tostring", "__len", "__iter", ";", ":", "`{x}`",
];

fn source(input: &[u8]) -> Vec<u8> {
    let Some((first, rest)) = input.split_first().filter(|(first, _)| **first > 127) else { return input.to_vec() };
    let reads: Vec<String> = vdr_commands::reads().map(|row| format!("ts.{}(", row.name)).collect();
    let mut text = String::new();
    for (at, byte) in rest.iter().enumerate() {
        let index = usize::from(*byte);
        let word = WORDS.get(index).copied().unwrap_or_else(|| &reads[(index + usize::from(*first) + at) % reads.len()]);
        text.push_str(word);
        text.push(' ');
    }
    text.into_bytes()
}

fn subject(input: &[u8]) -> Subject {
    let mut applier = Applier::new(Keyspace::default(), 0, 0, None);
    for line in input.split(|byte| *byte == b'\n').take(COMMANDS_MAX) {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        // Some commands make large values from small numbers, which is not what this target looks
        // for.
        if line.len() < 200 && !words.iter().any(|word| word.len() > 4 && word.iter().all(u8::is_ascii_digit)) {
            let _ = applier.command(&words, 1, 1_000_000);
        }
    }
    let keyspace = applier.visible().map(|(keyspace, _)| keyspace.clone()).unwrap_or_default();
    let snapshot = Arc::new(Snapshot { keyspace, ..Snapshot::default() });
    Subject { snapshot, db: 0, now_ms: 1_000_000, abandoned: None }
}

fn bytes(value: &LuaValue) -> usize {
    let own = std::mem::size_of::<LuaValue>();
    own + match value {
        LuaValue::Bytes(bytes) => bytes.len(),
        LuaValue::List(list) => list.iter().map(bytes).sum(),
        LuaValue::Map(map) => map.iter().map(|(name, value)| name.len() + bytes(value)).sum(),
        _ => 0,
    }
}

/// Returns the result, which must come near the time limit. A machine that stalls does not stall
/// three times in a row.
fn in_time<T>(mut run: impl FnMut() -> T) -> T {
    let mut timed = (0..3).map(|_| {
        let start = Instant::now();
        (run(), start.elapsed())
    });
    timed.find(|(_, time)| *time < LIMITS.timeout + SLACK).expect("three runs that do not end in time").0
}

fn summary(subject: &Subject) -> String {
    format!("{:?}", digest(&subject.snapshot.keyspace, Dialect::of("redis", "8.0"), 0).map(|digest| digest.to_string()))
}

fuzz_target!(|input: &[u8]| {
    let at = input.iter().position(|byte| *byte == SEPARATOR).unwrap_or(0);
    let (commands, rest) = input.split_at(at);
    let source = source(rest.strip_prefix(&[SEPARATOR]).unwrap_or(rest));
    let subject = subject(commands);
    let before = summary(&subject);
    let Ok(script) = ENGINE.script(&source) else { return };
    let (keys, args) = ([b"a".as_slice(), b"l"], [Arg::Bytes(b"h"), Arg::Int(3)]);
    let answer = in_time(|| ENGINE.run(&script, subject.clone(), &keys, &args, LIMITS));
    let attempt = in_time(|| ENGINE.attempt(&script, subject.clone(), &keys, &args, LIMITS));
    for answer in attempt.into_iter().chain([answer]) {
        match answer {
            Ok(value) => assert!(bytes(&value) <= RESULT_BYTES_MAX),
            Err(error) => assert!(error.message.len() < 1 << 20, "{:?}", error.kind),
        }
    }
    assert_eq!(summary(&subject), before);
    let again = ENGINE.script(b"return ts.dbsize()").and_then(|script| ENGINE.run(&script, subject.clone(), &[], &[], LIMITS));
    let keys = i64::try_from(subject.snapshot.keyspace.db(0).len()).unwrap_or(i64::MAX);
    // On a busy machine any script may take too long.
    assert!(again == Ok(LuaValue::Int(keys)) || again.is_err_and(|error| matches!(error.kind, Kind::Timeout)));
});
