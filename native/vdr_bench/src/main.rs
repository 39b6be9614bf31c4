//! How many writes a second does a mirror take when it publishes a thousand at a time, when it publishes each alone, and when
//! snapshots are held besides? A socket hands out what has come, so that no client can decide that. One line for each, in rounds:
//! `name writes-per-second`. `make bench` runs it.

use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use vdr_core::blob::Blob;
use vdr_core::keyspace::{Entry, Keyspace};
use vdr_core::live::Snapshot;
use vdr_core::mirror::{Fault, Loaded, Mirror, Shared};
use vdr_core::resp;

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

fn main() -> Result<(), String> {
    reaper::tidy_by(allocator::give_back);
    let shared = Shared::default();
    let mut mirror = Mirror::new(shared.clone(), None, Box::new(reaper::bury));
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
