//! Tests the machine itself: it must find a wrong command in the mirror, name it, and shorten the
//! program.

use crate::command::cmd;
use crate::episode::{Episode, Program, Run, Tally, What};
use crate::generate::Unit;
use crate::shrink::shrink;
use crate::wrong::Wrong;
use fastrand::Rng;
use std::time::Instant;
use vdr_testkit::binaries;

/// Checks that the machine notices a mirror which takes one command for another, that its report
/// has these parts, and that the shortened program has at most this many units and still names the
/// command. A program depends on time as well as on its seed, and a difference may be overwritten
/// before the check at rest. The machine then notices it without a report, and the test tries the
/// next program.
fn must_find(wrong: &str, command: &str, parts: &[&str], units_max: usize) {
    let wrong: Wrong = wrong.parse().unwrap();
    let all = binaries();
    let binary = all.first().expect("no server found: install redis-server, or run `make servers`");
    let mut tally = Tally::default();
    let started = Instant::now();
    let mut seen = String::from("nothing");
    for seed in 7..27 {
        let episode = Episode { binary, seed, ops: 600, wrong: Some(&wrong) };
        let Some(failure) = episode.run(&mut tally).unwrap() else { continue };
        let report = failure.report.clone();
        assert_eq!(failure.what, What::Divergence, "{report}");
        let shown = parts.iter().chain([&command]).all(|part| report.contains(part));
        let short = shrink(binary, failure, Some(&wrong));
        if shown && units(&short).is_some_and(|units| units <= units_max) && short.contains(command) {
            return;
        }
        seen = format!("{report}\n{short}");
    }
    panic!("{wrong:?}, after {:?} and {tally}: last was seen\n{seen}", started.elapsed());
}

/// The number of units in the shortest program; None if it was not shortened.
fn units(short: &str) -> Option<usize> {
    short.trim_start().split(' ').next().and_then(|count| count.parse().ok())
}

#[test]
fn a_list_pushed_at_the_wrong_end_is_found_shown_and_shrunk() {
    must_find("LPUSH=RPUSH", "LPUSH", &["key list:", "ours   list of", "theirs list of"], 4);
}

#[test]
fn a_counter_that_counts_down_is_found_shown_and_shrunk() {
    must_find("INCRBY=DECRBY", "INCRBY", &["ours   string of 1", "theirs string of 1"], 4);
}

#[test]
fn an_intersection_taken_for_a_union_is_found_shown_and_shrunk() {
    must_find("SINTERSTORE=SUNIONSTORE", "SINTERSTORE", &[], 6);
}

#[test]
fn a_mirror_without_fault_is_equal() {
    let all = binaries();
    let binary = all.first().expect("no server found: install redis-server, or run `make servers`");
    let mut tally = Tally::default();
    let failure = Episode { binary, seed: 7, ops: 600, wrong: None }.run(&mut tally).unwrap();
    assert!(failure.is_none(), "{}", failure.unwrap().report);
    assert!(tally.commands > 0 && tally.checks > 0 && tally.full_syncs > 0, "{tally}");
}

/// Each kind of server reports its end in its own way.
#[test]
fn a_server_that_dies_is_told_with_what_it_died_of_and_counts() {
    for binary in &binaries() {
        let sent = [cmd!["SET", "a", "1"], cmd!["DEBUG", "SEGFAULT"], cmd!["SET", "b", "2"]];
        let program = Program { settings: vec![], only: Default::default(), units: sent.map(Unit::One).into() };
        let episode = Episode { binary, seed: 7, ops: 3, wrong: None };
        let (mut tally, mut run) = (Tally::default(), Run::start(binary, &program.settings).unwrap());
        let failure = episode.attempt(&mut Rng::with_seed(7), &mut run, program, &mut tally).unwrap().unwrap();
        let (what, report) = (failure.what, failure.report.clone());
        assert_eq!(what, What::Crash, "{report}");
        for part in ["signal: 11", "not answered", "\n    DEBUG SEGFAULT", "BUG REPORT START", "in debugCommand"] {
            assert!(report.contains(part), "{} lacks {part}: {report}", binary.name);
        }
        let short = shrink(binary, failure, None);
        assert_eq!(short, "  1 units are enough, without a replica:\n  DEBUG SEGFAULT");
        tally.count(what);
        assert_eq!(tally.failures(), 1);
    }
}
