//! What scripts see and answer.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{run_with, subject};
use vdr_commands::Arg;
use vdr_lua::{Engine, Kind, Limits, LuaValue, ScriptError, Subject};

fn bytes(text: &str) -> LuaValue {
    LuaValue::Bytes(text.as_bytes().to_vec())
}

fn list(items: impl IntoIterator<Item = LuaValue>) -> LuaValue {
    LuaValue::List(items.into_iter().collect())
}

fn map<const N: usize>(entries: [(&str, LuaValue); N]) -> LuaValue {
    LuaValue::Map(entries.map(|(key, value)| (key.as_bytes().to_vec(), value)).into())
}

fn run(source: &str) -> Result<LuaValue, ScriptError> {
    run_with(&Engine::new(), &subject(3), source, &[], &[], Limits::default())
}

fn refused(source: &str, kind: Kind, message: &str) {
    let expected = ScriptError { kind, message: message.to_string() };
    assert_eq!(run(source), Err(expected), "{source}");
}

/// The first script of the README, to the letter.
#[test]
fn the_leaderboard_script_walks_the_whole_sorted_set() {
    let script = include_str!("../../../test/fixtures/leaderboard.lua");
    let answer = run_with(&Engine::new(), &subject(25), script, &[], &[], Limits::default()).unwrap();
    let expected = (0..25).map(|i| {
        let score = if i < 3 { LuaValue::Float(i as f64 + 0.5) } else { LuaValue::Int(i) };
        list([bytes(&format!("player:{i:06}")), score])
    });
    assert_eq!(answer, list(expected));
}

/// The second script of the README, to the letter.
#[test]
fn a_script_follows_a_key_that_it_has_read() {
    let script = "\
local owner_id = ts.get('item:456:owner_id')
return ts.hget('user:' .. owner_id, 'name')
";
    assert_eq!(run(script), Ok(bytes("Ona")));
}

fn attempt(engine: &Engine, source: &str) -> Option<Result<LuaValue, ScriptError>> {
    match engine.script(source.as_bytes()) {
        Ok(script) => engine.attempt(&script, subject(3), &[], &[], Limits::default()),
        Err(error) => Some(Err(error)),
    }
}

/// An attempt that a busy machine did not hold up: one that was is not made again for a while.
fn attempt_in_time(engine: &Engine, source: &str) -> Option<Result<LuaValue, ScriptError>> {
    let begun = Instant::now();
    let attempts = std::iter::repeat_with(|| attempt(engine, source));
    attempts.take_while(|_| begun.elapsed() < Duration::from_secs(20)).flatten().next()
}

#[test]
fn a_short_script_needs_no_more_than_an_attempt() {
    let engine = Engine::new();
    let source = "return {ts.get('k:00007') * 20, ts.get('queue2')}";
    assert_eq!(attempt(&engine, source), None, "there is no interpreter yet");
    run_with(&engine, &subject(3), "return 1", &[], &[], Limits::default()).unwrap();
    assert_eq!(attempt_in_time(&engine, source), Some(Ok(list([LuaValue::Int(140)]))));
    let failed = attempt_in_time(&engine, "\nerror('no')").unwrap().unwrap_err();
    assert_eq!((failed.kind, failed.message.as_str()), (Kind::Runtime, "script:2: no"));
}

/// Each would see the limits of the attempt if it were let go on.
#[test]
fn what_is_long_or_could_hide_it_is_no_attempt() {
    for source in [
        "while true do end",
        "return #string.rep('x', 100000)",
        "return #ts.keys('k:*')",
        "return pcall(ts.keys, 'k:*')",
        "return select(2, xpcall(function() return string.rep('x', 1e6) end, function() return 'caught' end))",
        "return coroutine.resume(coroutine.create(function() return string.rep('x', 1e6) end))",
        "return coroutine.wrap(function() return 1 end)()",
        "return string.find(string.rep('a', 30000), string.rep('a', 10000) .. 'b', 1, true)",
        "local t = table.create(3000, 1) table.sort(t) return 1",
        "local t = table.create(3000, 1) table.move(t, 1, 3000, 2) return 1",
        "local t = {} for i = 1, 3000 do t[i] = i end return t",
    ] {
        let engine = Engine::new();
        run_with(&engine, &subject(3), "return 1", &[], &[], Limits::default()).unwrap();
        assert_eq!(attempt(&engine, source), None, "{source}");
        assert_eq!(attempt(&engine, source), None, "{source}");
        assert_eq!(attempt_in_time(&engine, "return 2"), Some(Ok(LuaValue::Int(2))), "after {source}");
    }
}

#[test]
fn a_script_that_nobody_waits_for_ends() {
    let abandoned = Arc::new(AtomicBool::new(false));
    let data = Subject { abandoned: Some(abandoned.clone()), ..subject(3) };
    let engine = Engine::new();
    let script = engine.script(b"while true do pcall(ts.get, 'k:00001') end").unwrap();
    let start = Instant::now();
    let ended = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            engine.run(&script, data, &[], &[], Limits { timeout: Duration::from_secs(60), ..Limits::default() })
        });
        std::thread::sleep(Duration::from_millis(50));
        abandoned.store(true, Ordering::Relaxed);
        running.join().unwrap()
    });
    assert_eq!(ended.unwrap_err().kind, Kind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn every_read_is_in_ts_and_nothing_else() {
    let answer = run("local names = {} for name in pairs(ts) do table.insert(names, name) end return names").unwrap();
    let LuaValue::List(mut names) = answer else { panic!("a list") };
    let mut rows: Vec<LuaValue> = vdr_commands::reads().map(|row| bytes(row.name)).collect();
    let key = |value: &LuaValue| format!("{value:?}");
    names.sort_by_key(key);
    rows.sort_by_key(key);
    assert_eq!(names, rows);
}

#[test]
fn replies_have_their_lua_form() {
    assert_eq!(run("return ts.get('nope')"), Ok(LuaValue::Nil));
    assert_eq!(run("return ts.get('nope') == nil"), Ok(LuaValue::Bool(true)));
    assert_eq!(run("return ts.hgetall('user:77').city"), Ok(bytes("Kaunas")));
    assert_eq!(run("return ts.hgetall('user:77')"), Ok(map([("city", bytes("Kaunas")), ("name", bytes("Ona"))])));
    assert_eq!(run("return ts.hgetall('nope')"), Ok(list([])));
    assert_eq!(run("return ts.exists('queue')"), Ok(LuaValue::Bool(true)));
    assert_eq!(run("return ts.type('queue')"), Ok(bytes("list")));
    assert_eq!(run("return ts.zscore('leaderboard', 'player:000000')"), Ok(LuaValue::Float(0.5)));
    assert_eq!(
        run("return ts.zfirst('leaderboard', 1)"),
        Ok(list([list([LuaValue::Float(0.5), bytes("player:000000")])]))
    );
    assert_eq!(
        run("return ts.zrange('leaderboard', 0, 0)"),
        Ok(list([list([bytes("player:000000"), LuaValue::Float(0.5)])]))
    );
    assert_eq!(run("return ts.zrange('leaderboard', 0, 0, false)"), Ok(list([bytes("player:000000")])));
    assert_eq!(run("return ts.lrange('queue', 0, -1)"), Ok(list([bytes("a"), bytes("b")])));
}

#[test]
fn arguments_are_lists_bounds_and_options() {
    assert_eq!(run("return #ts.mget({'k:00001', 'k:00002'})"), Ok(LuaValue::Int(2)));
    assert_eq!(run("return ts.zcount('leaderboard', {'exclusive', 0.5}, 'pos_inf')"), Ok(LuaValue::Int(2)));
    assert_eq!(run("return ts.zcount('leaderboard', 0.5, 1.5)"), Ok(LuaValue::Int(2)));
    assert_eq!(
        run("local keys, at, page = 0, 0 repeat page = ts.scan(at, {match = 'k:000*', count = 500}) at = page[1] \
             keys = keys + #page[2] until at == 0 or at == '0' return keys"),
        Ok(LuaValue::Int(100))
    );
}

#[test]
fn a_read_that_fails_raises_its_code_at_the_line_that_called() {
    refused("\n\nreturn ts.get('queue')", Kind::Runtime, "script:3: wrong_type");
    refused("return ts.get()", Kind::Runtime, "script:1: bad_argument");
    refused("return ts.get('a', 'b')", Kind::Runtime, "script:1: bad_argument");
    refused("return ts.get(print)", Kind::Runtime, "script:1: bad_argument");
    refused("return ts.get({{{{{1}}}}})", Kind::Runtime, "script:1: bad_argument");
    assert_eq!(
        run("local ok, code = pcall(ts.get, 'queue') return {ok, code}"),
        Ok(list([LuaValue::Bool(false), bytes("wrong_type")]))
    );
}

#[test]
fn errors_say_line_and_message() {
    refused("local x = 1\nerror('no such user')", Kind::Runtime, "script:2: no such user");
    refused("local x\nreturn x.y", Kind::Runtime, "script:2: attempt to index nil with 'y'");
    let syntax = run("local x = 1\nreturn return").unwrap_err();
    assert_eq!(syntax.kind, Kind::Syntax);
    assert!(syntax.message.starts_with("script:2: "), "{}", syntax.message);
}

#[test]
fn keys_and_args_are_globals() {
    let engine = Engine::new();
    let data = subject(3);
    let args = [Arg::Bytes(b"name"), Arg::Int(7), Arg::Float(0.5), Arg::Bool(true)];
    let source = "return {KEYS[1], #KEYS, ARGV[1], ARGV[2] + ARGV[3], ARGV[4], ts.hget(KEYS[1], ARGV[1])}";
    let expected =
        [bytes("user:77"), LuaValue::Int(1), bytes("name"), LuaValue::Float(7.5), LuaValue::Bool(true), bytes("Ona")];
    assert_eq!(run_with(&engine, &data, source, &[b"user:77"], &args, Limits::default()), Ok(list(expected)));
    // The same loaded function meets the globals of its own call.
    let args = [Arg::Bytes(b"city"), Arg::Int(1), Arg::Int(1), Arg::Bool(false)];
    let again = run_with(&engine, &data, source, &[b"user:77"], &args, Limits::default()).unwrap();
    let LuaValue::List(again) = again else { panic!("a list") };
    assert_eq!((&again[2], &again[3]), (&bytes("city"), &LuaValue::Int(2)));
}

#[test]
fn results_are_values_lists_and_maps() {
    for (source, expected) in [
        ("return", LuaValue::Nil),
        ("return 3", LuaValue::Int(3)),
        ("return -0.0", LuaValue::Int(0)),
        ("return 2^53", LuaValue::Int(1 << 53)),
        ("return 1e300", LuaValue::Float(1e300)),
        ("return 0.5", LuaValue::Float(0.5)),
        ("return 'a\\0\\255'", LuaValue::Bytes(b"a\0\xff".to_vec())),
        ("return {}", list([])),
        ("return {1, 'b', false}", list([LuaValue::Int(1), bytes("b"), LuaValue::Bool(false)])),
        ("local t = {} for i = 3, 1, -1 do t[i] = i end return t", list([1, 2, 3].map(LuaValue::Int))),
        ("return {a = 1, b = {2}}", map([("a", LuaValue::Int(1)), ("b", list([LuaValue::Int(2)]))])),
        ("return {[5] = 'x', y = 'z'}", map([("5", bytes("x")), ("y", bytes("z"))])),
        ("return {'x', y = 'z'}", map([("1", bytes("x")), ("y", bytes("z"))])),
        ("return {'x', nil, 'z'}", map([("1", bytes("x")), ("3", bytes("z"))])),
        ("local t = {1} return {t, t}", list([list([LuaValue::Int(1)]), list([LuaValue::Int(1)])])),
    ] {
        assert_eq!(run(source), Ok(expected), "{source}");
    }
}

#[test]
fn what_has_no_form_outside_is_refused() {
    refused("return print == nil and function() end", Kind::Result, "a function cannot leave the script");
    refused("return {coroutine.create(function() end)}", Kind::Result, "a thread cannot leave the script");
    refused("return 0/0", Kind::Result, "a number that is infinite or not a number");
    refused("return {1/0}", Kind::Result, "a number that is infinite or not a number");
    refused("return {[0.5] = 1}", Kind::Result, "a number as the key of a table");
    refused("return {[{}] = 1}", Kind::Result, "a table as the key of a table");
    refused("return {[2] = 1, ['2'] = 1}", Kind::Result, "a table with the same key as a number and as a string");
    refused("local t = {} t.t = {t} return t", Kind::Result, "a table that contains itself");
    refused("local t = {} for i = 1, 64 do t = {t} end return t", Kind::Result, "tables nested more than 64 deep");
}

#[test]
fn nothing_of_one_call_is_seen_by_the_next() {
    let engine = Engine::new();
    let data = subject(3);
    let run = |source: &str| run_with(&engine, &data, source, &[b"k"], &[], Limits::default());
    assert_eq!(run("leak = 1 KEYS.x = 2 ts = {} return 1"), Ok(LuaValue::Int(1)));
    assert_eq!(run("return {leak == nil, KEYS.x == nil, ts.dbsize()}").unwrap(), {
        list([LuaValue::Bool(true), LuaValue::Bool(true), LuaValue::Int(10_004)])
    });
    for source in [
        "string.leak = 1",
        "ts.leak = 1",
        "ts.get = nil",
        "table.insert = nil",
        "getmetatable('').__index = nil",
        "getmetatable('').__add = nil",
        "rawset(string, 'leak', 1)",
        "rawset(ts, 'leak', 1)",
        "table.clear(ts)",
        "setmetatable(math, {})",
        "table.insert(math, 1)",
    ] {
        let error = run(source).expect_err(source);
        assert_eq!(error.kind, Kind::Runtime, "{source}");
    }
    assert_eq!(run("return string.leak == nil and ts.leak == nil and ts.get('k:00001')"), Ok(bytes("1")));
}

#[test]
fn nothing_that_reaches_outside_is_there() {
    for name in [
        "io",
        "os",
        "package",
        "require",
        "debug",
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "collectgarbage",
        "gcinfo",
        "print",
        "getfenv",
        "setfenv",
        "newproxy",
        "_G",
        "buffer",
        "vector",
        "integer",
        "math.random",
        "math.randomseed",
        "math.noise",
        "string.dump",
    ] {
        assert_eq!(run(&format!("return {name} == nil")), Ok(LuaValue::Bool(true)), "{name}");
    }
}

#[test]
fn bytecode_given_as_source_is_a_syntax_error() {
    let engine = Engine::new();
    for bytecode in [&b"\x1bLua\x54\0\x19\x93"[..], b"\x06\x03\x01\x00", b"\x09\x03\0\0\0\0\x01"] {
        assert_eq!(engine.script(bytecode).err().map(|error| error.kind), Some(Kind::Syntax));
    }
}

#[test]
fn a_function_kept_from_an_earlier_call_reads_nothing() {
    // Coroutines end with their call; a wrapped read inside of one that was never resumed is just
    // garbage.
    let engine = Engine::new();
    let data = subject(3);
    let run = |source: &str| run_with(&engine, &data, source, &[], &[], Limits::default());
    assert_eq!(run("co = coroutine.wrap(function() return ts.get('k:00001') end) return 1"), Ok(LuaValue::Int(1)));
    assert_eq!(run("return co == nil"), Ok(LuaValue::Bool(true)));
    assert_eq!(run("return coroutine.wrap(function() return ts.get('k:00001') end)()"), Ok(bytes("1")));
}

#[test]
fn a_script_lets_go_of_its_snapshot() {
    let engine = Engine::new();
    let data = subject(3);
    run_with(&engine, &data, "return ts.dbsize()", &[], &[], Limits::default()).unwrap();
    run_with(&engine, &data, "error('x')", &[], &[], Limits::default()).unwrap_err();
    assert_eq!(std::sync::Arc::strong_count(&data.snapshot), 1);
}

/// Each thread runs its own loop of different scripts on its own data, and none sees what belongs
/// to another.
#[test]
fn scripts_run_on_many_threads_at_once() {
    let engine = Engine::new();
    std::thread::scope(|scope| {
        for thread in 0..4_i64 {
            let engine = &engine;
            scope.spawn(move || {
                let data = subject(usize::try_from(thread).unwrap() + 1);
                let source = "mine = (mine or 0) + ARGV[1] + ts.zcard('leaderboard') return mine";
                for _ in 0..200 {
                    let answer = run_with(engine, &data, source, &[], &[Arg::Int(thread)], Limits::default());
                    assert_eq!(answer, Ok(LuaValue::Int(2 * thread + 1)));
                }
            });
        }
    });
}
