//! Hostile scripts: each must end, near its limit, and leave the engine as it was.

mod support;

use std::time::{Duration, Instant};
use support::{run_with, subject};
use vdr_lua::{Engine, Kind, Limits, LuaValue, Script};

const LIMITS: Limits = Limits { timeout: Duration::from_millis(300), memory_bytes: 64 << 20 };

/// For what must meet its memory limit and no other, on a busy machine and under a sanitizer too.
const ONLY_MEMORY: Limits = Limits { timeout: Duration::from_secs(30), memory_bytes: 16 << 20 };

/// For what may meet either.
const LITTLE_MEMORY: Limits = Limits { timeout: Duration::from_millis(3000), memory_bytes: 16 << 20 };

/// What a busy machine adds to the fifth over the limit that is allowed.
const BUSY: Duration = Duration::from_millis(500);

/// How often a script may end late: a machine that stops the thread for longer does not do so each
/// time.
const TRIES: usize = 5;

fn ends(limits: Limits, sources: &[&str], kinds: &[Kind]) {
    let engine = Engine::new();
    let data = subject(3);
    for source in sources {
        let ends_in_time = || {
            let start = Instant::now();
            let answer = run_with(&engine, &data, source, &[], &[], limits);
            let took = start.elapsed();
            let kind = answer.err().map(|error| error.kind);
            assert!(kind.is_some_and(|kind| kinds.contains(&kind)), "{source}: {kind:?}");
            took < limits.timeout.mul_f64(1.2) + BUSY
        };
        assert!((0..TRIES).any(|_| ends_in_time()), "{source} ends late");
        let after = run_with(&engine, &data, "return ts.get('k:00007')", &[], &[], ONLY_MEMORY);
        assert_eq!(after, Ok(LuaValue::Bytes(b"7".to_vec())), "after {source}");
    }
}

#[test]
fn endless_loops_end_whatever_catches_the_error() {
    ends(
        LIMITS,
        &[
            "while true do end",
            "repeat until false",
            "for i = 1, math.huge do end",
            "while true do pcall(function() while true do end end) end",
            "while true do pcall(error) end",
            "local function f() pcall(f) pcall(f) end while true do f() end",
            "while true do xpcall(function() while true do end end, function() while true do end end) end",
            "xpcall(function() while true do end end, function() while true do end end) return 1",
            "pcall(function() while true do end end) return 'late but well'",
            "while true do coroutine.wrap(function() while true do end end)() end",
            "while true do pcall(coroutine.wrap(function() while true do end end)) end",
            "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
            "while true do ts.get('k:00001') end",
            "while true do pcall(ts.get, 'queue') end",
            "while true do ts.keys('*') end",
            "for x in function() return 1 end do end",
        ],
        &[Kind::Timeout],
    );
}

#[test]
fn metamethods_and_error_values_cannot_hide_a_loop() {
    ends(
        LIMITS,
        &[
            "error(setmetatable({}, {__tostring = function() while true do end end}))",
            "error(setmetatable({}, {__tostring = function() pcall(function() while true do end end) return 'x' end}))",
            "return setmetatable({}, {__index = function() while true do end end}).x",
            "return #setmetatable({}, {__len = function() while true do end end})",
            "for x in setmetatable({}, {__iter = function() while true do end end}) do end",
            "table.sort({1, 2, 3}, function() while true do end end)",
            "table.sort({1, 2, 3}, function() pcall(function() while true do end end) return true end) while true do end",
            "return (string.gsub('aaa', 'a', function() while true do end end))",
            "return table.concat(setmetatable({}, {__index = function() return 'x' end}), ',', 1, 2^31 - 1), \
             (function() while true do end end)()",
        ],
        &[Kind::Timeout, Kind::Runtime],
    );
}

#[test]
fn patterns_and_searches_that_would_take_ages_end() {
    ends(
        LIMITS,
        &[
            "return string.find(string.rep('a', 60), string.rep('a-', 40) .. 'b')",
            "return string.find(string.rep('a', 3000), '.-.-.-.-.-b')",
            "return string.match(string.rep('a', 3000), '.-.-.-.-.-b')",
            "for x in string.gmatch(string.rep('a', 3000), '.-.-.-.-.-b') do end",
            "return (string.gsub(string.rep('a', 3000), '.-.-.-.-.-b', ''))",
            "return string.find(string.rep('a', 2^23), string.rep('a', 2^22) .. 'b', 1, true)",
            "return string.find(string.rep('a', 2^23), string.rep('a', 2^22) .. 'b')",
            "return string.find(string.rep('a', 2^20), '[^' .. string.rep('b', 2^20) .. ']*c')",
            "return ('a'):rep(2^20):match('[^' .. ('b'):rep(2^20) .. ']*c')",
            "return (string.gsub(string.rep('a', 2^20), '[^' .. string.rep('b', 2^20) .. ']*c', ''))",
            "return string.find(string.rep('a', 2^23), ('.*'):rep(20) .. 'b')",
            "return string.find(string.rep('a', 2^22), '[^bcdef]*[^bcdef]*[^bcdef]*c')",
            "return string.split(string.rep('a', 2^23), string.rep('a', 2^22) .. 'b')",
            "return string.find(string.rep('(', 2^22), '%b()')",
            "while true do local s = ('a'):rep(2^20):find(('a'):rep(500) .. 'b', 1, true) end",
            "return table.move({}, 1, 2^31 - 2, 2)",
            "return table.move({}, 2, 2^31 - 2, 1)",
            "local t = {} for i = 1, 1.2e6 do t[i] = (i * 7919) % 1000003 end while true do table.sort(t) end",
        ],
        &[Kind::Timeout, Kind::Runtime],
    );
}

#[test]
fn memory_bombs_meet_the_limit() {
    ends(
        ONLY_MEMORY,
        &[
            "return #string.rep('x', 2^30)",
            "local s = 'x' while true do s = s .. s end",
            "local t = {} while true do t[#t + 1] = {t} end",
            "local t = {} for i = 1, 1e9 do t[i] = i end",
            "local t = {} for i = 1, 1e9 do t['k' .. i] = i end",
            "return table.create(2^26)",
            "local t = {} for i = 1, 1e5 do t[i] = ('x'):rep(1000) end return table.concat(t)",
            "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
            "local t = {} while true do t[#t + 1] = ts.keys('*') end",
            "local t = {1} for i = 1, 60 do t = {t, t} end return t",
            "local s, t = ('x'):rep(2^20), {} for i = 1, 100 do t[i] = s end return t",
        ],
        &[Kind::Memory],
    );
    ends(
        LITTLE_MEMORY,
        &[
            "while true do pcall(string.rep, 'x', 2^30) end",
            "local s = 'aaaaaaaaaa' while true do s = s:gsub('.', '%0%0') end",
            "while true do local s = ('x'):rep(2^24) end",
            "local t = {} while true do pcall(function() while true do t[#t + 1] = {} end end) end",
        ],
        &[Kind::Memory, Kind::Timeout],
    );
}

/// In a thread with the 320 KB that a dirty scheduler has: the native stack must hold whatever
/// nests.
#[test]
fn deep_recursion_ends_on_a_small_thread_stack() {
    let scripts = [
        "local function f() return 1 + f() end return f()",
        "local function f() return f() end return f()",
        "local function f() pcall(f) error(1) end f()",
        "local function f() return (string.gsub('a', 'a', f)) end f()",
        "local function f() return (string.gsub(('a'):rep(190), ('a?'):rep(180), f)) end f()",
        "local function f() table.sort({1, 2, 3}, function(a, b) f() return a < b end) end f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = tostring return tostring(t)",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return ('%s'):format(t) end error(t)",
        "local function f() return coroutine.wrap(f)() end f()",
        "local function f() xpcall(f, f) error(1) end f()",
        "return string.find(('a'):rep(300), ('a?'):rep(300) .. 'b')",
    ];
    let run = move || ends(LIMITS, &scripts, &[Kind::Runtime, Kind::Timeout, Kind::Memory]);
    std::thread::Builder::new().stack_size(320 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn sources_that_nest_deep_are_compiled_or_refused_on_a_small_thread_stack() {
    let nested =
        |open: &str, close: &str, times: usize| format!("return {}1{}", open.repeat(times), close.repeat(times));
    let mut sources = vec![
        format!("if a then {} end", "elseif a then ".repeat(50_000)),
        format!("{}{}", "do ".repeat(900), " end".repeat(900)),
        format!("local x: {}number", "(number)->".repeat(900)),
        format!("return a{}", ".a".repeat(100_000)),
        format!("return a{}", "()".repeat(100_000)),
        format!("return 1{}", "+1".repeat(100_000)),
        "(".repeat(1 << 20),
        "x".repeat((1 << 20) + 1),
    ];
    for times in [900, 50_000] {
        sources.push(nested("(", ")", times));
        sources.push(nested("{", "}", times));
        sources.push(nested("- ", "", times));
        sources.push(nested("2^", "", times));
        sources.push(nested("a..", "", times));
        sources.push(nested("function() return ", " end", times));
        sources.push(nested("f(function() return ", " end)", times / 2));
        sources.push(nested("if a then b else ", "", times));
        sources.push(nested("`{", "}`", times));
    }
    let compile = move || {
        for source in sources {
            if let Err(error) = Script::compile(source.as_bytes()) {
                assert_eq!(error.kind, Kind::Syntax, "{}", error.message);
            }
        }
    };
    std::thread::Builder::new().stack_size(320 << 10).spawn(compile).unwrap().join().unwrap();
}

#[test]
fn a_read_of_more_than_the_memory_could_hold_is_refused() {
    let limits = Limits { memory_bytes: 100_000, ..ONLY_MEMORY };
    let error = run_with(&Engine::new(), &subject(3), "return #ts.keys('*')", &[], &[], limits).unwrap_err();
    assert_eq!(error.kind, Kind::Memory);
    let answer = run_with(&Engine::new(), &subject(3), "return #ts.keys('*')", &[], &[], ONLY_MEMORY);
    assert_eq!(answer, Ok(LuaValue::Int(10_004)));
}

#[test]
fn a_message_that_a_script_makes_huge_is_cut() {
    let error = run_with(&Engine::new(), &subject(3), "error(('x'):rep(2^20))", &[], &[], ONLY_MEMORY).unwrap_err();
    assert!(error.message.len() <= 4096);
}
