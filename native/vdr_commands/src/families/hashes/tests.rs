use crate::args::Arg;
use crate::error::{ApplyError, ReadError};
use crate::harness::{Mirror, Rng, affected, tuple};
use crate::reply::Reply;
use std::collections::{BTreeMap, BTreeSet};

fn mirror(commands: &[&str]) -> Mirror {
    let mut mirror = Mirror::new();
    mirror.run(commands);
    mirror
}

/// The field expiries of the hash `h`; a dash for none.
fn times(m: &Mirror) -> String {
    let hash = m.keyspace.view(0, 0).hash(b"h").unwrap().unwrap();
    let time = |at: Option<i64>| at.map_or("-".into(), |at| at.to_string());
    let times =
        hash.iter().map(|(name, field)| format!("{}:{}", String::from_utf8_lossy(&name), time(field.expiry.get())));
    times.collect::<Vec<_>>().join(" ")
}

#[test]
fn hsetc_replaces_whatever_was_there() {
    let mut m = mirror(&["SET h 1 PXAT 5000000", "HSETC h name age ann 30"]);
    assert_eq!((m.ask("hgetall h"), m.expires("h")), ("[age=30 name=ann]".into(), None));
    m.run(&["HSETC h x 1"]);
    assert_eq!(m.ask("hgetall h"), "[x=1]");
    m.fails("HSETC g a b 1", ApplyError::BadArguments);
    m.fails("HSETC g", ApplyError::BadArguments);
}

#[test]
fn fields_are_read_in_byte_order() {
    let m = mirror(&["HSET h b 2 a 1", "HMSET h c 333"]);
    for (read, answer) in [
        ("hget h a", "1"),
        ("hget h z", "nil"),
        ("hget nokey a", "nil"),
        ("hmget h [c,z,a]", "[333 nil 1]"),
        ("hmget nokey [a]", "[nil]"),
        ("hmget h []", "[]"),
        ("hgetall h", "[a=1 b=2 c=333]"),
        ("hgetall nokey", "[]"),
        ("hkeys h", "[a b c]"),
        ("hvals h", "[1 2 333]"),
        ("hkeys nokey", "[]"),
        ("hlen h", "3"),
        ("hlen nokey", "0"),
        ("hexists h a", "true"),
        ("hexists h z", "false"),
        ("hexists nokey a", "false"),
        ("hstrlen h c", "3"),
        ("hstrlen h z", "0"),
        ("hstrlen nokey c", "0"),
    ] {
        assert_eq!(m.ask(read), answer, "{read}");
    }
}

#[test]
fn no_read_takes_another_type() {
    let m = mirror(&["RPUSH l a"]);
    for read in [
        "hget l a",
        "hmget l [a]",
        "hgetall l",
        "hkeys l",
        "hvals l",
        "hlen l",
        "hexists l a",
        "hstrlen l a",
        "hrandfield l 1",
        "hfirst l 1",
        "hlast l 1",
        "hnext l a 1",
        "hprev l a 1",
    ] {
        assert_eq!(m.ask(read), "WrongType", "{read}");
    }
}

#[test]
fn cursors_walk_in_byte_order_from_fields_that_need_not_exist() {
    let m = mirror(&["HSET h d 4 b 2 a 1 e 5 c 3"]);
    for (read, answer) in [
        ("hfirst h 2", "[a:1 b:2]"),
        ("hfirst h 0", "[]"),
        ("hlast h 2", "[e:5 d:4]"),
        ("hnext h b 2", "[c:3 d:4]"),
        ("hnext h bb 1", "[c:3]"),
        ("hnext h e 1", "[]"),
        ("hprev h d 2", "[c:3 b:2]"),
        ("hprev h cc 9223372036854775807", "[c:3 b:2 a:1]"),
        ("hprev h a 1", "[]"),
        ("hfirst nokey 2", "[]"),
        ("hnext nokey a 2", "[]"),
        ("hlast h -1", "BadArgument"),
    ] {
        assert_eq!(m.ask(read), answer, "{read}");
    }
}

/// `a` and `d` expire now, in the last millisecond in which they exist.
#[test]
fn fields_past_their_time_are_absent_for_all_but_hlen() {
    let mut m = mirror(&["HSET h a 1 b 2 c 3 d 4", "HPEXPIREAT h 1000000 FIELDS 2 a d"]);
    assert_eq!(m.ask("hkeys h"), "[a b c d]");
    m.now_ms += 1;
    for (read, answer) in [
        ("hget h a", "nil"),
        ("hmget h [a,b]", "[nil 2]"),
        ("hgetall h", "[b=2 c=3]"),
        ("hkeys h", "[b c]"),
        ("hvals h", "[2 3]"),
        ("hlen h", "4"),
        ("hexists h a", "false"),
        ("hstrlen h a", "0"),
        ("hrandfield h 9", "[b:2 c:3]"),
        ("hrandfield h 9 false", "[b c]"),
        ("hfirst h 1", "[b:2]"),
        ("hlast h 1", "[c:3]"),
        ("hnext h a 2", "[b:2 c:3]"),
        ("hnext h c 2", "[]"),
        ("hprev h c 2", "[b:2]"),
    ] {
        assert_eq!(m.ask(read), answer, "{read}");
    }
    m.run(&["HDEL h b c"]);
    assert_eq!((m.ask("hgetall h"), m.ask("hlen h"), m.has("h")), ("[]".into(), "2".into(), true));
    m.run(&["HDEL h a", "HDEL h d"]);
    assert!(!m.has("h"));
}

#[test]
fn random_fields_are_fields_with_their_values() {
    let mut m = mirror(&["HSET h a 1 b 2 c 3 d 4"]);
    for with_time in [false, true] {
        for count in 0..6 {
            let mut drawn = m.ask(&format!("hrandfield h {count} false"));
            assert_eq!(drawn.matches(['a', 'b', 'c', 'd']).count(), count.min(4), "{drawn}");
            drawn.retain(|c| c.is_ascii_lowercase());
            assert_eq!(drawn.chars().collect::<BTreeSet<_>>().len(), count.min(4));
        }
        let seen: BTreeSet<String> = (0..200).map(|_| m.ask("hrandfield h 1")).collect();
        assert_eq!(seen, ["[a:1]", "[b:2]", "[c:3]", "[d:4]"].map(String::from).into());
        let Ok(Reply::Pairs(drawn)) = m.read("hrandfield", &[Arg::Bytes(b"h"), Arg::Int(-9)]) else { panic!() };
        assert_eq!(drawn.len(), 9);
        let alone: BTreeSet<String> = (0..200).map(|_| m.ask("hrandfield h")).collect();
        assert_eq!(alone, ["a", "b", "c", "d"].map(String::from).into());
        if !with_time {
            m.run(&["HPEXPIREAT h 9000000 FIELDS 1 a"]);
        }
    }
    assert_eq!(m.ask("hrandfield nokey 2"), "[]");
    assert_eq!(m.ask("hrandfield nokey"), "nil");
    assert_eq!(m.read("hrandfield", &[Arg::Bytes(b"h"), Arg::Int(i64::MIN)]), Err(ReadError::BadArgument));
}

#[test]
fn reads_know_what_they_will_touch() {
    let mut m = mirror(&["HSET h a 1 b 2 c 3 d 4"]);
    for (read, elements) in [
        ("hgetall h", 4),
        ("hmget h [a,b]", 2),
        ("hrandfield h 3", 3),
        ("hrandfield h -9", 9),
        ("hfirst h 2", 2),
        ("hnext h a 2", 2),
        ("hget h a", 1),
        ("hgetall nokey", 1),
    ] {
        assert_eq!(m.elements(read), elements, "{read}");
    }
    m.run(&["HPEXPIREAT h 1 FIELDS 1 a"]);
    for (read, elements) in [("hrandfield h 3", 4), ("hfirst h 2", 4), ("hnext h a 2", 4)] {
        assert_eq!(m.elements(read), elements, "{read}");
    }
}

#[test]
fn hset_clears_the_time_of_a_field_and_keeps_that_of_the_key() {
    let mut m = mirror(&["HSET h a 1 b 2 c 3", "HPEXPIREAT h 2000000 FIELDS 3 a b c"]);
    m.expire("h", 5_000_000);
    m.run(&["HSET h a x", "HMSET h b y"]);
    assert_eq!((times(&m).as_str(), m.expires("h")), ("a:- b:- c:2000000", Some(5_000_000)));
    m.run(&["HSET h d 1 d 2"]);
    assert_eq!(m.ask("hget h d"), "2");
    m.fails("HSET h a", ApplyError::BadArguments);
    m.fails("HSET h", ApplyError::BadArguments);
}

#[test]
fn hsetnx_leaves_a_field_that_is_there_even_past_its_time() {
    let mut m = mirror(&["HSETNX h a 1", "HSETNX h a 2"]);
    m.run(&["HPEXPIREAT h 1 FIELDS 1 a", "HSETNX h a 3"]);
    assert_eq!(times(&m), "a:1");
    m.now_ms = 0;
    assert_eq!(m.ask("hgetall h"), "[a=1]");
}

#[test]
fn hdel_names_fields_that_are_not_there() {
    let mut m = mirror(&["HSET h a 1 b 2", "HDEL h a z", "HDEL h z", "HDEL nokey a"]);
    assert_eq!((m.ask("hgetall h"), m.has("nokey")), ("[b=2]".into(), false));
    m.run(&["HDEL h b b", "HDEL h b"]);
    assert!(!m.has("h"));
    m.fails("HDEL h", ApplyError::BadArguments);
}

#[test]
fn increments_start_at_zero_and_keep_the_time() {
    let mut m = mirror(&["HINCRBY h a 5", "HINCRBY h a -7", "HINCRBYFLOAT h b 3"]);
    assert_eq!(m.ask("hgetall h"), "[a=-2 b=3]");
    m.run(&["HPEXPIREAT h 1 FIELDS 1 a", "HINCRBY h a 12", "HSET h max 9223372036854775807 text x padded 01"]);
    assert_eq!(times(&m).split(' ').next(), Some("a:1"));
    m.now_ms = 0;
    assert_eq!(m.ask("hget h a"), "10");
    for command in ["HINCRBY h max 1", "HINCRBY h text 1", "HINCRBY h padded 1", "HINCRBYFLOAT h b 0.5"] {
        m.fails(command, ApplyError::NotANumber);
    }
    m.fails("HINCRBY h a 1.5", ApplyError::BadArguments);
    m.fails("HINCRBY h a 1 1", ApplyError::BadArguments);
}

#[test]
fn conditions_hold_field_by_field() {
    for (condition, after) in [
        ("", "a:2000 b:2000 c:2000"),
        ("NX ", "a:1000 b:3000 c:2000"),
        ("XX ", "a:2000 b:2000 c:-"),
        ("gt ", "a:2000 b:3000 c:-"),
        ("LT ", "a:1000 b:2000 c:2000"),
        ("XX LT ", "a:1000 b:2000 c:-"),
    ] {
        let mut m = mirror(&["HSET h a 1 b 2 c 3", "HPEXPIREAT h 1000 FIELDS 1 a", "HPEXPIREAT h 3000 FIELDS 1 b"]);
        m.run(&[&format!("HPEXPIREAT h 2000 {condition}FIELDS 4 a b c missing")]);
        assert_eq!(times(&m), after, "{condition}");
    }
}

#[test]
fn times_are_relative_or_absolute_in_seconds_or_milliseconds() {
    let mut m = mirror(&["HSET h a 1 b 2 c 3 d 4"]);
    m.run(&["HEXPIRE h 5 FIELDS 1 a", "HPEXPIRE h 5 FIELDS 1 b", "HEXPIREAT h 5 FIELDS 1 c"]);
    m.run(&["HPEXPIREAT h 9223372036854775807 FIELDS 1 d"]);
    assert_eq!(times(&m), "a:1005000 b:1000005 c:5000 d:9223372036854775806");
    m.run(&["HPERSIST h FIELDS 3 a z d"]);
    assert_eq!(times(&m), "a:- b:1000005 c:5000 d:-");
    m.fails("HEXPIRE h 9223372036854775807 FIELDS 1 a", ApplyError::OutOfRange);
    m.fails("HPEXPIRE h 9223372036854775807 FIELDS 1 a", ApplyError::OutOfRange);
}

#[test]
fn times_need_a_hash_and_whole_arguments() {
    let mut m = mirror(&["HSET h a 1", "RPUSH l a"]);
    for command in ["HPEXPIREAT no 1 FIELDS 1 a", "HPERSIST no FIELDS 1 a", "HGETEX no PX 1 FIELDS 1 a"] {
        m.fails(command, ApplyError::Missing);
    }
    for command in [
        "HPEXPIREAT h 1 FIELDS 2 a",
        "HPEXPIREAT h 1 FIELDS 0",
        "HPEXPIREAT h 1 FIELDS -1 a",
        "HPEXPIREAT h 1 FIELDS 9223372036854775807 a",
        "HSETEX h FIELDS 9223372036854775807 a",
        "HPEXPIREAT h 1 QQ FIELDS 1 a",
        "HPEXPIREAT h 1 NX",
        "HPERSIST h NX FIELDS 1 a",
        "HGETDEL h a",
        "HGETEX h KEEPTTL FIELDS 1 a",
        "HSETEX h PXAT FIELDS 1 a 1",
        "HSETEX h GT FIELDS 1 a 1",
        "HSETEX h FIELDS 1 a",
        // Valkey 9.1 sends this for a write to the key `FIELDS`, and also for a write to a key
        // named `NX`, whose name it leaves out.
        "HSETEX FIELDS 2 a 1 b 2",
    ] {
        m.fails(command, ApplyError::BadArguments);
    }
    for command in ["HSET l a 1", "HSETNX l a 1", "HDEL l a", "HINCRBY l a 1", "HPEXPIREAT l 1 FIELDS 1 a"] {
        m.fails(command, ApplyError::WrongType);
    }
    assert_eq!(times(&m), "a:-");
}

#[test]
fn hsetex_sets_keeps_or_clears_the_time() {
    let mut m = mirror(&["HSETEX h PXAT 2000 FIELDS 2 a 1 b 2", "HSETEX h FXX KEEPTTL FIELDS 2 a x c y"]);
    assert_eq!(times(&m), "a:2000 b:2000 c:-");
    m.run(&["HSETEX h FIELDS 1 a z", "HSETEX h FIELDS 1 b z EX 1", "HSETEX k NX FNX EXAT 7 FIELDS 1 f v"]);
    assert_eq!(times(&m), "a:- b:1001000 c:-");
    assert!(m.has("k"));
    m.expire("h", 5_000_000);
    m.run(&["hsetex h px 1 fields 1 fields fields"]);
    assert_eq!((times(&m).as_str(), m.expires("h")), ("a:- b:1001000 c:- fields:1000001", Some(5_000_000)));
}

#[test]
fn hgetdel_and_hgetex_leave_what_they_leave_on_the_primary() {
    let mut m = mirror(&["HSET h a 1 b 2 c 3", "HGETDEL h FIELDS 2 a z", "HGETDEL no FIELDS 1 a"]);
    m.run(&["HGETEX h PXAT 2000 FIELDS 2 b z", "HGETEX h FIELDS 1 b"]);
    assert_eq!(times(&m), "b:2000 c:-");
    m.run(&["HGETEX h PERSIST FIELDS 1 b", "HGETEX h EX 1 FIELDS 1 c"]);
    assert_eq!(times(&m), "b:- c:1001000");
    m.run(&["HGETDEL h FIELDS 2 b c"]);
    assert!(!m.has("h"));
}

#[test]
fn the_key_that_changes_is_touched() {
    for command in
        ["HSET k f v", "HPEXPIREAT k 1 NX FIELDS 1 f", "HSETEX k KEEPTTL FIELDS 1 f v", "HGETDEL k FIELDS 1 f"]
    {
        assert_eq!(affected(command), ["k"], "{command}");
    }
}

#[test]
fn watchers_get_tuples() {
    for (command, expected) in [
        ("HSET k f v g 2", "{:hset, k, [{f, v}, {g, 2}]}"),
        ("HMSET k f v", "{:hmset, k, [{f, v}]}"),
        ("HSETNX k f v", "{:hsetnx, k, f, v}"),
        ("HDEL k f g", "{:hdel, k, [f, g]}"),
        ("HINCRBY k f -2", "{:hincrby, k, f, -2}"),
        ("HINCRBYFLOAT k f 0.5", "{:hincrbyfloat, k, f, 0.5}"),
        ("HPEXPIREAT k 5 NX FIELDS 2 f nx", "{:hpexpireat, k, 5, [:nx], [f, nx]}"),
        ("HEXPIRE k 5 FIELDS 1 7", "{:hexpire, k, 5, [], [7]}"),
        ("HPERSIST k FIELDS 1 f", "{:hpersist, k, [f]}"),
        ("HGETDEL k FIELDS 1 f", "{:hgetdel, k, [f]}"),
        ("HGETEX k PERSIST FIELDS 1 f", "{:hgetex, k, [:persist], [f]}"),
        ("HSETEX k FNX PXAT 9 FIELDS 1 f v", "{:hsetex, k, [:fnx, :pxat, 9], [{f, v}]}"),
    ] {
        assert_eq!(tuple(command), expected, "{command}");
    }
}

/// A model of a hash: from fields to values and expiries.
type Model = BTreeMap<String, (String, Option<i64>)>;

/// `None` if a primary would not have sent the command.
fn model_apply(model: &mut Model, words: &[&str]) -> Option<()> {
    match (words[0], &words[2..]) {
        ("HSET", pairs) => {
            pairs.chunks(2).for_each(|pair| drop(model.insert(pair[0].into(), (pair[1].into(), None))));
        }
        ("HDEL", fields) => fields.iter().for_each(|field| drop(model.remove(*field))),
        ("HSETNX", [field, value]) => {
            model.entry(field.to_string()).or_insert((value.to_string(), None));
        }
        ("HINCRBY", [field, by]) => {
            let old = model.get(*field).map_or("0", |(value, _)| value).parse::<i64>().ok()?;
            let time = model.get(*field).and_then(|(_, time)| *time);
            model.insert(field.to_string(), ((old + by.parse::<i64>().unwrap()).to_string(), time));
        }
        ("HPEXPIREAT", [at, condition, "FIELDS", _, fields @ ..]) => {
            (!model.is_empty()).then_some(())?;
            let at = at.parse::<i64>().unwrap();
            for field in fields {
                let Some((_, time)) = model.get_mut(*field) else { continue };
                let holds = match *condition {
                    "NX" => time.is_none(),
                    "XX" => time.is_some(),
                    "GT" => time.is_some_and(|old| at > old),
                    _ => time.is_none_or(|old| at < old),
                };
                *time = if holds { Some(at) } else { *time };
            }
        }
        ("HPERSIST", ["FIELDS", _, fields @ ..]) => {
            (!model.is_empty()).then_some(())?;
            for field in fields {
                model.entry(field.to_string()).and_modify(|(_, time)| *time = None);
            }
        }
        ("HSETEX", ["KEEPTTL", "FIELDS", "1", field, value]) => {
            let time = model.get(*field).and_then(|(_, time)| *time);
            model.insert(field.to_string(), (value.to_string(), time));
        }
        ("HSETEX", ["PXAT", at, "FIELDS", "1", field, value]) => {
            model.insert(field.to_string(), (value.to_string(), at.parse().ok()));
        }
        other => panic!("{other:?}"),
    }
    Some(())
}

fn random_command(rng: &mut Rng) -> String {
    let mut field = || format!("f{}", rng.below(12));
    let (a, b, c) = (field(), field(), field());
    let (value, at) = (rng.below(1000), 999_000 + rng.below(2000));
    let condition = rng.pick(&["NX", "XX", "GT", "LT"]);
    match rng.below(12) {
        0..2 => format!("HSET h {a} {value} {b} x"),
        2 => format!("HSETNX h {a} {value}"),
        3..6 => format!("HDEL h {a} {b} {c}"),
        6 => format!("HINCRBY h {a} {value}"),
        7..9 => format!("HPEXPIREAT h {at} {condition} FIELDS 3 {a} {b} {c}"),
        9 => format!("HPERSIST h FIELDS 2 {a} {b}"),
        10 => format!("HSETEX h KEEPTTL FIELDS 1 {a} {value}"),
        _ => format!("HSETEX h PXAT {at} FIELDS 1 {a} {value}"),
    }
}

/// The mirror and a plain map get the same random commands. Readers see the live fields, and a
/// snapshot taken halfway must not change.
#[test]
fn random_commands_leave_what_a_plain_map_holds() {
    for seed in 0..30 {
        let (mut m, mut model, mut rng) = (Mirror::new(), Model::default(), Rng(seed));
        let mut held = None;
        for step in 0..400 {
            let command = random_command(&mut rng);
            let words: Vec<&str> = command.split(' ').collect();
            let ok = model_apply(&mut model, &words);
            assert_eq!(m.attempt(&command).is_ok(), ok.is_some(), "seed {seed}: {command}");
            assert_eq!(m.has("h"), !model.is_empty(), "seed {seed}: {command}");
            assert_eq!(m.ask("hlen h"), model.len().to_string(), "seed {seed}: {command}");
            let live = model.iter().filter(|(_, (_, time))| time.is_none_or(|at| m.now_ms <= at));
            let live = live.map(|(name, (value, _))| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
            assert_eq!(m.ask("hgetall h"), format!("[{live}]"), "seed {seed}: {command}");
            if let Ok(Some(hash)) = m.keyspace.view(0, 0).hash(b"h") {
                let timed = model.values().any(|(_, time)| time.is_some());
                assert_eq!(hash.has_expiring_fields(), timed, "seed {seed}: {command}");
            }
            if step == 200 {
                held = Some((m.keyspace.clone(), m.ask("hgetall h")));
            }
        }
        let (keyspace, fields) = held.unwrap();
        m.keyspace = keyspace;
        assert_eq!(m.ask("hgetall h"), fields);
    }
}
