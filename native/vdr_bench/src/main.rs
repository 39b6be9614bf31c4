//! `publishing`: how many writes per second does a mirror apply when a thousand arrive at a time
//! (published 256 at a time), when it publishes each write alone, and when snapshots are held as
//! well? No client can decide how much a read of a socket returns, so this runs on the core alone.
//!
//! `two-threads`: how many nanoseconds does pinning a snapshot take, in one thread and in two at
//! once? And how many does a loop take that stays in the registers, which shows how well two of the
//! machine's processors scale? The time of two threads is halved: it is the share of one turn in
//! the time in which both did all of theirs.
//!
//! Prints one line per result, in rounds: `name number`. `make bench` runs it.

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
use vdr_replica::mirror::{Fault, Garbage, Loaded, Mirror, Shared};
use vdr_replica::resp;

// The library's own allocator, and its dropper thread for replaced states.
#[path = "../../vdr_nif/src/allocator.rs"]
mod allocator;
#[path = "../../vdr_nif/src/dropper.rs"]
mod dropper;

const ROUNDS: usize = 5;
const KEYS: u64 = 1_000_000;
const WRITES: u64 = 500_000;
const BATCH: usize = 1_000;
/// Takes a snapshot every so many writes, and holds as many.
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
    dropper::tidy_by(allocator::give_back);
    let shared = Shared::default();
    // Reading the clock is part of the price.
    let mut mirror =
        Mirror::new(shared.clone(), None, Box::new(|garbage| dropper::drop_replaced(garbage, Garbage::drop_unheld)))
            .with_clock(|| START.elapsed());
    mirror.install(loaded(), 0);
    let commands: Vec<Vec<u8>> = (0..WRITES).map(command).collect();
    let batches: Vec<Vec<u8>> = commands.chunks(BATCH).map(<[_]>::concat).collect();
    for _ in 0..ROUNDS {
        println!("batches {}", rate(&mut mirror, &shared, &batches, false)?);
        println!("alone {}", rate(&mut mirror, &shared, &commands, false)?);
        println!("batches-held {}", rate(&mut mirror, &shared, &batches, true)?);
        println!("alone-held {}", rate(&mut mirror, &shared, &commands, true)?);
        for readers in [64, 256] {
            let beside =
                beside_threads_that_have_read(readers, &shared.live, || rate(&mut mirror, &shared, &commands, false));
            println!("alone-beside-{readers} {}", beside?);
        }
    }
    Ok(())
}

/// Does work while so many other threads live that have read, and read no more: as schedulers do.
fn beside_threads_that_have_read<T>(readers: usize, live: &Live, work: impl FnOnce() -> T) -> T {
    let (ready, done) = (Barrier::new(readers + 1), Barrier::new(readers + 1));
    thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                black_box(live.load().get().map(|snapshot| snapshot.offset));
                ready.wait();
                done.wait();
            });
        }
        ready.wait();
        let result = work();
        done.wait();
        result
    })
}

fn two_threads() -> Result<(), String> {
    let live = Live::new();
    drop(live.publish(Snapshot::default()));
    // As in `Source::read` of the NIF.
    let pin = || {
        for _ in 0..PINS {
            black_box(live.load().get().map(|snapshot| snapshot.offset));
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

/// Nanoseconds per turn while this many threads each do all of these turns.
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

/// xorshift: each number depends on the one before.
fn scrambled(state: u64) -> u64 {
    let state = state ^ (state << 13);
    let state = state ^ (state >> 7);
    state ^ (state << 17)
}

/// Writes per second, with each piece of the stream published alone.
fn rate(mirror: &mut Mirror, shared: &Shared, pieces: &[Vec<u8>], hold: bool) -> Result<u64, String> {
    let mut held: VecDeque<Arc<Snapshot>> = VecDeque::new();
    let mut input = BytesMut::with_capacity(1 << 17);
    let each = WRITES / (pieces.len() as u64).max(1);
    let mut since_snapshot = 0;
    let started = Instant::now();
    for piece in pieces {
        input.extend_from_slice(piece);
        while mirror.stream(&mut input, 0).map_err(|fault: Fault| fault.detail)?.left {}
        since_snapshot += each;
        if hold && since_snapshot >= SNAPSHOT_EVERY {
            since_snapshot = 0;
            held.extend(shared.live.snapshot());
            if held.len() > SNAPSHOTS_HELD {
                held.pop_front().into_iter().for_each(dropper::release);
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
    Loaded { keyspace, replication_id: Arc::from("bench"), offset: 0, db: 0, server: None, miscounted_streams: 0 }
}

/// A SET of a key that the order of keys does not predict.
fn command(n: u64) -> Vec<u8> {
    let key = key(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % KEYS);
    let mut command = Vec::new();
    resp::encode(&[b"SET", key.as_bytes(), format!("{n:v>32}").as_bytes()], &mut command);
    command
}

fn key(n: u64) -> String {
    format!("user:{n:010}:name")
}
