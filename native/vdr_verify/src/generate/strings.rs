//! Strings, numbers, bitmaps, HyperLogLogs.

use super::draw::{Generator, Kind};
use crate::command::cmd;
use vdr_link::now_ms;
use vdr_testkit::Command;

impl Generator {
    pub(super) fn string_command(&mut self, kind: Kind) -> Command {
        match kind {
            Kind::Counter => self.counter_command(),
            Kind::Bits => self.bits_command(),
            Kind::Hll => self.hll_command(),
            _ => self.plain_string_command(),
        }
    }

    fn plain_string_command(&mut self) -> Command {
        let (key, value) = (self.key(Kind::String), self.value());
        match self.rng.u32(0..22) {
            0..5 => cmd!["SET", key, value],
            5..8 => self.set_with_options(key, value),
            8 => cmd!["SETEX", key, self.rng.u32(1..1000).to_string(), value],
            9 => cmd!["PSETEX", key, self.rng.u32(1..3000).to_string(), value],
            10 => cmd!["SETNX", key, value],
            11 => cmd!["GETSET", key, value],
            12 => cmd!["GETDEL", key],
            13 => self.getex(key),
            14 => cmd!["APPEND", key, value],
            15 => cmd!["SETRANGE", key, self.rng.u32(0..60).to_string(), value],
            16 | 17 => {
                let mut command = cmd![self.pick(&["MSET", "MSET", "MSETNX"])];
                for _ in 0..self.rng.usize(1..4) {
                    command.push(self.key(Kind::String));
                    command.push(self.value());
                }
                command
            }
            18 => cmd!["DELIFEQ", key, value],
            19 | 20 => {
                let mut command = cmd!["DELEX", key];
                if !self.chance(4) {
                    self.condition(&mut command);
                }
                command
            }
            _ => {
                let (unit, time) = self.expiry_option();
                let mut command = cmd!["MSETEX", "2", key, value, self.key(Kind::String), self.value()];
                if self.chance(3) {
                    command.push(self.pick(&["NX", "XX"]).as_bytes().to_vec());
                }
                command.extend(if self.chance(4) { cmd!["KEEPTTL"] } else { cmd![unit, time] });
                command
            }
        }
    }

    /// SET with any of its options, sometimes with more of them than it accepts.
    fn set_with_options(&mut self, key: Vec<u8>, value: Vec<u8>) -> Command {
        let mut command = cmd!["SET", key, value];
        match self.rng.u32(0..6) {
            0 | 1 => command.extend(cmd![self.pick(&["NX", "XX"])]),
            2 => self.condition(&mut command),
            _ => {}
        }
        if self.chance(4) {
            command.extend(cmd!["GET"]);
        }
        match self.rng.u32(0..3) {
            0 => command.extend(cmd!["KEEPTTL"]),
            1 => {
                let (unit, time) = self.expiry_option();
                command.extend(cmd![unit, time]);
            }
            _ => {}
        }
        command
    }

    /// Conditions of newer servers, such as `IFEQ v` and `IFDNE digest`.
    fn condition(&mut self, command: &mut Command) {
        match self.rng.u32(0..4) {
            0 => command.extend(cmd!["IFEQ", self.value()]),
            1 => command.extend(cmd!["IFNE", self.value()]),
            2 => command.extend(cmd!["IFDEQ", "b04c1a8f6ba6dc6b"]),
            _ => command.extend(cmd!["IFDNE", "b04c1a8f6ba6dc6b"]),
        }
    }

    fn getex(&mut self, key: Vec<u8>) -> Command {
        if self.chance(3) {
            return cmd!["GETEX", key, "PERSIST"];
        }
        let (unit, time) = self.expiry_option();
        cmd!["GETEX", key, unit, time]
    }

    fn counter_command(&mut self) -> Command {
        let key = self.key(Kind::Counter);
        match self.rng.u32(0..8) {
            0 => cmd!["INCR", key],
            1 => cmd!["DECR", key],
            2 | 3 => cmd!["INCRBY", key, self.integer()],
            4 => cmd!["DECRBY", key, self.integer()],
            5 => cmd!["INCRBYFLOAT", key, self.pick(&["1.5", "-0.1", "3e3", "100", "1e-5"])],
            6 => cmd!["SET", key, self.integer()],
            _ => cmd!["SET", key, self.pick(&["12", "1.25", "-7", "x"])],
        }
    }

    fn bits_command(&mut self) -> Command {
        let key = self.key(Kind::Bits);
        match self.rng.u32(0..8) {
            0..3 => cmd!["SETBIT", key, self.rng.u32(0..400).to_string(), self.pick(&["0", "1"])],
            3..5 => self.bitfield(key),
            5 => cmd!["BITOP", "NOT", key, self.key(Kind::Bits)],
            6 => {
                let mut command = cmd!["BITOP", self.pick(&["AND", "OR", "XOR", "DIFF", "DIFF1", "ANDOR", "ONE"]), key];
                command.extend(self.keys(Kind::Bits, 4));
                command
            }
            _ => cmd!["SET", key, self.value()],
        }
    }

    /// OVERFLOW FAIL is left out: see the module above.
    fn bitfield(&mut self, key: Vec<u8>) -> Command {
        let mut command = cmd!["BITFIELD", key];
        for _ in 0..self.rng.usize(1..4) {
            if self.chance(3) {
                command.extend(cmd!["OVERFLOW", self.pick(&["WRAP", "SAT"])]);
            }
            let sign = self.pick(&["u", "i"]);
            let width = self.rng.u32(1..if sign == "i" { 65 } else { 64 });
            let at = self.rng.u32(0..100);
            let offset = if self.chance(3) { format!("#{}", at / 8) } else { at.to_string() };
            let verb = self.pick(&["SET", "INCRBY", "GET"]);
            command.extend(cmd![verb, format!("{sign}{width}"), offset]);
            if verb != "GET" {
                command.push(self.rng.i32(..).to_string().into_bytes());
            }
        }
        command
    }

    fn hll_command(&mut self) -> Command {
        let key = self.key(Kind::Hll);
        match self.rng.u32(0..8) {
            0..4 => {
                let most = if self.chance(10) { 400 } else { 8 };
                let mut command = cmd!["PFADD", key];
                command.extend((0..self.rng.usize(0..most)).map(|_| self.rng.u32(..).to_string().into_bytes()));
                command
            }
            4 | 5 => cmd!["PFCOUNT", key],
            6 => {
                let mut command = cmd!["PFMERGE", key];
                command.extend(self.keys(Kind::Hll, 3));
                command
            }
            _ => cmd!["PFDEBUG", self.pick(&["TODENSE", "TODENSE", "GETREG"]), key],
        }
    }

    /// An expiry: mostly far away, sometimes within milliseconds, rarely past.
    pub(super) fn expiry_option(&mut self) -> (&'static str, String) {
        let now_ms = now_ms();
        let ms = self.expiry_ms();
        match self.rng.u32(0..4) {
            0 => ("PX", ms.max(1).to_string()),
            1 => ("EX", (ms / 1000).max(1).to_string()),
            2 => ("PXAT", (now_ms + ms).to_string()),
            _ => ("EXAT", ((now_ms + ms) / 1000).to_string()),
        }
    }

    pub(super) fn expiry_ms(&mut self) -> i64 {
        match self.rng.u32(0..10) {
            0 => -5_000,
            1..4 => self.rng.i64(1..400),
            _ => self.rng.i64(1_000_000..2_000_000_000),
        }
    }
}
