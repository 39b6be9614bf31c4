//! Keys, expiry, databases, and commands that reach from one type into another.

use super::{Generator, Kind};
use crate::cmd;
use vdr_testkit::Command;

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
            76 => cmd![self.pick(&["FLUSHDB", "FLUSHALL"]), self.pick(&["SYNC", "ASYNC"])],
            77..88 => self.sort(),
            88..91 => cmd!["PUBLISH", "channel", self.value()],
            // A read touches what has expired, which the primary then deletes.
            91..96 => cmd!["EXISTS", key],
            96 => cmd!["FUNCTION", "FLUSH"],
            _ => cmd!["SCRIPT", "FLUSH"],
        }
    }

    fn expire(&mut self, key: Vec<u8>) -> Command {
        let ms = self.expiry_ms();
        let at = super::strings::now_ms() + ms;
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
        let kind = [Kind::List, Kind::Set, Kind::ZSet][self.rng.usize(0..3)];
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
        // With BY, equal keys under ALPHA stand in whatever order the sorting algorithm left them.
        if !by && self.chance(2) {
            command.push(b"ALPHA".to_vec());
        }
        command.extend(cmd!["STORE", self.key(Kind::List)]);
        command
    }

    fn database(&mut self) -> String {
        self.pick(&["0", "0", "0", "1", "2", "9", "15"]).to_owned()
    }
}
