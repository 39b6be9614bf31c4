//! Units of programs, made from the commands of every data type.

use super::draw::{Generator, Kind};
use super::left_out::is_left_out;
use crate::command::cmd;
use vdr_link::now_ms;
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

/// Runs its arguments as commands, and ignores those that fail.
const SCRIPT: &str = "local i = 1 while i <= #ARGV do local n = tonumber(ARGV[i]) local c = {} \
                      for j = 1, n do c[j] = ARGV[i + j] end redis.pcall(unpack(c)) i = i + n + 1 end";

impl Generator {
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
            0 => cmd![self.rng.u32(1..100_000).to_string()],
            1 => cmd![(now_ms() + self.expiry_ms()).to_string(), "ABSTTL"],
            _ => cmd!["0"],
        };
        if self.rng.u8(0..4) > 0 {
            options.push(b"REPLACE".to_vec());
        }
        if self.chance(8) {
            let (word, most) = if self.chance(2) { ("IDLETIME", 100_000) } else { ("FREQ", 256) };
            options.extend(cmd![word, self.rng.u32(0..most).to_string()]);
        }
        Unit::Restore { from, to, options }
    }

    pub fn command(&mut self) -> Command {
        loop {
            let command = self.sound_command();
            let command = if self.chance(12) { self.spoiled(command) } else { command };
            if !is_left_out(&command, &self.abilities) {
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
}
