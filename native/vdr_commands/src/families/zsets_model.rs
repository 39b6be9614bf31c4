//! Random writes, compared after each one with a model made of maps and sorting. The model knows no
//! structure of this library.

use crate::args::Arg;
use crate::error::ApplyError;
use crate::harness::Mirror;
use crate::reply::Reply;
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEYS: [&str; 3] = ["a", "b", "c"];

type Model = BTreeMap<&'static str, BTreeMap<String, f64>>;

#[derive(Clone, Debug)]
enum Action {
    Add(&'static str, &'static str, Vec<(f64, String)>),
    IncrBy(&'static str, f64, String),
    Rem(&'static str, Vec<String>),
    RemRangeByRank(&'static str, i64, i64),
    RemRangeByScore(&'static str, f64, f64),
    Pop(&'static str, bool, usize),
    Union(&'static str, Vec<&'static str>, f64),
    Inter(&'static str, Vec<&'static str>),
    Diff(&'static str, Vec<&'static str>),
    RangeStore(&'static str, &'static str, i64, i64, bool),
}

fn action() -> impl Strategy<Value = Action> {
    let key = || prop::sample::select(&KEYS[..]);
    let keys = || prop::collection::vec(key(), 1..4);
    // Whole numbers, whose sums do not depend on the order.
    let score = || (-20i32..20).prop_map(f64::from);
    let member = || (0..250u8).prop_map(|n| format!("m{n}"));
    let flags = prop::sample::select(&["", "nx", "xx", "gt", "lt", "xx gt", "xx lt ch"][..]);
    prop_oneof![
        4 => (key(), flags, prop::collection::vec((score(), member()), 1..40)).prop_map(|(k, f, m)| Action::Add(k, f, m)),
        1 => (key(), score(), member()).prop_map(|(k, s, m)| Action::IncrBy(k, s, m)),
        1 => (key(), prop::collection::vec(member(), 1..9)).prop_map(|(k, m)| Action::Rem(k, m)),
        1 => (key(), -9..9i64, -9..9i64).prop_map(|(k, a, b)| Action::RemRangeByRank(k, a, b)),
        1 => (key(), score(), score()).prop_map(|(k, a, b)| Action::RemRangeByScore(k, a, b)),
        1 => (key(), any::<bool>(), 1..9usize).prop_map(|(k, max, n)| Action::Pop(k, max, n)),
        1 => (key(), keys(), score()).prop_map(|(d, k, w)| Action::Union(d, k, w)),
        1 => (key(), keys()).prop_map(|(d, k)| Action::Inter(d, k)),
        1 => (key(), keys()).prop_map(|(d, k)| Action::Diff(d, k)),
        1 => (key(), key(), -200..200i64, -200..200i64, any::<bool>())
            .prop_map(|(d, s, a, b, rev)| Action::RangeStore(d, s, a, b, rev)),
    ]
}

impl Action {
    fn line(&self) -> String {
        match self {
            Action::Add(key, flags, members) => {
                let members: Vec<String> = members.iter().map(|(score, member)| format!("{score} {member}")).collect();
                format!("zadd {key} {flags} {}", members.join(" "))
            }
            Action::IncrBy(key, by, member) => format!("zincrby {key} {by} {member}"),
            Action::Rem(key, members) => format!("zrem {key} {}", members.join(" ")),
            Action::RemRangeByRank(key, start, stop) => format!("zremrangebyrank {key} {start} {stop}"),
            Action::RemRangeByScore(key, min, max) => format!("zremrangebyscore {key} ({min} {max}"),
            Action::Pop(key, true, n) => format!("zpopmax {key} {n}"),
            Action::Pop(key, false, n) => format!("zpopmin {key} {n}"),
            Action::Union(to, keys, weight) => {
                let weights = vec![weight.to_string(); keys.len()].join(" ");
                format!("zunionstore {to} {} {} weights {weights}", keys.len(), keys.join(" "))
            }
            Action::Inter(to, keys) => format!("zinterstore {to} {} {} aggregate max", keys.len(), keys.join(" ")),
            Action::Diff(to, keys) => format!("zdiffstore {to} {} {}", keys.len(), keys.join(" ")),
            Action::RangeStore(to, from, start, stop, rev) => {
                format!("zrangestore {to} {from} {start} {stop} {}", if *rev { "rev" } else { "" })
            }
        }
    }

    /// Applies the action to the model; an error if the primary would not have sent it.
    fn run(&self, model: &mut Model) -> Result<(), ApplyError> {
        match self {
            Action::Add(key, flags, members) => {
                let zset = model.entry(key).or_default();
                for (score, member) in members {
                    let allowed = match zset.get(member) {
                        None => !flags.contains("xx"),
                        Some(_) if *flags == "nx" => false,
                        Some(old) => !(flags.contains("gt") && score <= old || flags.contains("lt") && score >= old),
                    };
                    if allowed {
                        zset.insert(member.clone(), *score);
                    }
                }
                Ok(())
            }
            Action::IncrBy(key, by, member) => {
                *model.entry(key).or_default().entry(member.clone()).or_insert(0.0) += by;
                Ok(())
            }
            Action::Rem(key, members) => take(model, key, |_| members.clone()),
            Action::RemRangeByRank(key, start, stop) => take(model, key, |all| slice(all, *start, *stop)),
            Action::RemRangeByScore(key, min, max) => take(model, key, |all| {
                all.iter().filter(|(_, score)| min < score && score <= max).map(|(member, _)| member.clone()).collect()
            }),
            Action::Pop(key, true, n) => take(model, key, |all| slice(all, -(*n as i64), -1)),
            Action::Pop(key, false, n) => take(model, key, |all| slice(all, 0, *n as i64 - 1)),
            Action::Union(to, keys, weight) => {
                let mut sums = BTreeMap::new();
                for (member, score) in keys.iter().filter_map(|key| model.get(key)).flatten() {
                    *sums.entry(member.clone()).or_insert(0.0) += score * weight;
                }
                put(model, to, sums)
            }
            Action::Inter(to, keys) => {
                let zsets: Vec<_> = keys.iter().map(|key| model.get(key).cloned().unwrap_or_default()).collect();
                let max =
                    |member: &String| zsets.iter().map(|zset| zset.get(member).copied()).collect::<Option<Vec<_>>>();
                let common = zsets[0].keys().filter_map(|member| {
                    Some((member.clone(), max(member)?.into_iter().fold(f64::NEG_INFINITY, f64::max)))
                });
                put(model, to, common.collect())
            }
            Action::Diff(to, keys) => {
                let mut left = model.get(keys[0]).cloned().unwrap_or_default();
                for other in keys[1..].iter().filter_map(|key| model.get(key)) {
                    left.retain(|member, _| !other.contains_key(member));
                }
                put(model, to, left)
            }
            Action::RangeStore(to, from, start, stop, rev) => {
                let mut all = ordered(model, from);
                if *rev {
                    all.reverse();
                }
                let kept = slice(&all, *start, *stop);
                all.retain(|(member, _)| kept.contains(member));
                put(model, to, all.into_iter().collect())
            }
        }
    }
}

fn ordered(model: &Model, key: &str) -> Vec<(String, f64)> {
    let mut all: Vec<(String, f64)> = model.get(key).cloned().unwrap_or_default().into_iter().collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    all
}

/// The members of the ranks `start..=stop`, found by a check of every rank.
fn slice(all: &[(String, f64)], start: i64, stop: i64) -> Vec<String> {
    let len = all.len() as i64;
    let rank = |index: i64| if index < 0 { index + len } else { index };
    let inside = |(at, _): &(usize, &(String, f64))| (rank(start)..=rank(stop)).contains(&(*at as i64));
    all.iter().enumerate().filter(inside).map(|(_, (member, _))| member.clone()).collect()
}

fn take(
    model: &mut Model,
    key: &'static str,
    which: impl FnOnce(&[(String, f64)]) -> Vec<String>,
) -> Result<(), ApplyError> {
    let members = which(&ordered(model, key));
    let zset = model.entry(key).or_default();
    let before = zset.len();
    zset.retain(|member, _| !members.contains(member));
    if zset.len() < before { Ok(()) } else { Err(ApplyError::Missing) }
}

fn put(model: &mut Model, key: &'static str, zset: BTreeMap<String, f64>) -> Result<(), ApplyError> {
    let nothing_changes = zset.is_empty() && model.get(key).is_none_or(BTreeMap::is_empty);
    // The server's listpacks have no -0, and the only zeros here are sums.
    model.insert(key, zset.into_iter().map(|(member, score)| (member, score + 0.0)).collect());
    if nothing_changes { Err(ApplyError::Missing) } else { Ok(()) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn random_writes_leave_what_a_naive_model_holds(actions in prop::collection::vec(action(), 1..60)) {
        let (mut mirror, mut model) = (Mirror::new(), Model::new());
        for action in actions {
            prop_assert_eq!(mirror.attempt(&action.line()), action.run(&mut model), "{:?}", action);
            for key in KEYS {
                let expected = ordered(&model, key);
                prop_assert_eq!(&mirror.members(key.as_bytes()), &expected, "{:?} of {}", action, key);
                if let Some((rank, (member, score))) = expected.iter().enumerate().nth(expected.len() / 2) {
                    let args = [Arg::Bytes(key.as_bytes()), Arg::Bytes(member.as_bytes())];
                    prop_assert_eq!(mirror.read("zrank", &args), Ok(Reply::int(rank)));
                    prop_assert_eq!(mirror.read("zscore", &args), Ok(Reply::Float(*score)));
                }
            }
        }
    }
}
