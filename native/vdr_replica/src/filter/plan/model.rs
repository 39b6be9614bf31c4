//! Random programs on a keyspace that holds everything and on one that holds a part: what the part
//! shows must be what the whole shows of it, after each command, or the part must have asked for a
//! full sync.

use super::*;
use crate::stream::Applier;
use std::collections::BTreeMap;
use std::sync::Arc;
use vdr_commands::{Apply, ApplyError, Rules};
use vdr_data::digest::{Dialect, digest_value};
use vdr_data::expiry::Expiry;
use vdr_data::value::ValueRef;

/// `K` is a key, `M` a member or value, `N` a small number, `I` the milliseconds of an id.
const TEMPLATES: &[&str] = &[
    "SET K M",
    "SET K N",
    "SET K M KEEPTTL",
    "SET K M NX",
    "SET K M XX GET",
    "SET K M PXAT 9000000",
    "MSETEX 2 K M K N KEEPTTL",
    "MSETEX 2 K M K N PXAT 9000000",
    "GETEX K PXAT 9000000",
    "GETEX K PERSIST",
    "SETNX K M",
    "INCRBYFLOAT K 1.5",
    "MSET K M K N",
    "GETSET K M",
    "APPEND K M",
    "INCRBY K N",
    "SETRANGE K N M",
    "GETDEL K",
    "GETEX K",
    "SETBIT K N 1",
    "BITOP OR K K K",
    "PFADD K M",
    "PFMERGE K K K",
    "MSETNX K M K M",
    "SETEX K 100 M",
    "BITFIELD K SET u8 0 N",
    "RPUSH K M M N",
    "LPUSH K M",
    "LPUSHX K M",
    "LSET K 0 M",
    "LINSERT K BEFORE M N",
    "LREM K 1 M",
    "LTRIM K 0 2",
    "LPOP K",
    "RPOP K 2",
    "LMOVE K K LEFT RIGHT",
    "RPOPLPUSH K K",
    "LMPOP 2 K K LEFT",
    "SORT K ALPHA STORE K",
    "SORT K BY w_* ALPHA STORE K",
    "SADD K M M N",
    "SREM K M",
    "SMOVE K K M",
    "SUNIONSTORE K K K",
    "SINTERSTORE K K K",
    "SDIFFSTORE K K K",
    "HSET K M N",
    "HSET K M M N N",
    "HDEL K M",
    "HINCRBY K M N",
    "HSETNX K M N",
    "HPEXPIREAT K 9000000 FIELDS 1 M",
    "ZADD K N M",
    "ZINCRBY K N M",
    "ZREM K M",
    "ZPOPMIN K",
    "ZMPOP 2 K K MIN",
    "ZUNIONSTORE K 2 K K",
    "ZINTERSTORE K 2 K K",
    "ZDIFFSTORE K 2 K K",
    "ZRANGESTORE K K 0 1",
    "ZREMRANGEBYRANK K 0 0",
    "ZADD K GT N M",
    "ZADD K INCR N M",
    "ZREMRANGEBYSCORE K 0 1",
    "ZPOPMAX K 2",
    "ZINTERSTORE K 2 K K WEIGHTS 1 2 AGGREGATE MAX",
    "ZRANGESTORE K K 0 2 BYSCORE REV",
    "HPERSIST K FIELDS 1 M",
    "HSETEX K FNX PXAT 9000000 FIELDS 1 M N",
    "HGETEX K PERSIST FIELDS 1 M",
    "HGETDEL K FIELDS 1 M",
    "HINCRBYFLOAT K M 0.5",
    "SREM K M N",
    "SORT K",
    "SORT K BY nosort GET # STORE K",
    "SORT K BY w_*->x STORE K",
    "XADD K I-1 M N",
    "XADD K I-2 M N",
    "XADD K MAXLEN = 2 I-3 M N",
    "XADD K NOMKSTREAM I-3 M N",
    "XTRIM K MAXLEN 1",
    "XDEL K I-1",
    "XSETID K 99-1 ENTRIESADDED 99 MAXDELETEDID 7-1",
    "XGROUP CREATE K M 0 MKSTREAM",
    "XGROUP CREATECONSUMER K M N",
    "XGROUP SETID K M I-1",
    "XGROUP DESTROY K M",
    "XCLAIM K M N 0 I-1 FORCE JUSTID",
    "XACK K M I-1",
    "GEOADD K 13.3 38.1 M",
    "GEOSEARCHSTORE K K FROMLONLAT 13 38 BYRADIUS 99 km",
    "GEORADIUS K 13 38 99 km STORE K",
    "DEL K K",
    "UNLINK K",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K REPLACE",
    "COPY K K DB N",
    "MOVE K N",
    "PEXPIREAT K 9000000",
    "PERSIST K",
    "SWAPDB N N",
    "FLUSHDB",
    "SELECT N",
];

const KEYS: &[&str] = &["in:a", "in:b", "in:c", "out:a", "out:b", "w_x"];

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn command(&mut self) -> Vec<String> {
        let template = TEMPLATES[self.below(TEMPLATES.len())];
        let word = |word: &str| match word {
            "K" => KEYS[self.below(KEYS.len())].to_owned(),
            "M" => ["x", "y", "z"][self.below(3)].to_owned(),
            "N" => self.below(3).to_string(),
            id if id.starts_with("I-") => id.replace('I', &self.below(50).to_string()),
            other => other.to_owned(),
        };
        template.split(' ').map(word).collect()
    }
}

/// What a filter keeps of a whole.
fn part(whole: &Keyspace, filter: &Filter) -> Keyspace {
    let mut kept = Keyspace::default();
    for (index, db) in whole.dbs() {
        for entry in db.iter().filter(|entry| filter.keeps(index, entry.key(), entry.value().kind())) {
            kept.db_mut(index).insert(entry.key(), entry.to_entry());
        }
    }
    kept
}

/// Every key with its expiry and the digest of its value, which an unknown value does not have.
fn contents(keyspace: &Keyspace) -> BTreeMap<(u32, Vec<u8>), (Expiry, Option<String>)> {
    let dialect = Dialect::of("redis", "7.0.15");
    let entries = keyspace.dbs().flat_map(|(index, db)| db.iter().map(move |entry| (index, entry)));
    let contents = entries.map(|(index, entry)| {
        let digest = digest_value(entry, dialect, 0).ok().map(|digest| digest.to_string());
        assert!(digest.is_some() || matches!(entry.value(), ValueRef::Unknown));
        ((index, entry.key().to_vec()), (entry.expiry(), digest))
    });
    contents.collect()
}

/// Answers how many commands were applied and how many full syncs were asked for.
fn compare(filter: Filter, seed: u64) -> (usize, usize) {
    let (mut whole, mut db, mut rng) = (Keyspace::default(), 0, Rng(seed));
    let filter = Arc::new(filter);
    let begin =
        |whole: &Keyspace, db| Applier::new(part(whole, &filter), 0, db, None).with_filter(Some(filter.clone()));
    let (mut applier, mut applied, mut full_syncs) = (begin(&whole, 0), 0, 0);
    let mut program = Vec::new();
    for _ in 0..400 {
        let command = rng.command();
        let args: Vec<&[u8]> = command.iter().map(String::as_bytes).collect();
        if let Some(row) = vdr_commands::write(args[0]) {
            let mut after = whole.clone();
            let mut apply = Apply { keyspace: &mut after, db, now_ms: 1000, rules: Rules::default() };
            // A primary sends no command that it refused itself.
            if (row.run)(&mut apply, &mut ArgCursor::new(&args[1..])).is_err() {
                continue;
            }
            whole = after;
        } else {
            db = command[1].parse().unwrap();
        }
        program.push(command.join(" "));
        applied += 1;
        match applier.command(&args, 1, 1000).map_err(|divergence| divergence.error) {
            Ok(_) => {}
            Err(ApplyError::NotMirrored) => {
                full_syncs += 1;
                applier = begin(&whole, db);
            }
            Err(error) => {
                panic!("{error:?}, seed {seed}, {filter:?}: {:?}", &program[program.len().saturating_sub(12)..])
            }
        }
        let (seen, expected) = (contents(applier.visible().unwrap().0), contents(&part(&whole, &filter)));
        assert_eq!(seen, expected, "seed {seed}, {filter:?}: {:?}", &program[program.len().saturating_sub(12)..]);
    }
    (applied, full_syncs)
}

fn many(filter: &Filter) {
    let mut total = (0, 0);
    for seed in 0..150 {
        let (applied, full_syncs) = compare(filter.clone(), seed);
        total = (total.0 + applied, total.1 + full_syncs);
    }
    assert!(total.0 > 10_000, "{total:?}");
    // A filter that asks for a full sync all the time would be right, and worth nothing.
    assert!(total.1 > 0 && total.1 * 4 < total.0, "{total:?}");
}

#[test]
fn a_prefix_shows_what_the_whole_shows_of_it() {
    many(&Filter::new(None, Some(vec![b"in:".to_vec()]), None));
}

#[test]
fn a_database_shows_what_the_whole_shows_of_it() {
    many(&Filter::new(Some(vec![0, 2]), None, None));
}

#[test]
fn any_types_show_what_the_whole_shows_of_them() {
    for kinds in [
        &[Kind::Hash][..],
        &[Kind::String],
        &[Kind::Set],
        &[Kind::Set, Kind::ZSet],
        &[Kind::ZSet],
        &[Kind::List, Kind::String],
        &[Kind::Stream],
        &[Kind::Stream, Kind::Hash, Kind::ZSet],
    ] {
        for seed in 0..60 {
            compare(Filter::new(None, None, Some(kinds.to_vec())), seed);
        }
    }
}

#[test]
fn all_three_together_show_what_the_whole_shows_of_them() {
    many(&Filter::new(Some(vec![0, 1]), Some(vec![b"in:".to_vec()]), Some(vec![Kind::Set, Kind::ZSet, Kind::Hash])));
}
