//! The differential machine: random programs on real servers, with a mirror attached throughout. It
//! compares digests at exact offsets, under load and at rest.
//!
//! `vdr_verify [--seed N] [--ops N] [--seconds N] [--server NAME]... [--wrong NAME=NAME]`
//!
//! A run without a divergence ends with
//! `verify: <commands> commands, <syncs> full syncs, <checks> digests, 0 divergences` and exit code
//! 0. A divergence ends the run with exit code 1, after a report of the smallest difference, the
//! seed, and the shortest program that leads to it. After a server's crash the run continues with
//! other programs and then exits with 1; the last line counts the crashes. `--wrong LPUSH=RPUSH`
//! plants a wrong command in the mirror, to show that the machine finds it.
//!
//! `vdr_verify --fuzzer COMMANDS [--rounds N] [--server NAME]...` runs the servers' own fuzzer
//! instead, in rounds of so many commands.

mod command;
mod settings;
mod wrong;
mod generate;
mod streams;
mod filtered;
mod history;
mod contrast;
mod compare;
mod crash;
mod proof;
mod uptime;
mod attach;
mod episode;
mod shrink;
mod fuzzer;
#[cfg(test)]
mod tests;

use episode::{Episode, Tally, What};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wrong::Wrong;

struct Arguments {
    seed: u64,
    /// The number of units in each program.
    ops: usize,
    /// How long to keep running new programs; all servers share this time.
    time: Duration,
    servers: Vec<String>,
    wrong: Option<Wrong>,
    /// The commands of each round of the servers' own fuzzer, and how many rounds.
    fuzzer: Option<u64>,
    rounds: u64,
}

const OPTIONS: &str = "--seed, --ops, --seconds, --server, --wrong, --fuzzer, --rounds";

fn arguments() -> Result<Arguments, String> {
    let (seed, time) = (fastrand::u64(0..1 << 32), Duration::from_secs(600));
    let mut parsed = Arguments { seed, ops: 3000, time, servers: Vec::new(), wrong: None, fuzzer: None, rounds: 3 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{word} takes a number, got {value}"));
        match word.as_str() {
            "--seed" => parsed.seed = number()?,
            "--ops" => parsed.ops = number()? as usize,
            "--seconds" => parsed.time = Duration::from_secs(number()?),
            "--server" => parsed.servers.push(value),
            "--wrong" => parsed.wrong = Some(value.parse()?),
            "--fuzzer" => parsed.fuzzer = Some(number()?),
            "--rounds" => parsed.rounds = number()?,
            _ => return Err(format!("unknown option {word}: takes {OPTIONS}")),
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    let done = arguments().and_then(|arguments| match arguments.fuzzer {
        Some(commands) => fuzz(&arguments, commands),
        None => run(&arguments),
    });
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("verify: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs the servers' own fuzzer. Returns the number of failures.
fn fuzz(arguments: &Arguments, commands: u64) -> Result<u64, String> {
    let fuzzer = vdr_testkit::fuzzer().ok_or("no valkey-benchmark that can fuzz: run `make servers`")?;
    let binaries = match arguments.servers.as_slice() {
        [] => fuzzer::SERVERS
            .iter()
            .filter_map(|name| {
                let found = named(&[(*name).to_owned()]);
                found.inspect_err(|error| println!("verify: {error}")).ok()
            })
            .flatten()
            .collect(),
        wanted => named(wanted)?,
    };
    if binaries.is_empty() {
        return Err("no server to fuzz".to_owned());
    }
    let mut outcome = fuzzer::Outcome::default();
    for binary in &binaries {
        let done = fuzzer::run(binary, &fuzzer, commands, arguments.rounds, &mut outcome);
        done.map_err(|error| format!("{}: {error}", binary.name))?;
    }
    outcome.failures.iter().for_each(|failure| println!("fuzzer: FAILED {failure}"));
    let failures = outcome.failures.len();
    println!(
        "verify: {} commands of the servers' fuzzer, {} rounds, {failures} failed",
        outcome.commands, outcome.rounds
    );
    Ok(failures as u64)
}

/// The servers of these names, all of them.
fn named(wanted: &[String]) -> Result<Vec<vdr_testkit::Binary>, String> {
    let mut all = vdr_testkit::binaries();
    if let Some(missing) = wanted.iter().find(|name| all.iter().all(|binary| binary.name != **name)) {
        return Err(format!("no server {missing} found: run `make servers`"));
    }
    all.retain(|binary| wanted.contains(&binary.name));
    Ok(all)
}

fn run(arguments: &Arguments) -> Result<u64, String> {
    let binaries = match arguments.servers.as_slice() {
        [] => vdr_testkit::binaries(),
        wanted => named(wanted)?,
    };
    if binaries.is_empty() {
        return Err("no server found: install redis-server, or run `make servers`".to_owned());
    }
    let names: Vec<&str> = binaries.iter().map(|binary| binary.name.as_str()).collect();
    println!("verify: seed {}, servers {}", arguments.seed, names.join(", "));
    let (start, mut tally, mut round) = (Instant::now(), Tally::default(), 0);
    while round == 0 || start.elapsed() < arguments.time {
        for binary in &binaries {
            if round > 0 && start.elapsed() >= arguments.time {
                break;
            }
            let seed = arguments.seed.wrapping_add(round);
            let episode = Episode { binary, seed, ops: arguments.ops, wrong: arguments.wrong.as_ref() };
            let outcome = episode.run(&mut tally).map_err(|error| format!("{} seed {seed}: {error}", binary.name))?;
            let Some(failure) = outcome else { continue };
            let what = failure.what;
            tally.count(what);
            println!("verify: {what} {}, --seed {seed} --ops {}\n{}", binary.name, arguments.ops, failure.report);
            println!("{}", shrink::shrink(binary, failure, arguments.wrong.as_ref()));
            if what == What::Divergence {
                println!("{tally}");
                return Ok(tally.failures());
            }
        }
        round += 1;
    }
    println!(
        "verify: {round} programs on each server, {} partial syncs; through filters {} commands, {} full syncs asked for",
        tally.partial_syncs, tally.filtered, tally.asked_for
    );
    println!("{tally}");
    Ok(tally.failures())
}
