//! The differential machine: random programs on real servers, a mirror attached throughout, digests compared at exact
//! offsets, under load and at rest.
//!
//! `vdr_verify [--seed N] [--ops N] [--seconds N] [--server NAME]...`
//!
//! It ends with `verify: <commands> commands, <syncs> full syncs, <checks> digests, 0 divergences` and exit code 0, or shows the
//! smallest difference, the seed, and the shortest program that it found, and exits with 1.

mod attach;
mod compare;
mod episode;
mod filtered;
mod generate;
mod settings;
mod shrink;
mod streams;

use episode::{Episode, Tally};
use std::process::ExitCode;
use std::time::{Duration, Instant};

struct Arguments {
    seed: u64,
    /// Units of each program.
    ops: usize,
    /// How long to go on with ever new programs; all servers share it.
    time: Duration,
    servers: Vec<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed =
        Arguments { seed: fastrand::u64(0..1 << 32), ops: 3000, time: Duration::from_secs(600), servers: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{word} takes a number, got {value}"));
        match word.as_str() {
            "--seed" => parsed.seed = number()?,
            "--ops" => parsed.ops = number()? as usize,
            "--seconds" => parsed.time = Duration::from_secs(number()?),
            "--server" => parsed.servers.push(value),
            _ => return Err(format!("unknown option {word}: takes --seed, --ops, --seconds, --server")),
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("verify: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<u64, String> {
    let mut binaries = vdr_testkit::binaries();
    if !arguments.servers.is_empty() {
        binaries.retain(|binary| arguments.servers.contains(&binary.name));
    }
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
            let episode = Episode { binary, seed, ops: arguments.ops };
            let outcome = episode.run(&mut tally).map_err(|error| format!("{} seed {seed}: {error}", binary.name))?;
            if let Some(divergence) = outcome {
                tally.divergences += 1;
                println!(
                    "verify: DIVERGENCE on {}, --seed {seed} --ops {}\n{}",
                    binary.name, arguments.ops, divergence.report
                );
                println!("{}", shrink::shrink(binary, divergence));
                println!("{tally}");
                return Ok(tally.divergences);
            }
        }
        round += 1;
    }
    println!(
        "verify: {round} programs on each server, {} partial syncs, {} servers crashed; through filters {} commands, {} full syncs asked for",
        tally.partial_syncs, tally.crashes, tally.filtered, tally.asked_for
    );
    println!("{tally}");
    Ok(0)
}
