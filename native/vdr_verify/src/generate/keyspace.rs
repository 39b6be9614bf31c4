//! Keys, expiry, databases, and commands that turn one type into another.

use super::draw::{DATABASES, Generator, Kind};
use crate::command::cmd;
use vdr_link::now_ms;
use vdr_testkit::Command;

/// Sets a string and its expiry: two effects of one call.
const LIBRARY: &str = "#!lua name=verify\nredis.register_function('put', function(keys, args) \
                       redis.call('SET', keys[1], args[1]) return redis.call('EXPIRE', keys[1], 5000) end)";

/// The words of a complete `FCALL put 1 key value`.
pub(super) const CALL_WORDS: usize = 5;

impl Generator {
    pub(super) fn keyspace_command(&mut self) -> Command {
        let kind = self.kind();
        let (key, other) = (self.key(kind), self.key(kind));
        match self.rng.u32(0..100) {
            0..14 => {
                let mut command = cmd![self.pick(&["DEL", "UNLINK"])];
                command.extend(self.keys(kind, 3));
                command
            }
            14..32 => self.expire(key),
            32..38 => cmd!["PERSIST", key],
            38..46 => cmd![self.pick(&["RENAME", "RENAMENX"]), key, other],
            46..56 => {
                let mut command = cmd!["COPY", key, other];
                if self.chance(2) {
                    command.extend(cmd!["DB", self.database()]);
                }
                if self.chance(2) {
                    command.push(b"REPLACE".to_vec());
                }
                command
            }
            56..62 => cmd!["MOVE", key, self.database()],
            62..74 => cmd!["SELECT", self.database()],
            74..76 => cmd!["SWAPDB", self.database(), self.database()],
            76 => {
                let mut command = cmd![self.pick(&["FLUSHDB", "FLUSHALL"])];
                if self.chance(2) {
                    command.extend(cmd![self.pick(&["SYNC", "ASYNC"])]);
                }
                command
            }
            77..88 => self.sort(),
            88..91 => cmd![self.pick(&["PUBLISH", "SPUBLISH"]), "channel", self.value()],
            // A read touches an expired key, and the primary then deletes it.
            91..96 => cmd!["EXISTS", key],
            96 => cmd!["FUNCTION", "LOAD", "REPLACE", LIBRARY],
            97 => cmd!["FUNCTION", "FLUSH"],
            98 => cmd!["FCALL", "put", "1", key, self.value()],
            _ => cmd!["SCRIPT", "FLUSH"],
        }
    }

    fn expire(&mut self, key: Vec<u8>) -> Command {
        let ms = self.expiry_ms();
        let at = now_ms() + ms;
        let mut command = match self.rng.u32(0..4) {
            0 => cmd!["EXPIRE", key, (ms / 1000).to_string()],
            1 => cmd!["PEXPIRE", key, ms.to_string()],
            2 => cmd!["EXPIREAT", key, (at / 1000).to_string()],
            _ => cmd!["PEXPIREAT", key, at.to_string()],
        };
        if self.chance(3) {
            command.push(self.pick(&["NX", "XX", "GT", "LT"]).as_bytes().to_vec());
        }
        command
    }

    fn sort(&mut self) -> Command {
        // A SORT of a sorted set that fails or finds nothing turns the set into a skiplist, in
        // which -0 stays, and no replica receives it.
        let kinds = if self.abilities.negative_zero { 2 } else { 3 };
        let kind = [Kind::List, Kind::Set, Kind::ZSet][self.rng.usize(0..kinds)];
        let mut command = cmd!["SORT", self.key(kind)];
        let by = self.chance(4);
        if by {
            command.extend(cmd!["BY", self.pick(&["counter:*", "hash:*->m1", "nosort"])]);
        }
        if self.chance(3) {
            command.extend(cmd!["LIMIT", self.index(), self.rng.u32(0..8).to_string()]);
        }
        if self.chance(4) {
            command.extend(cmd!["GET", "#", "GET", self.pick(&["string:*", "hash:*->m2"])]);
        }
        if self.chance(3) {
            command.push(b"DESC".to_vec());
        }
        // With BY and ALPHA, the sorting algorithm decides the order of equal keys.
        if !by && self.chance(2) {
            command.push(b"ALPHA".to_vec());
        }
        command.extend(cmd!["STORE", self.key(Kind::List)]);
        command
    }

    fn database(&mut self) -> String {
        match self.rng.u32(0..10) {
            0..6 => "0".to_owned(),
            6..9 => self.pick(&["1", "2", "9"]).to_owned(),
            _ => self.rng.u32(0..DATABASES).to_string(),
        }
    }
}
