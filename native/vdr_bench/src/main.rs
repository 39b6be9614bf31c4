//! `publishing`: how many writes per second does a mirror apply when a thousand arrive at a time
//! (published 256 at a time), when it publishes each write alone, and when snapshots are held as
//! well? No client can decide how much a read of a socket returns, so this runs on the core alone.
//!
//! `two-threads`: how many nanoseconds does pinning a snapshot take, in one thread and in two at
//! once? And how many does a loop take that stays in the registers, which shows how well two of the
//! machine's processors scale? The time of two threads is halved: it is the share of one turn in
//! the time in which both did all of theirs.
//!
//! `watches`: how many writes per second does a mirror apply beside none, a thousand and a million
//! watches of other keys, and beside a hundred thousand prefixes and a thousand patterns?
//!
//! `waiters`: how many writes per second does a mirror apply, each published alone, while nobody
//! and while a hundred thousand wait for a position that is far away?
//!
//! `spans`: how many nanoseconds does the span of a batch take where no instance wants it, where
//! another instance wants it, and where it becomes a line? And the apply rate of small batches with
//! such a span around each, and without one?
//!
//! `families`: how many nanoseconds of CPU does a command of each common family take, among a
//! million other keys? The loads of `bench/cpu.exs`, without sockets and a server, for work on the
//! core; `families list hset` measures only these.
//!
//! Prints one line per result, in rounds: `name number`. `make bench` runs all but `families`.

use bytes::BytesMut;
use std::collections::VecDeque;
use std::env;
use std::fs;
use std::hint::black_box;
use std::sync::{Arc, Barrier, LazyLock};
use std::thread;
use std::time::Instant;
use tracing::field::Empty;
use vdr_data::blob::Blob;
use vdr_data::keyspace::{Entry, Keyspace};
use vdr_replica::live::{Live, Snapshot};
use vdr_replica::mirror::{Fault, Garbage, Loaded, Mirror, Shared};
use vdr_replica::position::{Outcome, Position, Registered, WAITERS_PER_WAKE, Waiter, Waiters};
use vdr_replica::resp;
use vdr_replica::watch::{Event, Mailbox, Manner, Notify, Tag, Watched, Watcher};
use vdr_trace::LevelFilter;

// The library's own allocator, and its dropper thread for replaced states.
#[path = "../../vdr_nif/src/allocator.rs"]
mod allocator;
#[path = "../../vdr_nif/src/dropper.rs"]
mod dropper;

const ROUNDS: usize = 5;
const KEYS: u64 = 1_000_000;
const WRITES: u64 = 500_000;
const BATCH: usize = 1_000;
const REPLICATION_ID: &str = "bench";
/// Takes a snapshot every so many writes, and holds as many.
const SNAPSHOT_EVERY: u64 = 10_000;
const SNAPSHOTS_HELD: usize = 10;
/// Some tenths of a second each.
const PINS: u32 = 5_000_000;
const LOOPS: u32 = 50_000_000;
const SPANS: u32 = 1_000_000;
const SMALL_BATCH: usize = 10;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> Result<(), String> {
    match env::args().nth(1).as_deref() {
        Some("publishing") => publishing(),
        Some("two-threads") => two_threads(),
        Some("watches") => watches(),
        Some("waiters") => waiters(),
        Some("spans") => spans(),
        Some("families") => families(&env::args().skip(2).collect::<Vec<_>>()),
        _ => Err("one of: publishing, two-threads, watches, waiters, spans, families".into()),
    }
}

fn mirror() -> (Mirror, Shared) {
    dropper::tidy_by(allocator::give_back);
    let shared = Shared::default();
    // Reading the clock is part of the price.
    let mut mirror =
        Mirror::new(shared.clone(), None, Box::new(|garbage| dropper::drop_replaced(garbage, Garbage::drop_unheld)))
            .with_clock(|| START.elapsed());
    mirror.install(loaded(), 0);
    (mirror, shared)
}

/// Watches of none of the keys that are written, but of keys that look like them.
struct Nobody;

impl Mailbox for Nobody {
    fn send(&self, _tag: Tag, _event: &Event<'_>) {}
    fn sample(&self, _watcher: &Arc<Watcher>) {}
    fn serve_soon(&self, _watcher: &Arc<Watcher>) {}
    fn release(&self, _tag: Tag) {}
}

fn watches() -> Result<(), String> {
    let (mut mirror, shared) = mirror();
    let commands: Vec<Vec<u8>> = (0..WRITES).map(command).collect();
    let batches: Vec<Vec<u8>> = commands.chunks(BATCH).map(<[_]>::concat).collect();
    // All keys that are written are below KEYS.
    let other = |n: u64| KEYS + n;
    let keys = |count: u64| (0..count).map(move |n| Watched::Key(key(other(n)))).collect();
    let prefixes = (0..100_000).map(|n| Watched::Prefix(format!("user:{:010}:", other(n))));
    let patterns = (0..1_000).map(|n| Watched::Pattern(format!("user:{:010}*:age", other(n))));
    let sets: [(&str, Vec<Watched<String>>); 4] = [
        ("none", Vec::new()),
        ("1k", keys(1_000)),
        ("1m", keys(1_000_000)),
        ("prefixes-patterns", prefixes.chain(patterns).collect()),
    ];
    for round in 0..=ROUNDS {
        for (name, watched) in &sets {
            let watcher = shared.watches.watcher(1, Box::new(Nobody));
            let manner = Manner { notify: Notify::Command, max_pending: 10_000, link: false };
            for watched in watched {
                let watched = match watched {
                    Watched::Key(name) => Watched::Key(name.as_bytes()),
                    Watched::Prefix(name) => Watched::Prefix(name.as_bytes()),
                    Watched::Pattern(name) => Watched::Pattern(name.as_bytes()),
                };
                shared.watches.add(0, watched, manner, &watcher, 0).map_err(|error| format!("{error:?}"))?;
            }
            let rate = rate(&mut mirror, &shared, &batches, false)?;
            // The first one finds the data cold.
            if round > 0 {
                println!("{name} {rate}");
            }
            shared.watches.remove_watcher(&watcher);
        }
    }
    Ok(())
}

/// Waits for a position that is not reached.
struct Patient;

impl Waiter for Patient {
    fn done(self: Box<Self>, _outcome: Outcome) {}
}

const WAITERS: u64 = 100_000;

fn waiters() -> Result<(), String> {
    let (mut mirror, shared) = mirror();
    let commands: Vec<Vec<u8>> = (0..WRITES).map(command).collect();
    let waiters = Arc::new(Waiters::new(shared.visible.clone()));
    let served = waiters.clone();
    shared.visible.wake_by(move || {
        let _more = served.try_serve(WAITERS_PER_WAKE);
    });
    let replication_id: Arc<str> = Arc::from(REPLICATION_ID);
    for round in 0..=ROUNDS {
        for (name, count) in [("none", 0), ("100k", WAITERS)] {
            let tickets: Vec<Registered> = (0..count)
                .map(|n| {
                    let offset = u64::MAX / 2 + n;
                    waiters.register(Position { replication_id: replication_id.clone(), offset }, Box::new(Patient))
                })
                .collect();
            let rate = rate(&mut mirror, &shared, &commands, false)?;
            if waiters.len() as u64 != count {
                return Err(format!("{} of {count} wait", waiters.len()));
            }
            // The first one finds the data cold.
            if round > 0 {
                println!("{name} {rate}");
            }
            for registered in tickets {
                let Registered::Waiting { ticket, .. } = registered else { return Err("nobody waits".into()) };
                waiters.cancel(&ticket);
            }
        }
    }
    Ok(())
}

fn publishing() -> Result<(), String> {
    let (mut mirror, shared) = mirror();
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

fn spans() -> Result<(), String> {
    vdr_trace::install();
    let [here, other] = [(); 2].map(|()| vdr_trace::instances().open());
    let settings = [
        ("off", LevelFilter::INFO, LevelFilter::INFO),
        ("other", LevelFilter::INFO, LevelFilter::TRACE),
        ("on", LevelFilter::TRACE, LevelFilter::INFO),
    ];
    let (mut mirror, shared) = mirror();
    let commands: Vec<Vec<u8>> = (0..WRITES).map(command).collect();
    let batches: Vec<Vec<u8>> = commands.chunks(SMALL_BATCH).map(<[_]>::concat).collect();
    for _ in 0..ROUNDS {
        println!("batches-without {}", rate(&mut mirror, &shared, &batches, false)?);
        for (name, level, level_of_other) in settings {
            here.set_level(level);
            other.set_level(level_of_other);
            let number = here.number();
            println!("span-{name} {:.3}", per_turn(1, SPANS, &|| (0..SPANS).for_each(|turn| span(number, turn))));
            let started = Instant::now();
            for batch in &batches {
                let _span = batch_span(number, batch.len());
                let mut input = BytesMut::from(&batch[..]);
                while mirror.stream(&mut input, 0).map_err(|fault: Fault| fault.detail)?.left {}
            }
            println!("batches-{name} {}", (WRITES as f64 / started.elapsed().as_secs_f64()) as u64);
        }
    }
    Ok(())
}

fn batch_span(instance: u64, bytes: usize) -> tracing::Span {
    let span = tracing::trace_span!("batch", vdr = instance, bytes = Empty, applied = Empty);
    if !span.is_disabled() {
        span.record("bytes", bytes);
        span.record("applied", bytes);
    }
    span
}

fn span(instance: u64, turn: u32) {
    drop(batch_span(black_box(instance), turn as usize));
}

/// Makes the words of a command with numbers below those that it asks for.
type Words = fn(&mut dyn FnMut(u64) -> u64) -> Vec<String>;

/// The loads of `bench/cpu.exs`: a name, and commands that are written one after the other.
const FAMILIES: [(&str, &[Words]); 6] = [
    ("set", &[|draw| vec!["SET".into(), key(draw(KEYS)), format!("{:v>32}", 1)]]),
    ("hset", &[|draw| vec!["HSET".into(), format!("hash:{:012}", draw(100_000)), "field".into(), "value".into()]]),
    (
        "zadd",
        &[|draw| vec!["ZADD".into(), "zset".into(), draw(KEYS).to_string(), format!("member:{:012}", draw(KEYS))]],
    ),
    (
        "sadd",
        &[|draw| vec!["SADD".into(), format!("set:{:012}", draw(100_000)), format!("member:{:012}", draw(100_000))]],
    ),
    ("incr", &[|draw| vec!["INCR".into(), format!("count:{:012}", draw(100_000))]]),
    (
        "list",
        &[
            |draw| vec!["LPUSH".into(), format!("list:{:012}", draw(1_000)), "element".into()],
            |draw| vec!["RPOP".into(), format!("list:{:012}", draw(1_000))],
        ],
    ),
];

fn families(only: &[String]) -> Result<(), String> {
    let (mut mirror, _shared) = mirror();
    for (name, commands) in FAMILIES.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|one| one == name)) {
        for round in 0..=ROUNDS {
            let mut took = 0.0;
            for words in *commands {
                // The same numbers for each, so that no list is popped more often than pushed.
                let mut state = round as u64 + 1;
                let mut draw = |below: u64| {
                    state = scrambled(state);
                    (state >> 11) % below
                };
                let commands: Vec<Vec<u8>> = (0..WRITES).map(|_| encoded(&words(&mut draw))).collect();
                let batches: Vec<Vec<u8>> = commands.chunks(BATCH).map(<[_]>::concat).collect();
                let mut input = BytesMut::with_capacity(1 << 17);
                let started = ran()?;
                for batch in &batches {
                    input.extend_from_slice(batch);
                    while mirror.stream(&mut input, 0).map_err(|fault: Fault| fault.detail)?.left {}
                }
                took += ran()? - started;
            }
            // The first one creates the keys.
            if round > 0 {
                println!("{name} {:.1}", took / (WRITES as usize * commands.len()) as f64);
            }
        }
    }
    Ok(())
}

fn encoded(words: &[String]) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    let mut command = Vec::new();
    resp::encode(&words, &mut command);
    command
}

/// The CPU time of this thread in nanoseconds, as Linux counts it.
fn ran() -> Result<f64, String> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").map_err(|error| error.to_string())?;
    text.split(' ').next().and_then(|ns| ns.parse().ok()).ok_or_else(|| "no schedstat".into())
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
    Loaded {
        keyspace,
        replication_id: Arc::from(REPLICATION_ID),
        offset: 0,
        db: 0,
        server: None,
        miscounted_streams: 0,
    }
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
