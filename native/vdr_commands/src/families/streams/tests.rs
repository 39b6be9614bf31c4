use crate::error::ApplyError;
use crate::harness::{Mirror, affected};
use crate::reply::Reply;
use crate::rules::Rules;
use crate::tuple::{Field, tuple};
use bytes::Bytes;

fn stream(entries: usize) -> Mirror {
    let mut mirror = Mirror::new();
    (1..=entries).for_each(|ms| mirror.run(&[&format!("XADD s {ms}-0 f {ms}")]));
    mirror
}

/// A stream of five entries, of which the first three went to `a` and `b` of group `g`.
fn group() -> Mirror {
    let mut mirror = stream(5);
    mirror.run(&[
        "XGROUP CREATE s g 0",
        "XCLAIM s g a 0 1-0 TIME 500 RETRYCOUNT 1 FORCE JUSTID LASTID 1-0",
        "XCLAIM s g b 0 2-0 TIME 501 RETRYCOUNT 1 FORCE JUSTID LASTID 2-0",
        "XCLAIM s g a 0 3-0 TIME 502 RETRYCOUNT 1 FORCE JUSTID LASTID 3-0",
        "XGROUP SETID s g 3-0 ENTRIESREAD 3",
    ]);
    mirror
}

fn ids(mirror: &Mirror) -> String {
    let stream = mirror.keyspace.view(0, 0).stream(b"s").unwrap().unwrap();
    stream.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(" ")
}

fn pending(mirror: &Mirror, group: &str) -> String {
    let stream = mirror.keyspace.view(0, 0).stream(b"s").unwrap().unwrap();
    let pending = stream.group(group.as_bytes()).unwrap().pending().map(|(id, of)| {
        format!(
            "{id}:{}:{}:{}",
            String::from_utf8_lossy(of.consumer.as_deref().unwrap_or(b"-")),
            of.delivered_at_ms,
            of.deliveries
        )
    });
    pending.collect::<Vec<_>>().join(" ")
}

/// XNACK of Redis 8.8: an entry waits on, for nobody in particular.
#[test]
fn entries_that_are_given_back_have_no_consumer() {
    let mut mirror = group();
    for (command, expected) in [
        ("XNACK s g FAIL IDS 1 1-0", "1-0:-:0:1 2-0:b:501:1 3-0:a:502:1"),
        ("XNACK s g silent IDS 2 1-0 2-0", "1-0:-:0:0 2-0:-:0:0 3-0:a:502:1"),
        ("XNACK s g FATAL IDS 1 3-0", "1-0:-:0:0 2-0:-:0:0 3-0:-:0:9223372036854775807"),
        ("XNACK s g FAIL IDS 1 3-0 RETRYCOUNT 7 FORCE", "1-0:-:0:0 2-0:-:0:0 3-0:-:0:7"),
        ("XCLAIM s g c 0 3-0 TIME 9 RETRYCOUNT 8 JUSTID", "1-0:-:0:0 2-0:-:0:0 3-0:c:9:8"),
        ("XACK s g 1-0", "2-0:-:0:0 3-0:c:9:8"),
        ("XNACK s g FAIL IDS 1 1-0", "2-0:-:0:0 3-0:c:9:8"),
        ("XNACK s g FAIL IDS 1 1-0 FORCE", "1-0:-:0:0 2-0:-:0:0 3-0:c:9:8"),
        ("XGROUP DELCONSUMER s g c", "1-0:-:0:0 2-0:-:0:0"),
    ] {
        mirror.run(&[command]);
        assert_eq!(pending(&mirror, "g"), expected, "{command}");
    }
    assert_eq!(mirror.ask("xpending s g"), "[pending=2 min=1-0 max=2-0 consumers=[]]");
    for command in ["XNACK s g IDS 1 1-0", "XNACK s g FAIL 1-0", "XNACK s g FAIL IDS 1 1-0 SOON"] {
        mirror.fails(command, ApplyError::BadArguments);
    }
    mirror.fails("XNACK s none FAIL IDS 1 1-0", ApplyError::Missing);
    mirror.fails("XNACK none g FAIL IDS 1 1-0", ApplyError::Missing);
}

/// Early versions of Redis 5 left such streams. XLEN, and trimming by length, go by the count.
#[test]
fn a_stream_is_trimmed_by_the_servers_count() {
    for (miscounted, left) in [(2, "5-0"), (-1, "2-0 3-0 4-0 5-0")] {
        let mut mirror = stream(5);
        if let Some(vdr_data::value::Value::Stream(stream)) = mirror.keyspace.db_mut(0).aggregate_mut(b"s") {
            std::sync::Arc::make_mut(stream).miscounted = miscounted;
        }
        assert_eq!(mirror.ask("xlen s"), (5 + miscounted).to_string());
        mirror.run(&["XTRIM s MAXLEN = 3"]);
        assert_eq!(ids(&mirror), left);
    }
}

#[test]
fn entries_are_read_in_order_of_their_ids() {
    let mut mirror = stream(3);
    mirror.run(&["XADD s 4 a 1 a 2"]);
    for (command, answer) in [
        ("xlen s", "4"),
        ("xlen missing", "0"),
        ("xrange s - +", "[1-0:[f:1] 2-0:[f:2] 3-0:[f:3] 4-0:[a:1 a:2]]"),
        ("xrange s 2-0 (4-0", "[2-0:[f:2] 3-0:[f:3]]"),
        ("xrange s (1-0 + 1", "[2-0:[f:2]]"),
        ("xrange s - + 0", "[]"),
        ("xrevrange s + 3-0", "[4-0:[a:1 a:2] 3-0:[f:3]]"),
        ("xrevrange s + - 1", "[4-0:[a:1 a:2]]"),
        ("xread s 2-0", "[3-0:[f:3] 4-0:[a:1 a:2]]"),
        ("xread s 0-0 1", "[1-0:[f:1]]"),
        ("xread s 4-0", "[]"),
        ("xread s 18446744073709551615-18446744073709551615", "[]"),
        ("xrange missing - +", "[]"),
        ("xrange s nonsense +", "BadArgument"),
        ("xread s -", "BadArgument"),
        ("xread s 0-0 -1", "BadArgument"),
    ] {
        assert_eq!(mirror.ask(command), answer, "{command}");
    }
}

#[test]
fn an_entry_costs_what_its_fields_do() {
    let mut mirror = stream(3);
    mirror.run(&["XADD s 4 a 1 a 2", "XADD wide 1-0 f v", &format!("XADD wide 2-0{}", " f v".repeat(5_000))]);
    for (command, elements) in [
        ("xrange s - +", 5),
        ("xrevrange s + 2-0 2", 3),
        ("xread s 0-0 2", 2),
        ("xread s 0-0 0", 0),
        ("xrange wide - + 1", 1),
        ("xrevrange wide + - 1", 5_000),
        ("xread wide 1-0", 5_000),
        ("xinfo_stream wide", 5_001),
        ("xinfo_stream missing", 1),
    ] {
        assert_eq!(mirror.elements(command), elements, "{command}");
    }
    assert_eq!(stream(1_000).elements("xrange s - +"), 1_000);
}

#[test]
fn a_stream_is_a_type_of_its_own() {
    let mut mirror = stream(1);
    mirror.run(&["RPUSH l a"]);
    assert_eq!(mirror.ask("type s"), "stream");
    assert_eq!(mirror.ask("xlen l"), "WrongType");
    assert_eq!(mirror.ask("llen s"), "WrongType");
    mirror.fails("XADD l 1-0 f v", ApplyError::WrongType);
    mirror.fails("RPUSH s a", ApplyError::WrongType);
}

#[test]
fn a_stream_stays_when_it_is_empty_and_keeps_its_time() {
    let mut mirror = stream(2);
    mirror.expire("s", 77);
    mirror.run(&["XDEL s 1-0 2-0 9-9"]);
    assert_eq!((mirror.has("s"), mirror.expires("s")), (true, Some(77)));
    mirror.expire("s", i64::MAX);
    assert_eq!(
        mirror.ask("xinfo_stream s").split(' ').take(5).collect::<Vec<_>>().join(" "),
        "[length=0 \
        last_generated_id=2-0 max_deleted_entry_id=2-0 entries_added=2 recorded_first_entry_id=0-0"
    );
    mirror.run(&["XADD s MAXLEN = 0 3-0 f v", "XGROUP CREATE t g $ MKSTREAM"]);
    assert_eq!((mirror.ask("xlen s"), mirror.ask("xlen t")), ("0".into(), "0".into()));
}

#[test]
fn what_a_primary_never_sends_is_a_contradiction() {
    let mut mirror = group();
    for (command, error) in [
        ("XADD s 5-0 f v", ApplyError::OutOfRange),
        ("XADD s 0-0 f v", ApplyError::OutOfRange),
        ("XADD s * f v", ApplyError::BadArguments),
        ("XADD s 6-0 f", ApplyError::BadArguments),
        ("XADD s 6-0", ApplyError::BadArguments),
        ("XADD s MAXLEN ~ 3 6-0 f v", ApplyError::BadArguments),
        ("XADD s MAXLEN -1 6-0 f v", ApplyError::BadArguments),
        ("XADD t NOMKSTREAM 6-0 f v", ApplyError::Missing),
        ("XADD t IDMP p i * f v", ApplyError::Missing),
        ("XDEL t 1-0", ApplyError::Missing),
        ("XDEL s", ApplyError::BadArguments),
        ("XTRIM s", ApplyError::BadArguments),
        ("XTRIM t MAXLEN 1", ApplyError::Missing),
        ("XSETID s 4-0", ApplyError::OutOfRange),
        ("XGROUP CREATE s g $", ApplyError::OutOfRange),
        ("XGROUP CREATE t g $", ApplyError::Missing),
        ("XGROUP SETID s h 0", ApplyError::Missing),
        ("XGROUP DESTROY s h", ApplyError::Missing),
        ("XGROUP CREATECONSUMER s h c", ApplyError::Missing),
        ("XGROUP NONSENSE s g c", ApplyError::BadArguments),
        ("XACK s h 1-0", ApplyError::Missing),
        ("XCLAIM s h c 0 1-0", ApplyError::Missing),
        ("XCLAIM s g c 0 FORCE", ApplyError::BadArguments),
        ("XCLAIM s g c 0 1-0 NONSENSE", ApplyError::BadArguments),
        ("XDELEX s IDS 2 1-0", ApplyError::BadArguments),
    ] {
        mirror.fails(command, error);
    }
}

#[test]
fn a_message_that_came_twice_adds_nothing() {
    let mut mirror = stream(2);
    mirror.run(&[
        "XADD s IDMP p i 3-0 f v",
        "XADD s IDMP p i * f v",
        "XADD s NOMKSTREAM IDMPAUTO p MAXLEN = 1 * f v",
        "XCFGSET s IDMP-DURATION 100",
        "XIDMPRECORD s p i 3-0",
    ]);
    assert_eq!(ids(&mirror), "1-0 2-0 3-0");
}

#[test]
fn trimming_takes_the_oldest_and_is_no_deletion() {
    for (command, left) in [
        ("XTRIM s MAXLEN 2", "4-0 5-0"),
        ("XTRIM s MAXLEN = 9", "1-0 2-0 3-0 4-0 5-0"),
        ("XTRIM s MINID = 3 LIMIT 1", "3-0 4-0 5-0"),
        ("XTRIM s minid 18446744073709551615-18446744073709551615", ""),
        ("XADD s MAXLEN = 2 LIMIT 10 6-0 f v", "5-0 6-0"),
        ("XADD s NOMKSTREAM MINID = 5-0 6-0 f v", "5-0 6-0"),
    ] {
        let mut mirror = stream(5);
        mirror.run(&[command]);
        assert_eq!(ids(&mirror), left, "{command}");
        assert!(mirror.ask("xinfo_stream s").contains("max_deleted_entry_id=0-0"));
    }
}

#[test]
fn deletions_keep_forget_or_respect_those_who_wait() {
    for (command, left, waiting) in [
        ("XDELEX s IDS 2 1-0 5-0", "2-0 3-0 4-0", "1-0 2-0 3-0"),
        ("XDELEX s DELREF IDS 2 1-0 5-0", "2-0 3-0 4-0", "2-0 3-0"),
        ("XDELEX s IDS 2 1-0 5-0 ACKED", "1-0 2-0 3-0 4-0 5-0", "1-0 2-0 3-0"),
        ("XACKDEL s g IDS 2 1-0 5-0", "2-0 3-0 4-0 5-0", "2-0 3-0"),
        ("XACKDEL s g ACKED IDS 2 1-0 3-0", "2-0 4-0 5-0", "2-0"),
        ("XTRIM s MAXLEN = 2", "4-0 5-0", "1-0 2-0 3-0"),
        ("XTRIM s MAXLEN = 2 DELREF", "4-0 5-0", ""),
        ("XTRIM s MAXLEN = 2 ACKED", "1-0 2-0 3-0 4-0 5-0", "1-0 2-0 3-0"),
    ] {
        let mut mirror = group();
        mirror.run(&[command]);
        let waits = pending(&mirror, "g");
        let waits: Vec<&str> = waits.split(' ').filter_map(|one| one.split(':').next()).collect();
        assert_eq!((ids(&mirror).as_str(), waits.join(" ").as_str()), (left, waiting), "{command}");
    }
}

#[test]
fn trimming_passes_over_what_groups_still_wait_for() {
    let mut mirror = group();
    mirror.run(&["XACK s g 2-0", "XGROUP SETID s g 5-0", "XTRIM s MAXLEN = 3 ACKED"]);
    assert_eq!(ids(&mirror), "1-0 3-0 5-0");
    mirror.run(&["XADD s ACKED MINID = 5-0 6-0 f v"]);
    assert_eq!(ids(&mirror), "1-0 3-0 5-0 6-0");
}

#[test]
fn groups_know_who_waits_for_what() {
    let mut mirror = group();
    assert_eq!(pending(&mirror, "g"), "1-0:a:500:1 2-0:b:501:1 3-0:a:502:1");
    assert_eq!(mirror.ask("xpending s g"), "[pending=3 min=1-0 max=3-0 consumers=[a:2 b:1]]");
    assert_eq!(
        mirror.ask("xinfo_groups s"),
        "[[name=g consumers=2 pending=3 last_delivered_id=3-0 entries_read=3 lag=2]]"
    );
    mirror.run(&[
        "XCLAIM s g b 0 3-0 IDLE 1000 RETRYCOUNT 7",
        "XCLAIM s g b 0 1-0",
        "XCLAIM s g c 0 5-0",
        "XACK s g 2-0 9-9",
    ]);
    assert_eq!(pending(&mirror, "g"), "1-0:b:1000000:2 3-0:b:999000:7");
    assert_eq!(mirror.ask("xpending s g"), "[pending=2 min=1-0 max=3-0 consumers=[b:2]]");
    mirror.run(&["XGROUP DELCONSUMER s g b", "XGROUP DELCONSUMER s g nobody", "XGROUP CREATECONSUMER s g a"]);
    assert_eq!(mirror.ask("xpending s g"), "[pending=0 min=nil max=nil consumers=[]]");
    mirror.run(&["XGROUP DESTROY s g"]);
    assert_eq!((mirror.ask("xpending s g"), mirror.ask("xinfo_groups s")), ("nil".into(), "[]".into()));
    assert_eq!((mirror.ask("xinfo_stream t"), mirror.ask("xinfo_groups t")), ("nil".into(), "[]".into()));
}

#[test]
fn a_claim_of_an_entry_that_is_gone_ends_its_waiting() {
    let mut mirror = group();
    mirror.run(&["XDEL s 1-0", "XCLAIM s g b 0 1-0 TIME 9 RETRYCOUNT 1 FORCE JUSTID LASTID 3-0"]);
    assert_eq!(pending(&mirror, "g"), "2-0:b:501:1 3-0:a:502:1");
}

#[test]
fn the_lag_is_what_a_group_has_yet_to_get() {
    let lag = |commands: &[&str]| {
        let mut mirror = group();
        mirror.run(commands);
        let answer = mirror.ask("xinfo_groups s");
        answer.split("lag=").nth(1).unwrap().trim_end_matches(']').to_owned()
    };
    assert_eq!(lag(&["XADD s 6-0 f v"]), "3");
    assert_eq!(lag(&["XDEL s 4-0"]), "nil");
    assert_eq!(lag(&["XDEL s 2-0"]), "2");
    assert_eq!(lag(&["XGROUP SETID s g 3-0"]), "nil");
    assert_eq!(lag(&["XGROUP SETID s g 0-0"]), "5");
    assert_eq!(lag(&["XGROUP SETID s g 1-0"]), "4");
    assert_eq!(lag(&["XGROUP SETID s g $"]), "0");
    assert_eq!(lag(&["XTRIM s MAXLEN 0"]), "0");
}

#[test]
fn setid_moves_what_only_grows() {
    let mut mirror = stream(2);
    mirror.run(&["XSETID s 9-9 ENTRIESADDED 50 MAXDELETEDID 8-0", "XSETID s 9-10 MAXDELETEDID 0-0"]);
    let info = mirror.ask("xinfo_stream s");
    assert!(info.contains("last_generated_id=9-10 max_deleted_entry_id=8-0 entries_added=50"), "{info}");
    mirror.fails("XADD s 9-10 f v", ApplyError::OutOfRange);
}

#[test]
fn every_write_tells_its_key_and_its_arguments() {
    let bytes = |text: &str| Field::Bytes(Bytes::copy_from_slice(text.as_bytes()));
    let list = |items: &[&str]| Field::List(items.iter().map(|item| bytes(item)).collect());
    let pair = Field::Pair(Box::new((bytes("f"), bytes("v"))));
    let (k, g) = (bytes("k"), bytes("g"));
    let none = Field::List(Vec::new());
    for (command, fields) in [
        ("XADD k NOMKSTREAM MAXLEN = 5 5-0 f v", vec![k.clone(), bytes("5-0"), Field::List(vec![pair])]),
        ("XTRIM k MAXLEN = 5", vec![k.clone(), Field::Word("maxlen"), Field::List(vec![bytes("="), Field::Int(5)])]),
        ("XDEL k 1-0 2-0", vec![k.clone(), list(&["1-0", "2-0"])]),
        ("XDELEX k ACKED IDS 1 1-0", vec![k.clone(), Field::List(vec![Field::Word("acked")]), list(&["1-0"])]),
        ("XACKDEL k g IDS 1 1-0", vec![k.clone(), g.clone(), none.clone(), list(&["1-0"])]),
        ("XSETID k 1-0", vec![k.clone(), bytes("1-0"), none.clone()]),
        ("XACK k g 1-0", vec![k.clone(), g.clone(), list(&["1-0"])]),
        ("XGROUP CREATE k g $ MKSTREAM", vec![Field::Word("create"), k.clone(), g.clone(), list(&["$", "MKSTREAM"])]),
        ("XGROUP DESTROY k g", vec![Field::Word("destroy"), k.clone(), g.clone(), none]),
        (
            "XCLAIM k g c 0 1-0 TIME 7 JUSTID",
            vec![
                k,
                g,
                bytes("c"),
                Field::Int(0),
                bytes("1-0"),
                Field::List(vec![Field::Word("time"), Field::Int(7), Field::Word("justid")]),
            ],
        ),
    ] {
        let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        assert_eq!(tuple(&args).fields, fields, "{command}");
        assert_eq!(affected(command), ["k"], "{command}");
    }
}

#[test]
fn fields_of_entries_are_the_snapshots_own_bytes() {
    let mirror = stream(1);
    let Ok(Reply::Pairs(entries)) = mirror.read("xrange", &[b"s", b"-", b"+"].map(|arg| crate::args::Arg::Bytes(arg)))
    else {
        panic!("no entries")
    };
    assert!(matches!(&entries[0].1, Reply::Pairs(fields) if matches!(fields[0].1, Reply::Blob(_))));
}

#[test]
fn what_a_group_has_read_is_capped_where_the_primary_caps_it() {
    for (version, expected) in [("8.6.3", 5), ("8.0.6", 40)] {
        let mut mirror = stream(5);
        mirror.rules = Rules::of("redis", version);
        mirror.run(&[
            "XGROUP CREATE s made 0 ENTRIESREAD 40",
            "XGROUP CREATE s set 0",
            "XGROUP SETID s set 0 ENTRIESREAD 40",
        ]);
        let stream = mirror.keyspace.view(0, 0).stream(b"s").unwrap().unwrap();
        for group in [b"made".as_slice(), b"set"] {
            assert_eq!(stream.group(group).unwrap().entries_read, Some(expected), "{version}");
        }
    }
}
