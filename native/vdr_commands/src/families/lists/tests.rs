use crate::error::{ApplyError, ApplyResult};
use crate::harness::{Mirror, Rng, affected, split, tuple};
use std::collections::BTreeMap;

fn mirror(commands: &[&str]) -> Mirror {
    let mut mirror = Mirror::new();
    mirror.run(commands);
    mirror
}

#[test]
fn indices_count_from_both_ends_and_are_clipped() {
    let m = mirror(&["RPUSH l a b c"]);
    for (read, answer) in [
        ("lrange l 0 -1", "[a b c]"),
        ("lrange l -2 -1", "[b c]"),
        ("lrange l -9 1", "[a b]"),
        ("lrange l 1 99", "[b c]"),
        ("lrange l 2 1", "[]"),
        ("lrange l 3 5", "[]"),
        ("lrange l 0 -4", "[]"),
        ("lrange l -9223372036854775808 9223372036854775807", "[a b c]"),
        ("lrange nokey 0 -1", "[]"),
        ("lindex l 0", "a"),
        ("lindex l -1", "c"),
        ("lindex l 3", "nil"),
        ("lindex l -4", "nil"),
        ("lindex l -9223372036854775808", "nil"),
        ("lindex nokey 0", "nil"),
        ("llen l", "3"),
        ("llen nokey", "0"),
        ("lpos l c", "2"),
        ("lpos l z", "nil"),
        ("lpos nokey a", "nil"),
    ] {
        assert_eq!(m.ask(read), answer, "{read}");
    }
}

#[test]
fn reads_refuse_other_types_and_hide_expired_keys() {
    let mut m = mirror(&["SADD s a", "RPUSH l a"]);
    for read in ["llen s", "lrange s 0 1", "lindex s 0", "lpos s a"] {
        assert_eq!(m.ask(read), "WrongType", "{read}");
    }
    m.expire("l", m.now_ms - 1);
    assert_eq!((m.ask("llen l"), m.ask("lrange l 0 -1")), ("0".into(), "[]".into()));
}

#[test]
fn reads_know_what_they_will_touch() {
    let m = mirror(&["RPUSH l a b c d"]);
    for (read, elements) in
        [("lrange l 1 -1", 3), ("lrange l 0 99", 4), ("lrange x 0 9", 1), ("lpos l z", 4), ("llen l", 1)]
    {
        assert_eq!(m.elements(read), elements, "{read}");
    }
}

#[test]
fn pushes_go_one_by_one_to_their_end() {
    let mut m = mirror(&["LPUSH l b a", "RPUSH l c d", "LPUSHX l 0", "RPUSHX l e f"]);
    assert_eq!(m.ask("lrange l 0 -1"), "[0 a b c d e f]");
    m.fails("LPUSHX nokey a", ApplyError::Missing);
    m.fails("RPUSHX nokey a", ApplyError::Missing);
    m.fails("LPUSH l", ApplyError::BadArguments);
}

#[test]
fn linsert_stands_by_the_first_pivot() {
    let mut m = mirror(&["RPUSH l a b a", "LINSERT l BEFORE b 1", "LINSERT l after a 2"]);
    assert_eq!(m.ask("lrange l 0 -1"), "[a 2 1 b a]");
    m.fails("LINSERT l BEFORE z 1", ApplyError::Missing);
    m.fails("LINSERT nokey BEFORE a 1", ApplyError::Missing);
    m.fails("LINSERT l UNDER a 1", ApplyError::BadArguments);
    assert_eq!(m.ask("llen l"), "5");
}

#[test]
fn lset_overwrites_what_is_there() {
    let mut m = mirror(&["RPUSH l a b c", "LSET l 0 x", "LSET l -1 z"]);
    assert_eq!(m.ask("lrange l 0 -1"), "[x b z]");
    m.run(&["LSET l 4294967297 y", "LSET l -4294967295 w"]);
    assert_eq!(m.ask("lrange l 0 -1"), "[x w z]");
    m.fails("LSET l 3 x", ApplyError::OutOfRange);
    m.fails("LSET l 2147483648 x", ApplyError::OutOfRange);
    m.fails("LSET l -4 x", ApplyError::OutOfRange);
    m.fails("LSET nokey 0 x", ApplyError::Missing);
}

#[test]
fn lrem_goes_from_the_end_that_the_sign_says() {
    for (count, left) in [("1", "[b a c a]"), ("-1", "[a b a c]"), ("-2", "[a b c]"), ("0", "[b c]"), ("9", "[b c]")] {
        let mut m = mirror(&["RPUSH l a b a c a"]);
        m.run(&[&format!("LREM l {count} a")]);
        assert_eq!(m.ask("lrange l 0 -1"), left, "{count}");
    }
    let mut m = mirror(&["RPUSH l a a"]);
    m.fails("LREM l 0 z", ApplyError::Missing);
    m.run(&["LREM l -9223372036854775808 a"]);
    assert!(!m.has("l"));
}

#[test]
fn lists_that_become_empty_are_gone_with_their_expiry() {
    for last in ["LTRIM l 5 9", "LTRIM l 1 0", "LPOP l 9", "RPOP l 2", "LMPOP 1 l LEFT COUNT 2"] {
        let mut m = mirror(&["RPUSH l a b"]);
        m.expire("l", i64::MAX - 1);
        m.run(&[last]);
        assert!(!m.has("l"), "{last}");
        m.run(&["RPUSH l a"]);
        assert_eq!(m.expires("l"), None);
    }
}

#[test]
fn changes_keep_the_expiry_and_reach_keys_past_their_time() {
    let mut m = mirror(&["RPUSH l a b c d"]);
    m.expire("l", 1);
    m.run(&["RPUSH l e", "LPOP l", "RPOP l 2", "LSET l 0 x", "LTRIM l 0 0", "LMOVE l l LEFT RIGHT"]);
    assert_eq!(m.expires("l"), Some(1));
    m.now_ms = 0;
    assert_eq!(m.ask("lrange l 0 -1"), "[x]");
}

#[test]
fn pops_take_as_many_as_there_are() {
    let mut m = mirror(&["RPUSH l a b c d e", "LPOP l", "RPOP l", "LPOP l 0"]);
    assert_eq!(m.ask("lrange l 0 -1"), "[b c d]");
    m.run(&["LPOP l 2"]);
    assert_eq!(m.ask("lrange l 0 -1"), "[d]");
    m.fails("LPOP nokey", ApplyError::Missing);
    m.fails("RPOP nokey 3", ApplyError::Missing);
    m.fails("LPOP l -1", ApplyError::BadArguments);
    m.fails("LPOP l 1 1", ApplyError::BadArguments);
}

#[test]
fn lmove_joins_any_two_ends_and_rotates_one_list() {
    let mut m = mirror(&["RPUSH l a b c", "LMOVE l m LEFT RIGHT", "lmove l m right left"]);
    assert_eq!((m.ask("lrange l 0 -1"), m.ask("lrange m 0 -1")), ("[b]".into(), "[c a]".into()));
    m.run(&["RPOPLPUSH m m", "RPOPLPUSH l m"]);
    assert_eq!((m.has("l"), m.ask("lrange m 0 -1")), (false, "[b a c]".into()));
    m.run(&["SADD s x"]);
    m.fails("LMOVE m s LEFT LEFT", ApplyError::WrongType);
    m.fails("LMOVE l m LEFT LEFT", ApplyError::Missing);
    m.fails("LMOVE l l LEFT RIGHT", ApplyError::Missing);
    m.fails("LMOVE m m LEFT UP", ApplyError::BadArguments);
    assert_eq!(m.ask("lrange m 0 -1"), "[b a c]");
}

/// Redis 8.10's own examples, and each pair of ends.
#[test]
fn lmovem_moves_many_one_by_one_or_as_a_block() {
    for (ends, order, moved) in [
        ("LEFT LEFT", "OBO", "[b a x y]"),
        ("LEFT LEFT", "BULK", "[a b x y]"),
        ("LEFT RIGHT", "obo", "[x y a b]"),
        ("LEFT RIGHT", "bulk", "[x y a b]"),
        ("RIGHT LEFT", "OBO", "[c d x y]"),
        ("RIGHT LEFT", "BULK", "[c d x y]"),
        ("RIGHT RIGHT", "OBO", "[x y d c]"),
        ("RIGHT RIGHT", "BULK", "[x y c d]"),
    ] {
        let command = format!("LMOVEM l m {ends} EXACTLY 2 {order}");
        let m = mirror(&["RPUSH l a b c d", "RPUSH m x y", &command]);
        assert_eq!((m.ask("lrange m 0 -1"), m.ask("llen l")), (moved.into(), "2".into()), "{command}");
    }
    for (command, rotated) in [
        ("LMOVEM l l LEFT RIGHT COUNT 2 BULK", "[c d a b]"),
        ("LMOVEM l l LEFT LEFT COUNT 2 OBO", "[b a c d]"),
        ("LMOVEM l l RIGHT RIGHT COUNT 9 BULK", "[a b c d]"),
        ("LMOVEM l l LEFT RIGHT", "[b c d a]"),
    ] {
        assert_eq!(mirror(&["RPUSH l a b c d", command]).ask("lrange l 0 -1"), rotated, "{command}");
    }
    let mut m = mirror(&["RPUSH l a b", "LMOVEM l m LEFT RIGHT COUNT 5 OBO", "SADD s x"]);
    assert_eq!((m.has("l"), m.ask("lrange m 0 -1")), (false, "[a b]".into()));
    m.fails("LMOVEM m n LEFT LEFT EXACTLY 3 OBO", ApplyError::Missing);
    m.fails("LMOVEM no n LEFT LEFT", ApplyError::Missing);
    m.fails("LMOVEM m s LEFT LEFT", ApplyError::WrongType);
    m.fails("LMOVEM m n LEFT LEFT COUNT 1", ApplyError::BadArguments);
    assert_eq!(m.ask("lrange m 0 -1"), "[a b]");
    assert_eq!(tuple("LMOVEM a b LEFT RIGHT COUNT 2 BULK"), "{:lmovem, a, b, :left, :right, [:count, 2, :bulk]}");
}

#[test]
fn lmpop_takes_from_the_first_list_that_is_there() {
    let mut m = mirror(&["RPUSH l a b c", "RPUSH m x", "LMPOP 3 no l m RIGHT COUNT 2", "lmpop 2 no l left"]);
    assert_eq!((m.has("l"), m.ask("llen m")), (false, "1".into()));
    m.fails("LMPOP 1 no LEFT", ApplyError::Missing);
    m.fails("LMPOP 9 m LEFT", ApplyError::BadArguments);
    m.fails("LMPOP -1 m LEFT", ApplyError::BadArguments);
}

#[test]
fn no_write_takes_another_type() {
    let mut m = mirror(&["SADD s a"]);
    for command in
        ["LPUSH s a", "LPUSHX s a", "LINSERT s BEFORE a b", "LSET s 0 a", "LREM s 0 a", "LTRIM s 0 0", "RPOP s"]
    {
        m.fails(command, ApplyError::WrongType);
    }
    m.fails("RPOPLPUSH s l", ApplyError::WrongType);
    m.fails("LMPOP 1 s LEFT", ApplyError::WrongType);
}

#[test]
fn every_key_that_changes_is_touched() {
    for (command, keys) in [
        ("LPUSH k a b", vec!["k"]),
        ("LMOVE a b LEFT RIGHT", vec!["a", "b"]),
        ("RPOPLPUSH a b", vec!["a", "b"]),
        ("LMPOP 2 a b LEFT COUNT 3", vec!["a", "b"]),
        ("LMPOP 9 a", vec![]),
    ] {
        assert_eq!(affected(command), keys, "{command}");
    }
}

#[test]
fn watchers_get_tuples() {
    for (command, expected) in [
        ("LPUSH k a b", "{:lpush, k, [a, b]}"),
        ("RPUSHX k a", "{:rpushx, k, [a]}"),
        ("LINSERT k BEFORE p v", "{:linsert, k, :before, p, v}"),
        ("LSET k -1 v", "{:lset, k, -1, v}"),
        ("LREM k 0 v", "{:lrem, k, 0, v}"),
        ("LTRIM k 1 -1", "{:ltrim, k, 1, -1}"),
        ("LPOP k", "{:lpop, k, []}"),
        ("RPOP k 2", "{:rpop, k, [2]}"),
        ("LMOVE s d LEFT right", "{:lmove, s, d, :left, :right}"),
        ("RPOPLPUSH s d", "{:rpoplpush, s, d}"),
        ("LMPOP 2 a b LEFT COUNT 3", "{:lmpop, [a, b], :left, [:count, 3]}"),
    ] {
        assert_eq!(tuple(command), expected, "{command}");
    }
}

/// A model of lists as plain vectors. `None` if a primary would not have sent the command.
#[derive(Default)]
struct Model(BTreeMap<String, Vec<String>>);

impl Model {
    fn apply(&mut self, words: &[&str]) -> Option<()> {
        let key = words[1];
        let list = self.0.entry(key.into()).or_default();
        match (words[0], &words[2..]) {
            ("RPUSH", values) => list.extend(values.iter().map(|v| v.to_string())),
            ("LPUSH", values) => values.iter().for_each(|v| list.insert(0, v.to_string())),
            (_, _) if list.is_empty() => return None,
            ("LINSERT", [side, pivot, value]) => {
                let at = list.iter().position(|v| v == pivot)?;
                list.insert(at + usize::from(*side == "AFTER"), value.to_string());
            }
            ("LSET", [at, value]) => {
                let at = at.parse::<i64>().unwrap();
                let at = if at < 0 { at + list.len() as i64 } else { at };
                *list.get_mut(usize::try_from(at).ok()?)? = value.to_string();
            }
            ("LREM", [count, value]) => {
                let count = count.parse::<i64>().unwrap();
                let len = list.len();
                let mut left = if count == 0 { len } else { count.unsigned_abs() as usize };
                let mut keep = |v: &String| {
                    v != value || left == 0 || {
                        left -= 1;
                        false
                    }
                };
                if count < 0 {
                    list.reverse();
                    list.retain(&mut keep);
                    list.reverse();
                } else {
                    list.retain(&mut keep);
                }
                (list.len() < len).then_some(())?;
            }
            ("LTRIM", [start, stop]) => {
                let at = |text: &str| {
                    let at = text.parse::<i64>().unwrap();
                    if at < 0 { at + list.len() as i64 } else { at }
                };
                let (start, stop) = (at(start), at(stop));
                let mut index = -1;
                list.retain(|_| {
                    index += 1;
                    start <= index && index <= stop
                });
            }
            ("LPOP", [count]) => drop(list.drain(..count.parse::<usize>().unwrap().min(list.len()))),
            ("RPOP", [count]) => list.truncate(list.len().saturating_sub(count.parse().unwrap())),
            ("LMOVE", [to, from_end, to_end]) => {
                let value = if *from_end == "LEFT" { list.remove(0) } else { list.pop()? };
                let to = self.0.entry(to.to_string()).or_default();
                to.insert(if *to_end == "LEFT" { 0 } else { to.len() }, value);
            }
            other => panic!("{other:?}"),
        }
        Some(())
    }
}

fn random_command(rng: &mut Rng) -> String {
    const VALUES: &[&str] = &["a", "b", "c", "dd", "a-value-that-is-too-long-to-be-inline"];
    let (key, other) = (rng.pick(&["k", "l"]), rng.pick(&["k", "l"]));
    let (a, b) = (rng.pick(VALUES), rng.pick(VALUES));
    let (i, j) = (rng.below(40) as i64 - 20, rng.below(40) as i64 - 20);
    let (end, side) = (rng.pick(&["LEFT", "RIGHT"]), rng.pick(&["BEFORE", "AFTER"]));
    match rng.below(14) {
        0..4 => format!("RPUSH {key} {a} {b} {b} {a} dd"),
        4..7 => format!("LPUSH {key} {b} {a} c"),
        7 => format!("LINSERT {key} {side} {a} {b}"),
        8 => format!("LSET {key} {i} {a}"),
        9 => format!("LREM {key} {} {a}", i / 5),
        10 => format!("LTRIM {key} {} {}", i / 7, -1 - (j.abs() / 7)),
        11 => format!("LPOP {key} {}", i.unsigned_abs() / 3),
        12 => format!("RPOP {key} {}", i.unsigned_abs() / 3),
        _ => format!("LMOVE {key} {other} {end} {}", rng.pick(&["LEFT", "RIGHT"])),
    }
}

/// The mirror and plain vectors get the same random commands, and a snapshot taken halfway must not
/// change. Every third run starts with a list long enough to have inner nodes.
#[test]
fn random_commands_leave_what_plain_vectors_hold() {
    for seed in 0..30 {
        let (mut m, mut model, mut rng) = (Mirror::new(), Model::default(), Rng(seed));
        if seed % 3 == 0 {
            let many: Vec<String> = (0..6_000).map(|n| format!("v{}", n % 700)).collect();
            let push = format!("RPUSH k {}", many.join(" "));
            m.run(&[&push]);
            model.apply(&push.split(' ').collect::<Vec<_>>()).unwrap();
        }
        let mut held = None;
        for step in 0..400 {
            let command = random_command(&mut rng);
            let words: Vec<&str> = command.split(' ').collect();
            let ok = model.apply(&words);
            assert_same(m.apply(&split(&command)), ok, &command);
            model.0.retain(|_, list| !list.is_empty());
            for key in ["k", "l"] {
                let list = model.0.get(key).map_or(String::new(), |list| list.join(" "));
                assert_eq!(m.ask(&format!("lrange {key} 0 -1")), format!("[{list}]"), "seed {seed}: {command}");
                assert_eq!(m.has(key), model.0.contains_key(key));
            }
            if step == 200 {
                held = Some((m.keyspace.clone(), m.ask("lrange k 0 -1")));
            }
        }
        let (keyspace, list) = held.unwrap();
        m.keyspace = keyspace;
        assert_eq!(m.ask("lrange k 0 -1"), list);
    }
}

fn assert_same(mirror: ApplyResult, model: Option<()>, command: &str) {
    assert_eq!(mirror.is_ok(), model.is_some(), "{command}: {mirror:?}");
}
