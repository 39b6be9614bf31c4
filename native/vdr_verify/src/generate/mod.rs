//! Seeded random programs of writes: every write command with its options, on few keys so that they meet.
//!
//! What a primary does differently from its own replicas is left out by name: `BITFIELD ... OVERFLOW FAIL` on a missing
//! key (the primary creates a key and does not say so), geo distances whose last bit hangs on the C library, `COUNT ANY`, a
//! negative offset of ZRANGESTORE's LIMIT (what it finds in a skiplist differs by version),
//! ranges by member of a sorted set of several scores (unspecified, and random in a skiplist),
//! `SORT ... ALPHA BY` with equal keys (the order hangs on the sorting algorithm), and -0 as a score in a ZADD of
//! several members (whether the sign is kept hangs on when the primary chooses the encoding, which differs by version; with
//! limits of that encoding other than the default, no score of -0 at all). Where a score may be -0, so is a ZADD or GEOADD with XX
//! of what no listpack holds (newer primaries change the encoding and do not say so). `hll-sparse-max-bytes` keeps its default: a
//! replica with another one diverges by design. No bytes are written into a HyperLogLog (a PFADD that then meets what is broken
//! fails after it has added some, and is not sent), and no HSETEX goes to a key that is named as one of its words (a Valkey 9.1
//! takes the key for that word). Nor is XREADGROUP of what a consumer has got before sent: the primary counts the delivery and does
//! not say so. What lets a group count more entries than there ever were (an `ENTRIESREAD` above zero, `ENTRIESADDED`) is left out
//! for a server whose replicas count no further, while the primary does. `MINID ~` comes without ACKED and DELREF: with them the
//! primary deletes more than it says. A Redis 8.0 gets no HINCRBYFLOAT, which it sends on as an HSET. CONTRIBUTING.md tells of each.
//!
//! What a server dies of is left out for that server: FCALL without the key or the argument that the function hands on, of
//! which a Redis 8.0 dies in the next FUNCTION FLUSH.

mod collections;
mod hostile;
mod keyspace;
mod streams;
mod strings;
mod zsets;

use fastrand::Rng;
use vdr_testkit::{Command, command};

/// What is sent as one.
#[derive(Clone, Debug)]
pub enum Unit {
    One(Command),
    /// MULTI ... EXEC.
    Multi(Vec<Command>),
    /// One EVAL that runs them all.
    Script(Vec<Command>),
    /// DUMP a key, then RESTORE it under another name.
    Restore {
        from: Vec<u8>,
        to: Vec<u8>,
        options: Command,
    },
}

/// What kind of values there are, for picking keys.
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

/// Runs what it is given, and forgets what fails.
const SCRIPT: &str = "local i = 1 while i <= #ARGV do local n = tonumber(ARGV[i]) local c = {} \
                      for j = 1, n do c[j] = ARGV[i + j] end redis.pcall(unpack(c)) i = i + n + 1 end";

pub struct Generator {
    pub rng: Rng,
    pub abilities: Abilities,
}

/// What a server and its settings allow a program to hold.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// Field expiry commands are only worth sending to a server that has them.
    pub field_expiry: bool,
    /// Whether a score may be -0, or become it.
    pub negative_zero: bool,
    /// Whether it is a Redis 8.0, which is spared some commands: see the module.
    pub redis_8_0: bool,
    /// Whether a group may have read more than there ever was: see the module.
    pub entries_miscounted: bool,
}

/// The defaults of `zset-max-listpack-value` and `zset-max-listpack-entries`.
const LISTPACK_MEMBER_BYTES_MAX: usize = 64;
const LISTPACK_MEMBERS_MAX: usize = 128;

/// How many databases a server of ours has.
pub const DATABASES: u32 = 40;

/// Whether a command writes into the bytes of a HyperLogLog: see the module.
fn breaks_hll(command: &Command) -> bool {
    let partial = ["setbit", "bitfield", "setrange", "append"].iter();
    let names_hll = command.iter().skip(1).any(|word| word.starts_with(b"hll:"));
    names_hll && partial.into_iter().any(|name| command[0].eq_ignore_ascii_case(name.as_bytes()))
}

/// Whether a ZADD, or a GEOADD, which is one, may make a skiplist of a listpack, in which -0 stays, and add nothing, so that no
/// replica hears of it: newer servers do that for a long member, and for many.
fn converts_unheard(command: &Command) -> bool {
    let adds = ["zadd", "geoadd"].iter().any(|name| command[0].eq_ignore_ascii_case(name.as_bytes()));
    let xx = command.iter().any(|word| word.eq_ignore_ascii_case(b"xx"));
    let is_long = |word: &Vec<u8>| word.len() > LISTPACK_MEMBER_BYTES_MAX;
    adds && xx && (command.len() > 2 * LISTPACK_MEMBERS_MAX || command.iter().any(is_long))
}

/// Whether the primary may send on a write that takes the time off a field that keeps it: see the module.
fn forgets_expiry(command: &Command) -> bool {
    command[0].eq_ignore_ascii_case(b"hincrbyfloat")
}

/// Whether the primary may trim a stream further than it says: see the module.
fn trims_unsaid(command: &Command) -> bool {
    let has = |name: &str| command.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    has("minid") && has("~") && (has("acked") || has("delref"))
}

/// Whether a group may count more entries after it than there ever were: see the module.
fn miscounts_entries(command: &Command) -> bool {
    let is = |word: &Vec<u8>, name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    let counts = command.windows(2).any(|pair| is(&pair[0], "entriesread") && pair[1] != b"0" && pair[1] != b"-1");
    counts || is(&command[0], "xsetid") && command.iter().any(|word| is(word, "entriesadded"))
}

/// Whether an HSETEX has a word of its own where its key stands: see the module.
fn mistakes_its_key(command: &Command) -> bool {
    let word = |key: &Vec<u8>| {
        ["nx", "xx", "fnx", "fxx", "fields"].iter().any(|word| key.eq_ignore_ascii_case(word.as_bytes()))
    };
    command[0].eq_ignore_ascii_case(b"hsetex") && command.get(1).is_some_and(word)
}

/// Whether a function finds no key or no argument to hand on: see the module.
fn misses_arguments(command: &Command) -> bool {
    let calls = command[0].eq_ignore_ascii_case(b"fcall");
    calls && (command.len() < keyspace::CALL_WORDS || command[2] == b"0")
}

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

    /// The commands that a unit sends, in order; `Restore` is the caller's.
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
            let left_out = breaks_hll(&command)
                || mistakes_its_key(&command)
                || trims_unsaid(&command)
                || self.abilities.negative_zero && converts_unheard(&command)
                || self.abilities.redis_8_0 && (misses_arguments(&command) || forgets_expiry(&command))
                || !self.abilities.entries_miscounted && miscounts_entries(&command);
            if !left_out {
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

    /// A key that mostly holds this kind; now and then any key at all.
    pub fn key(&mut self, kind: Kind) -> Vec<u8> {
        let kind = if self.rng.u8(0..40) == 0 { self.kind() } else { kind };
        let prefix = format!("{kind:?}").to_lowercase();
        // A long name now and then, so that both forms of a key in memory are met.
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

    /// One of few words, for members and fields that meet.
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

    /// A place in something short, from either end, sometimes beyond it.
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

/// Puts words and byte strings together to a command.
#[macro_export]
macro_rules! cmd {
    ($($part:expr),+ $(,)?) => {
        vec![$(<[u8]>::to_vec(::std::convert::AsRef::<[u8]>::as_ref(&$part))),+]
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_gets_its_key_and_argument_misses_nothing() {
        for (words, misses) in [
            (&["FCALL", "put", "1", "k", "v"][..], false),
            (&["FCALL", "put", "1", "1", "k", "v"], false),
            (&["FCALL", "put", "1", "k"], true),
            (&["fcall", "put", "0", "k", "v"], true),
            (&["FCALL"], true),
            (&["GET", "k"], false),
        ] {
            assert_eq!(misses_arguments(&command(words)), misses, "{words:?}");
        }
    }

    #[test]
    fn trims_are_unsaid_that_are_about_and_look_at_references() {
        for (words, unsaid) in [
            (&["XADD", "s", "DELREF", "MINID", "~", "5", "*", "f", "v"][..], true),
            (&["xtrim", "s", "minid", "~", "5", "acked"], true),
            (&["XTRIM", "s", "MINID", "=", "5", "ACKED"], false),
            (&["XTRIM", "s", "MAXLEN", "~", "5", "DELREF"], false),
            (&["XTRIM", "s", "MINID", "~", "5", "KEEPREF"], false),
        ] {
            assert_eq!(trims_unsaid(&command(words)), unsaid, "{words:?}");
        }
    }

    #[test]
    fn a_key_is_mistaken_for_a_word_by_its_name() {
        for (words, mistaken) in [
            (&["HSETEX", "fnx", "XX", "FIELDS", "1", "f", "v"][..], true),
            (&["hsetex", "FIELDS", "2", "f", "v", "g", "w"], true),
            (&["HSETEX", "h", "XX", "FIELDS", "1", "NX", "FIELDS"], false),
            (&["HSET", "NX", "f", "v"], false),
            (&["HSETEX"], false),
        ] {
            assert_eq!(mistakes_its_key(&command(words)), mistaken, "{words:?}");
        }
    }

    #[test]
    fn entries_are_miscounted_by_what_says_how_many_there_were() {
        for (words, miscounts) in [
            (&["xgroup", "SetId", "s", "g", "5-0", "ENTRIESREAD", "3"][..], true),
            (&["XGROUP", "CREATE", "s", "g", "5-0", "entriesread", "0"], false),
            (&["XGROUP", "CREATE", "s", "g", "5-0", "MKSTREAM", "ENTRIESREAD", "-1"], false),
            (&["XSETID", "s", "5-0", "ENTRIESADDED", "7", "MAXDELETEDID", "1-0"], true),
            (&["XSETID", "s", "5-0"], false),
        ] {
            assert_eq!(miscounts_entries(&command(words)), miscounts, "{words:?}");
        }
    }

    #[test]
    fn a_zadd_converts_unheard_when_it_may_leave_out_what_no_listpack_holds() {
        let (long, many) = ("m".repeat(65), [&["ZADD", "z", "XX"][..], &["1", "m"].repeat(129)].concat());
        for (words, unheard) in [
            (&["zadd", "z", "xx", "1", &long][..], true),
            (&["GEOADD", "g", "XX", "1", "1", &long], true),
            (&many, true),
            (&many[..9], false),
            (&["ZADD", "z", "1", &long], false),
            (&["ZADD", "z", "XX", "1", &long[1..]], false),
            (&["SET", "xx", &long], false),
        ] {
            assert_eq!(converts_unheard(&command(words)), unheard, "{words:?}");
        }
    }
}
