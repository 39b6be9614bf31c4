//! Seeded random programs of writes: every write command with its options, on few keys so that the
//! commands interact.
//!
//! Some things a primary does differently from its own replicas. Programs leave these out, by name:
//!
//! - `BITFIELD ... OVERFLOW FAIL` on a missing key: the primary creates the key and does not send
//!   the command.
//! - Geo distances, whose last bit depends on the C library, and `COUNT ANY`.
//! - A negative offset of ZRANGESTORE's LIMIT: its result in a skiplist differs by version.
//! - Ranges by member of a sorted set with several scores: unspecified, and random in a skiplist.
//! - `SORT ... ALPHA BY` with equal keys: the order depends on the sorting algorithm.
//! - -0 as a score in a ZADD of several members: the sign depends on when the primary chooses the
//!   encoding, which differs by version. With other limits of that encoding than the default, no
//!   score is -0 at all. Where a score may be -0, a ZADD or GEOADD with XX of a member that no
//!   listpack holds is left out, too: newer primaries change the encoding and do not send it.
//! - `hll-sparse-max-bytes` other than its default: a replica with another value diverges by
//!   design.
//! - Writes into the bytes of a HyperLogLog: a PFADD that then meets a broken register fails after
//!   it has added some elements, and the primary does not send it.
//! - HSETEX on a key named like one of its words: Valkey 9.1 takes the key for that word.
//! - XREADGROUP of entries that a consumer already received: the primary counts the delivery and
//!   does not send it.
//! - `ENTRIESREAD` above zero and `ENTRIESADDED`, which let a group count more entries than there
//!   ever were: left out for servers whose replicas cap the count, while the primary does not.
//! - `MINID ~` with ACKED or DELREF: the primary deletes more than it reports.
//! - HINCRBYFLOAT on Redis 8.0, which sends it as an HSET.
//!
//! A program also leaves out what crashes its server: FCALL without the key or argument that the
//! function passes on, after which Redis 8.0 crashes in the next FUNCTION FLUSH. CONTRIBUTING.md
//! explains each of these.

mod collections;
mod hostile;
mod keyspace;
mod left_out;
mod streams;
mod strings;
mod zsets;

use fastrand::Rng;
use left_out::left_out;
use vdr_testkit::{Command, command};

/// Commands that are sent together.
#[derive(Clone, Debug)]
pub enum Unit {
    One(Command),
    /// MULTI ... EXEC.
    Multi(Vec<Command>),
    /// One EVAL that runs all of them.
    Script(Vec<Command>),
    /// DUMP a key, then RESTORE it under another name.
    Restore {
        from: Vec<u8>,
        to: Vec<u8>,
        options: Command,
    },
}

/// The kinds of values, for picking keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    Counter,
    Bits,
    Hll,
    List,
    Set,
    ZSet,
    Geo,
    Hash,
    Stream,
}

const KINDS: [Kind; 10] = [
    Kind::String,
    Kind::Counter,
    Kind::Bits,
    Kind::Hll,
    Kind::List,
    Kind::Set,
    Kind::ZSet,
    Kind::Geo,
    Kind::Hash,
    Kind::Stream,
];

/// Runs its arguments as commands, and ignores those that fail.
const SCRIPT: &str = "local i = 1 while i <= #ARGV do local n = tonumber(ARGV[i]) local c = {} \
                      for j = 1, n do c[j] = ARGV[i + j] end redis.pcall(unpack(c)) i = i + n + 1 end";

pub struct Generator {
    pub rng: Rng,
    pub abilities: Abilities,
}

/// What a server and its settings allow in a program.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// Whether the server has commands for field expiry.
    pub field_expiry: bool,
    /// Whether a score may be -0, or become it.
    pub negative_zero: bool,
    /// Whether it is a Redis 8.0, for which some commands are left out: see the module.
    pub redis_8_0: bool,
    /// Whether a group may count more entries than there ever were: see the module.
    pub entries_miscounted: bool,
}

/// The number of databases of a server that we start.
pub const DATABASES: u32 = 40;

impl Generator {
    pub fn new(seed: u64, abilities: Abilities) -> Self {
        Generator { rng: Rng::with_seed(seed), abilities }
    }

    pub fn unit(&mut self) -> Unit {
        match self.rng.u32(0..100) {
            0..6 => Unit::Multi(self.several()),
            6..12 => Unit::Script(self.several()),
            12..14 => self.restore(),
            _ => Unit::One(self.command()),
        }
    }

    /// The commands that a unit sends, in order. The caller handles `Restore`.
    pub fn commands(unit: &Unit) -> Vec<Command> {
        match unit {
            Unit::One(one) => vec![one.clone()],
            Unit::Multi(all) => {
                let mut commands = vec![command(&["MULTI"])];
                commands.extend(all.iter().cloned());
                commands.push(command(&["EXEC"]));
                commands
            }
            Unit::Script(all) => {
                let mut eval = command(&["EVAL", SCRIPT, "0"]);
                for one in all {
                    eval.push(one.len().to_string().into_bytes());
                    eval.extend(one.iter().cloned());
                }
                vec![eval]
            }
            Unit::Restore { .. } => Vec::new(),
        }
    }

    fn several(&mut self) -> Vec<Command> {
        (0..self.rng.usize(1..6)).map(|_| self.command()).collect()
    }

    fn restore(&mut self) -> Unit {
        let kind = self.kind();
        let (from, to) = (self.key(kind), self.key(kind));
        let mut options = match self.rng.u8(0..4) {
            0 => crate::cmd![self.rng.u32(1..100_000).to_string()],
            1 => crate::cmd![(strings::now_ms() + self.expiry_ms()).to_string(), "ABSTTL"],
            _ => crate::cmd!["0"],
        };
        if self.rng.u8(0..4) > 0 {
            options.push(b"REPLACE".to_vec());
        }
        if self.chance(8) {
            let (word, most) = if self.chance(2) { ("IDLETIME", 100_000) } else { ("FREQ", 256) };
            options.extend(crate::cmd![word, self.rng.u32(0..most).to_string()]);
        }
        Unit::Restore { from, to, options }
    }

    pub fn command(&mut self) -> Command {
        loop {
            let command = self.sound_command();
            let command = if self.chance(12) { self.spoiled(command) } else { command };
            if !left_out(&command, &self.abilities) {
                return command;
            }
        }
    }

    fn sound_command(&mut self) -> Command {
        let kind = self.kind();
        match self.rng.u32(0..100) {
            0..15 => self.keyspace_command(),
            _ => match kind {
                Kind::String | Kind::Counter | Kind::Bits | Kind::Hll => self.string_command(kind),
                Kind::List => self.list_command(),
                Kind::Set => self.set_command(),
                Kind::Hash => self.hash_command(),
                Kind::Stream => self.stream_command(),
                Kind::ZSet => self.zset_command(),
                Kind::Geo => self.geo_command(),
            },
        }
    }

    fn kind(&mut self) -> Kind {
        KINDS[self.rng.usize(0..KINDS.len())]
    }

    /// A key that mostly holds this kind; sometimes any key at all.
    pub fn key(&mut self, kind: Kind) -> Vec<u8> {
        let kind = if self.rng.u8(0..40) == 0 { self.kind() } else { kind };
        let prefix = format!("{kind:?}").to_lowercase();
        // Sometimes a long name, so that both forms of a key in memory occur.
        let number = self.rng.u32(0..12);
        let tail = if number == 11 { ":a-name-that-does-not-fit-inline" } else { "" };
        format!("{prefix}:{number}{tail}").into_bytes()
    }

    pub fn keys(&mut self, kind: Kind, most: usize) -> Vec<Vec<u8>> {
        (0..self.rng.usize(1..=most)).map(|_| self.key(kind)).collect()
    }

    /// A value: short or long, text, number or bytes.
    pub fn value(&mut self) -> Vec<u8> {
        match self.rng.u32(0..20) {
            0 => Vec::new(),
            1..5 => self.integer().into_bytes(),
            5..8 => (0..self.rng.usize(0..40)).map(|_| self.rng.u8(..)).collect(),
            8 if self.chance(20) => vec![self.rng.u8(..); self.rng.usize(0..200_000)],
            8 => vec![b'x'; self.rng.usize(0..5000)],
            9 => (0..self.rng.usize(0..300)).map(|_| self.rng.u8(b'a'..=b'c')).collect(),
            _ => self.word(),
        }
    }

    /// One of few words, so that members and fields collide.
    pub fn word(&mut self) -> Vec<u8> {
        match self.rng.u32(0..30) {
            0 => (0..self.rng.usize(0..100)).map(|_| self.rng.u8(..)).collect(),
            1..8 => self.rng.i32(-20..200).to_string().into_bytes(),
            _ => format!("m{}", self.rng.u32(0..60)).into_bytes(),
        }
    }

    pub fn words(&mut self, most: usize) -> Vec<Vec<u8>> {
        (0..self.rng.usize(1..=most)).map(|_| self.word()).collect()
    }

    pub fn integer(&mut self) -> String {
        match self.rng.u32(0..12) {
            0 => i64::MAX.to_string(),
            1 => i64::MIN.to_string(),
            2 => "not-a-number".to_owned(),
            3 => self.rng.i64(..).to_string(),
            _ => self.rng.i32(-300..300).to_string(),
        }
    }

    /// An index into a short value, from either end, sometimes out of range.
    pub fn index(&mut self) -> String {
        match self.rng.u32(0..20) {
            0 => self.rng.i64(..).to_string(),
            _ => self.rng.i32(-12..14).to_string(),
        }
    }

    pub fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.rng.usize(0..words.len())]
    }

    pub fn chance(&mut self, one_in: u32) -> bool {
        self.rng.u32(0..one_in) == 0
    }
}

/// Makes a command from words and byte strings.
#[macro_export]
macro_rules! cmd {
    ($($part:expr),+ $(,)?) => {
        vec![$(<[u8]>::to_vec(::std::convert::AsRef::<[u8]>::as_ref(&$part))),+]
    };
}
