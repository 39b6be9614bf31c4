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

#[test]
fn members_are_counted_listed_and_found() {
    let m = mirror(&["SADD s b a", "SADD s a c"]);
    for (read, answer) in [
        ("smembers s", "[a b c]"),
        ("smembers nokey", "[]"),
        ("scard s", "3"),
        ("scard nokey", "0"),
        ("sismember s a", "true"),
        ("sismember s z", "false"),
        ("sismember nokey a", "false"),
        ("smismember s [a,z,c]", "[true false true]"),
        ("smismember nokey [a,z]", "[false false]"),
        ("smismember s []", "[]"),
    ] {
        assert_eq!(m.ask(read), answer, "{read}");
    }
}

#[test]
fn algebra_takes_missing_sets_as_empty() {
    let m = mirror(&["SADD a 1 2 3 4", "SADD b 3 4 5", "SADD c 4 6"]);
    for (read, answer) in [
        ("sunion [a,b,c]", "[1 2 3 4 5 6]"),
        ("sunion [a,nokey]", "[1 2 3 4]"),
        ("sunion []", "[]"),
        ("sinter [a,b]", "[3 4]"),
        ("sinter [a,b,c]", "[4]"),
        ("sinter [a,a]", "[1 2 3 4]"),
        ("sinter [a,nokey]", "[]"),
        ("sdiff [a,b]", "[1 2]"),
        ("sdiff [a,nokey,c]", "[1 2 3]"),
        ("sdiff [nokey,a]", "[]"),
        ("sdiff [a,a]", "[]"),
        ("sintercard [a,b]", "2"),
        ("sintercard [a,b] 1", "1"),
        ("sintercard [a,b] 0", "2"),
        ("sintercard [a,nokey]", "0"),
        ("sinter []", "[]"),
        ("sdiff []", "[]"),
        ("sintercard []", "0"),
        ("sintercard [a] -1", "BadArgument"),
    ] {
        assert_eq!(m.ask(read), answer, "{read}");
    }
}

/// The server checks the type of every key, even if the result is already empty.
#[test]
fn a_key_of_another_type_spoils_every_read() {
    let m = mirror(&["SADD s a", "RPUSH l a"]);
    for read in [
        "smembers l",
        "scard l",
        "sismember l a",
        "smismember l [a]",
        "srandmember l 1",
        "sunion [s,l]",
        "sinter [nokey,l]",
        "sdiff [nokey,l]",
        "sintercard [nokey,l]",
        "sfirst l 1",
        "slast l 1",
        "snext l a 1",
        "sprev l a 1",
    ] {
        assert_eq!(m.ask(read), "WrongType", "{read}");
    }
}

#[test]
fn cursors_walk_in_byte_order_from_members_that_need_not_exist() {
    let m = mirror(&["SADD s d b a e c"]);
    for (read, answer) in [
        ("sfirst s 2", "[a b]"),
        ("sfirst s 99", "[a b c d e]"),
        ("sfirst s 0", "[]"),
        ("slast s 2", "[e d]"),
        ("snext s b 2", "[c d]"),
        ("snext s bb 2", "[c d]"),
        ("snext s e 2", "[]"),
        ("snext s '' 1", "[a]"),
        ("sprev s d 2", "[c b]"),
        ("sprev s cc 2", "[c b]"),
        ("sprev s a 2", "[]"),
        ("sprev s zz 9223372036854775807", "[e d c b a]"),
        ("snext s a 9223372036854775807", "[b c d e]"),
        ("sfirst nokey 2", "[]"),
        ("sprev nokey a 2", "[]"),
        ("sfirst s -1", "BadArgument"),
    ] {
        assert_eq!(m.ask(read), answer, "{read}");
    }
}

/// A small set is searched for in a large one, and two sets of similar size are walked together.
/// Both must find the same.
#[test]
fn algebra_does_not_depend_on_how_the_sets_are_looked_through() {
    let sadd = |key: &str, numbers: &mut dyn Iterator<Item = u32>| {
        let members: Vec<String> = numbers.map(|n| format!("m{n:04}")).collect();
        format!("SADD {key} {}", members.join(" "))
    };
    let mut m = mirror(&[
        &sadd("all", &mut (0..2000)),
        &sadd("even", &mut (0..2000).step_by(2)),
        &sadd("few", &mut [5, 6, 1998, 1999, 2000].into_iter()),
    ]);
    for (read, answer) in [
        ("sinter [few,all,even]", "[m0006 m1998]"),
        ("sinter [few,all]", "[m0005 m0006 m1998 m1999]"),
        ("sdiff [few,even]", "[m0005 m1999 m2000]"),
        ("sdiff [few,all]", "[m2000]"),
        ("sintercard [all,even]", "1000"),
        ("sintercard [even,all,all]", "1000"),
    ] {
        assert_eq!(m.ask(read), answer, "{read}");
    }
    let rest = m.ask("sdiff [all,even,few]");
    assert_eq!((rest.split(' ').count(), rest.starts_with("[m0001 m0003 m0007 ")), (998, true));
    for (store, read) in [
        ("SDIFFSTORE d all few", "sdiff [all,few]"),
        ("SDIFFSTORE d all even", "sdiff [all,even]"),
        ("SUNIONSTORE d few all", "sunion [all,few]"),
        ("SUNIONSTORE d even all", "sunion [all,even]"),
    ] {
        m.run(&[store]);
        assert_eq!(m.ask("smembers d"), m.ask(read), "{store}");
    }
    assert_eq!((m.ask("scard d"), m.ask("scard all")), ("2000".into(), "2000".into()));
}

#[test]
fn random_members_are_members() {
    let m = mirror(&["SADD s a b c d e"]);
    let draw = |count: i64| match m.read("srandmember", &[Arg::Bytes(b"s"), Arg::Int(count)]).unwrap() {
        Reply::Strings(items) => items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    for count in 0..8 {
        let drawn = draw(count);
        assert_eq!(drawn.len(), count.min(5) as usize);
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len());
    }
    assert_eq!(draw(-20).len(), 20);
    let seen: BTreeSet<String> = (0..200).flat_map(|_| draw(1)).collect();
    assert_eq!(seen.len(), 5, "each member comes up in two hundred draws of one");
    assert_eq!(m.ask("srandmember nokey 3"), "[]");
    assert_eq!(m.ask("srandmember nokey"), "nil");
    assert_eq!(m.read("srandmember", &[Arg::Bytes(b"s"), Arg::Int(i64::MIN)]), Err(ReadError::BadArgument));
}

#[test]
fn reads_know_what_they_will_touch() {
    let m = mirror(&["SADD a 1 2 3 4", "SADD b 3 4 5"]);
    for (read, elements) in [
        ("smembers a", 4),
        ("sunion [a,b]", 7),
        ("sinter [a,b]", 6),
        ("sinter [a,no]", 2),
        ("sunion [a,no,no]", 6),
        ("sdiff [no,a]", 2),
        ("sdiff [a,b]", 8),
        ("srandmember a 2", 2),
        ("srandmember a -50", 50),
        ("sfirst a 99", 4),
        ("snext a x 2", 2),
        ("smismember a [1,2,3]", 3),
        ("scard a", 1),
    ] {
        assert_eq!(m.elements(read), elements, "{read}");
    }
}

#[test]
fn sadd_and_srem_name_members_that_change_nothing() {
    let mut m = mirror(&["SADD s a b", "SADD s b c", "SREM s a z", "SREM s z", "SREM nokey a"]);
    assert_eq!((m.ask("smembers s"), m.has("nokey")), ("[b c]".into(), false));
    m.expire("s", 1);
    m.run(&["SADD s d", "SREM s d b"]);
    assert_eq!(m.expires("s"), Some(1));
    m.run(&["SREM s c", "SADD s c"]);
    assert_eq!(m.expires("s"), None, "the set was gone in between");
    m.fails("SADD s", ApplyError::BadArguments);
    m.fails("SREM s", ApplyError::BadArguments);
}

#[test]
fn smove_needs_the_member_and_keeps_what_the_destination_has() {
    let mut m = mirror(&["SADD s a b", "SADD d b", "SMOVE s d b", "SMOVE s e a"]);
    assert_eq!((m.has("s"), m.ask("smembers d"), m.ask("smembers e")), (false, "[b]".into(), "[a]".into()));
    m.expire("d", 1);
    m.run(&["SMOVE d d b"]);
    assert_eq!((m.expires("d"), m.has("d")), (Some(1), true));
    m.fails("SMOVE d e z", ApplyError::Missing);
    m.fails("SMOVE nokey e z", ApplyError::Missing);
    m.run(&["RPUSH l a"]);
    m.fails("SMOVE d l b", ApplyError::WrongType);
    m.fails("SMOVE l d b", ApplyError::WrongType);
}

#[test]
fn stores_replace_any_type_and_clear_the_expiry() {
    let mut m = mirror(&["SADD a 1 2 3", "SADD b 2 3 4", "RPUSH d x"]);
    m.expire("d", i64::MAX - 1);
    for (command, members) in [
        ("SINTERSTORE d a b", "[2 3]"),
        ("SUNIONSTORE d a b", "[1 2 3 4]"),
        ("SDIFFSTORE d a b", "[1]"),
        ("SUNIONSTORE d d b no", "[1 2 3 4]"),
        ("SDIFFSTORE d d no", "[1 2 3 4]"),
    ] {
        m.run(&[command]);
        assert_eq!((m.ask("smembers d"), m.expires("d")), (members.into(), None), "{command}");
    }
    for command in ["SINTERSTORE d a no", "SUNIONSTORE d no", "SDIFFSTORE d no a"] {
        m.run(&["SADD d x", command]);
        assert!(!m.has("d"), "{command}");
    }
    m.run(&["RPUSH l x"]);
    for command in ["SINTERSTORE d a l", "SUNIONSTORE d l", "SDIFFSTORE d a l", "SADD l a", "SREM l a"] {
        m.fails(command, ApplyError::WrongType);
    }
    m.fails("SUNIONSTORE d", ApplyError::BadArguments);
}

#[test]
fn every_key_that_changes_is_touched() {
    for (command, keys) in [("SADD k a", vec!["k"]), ("SMOVE a b m", vec!["a", "b"]), ("SINTERSTORE d a b", vec!["d"])]
    {
        assert_eq!(affected(command), keys, "{command}");
    }
}

#[test]
fn watchers_get_tuples() {
    for (command, expected) in [
        ("SADD k a b", "{:sadd, k, [a, b]}"),
        ("SREM k a", "{:srem, k, [a]}"),
        ("SMOVE s d m", "{:smove, s, d, m}"),
        ("SUNIONSTORE d a b", "{:sunionstore, d, [a, b]}"),
        ("SINTERSTORE d a", "{:sinterstore, d, [a]}"),
        ("SDIFFSTORE d a", "{:sdiffstore, d, [a]}"),
    ] {
        assert_eq!(tuple(command), expected, "{command}");
    }
}

type Model = BTreeMap<String, BTreeSet<String>>;

/// `None` if a primary would not have sent the command.
fn model_apply(model: &mut Model, words: &[&str]) -> Option<()> {
    let key = words[1].to_string();
    let get = |model: &Model, key: &str| model.get(key).cloned().unwrap_or_default();
    match words[0] {
        "SADD" => model.entry(key).or_default().extend(words[2..].iter().map(|m| m.to_string())),
        "SREM" => model.entry(key).or_default().retain(|m| !words[2..].contains(&m.as_str())),
        "SMOVE" => {
            model.get_mut(&key)?.take(words[3])?;
            model.entry(words[2].into()).or_default().insert(words[3].into());
        }
        store => {
            let sources: Vec<_> = words[2..].iter().map(|key| get(model, key)).collect();
            let result = sources.into_iter().reduce(|a, b| match store {
                "SINTERSTORE" => &a & &b,
                "SUNIONSTORE" => &a | &b,
                _ => &a - &b,
            });
            model.insert(key, result.unwrap());
        }
    }
    Some(())
}

fn random_command(rng: &mut Rng) -> String {
    const KEYS: &[&str] = &["a", "b", "c", "d"];
    let keys = [rng.pick(KEYS), rng.pick(KEYS), rng.pick(KEYS), rng.pick(KEYS)];
    let mut members = || (0..1 + rng.below(9)).map(|_| format!("m{}", rng.below(40))).collect::<Vec<_>>().join(" ");
    let (many, one) = (members(), members());
    let one = one.split(' ').next().unwrap();
    let [a, b, c, d] = keys;
    match rng.below(12) {
        0..5 => format!("SADD {a} {many}"),
        5..8 => format!("SREM {a} {many}"),
        8 => format!("SMOVE {a} {b} {one}"),
        9 => format!("SINTERSTORE {a} {b} {c}"),
        10 => format!("SUNIONSTORE {a} {b} {c} {d}"),
        _ => format!("SDIFFSTORE {a} {b} {c}"),
    }
}

/// The mirror and plain sets get the same random commands, and a snapshot taken halfway must not
/// change.
#[test]
fn random_commands_leave_what_plain_sets_hold() {
    for seed in 0..30 {
        let (mut m, mut model, mut rng) = (Mirror::new(), Model::default(), Rng(seed));
        let mut held = None;
        for step in 0..400 {
            let command = random_command(&mut rng);
            let words: Vec<&str> = command.split(' ').collect();
            let ok = model_apply(&mut model, &words);
            assert_eq!(m.attempt(&command).is_ok(), ok.is_some(), "seed {seed}: {command}");
            model.retain(|_, set| !set.is_empty());
            for key in ["a", "b", "c", "d"] {
                let members = model.get(key).cloned().unwrap_or_default().into_iter().collect::<Vec<_>>().join(" ");
                assert_eq!(m.ask(&format!("smembers {key}")), format!("[{members}]"), "seed {seed}: {command}");
                assert_eq!(m.has(key), model.contains_key(key), "seed {seed}: {command}");
            }
            if step == 200 {
                held = Some((m.keyspace.clone(), m.ask("smembers a")));
            }
        }
        let (keyspace, members) = held.unwrap();
        m.keyspace = keyspace;
        assert_eq!(m.ask("smembers a"), members);
    }
}
