//! `publishing`: how many writes a second does a mirror take when a thousand come at a time (which it shows 256 at a time), when it
//! publishes each alone, and when snapshots are held besides? A socket hands out what has come, so that no client can decide that.
//!
//! `two-threads`: how many nanoseconds does it take to pin a snapshot, in one thread and in two at once, and how many a loop that
//! stays in the registers, which is what two of the machine's processors have to give? Of two the time is halved: it is what one
//! turn costs of the time in which both did all of theirs.
//!
//! One line for each, in rounds: `name number`. `make bench` runs it.

use bytes::BytesMut;
use std::collections::VecDeque;
use std::env;
use std::hint::black_box;
use std::sync::{Arc, Barrier, LazyLock};
use std::thread;
use std::time::Instant;
use vdr_data::blob::Blob;
use vdr_data::keyspace::{Entry, Keyspace};
use vdr_replica::live::{Live, Snapshot};
use vdr_replica::mirror::{Fault, Loaded, Mirror, Shared};
use vdr_replica::resp;

// The library's own allocator, and where what is no longer published goes.
#[path = "../../vdr_nif/src/allocator.rs"]
mod allocator;
#[path = "../../vdr_nif/src/reaper.rs"]
mod reaper;

const ROUNDS: usize = 5;
const KEYS: u64 = 1_000_000;
const WRITES: u64 = 500_000;
const BATCH: usize = 1_000;
/// One is taken every so many writes, and as many are held.
const SNAPSHOT_EVERY: u64 = 10_000;
const SNAPSHOTS_HELD: usize = 10;
/// Some tenths of a second each.
const PINS: u32 = 5_000_000;
const LOOPS: u32 = 50_000_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> Result<(), String> {
    match env::args().nth(1).as_deref() {
        Some("publishing") => publishing(),
        Some("two-threads") => two_threads(),
        _ => Err("one of: publishing, two-threads".into()),
    }
}

fn publishing() -> Result<(), String> {
    reaper::tidy_by(allocator::give_back);
    let shared = Shared::default();
    // To look at the clock is part of the price.
    let mut mirror = Mirror::new(shared.clone(), None, Box::new(reaper::bury)).with_clock(|| START.elapsed());
    mirror.install(loaded(), 0);
    let commands: Vec<Vec<u8>> = (0..WRITES).map(command).collect();
    let batches: Vec<Vec<u8>> = commands.chunks(BATCH).map(<[_]>::concat).collect();
    for _ in 0..ROUNDS {
        println!("batches {}", rate(&mut mirror, &shared, &batches, false)?);
        println!("alone {}", rate(&mut mirror, &shared, &commands, false)?);
        println!("batches-held {}", rate(&mut mirror, &shared, &batches, true)?);
        println!("alone-held {}", rate(&mut mirror, &shared, &commands, true)?);
    }
    Ok(())
}

fn two_threads() -> Result<(), String> {
    let live = Live::new();
    drop(live.publish(Snapshot::default()));
    // As `Source::read` of the NIF does it.
    let pin = || {
        for _ in 0..PINS {
            black_box(live.load().as_deref().map(|snapshot| snapshot.offset));
        }
    };
    let spin = || {
        black_box((0..LOOPS).fold(black_box(1), |state, _| scrambled(state)));
    };
    for _ in 0..ROUNDS {
        for (threads, many) in [(1, "one"), (2, "two")] {
            println!("pin-{many} {:.3}", per_turn(threads, PINS, &pin));
            println!("loop-{many} {:.3}", per_turn(threads, LOOPS, &spin));
        }
    }
    Ok(())
}

/// Nanoseconds of the time in which so many threads did all of these turns, each.
fn per_turn(threads: u32, turns: u32, work: &(dyn Fn() + Sync)) -> f64 {
    let ready = Barrier::new(threads as usize);
    let timed = || {
        ready.wait();
        let started = Instant::now();
        work();
        started.elapsed().as_nanos() as f64
    };
    let took = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(timed)).collect();
        others.into_iter().filter_map(|other| other.join().ok()).fold(timed(), f64::max)
    });
    took / f64::from(turns) / f64::from(threads)
}

/// Of which each needs the one before: xorshift.
fn scrambled(state: u64) -> u64 {
    let state = state ^ (state << 13);
    let state = state ^ (state >> 7);
    state ^ (state << 17)
}

/// Writes a second, each piece of the stream published by itself.
fn rate(mirror: &mut Mirror, shared: &Shared, pieces: &[Vec<u8>], hold: bool) -> Result<u64, String> {
    let mut held: VecDeque<Arc<Snapshot>> = VecDeque::new();
    let mut input = BytesMut::with_capacity(1 << 17);
    let each = WRITES / (pieces.len() as u64).max(1);
    let mut since_snapshot = 0;
    let started = Instant::now();
    for piece in pieces {
        input.extend_from_slice(piece);
        mirror.stream(&mut input, 0).map_err(|fault: Fault| fault.detail)?;
        since_snapshot += each;
        if hold && since_snapshot >= SNAPSHOT_EVERY {
            since_snapshot = 0;
            held.extend(shared.live.snapshot());
            if held.len() > SNAPSHOTS_HELD {
                held.pop_front().into_iter().for_each(reaper::release);
            }
        }
    }
    Ok((WRITES as f64 / started.elapsed().as_secs_f64()) as u64)
}

fn loaded() -> Loaded {
    let mut keyspace = Keyspace::default();
    for n in 0..KEYS {
        keyspace.db_mut(0).insert(key(n).as_bytes(), Entry::new(Blob::new(&[b'v'; 32])));
    }
    Loaded { keyspace, replication_id: Arc::from("bench"), offset: 0, db: 0, server: None }
}

/// A SET of a key that nothing in the order of keys foretells.
fn command(n: u64) -> Vec<u8> {
    let key = key(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % KEYS);
    let mut command = Vec::new();
    resp::encode(&[b"SET", key.as_bytes(), format!("{n:v>32}").as_bytes()], &mut command);
    command
}

fn key(n: u64) -> String {
    format!("user:{n:010}:name")
}
