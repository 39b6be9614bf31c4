//! The machine itself on trial: a wrong command in the mirror must be found, named, and made short.

use crate::episode::{Episode, Tally};
use crate::shrink::shrink;
use crate::wrong::Wrong;
use std::time::Instant;
use vdr_testkit::binaries;

/// What the machine prints of a mirror that takes one command for another: the report, then the short program.
fn found(wrong: &str, seed: u64) -> (String, String) {
    let wrong: Wrong = wrong.parse().unwrap();
    let all = binaries();
    let binary = all.first().expect("no server found: install redis-server, or run `make servers`");
    let mut tally = Tally::default();
    let started = Instant::now();
    for seed in seed..seed + 20 {
        let episode = Episode { binary, seed, ops: 600, wrong: Some(&wrong) };
        if let Some(divergence) = episode.run(&mut tally).unwrap() {
            let report = divergence.report.clone();
            return (report, shrink(binary, divergence, Some(&wrong)));
        }
    }
    panic!("{wrong:?} went unnoticed for {:?}: {tally}", started.elapsed());
}

/// How many units the shortest program has.
fn units(short: &str) -> usize {
    let count = short.trim_start().split(' ').next().and_then(|count| count.parse().ok());
    count.unwrap_or_else(|| panic!("not made short: {short}"))
}

#[test]
fn a_list_pushed_at_the_wrong_end_is_found_shown_and_shrunk() {
    let (report, short) = found("LPUSH=RPUSH", 7);
    for part in ["key list:", "ours   list of", "theirs list of", "LPUSH"] {
        assert!(report.contains(part), "no {part} in\n{report}");
    }
    assert!(units(&short) <= 4, "{short}");
    assert!(short.contains("LPUSH"), "{short}");
}

#[test]
fn a_counter_that_counts_down_is_found_shown_and_shrunk() {
    let (report, short) = found("INCRBY=DECRBY", 7);
    for part in ["ours   string of 1", "theirs string of 1", "INCRBY"] {
        assert!(report.contains(part), "no {part} in\n{report}");
    }
    assert!(units(&short) <= 4, "{short}");
    assert!(short.contains("INCRBY"), "{short}");
}

#[test]
fn an_intersection_taken_for_a_union_is_found_shown_and_shrunk() {
    let (report, short) = found("SINTERSTORE=SUNIONSTORE", 7);
    assert!(report.contains("SINTERSTORE"), "{report}");
    assert!(units(&short) <= 6, "{short}");
}

#[test]
fn a_mirror_without_fault_is_equal() {
    let all = binaries();
    let binary = all.first().expect("no server found: install redis-server, or run `make servers`");
    let mut tally = Tally::default();
    let divergence = Episode { binary, seed: 7, ops: 600, wrong: None }.run(&mut tally).unwrap();
    assert!(divergence.is_none(), "{}", divergence.unwrap().report);
    assert!(tally.commands > 0 && tally.checks > 0 && tally.full_syncs > 0, "{tally}");
}
