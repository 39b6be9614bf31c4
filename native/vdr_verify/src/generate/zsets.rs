//! Sorted sets and geographic positions.

use super::draw::{Generator, Kind};
use crate::command::cmd;
use vdr_testkit::Command;

impl Generator {
    pub(super) fn zset_command(&mut self) -> Command {
        let key = self.key(Kind::ZSet);
        match self.rng.u32(0..20) {
            0..7 => self.zadd(key),
            7 | 8 => cmd!["ZINCRBY", key, self.score(), self.word()],
            9 => {
                let mut command = cmd!["ZREM", key];
                command.extend(self.words(5));
                command
            }
            10 => cmd!["ZREMRANGEBYSCORE", key, self.score_bound(), self.score_bound()],
            11 => cmd!["ZREMRANGEBYRANK", key, self.index(), self.index()],
            12 => self.lex_command(),
            13 => cmd![self.pick(&["ZPOPMIN", "ZPOPMAX"]), key, self.rng.u32(1..5).to_string()],
            14 => cmd!["ZMPOP", "2", key, self.key(Kind::ZSet), self.pick(&["MIN", "MAX"]), "COUNT", "2"],
            15 if self.chance(3) => cmd!["BZMPOP", "0.001", "1", key, self.pick(&["MIN", "MAX"]), "COUNT", "2"],
            15 => cmd![self.pick(&["BZPOPMIN", "BZPOPMAX"]), key, "0.001"],
            16 => self.zrangestore(key),
            17 => {
                let mut command = cmd!["ZDIFFSTORE", key];
                let keys = self.keys(Kind::ZSet, 3);
                command.push(keys.len().to_string().into_bytes());
                command.extend(keys);
                command
            }
            _ => self.zstore(key),
        }
    }

    fn zadd(&mut self, key: Vec<u8>) -> Command {
        let mut command = cmd!["ZADD", key];
        let flags: &[&[&str]] = &[
            &[],
            &[],
            &["NX"],
            &["XX"],
            &["GT"],
            &["LT", "CH"],
            &["XX", "GT"],
            &["XX", "LT"],
            &["NX", "CH"],
            &["CH"],
            &["INCR"],
            &["XX", "INCR"],
            &["NX", "INCR"],
            &["GT", "INCR"],
            &["XX", "LT", "INCR"],
        ];
        let flags = flags[self.rng.usize(0..flags.len())];
        command.extend(flags.iter().map(|flag| flag.as_bytes().to_vec()));
        let most = match flags.last() {
            Some(&"INCR") => 2,
            _ if self.chance(15) => 300,
            _ if self.chance(60) => 3000,
            _ => 6,
        };
        let count = self.rng.usize(1..most);
        for _ in 0..count {
            command.push(self.score().into_bytes());
            command.push(self.word());
        }
        command
    }

    /// Sums of weighted scores, in the server's order of cardinality.
    fn zstore(&mut self, key: Vec<u8>) -> Command {
        let mut command = cmd![self.pick(&["ZUNIONSTORE", "ZINTERSTORE"]), key];
        let mut keys = self.keys(Kind::ZSet, 4);
        if self.chance(3) {
            keys.push(self.key(Kind::Set));
        }
        command.push(keys.len().to_string().into_bytes());
        let count = keys.len();
        command.extend(keys);
        if self.chance(2) {
            command.push(b"WEIGHTS".to_vec());
            let weights: &[&str] = if self.abilities.negative_zero {
                &["1", "2", "-1", "0.5", "0", "inf"]
            } else {
                &["1", "2", "0.5", "inf"]
            };
            command.extend((0..count).map(|_| self.pick(weights).as_bytes().to_vec()));
        }
        if self.chance(2) {
            command.extend(cmd!["AGGREGATE", self.pick(&["SUM", "MIN", "MAX"])]);
        }
        command
    }

    fn zrangestore(&mut self, key: Vec<u8>) -> Command {
        let source = self.key(Kind::ZSet);
        let mut command = match self.rng.u32(0..2) {
            0 => cmd!["ZRANGESTORE", key, source, self.index(), self.index()],
            _ => cmd!["ZRANGESTORE", key, source, self.score_bound(), self.score_bound(), "BYSCORE"],
        };
        if self.chance(3) {
            command.push(b"REV".to_vec());
        }
        if command.iter().any(|word| word.starts_with(b"BY")) && self.chance(3) {
            command.extend(cmd!["LIMIT", self.rng.i32(-6..4).to_string(), self.rng.i32(-1..6).to_string()]);
        }
        command
    }

    /// Ranges by member, on keys of their own. With several scores such a range is unspecified, and
    /// in a skiplist it depends on random numbers.
    fn lex_command(&mut self) -> Command {
        let key = format!("lex:{}", self.rng.u32(0..4));
        match self.rng.u32(0..5) {
            0 | 1 => {
                let mut command = cmd!["ZADD", key];
                for _ in 0..self.rng.usize(1..30) {
                    command.extend(cmd!["0", self.word()]);
                }
                command
            }
            2 | 3 => cmd!["ZREMRANGEBYLEX", key, self.lex_bound(), self.lex_bound()],
            _ => {
                let to = format!("lex:{}", self.rng.u32(0..4));
                let mut command = cmd!["ZRANGESTORE", to, key, self.lex_bound(), self.lex_bound(), "BYLEX"];
                if self.chance(3) {
                    command.push(b"REV".to_vec());
                }
                if self.chance(2) {
                    command.extend(cmd!["LIMIT", self.rng.i32(-6..4).to_string(), self.rng.i32(-1..6).to_string()]);
                }
                command
            }
        }
    }

    fn score(&mut self) -> String {
        match self.rng.u32(0..24) {
            0 => self.pick(&["inf", "-inf", "+inf", "nan", "1e308", "-1e308", "5e-324"]).to_owned(),
            1 if self.abilities.negative_zero => self.pick(&["-0", "0", "0.0"]).to_owned(),
            2..8 => format!("{}", self.rng.f64()),
            8..10 => format!("{:e}", f64::from_bits(self.rng.u64(..))),
            10..13 => self.rng.i64(..).to_string(),
            13..16 => format!("{}.5", self.rng.i32(-50..50)),
            _ => self.rng.i32(-20..20).to_string(),
        }
    }

    fn score_bound(&mut self) -> String {
        match self.rng.u32(0..8) {
            0 => "-inf".to_owned(),
            1 => "+inf".to_owned(),
            2 | 3 => format!("({}", self.rng.i32(-20..20)),
            _ => self.rng.i32(-20..20).to_string(),
        }
    }

    fn lex_bound(&mut self) -> Vec<u8> {
        match self.rng.u32(0..6) {
            0 => b"-".to_vec(),
            1 => b"+".to_vec(),
            2 | 3 => [b"(".to_vec(), self.word()].concat(),
            _ => [b"[".to_vec(), self.word()].concat(),
        }
    }

    pub(super) fn geo_command(&mut self) -> Command {
        let key = self.key(Kind::Geo);
        match self.rng.u32(0..8) {
            0..5 => {
                let mut command = cmd!["GEOADD", key];
                if self.chance(4) {
                    command.extend(cmd![self.pick(&["NX", "XX", "CH"])]);
                }
                for _ in 0..self.rng.usize(1..5) {
                    command.extend(cmd![self.longitude(), self.latitude(), self.word()]);
                }
                command
            }
            5 | 6 => self.geosearchstore(key),
            _ => self.georadius(key),
        }
    }

    fn geosearchstore(&mut self, key: Vec<u8>) -> Command {
        let mut command = cmd!["GEOSEARCHSTORE", self.key(Kind::Geo), key];
        let polygon = self.chance(6);
        match self.rng.u32(0..2) {
            _ if polygon => {
                command.extend(cmd!["BYPOLYGON", "4"]);
                // Around a pole the server's result is undefined.
                let west = self.rng.f64() * 240.0 - 180.0;
                for _ in 0..4 {
                    let (east, north) = (self.rng.f64() * 120.0, self.rng.f64() * 150.0 - 75.0);
                    command.extend(cmd![format!("{:.6}", west + east), format!("{north:.6}")]);
                }
            }
            0 => command.extend(cmd!["FROMLONLAT", self.longitude(), self.latitude()]),
            _ => command.extend(cmd!["FROMMEMBER", self.word()]),
        }
        let (radius, other) = (self.rng.u32(1..3000).to_string(), self.rng.u32(1..3000).to_string());
        match self.rng.u32(0..2) {
            _ if polygon => {}
            0 => command.extend(cmd!["BYRADIUS", radius, self.pick(&["km", "mi"])]),
            _ => command.extend(cmd!["BYBOX", radius, other, "mi"]),
        }
        self.geo_order(&mut command);
        command
    }

    fn georadius(&mut self, key: Vec<u8>) -> Command {
        let mut command = match self.rng.u32(0..2) {
            0 => cmd!["GEORADIUS", key, self.longitude(), self.latitude()],
            _ => cmd!["GEORADIUSBYMEMBER", key, self.word()],
        };
        command.extend(cmd![self.rng.u32(1..3000).to_string(), "km"]);
        self.geo_order(&mut command);
        command.extend(cmd!["STORE", self.key(Kind::Geo)]);
        command
    }

    /// COUNT without ANY takes the nearest members. Here all distances differ, so their order is
    /// defined.
    fn geo_order(&mut self, command: &mut Command) {
        if self.chance(3) {
            command.extend(cmd![self.pick(&["ASC", "DESC"])]);
        }
        if self.chance(3) {
            command.extend(cmd!["COUNT", self.rng.u32(1..6).to_string()]);
        }
    }

    fn longitude(&mut self) -> String {
        format!("{:.6}", self.rng.f64() * 360.0 - 180.0)
    }

    fn latitude(&mut self) -> String {
        format!("{:.6}", self.rng.f64() * 168.0 - 84.0)
    }
}
