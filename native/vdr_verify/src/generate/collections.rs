//! Lists, sets and hashes.

use super::draw::{Generator, Kind};
use crate::command::cmd;
use vdr_link::now_ms;
use vdr_testkit::Command;

impl Generator {
    pub(super) fn list_command(&mut self) -> Command {
        let key = self.key(Kind::List);
        let side = |generator: &mut Self| generator.pick(&["LEFT", "RIGHT"]);
        match self.rng.u32(0..19) {
            0..5 => {
                let mut command = cmd![self.pick(&["LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "RPUSH"]), key];
                let most = if self.chance(15) { 300 } else { 6 };
                command.extend((0..self.rng.usize(1..most)).map(|_| self.value()));
                command
            }
            5 => cmd!["LINSERT", key, self.pick(&["BEFORE", "AFTER"]), self.word(), self.value()],
            6 => cmd!["LSET", key, self.index(), self.value()],
            7 => cmd!["LREM", key, self.rng.i32(-3..4).to_string(), self.word()],
            8 => cmd!["LTRIM", key, self.index(), self.index()],
            9 => cmd![self.pick(&["LPOP", "RPOP"]), key],
            10 => cmd![self.pick(&["LPOP", "RPOP"]), key, self.rng.u32(0..6).to_string()],
            11 => cmd!["RPOPLPUSH", key, self.key(Kind::List)],
            12 => cmd!["LMOVE", key, self.key(Kind::List), side(self), side(self)],
            13 => cmd!["LMPOP", "2", key, self.key(Kind::List), side(self), "COUNT", "2"],
            14 => cmd![self.pick(&["BLPOP", "BRPOP"]), key, "0.001"],
            15 => cmd!["BLMOVE", key, self.key(Kind::List), side(self), side(self), "0.001"],
            16 => cmd!["BLMPOP", "0.001", "1", key, side(self), "COUNT", "3"],
            17 => cmd!["BRPOPLPUSH", key, self.key(Kind::List), "0.001"],
            _ => {
                let mut command = cmd!["RPUSH", key];
                command.extend(self.words(12));
                command
            }
        }
    }

    pub(super) fn set_command(&mut self) -> Command {
        let key = self.key(Kind::Set);
        match self.rng.u32(0..14) {
            0..4 => {
                let most = if self.chance(15) { 400 } else { 8 };
                let mut command = cmd!["SADD", key];
                command.extend(self.words(most));
                if self.chance(60) {
                    command.extend((0..3000).map(|_| self.rng.u32(..).to_string().into_bytes()));
                }
                command
            }
            4 => {
                let mut command = cmd!["SADD", key];
                command.extend((0..self.rng.usize(1..20)).map(|_| self.rng.i16(..).to_string().into_bytes()));
                command
            }
            5 | 6 => {
                let mut command = cmd!["SREM", key];
                command.extend(self.words(5));
                command
            }
            7 => cmd!["SMOVE", key, self.key(Kind::Set), self.word()],
            8 => cmd!["SPOP", key],
            9 => cmd!["SPOP", key, self.rng.u32(0..9).to_string()],
            10 => cmd!["SPOP", key, "5000"],
            _ => {
                let mut command = cmd![self.pick(&["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]), key];
                command.extend(self.keys(Kind::Set, 3));
                command
            }
        }
    }

    pub(super) fn hash_command(&mut self) -> Command {
        let key = self.key(Kind::Hash);
        if self.abilities.field_expiry && self.chance(3) {
            return self.field_expiry_command(key);
        }
        match self.rng.u32(0..10) {
            0..4 => {
                let most =
                    if self.chance(60) { 2000 } else { self.pick(&["6", "6", "6", "6", "40"]).parse().unwrap_or(6) };
                let mut command = cmd![self.pick(&["HSET", "HSET", "HMSET"]), key];
                for _ in 0..self.rng.usize(1..most) {
                    command.push(self.word());
                    command.push(self.value());
                }
                command
            }
            4 => cmd!["HSETNX", key, self.word(), self.value()],
            5 | 6 => {
                let mut command = cmd!["HDEL", key];
                command.extend(self.words(5));
                command
            }
            7 => cmd!["HINCRBY", key, self.word(), self.integer()],
            8 => cmd!["HINCRBYFLOAT", key, self.word(), self.pick(&["0.5", "-2", "1e3"])],
            _ => cmd!["HSET", key, self.word(), self.integer()],
        }
    }

    fn field_expiry_command(&mut self, key: Vec<u8>) -> Command {
        let fields = self.words(4);
        let (unit, time) = self.field_expiry_option();
        let mut command = match self.rng.u32(0..10) {
            0..4 => {
                let name = match unit {
                    "PX" => "HPEXPIRE",
                    "EX" => "HEXPIRE",
                    "PXAT" => "HPEXPIREAT",
                    _ => "HEXPIREAT",
                };
                cmd![name, key, time]
            }
            4 => cmd!["HPERSIST", key],
            5 => cmd!["HGETDEL", key],
            6 => cmd!["HGETEX", key, unit, time],
            7 => cmd!["HGETEX", key, "PERSIST"],
            _ => return self.hsetex(key, fields),
        };
        if command[0].ends_with(b"AT") | command[0].ends_with(b"EXPIRE") && self.chance(3) {
            command.push(self.pick(&["NX", "XX", "GT", "LT"]).as_bytes().to_vec());
        }
        command.extend(cmd!["FIELDS", fields.len().to_string()]);
        command.extend(fields);
        command
    }

    fn field_expiry_option(&mut self) -> (&'static str, String) {
        let ms = match self.rng.u32(0..6) {
            0 => -1000,
            1 | 2 => self.rng.i64(1..400),
            _ => self.rng.i64(1_000_000..1_000_000_000),
        };
        let at = now_ms() + ms;
        match self.rng.u32(0..4) {
            0 => ("PX", ms.max(1).to_string()),
            1 => ("EX", (ms / 1000).max(1000).to_string()),
            2 => ("EXAT", (at / 1000).to_string()),
            _ => ("PXAT", at.to_string()),
        }
    }

    /// An expired time with a field twice crashes Redis 8.6, so with a time each field comes once.
    fn hsetex(&mut self, key: Vec<u8>, mut fields: Vec<Vec<u8>>) -> Command {
        let mut command = cmd!["HSETEX", key];
        if self.chance(10) {
            command.extend(cmd![self.pick(&["NX", "XX"])]);
        }
        if self.chance(4) {
            command.extend(cmd![self.pick(&["FNX", "FXX"])]);
        }
        match self.rng.u32(0..4) {
            0 => command.extend(cmd!["KEEPTTL"]),
            1 => {}
            _ => {
                let (unit, time) = self.field_expiry_option();
                command.extend(cmd![unit, time]);
                fields.sort();
                fields.dedup();
            }
        }
        command.extend(cmd!["FIELDS", fields.len().to_string()]);
        for field in fields {
            command.push(field);
            command.push(self.value());
        }
        command
    }
}
