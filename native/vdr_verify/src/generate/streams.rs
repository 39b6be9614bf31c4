//! Streams and their groups. Ids are few and small so that they collide; sometimes the server
//! chooses one.
//!
//! XREADGROUP, XCLAIM and XAUTOCLAIM are sent as a client sends them; the primary decides what the
//! stream carries in their place. A server refuses commands and options that it does not have.

use super::draw::{Generator, Kind};
use crate::command::cmd;
use vdr_testkit::Command;

impl Generator {
    pub(super) fn stream_command(&mut self) -> Command {
        // Few keys, so that the streams grow.
        let key =
            if self.chance(3) { self.key(Kind::Stream) } else { format!("stream:{}", self.rng.u32(0..3)).into_bytes() };
        match self.rng.u32(0..30) {
            0..10 => self.xadd(key),
            10 => self.xtrim(key),
            11 | 12 => {
                let mut command = cmd!["XDEL", key];
                command.extend(self.stream_ids(4));
                command
            }
            13 => {
                let mut command = cmd!["XDELEX", key];
                self.references(&mut command);
                self.counted_ids(&mut command);
                command
            }
            14 => self.xsetid(key),
            15..19 => self.xreadgroup(key),
            19 => {
                let mut command = cmd!["XACK", key, self.group()];
                command.extend(self.stream_ids(5));
                command
            }
            20 => {
                let mut command = cmd!["XACKDEL", key, self.group()];
                self.references(&mut command);
                self.counted_ids(&mut command);
                command
            }
            21 | 22 => self.xclaim(key),
            23 => self.xautoclaim(key),
            24 if self.chance(4) => cmd!["XIDMPRECORD", key, "producer", self.word(), self.stream_id()],
            24 if self.chance(3) => cmd!["XCFGSET", key, "IDMP-DURATION", "100", "IDMP-MAXSIZE", "10"],
            _ => self.xgroup(key),
        }
    }

    fn group(&mut self) -> String {
        format!("g{}", self.rng.u32(0..4))
    }

    fn consumer(&mut self) -> String {
        let name = self.pick(&["alice", "bob", "MKSTREAM", "a consumer with a name that does not fit inline"]);
        name.to_owned()
    }

    /// An id in the range in use, in one of the spellings that servers accept.
    fn stream_id(&mut self) -> String {
        let (ms, seq) = (self.rng.u32(0..120), if self.chance(3) { self.rng.u32(0..4) } else { 0 });
        match self.rng.u32(0..40) {
            0 => "0-0".to_owned(),
            1 => format!("0{ms}-+{seq}"),
            2 => "18446744073709551615-18446744073709551614".to_owned(),
            3 => self.pick(&["-", "+", "not-an-id", "1--05", "", "18446744073709551616"]).to_owned(),
            4..8 => ms.to_string(),
            _ => format!("{ms}-{seq}"),
        }
    }

    fn stream_ids(&mut self, most: usize) -> Vec<Vec<u8>> {
        (0..self.rng.usize(1..=most)).map(|_| self.stream_id().into_bytes()).collect()
    }

    fn counted_ids(&mut self, command: &mut Command) {
        let ids = self.stream_ids(4);
        command.extend(cmd!["IDS", ids.len().to_string()]);
        command.extend(ids);
    }

    fn references(&mut self, command: &mut Command) {
        if self.chance(2) {
            command.extend(cmd![self.pick(&["KEEPREF", "DELREF", "ACKED"])]);
        }
    }

    /// A limit such as `MAXLEN ~ 5 LIMIT 10`.
    fn threshold(&mut self, command: &mut Command) {
        let about = self.pick(&["", "=", "~", "~"]);
        if self.chance(2) {
            command.extend(cmd!["MAXLEN"]);
            command.extend((!about.is_empty()).then(|| about.as_bytes().to_vec()));
            command.push(self.rng.u32(0..40).to_string().into_bytes());
        } else {
            command.extend(cmd!["MINID"]);
            command.extend((!about.is_empty()).then(|| about.as_bytes().to_vec()));
            command.push(self.stream_id().into_bytes());
        }
        if about == "~" && self.chance(3) {
            command.extend(cmd!["LIMIT", self.rng.u32(0..30).to_string()]);
        }
    }

    fn xadd(&mut self, key: Vec<u8>) -> Command {
        let mut command = cmd!["XADD", key];
        if self.chance(10) {
            command.extend(cmd!["NOMKSTREAM"]);
        }
        if self.chance(20) {
            self.references(&mut command);
        }
        if self.chance(5) {
            self.threshold(&mut command);
        }
        match self.rng.u32(0..50) {
            0 => command.extend(cmd!["IDMP", "producer", self.word()]),
            1 => command.extend(cmd!["IDMPAUTO", "producer"]),
            _ => {}
        }
        // The server's own clock is far above all other ids. After such an id this stream accepts
        // no small ones.
        let id = match self.rng.u32(0..80) {
            0 => "*".to_owned(),
            1..60 => format!("{}-*", self.rng.u32(0..120)),
            _ => self.stream_id(),
        };
        command.extend(cmd![id]);
        for _ in 0..self.rng.usize(1..4) {
            let name = if self.chance(3) { self.word() } else { b"field".to_vec() };
            command.push(name);
            command.push(self.value());
        }
        command
    }

    fn xtrim(&mut self, key: Vec<u8>) -> Command {
        let mut command = cmd!["XTRIM", key];
        self.threshold(&mut command);
        if self.chance(4) {
            self.references(&mut command);
        }
        command
    }

    fn xsetid(&mut self, key: Vec<u8>) -> Command {
        let mut command = cmd!["XSETID", key, self.stream_id()];
        if self.chance(2) {
            command.extend(cmd!["ENTRIESADDED", self.rng.u32(0..200).to_string()]);
        }
        if self.chance(2) {
            command.extend(cmd!["MAXDELETEDID", self.stream_id()]);
        }
        command
    }

    fn xgroup(&mut self, key: Vec<u8>) -> Command {
        let group = self.group();
        let at = if self.chance(3) { "$".to_owned() } else { self.stream_id() };
        let mut command = match self.rng.u32(0..12) {
            0..5 => cmd!["XGROUP", "CREATE", key, group, at],
            5..7 => cmd!["xgroup", "SetId", key, group, at],
            7 => return cmd!["XGROUP", "DESTROY", key, group],
            8 | 9 => return cmd!["XGROUP", "DELCONSUMER", key, group, self.consumer()],
            _ => return cmd!["XGROUP", "CREATECONSUMER", key, group, self.consumer()],
        };
        if self.chance(2) && command[1] == b"CREATE" {
            command.extend(cmd!["MKSTREAM"]);
        }
        if self.chance(3) {
            command.extend(cmd!["ENTRIESREAD", self.rng.i32(-1..50).to_string()]);
        }
        command
    }

    fn xreadgroup(&mut self, key: Vec<u8>) -> Command {
        let mut command = cmd!["XREADGROUP", "GROUP", self.group(), self.consumer()];
        command.extend(cmd!["COUNT", self.rng.u32(1..6).to_string()]);
        if self.chance(5) {
            command.extend(cmd!["NOACK"]);
        }
        // An option of newer servers: entries that others have not acknowledged come along.
        if self.chance(6) {
            command.extend(cmd!["CLAIM", self.pick(&["0", "5"])]);
        }
        command.extend(cmd!["STREAMS", key]);
        command.push(b">".to_vec());
        command
    }

    fn xclaim(&mut self, key: Vec<u8>) -> Command {
        let mut command = cmd!["XCLAIM", key, self.group(), self.consumer(), "0"];
        command.extend(self.stream_ids(4));
        match self.rng.u32(0..4) {
            0 => command.extend(cmd!["IDLE", self.rng.u32(0..100_000).to_string()]),
            1 => command.extend(cmd!["TIME", self.rng.u32(..).to_string()]),
            _ => {}
        }
        if self.chance(4) {
            command.extend(cmd!["RETRYCOUNT", self.rng.u32(0..9).to_string()]);
        }
        for word in ["FORCE", "JUSTID"] {
            if self.chance(3) {
                command.extend(cmd![word]);
            }
        }
        if self.chance(5) {
            command.extend(cmd!["LASTID", self.stream_id()]);
        }
        command
    }

    fn xautoclaim(&mut self, key: Vec<u8>) -> Command {
        // Mostly from the start, where pending entries were trimmed or deleted.
        let from = if self.chance(3) { self.stream_id() } else { "0-0".to_owned() };
        let mut command = cmd!["XAUTOCLAIM", key, self.group(), self.consumer(), "0", from];
        if self.chance(2) {
            command.extend(cmd!["COUNT", self.rng.u32(1..5).to_string()]);
        }
        if self.chance(2) {
            command.extend(cmd!["JUSTID"]);
        }
        command
    }
}
