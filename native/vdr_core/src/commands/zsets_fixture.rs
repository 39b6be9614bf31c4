//! What the tests of sorted sets stand on: a keyspace that is written to and read from by rows.

use super::{Apply, ApplyError, Arg, ReadError, Reply, Touch, Touches, Words, Written, read, write};
use crate::keyspace::Keyspace;
use crate::value::ValueRef;

#[derive(Default)]
pub struct Mirror(Keyspace);

impl Mirror {
    /// After these writes, of words between blanks.
    pub fn after(lines: &[&str]) -> Self {
        let mut mirror = Mirror::default();
        for line in lines {
            assert_eq!(mirror.write(line), Ok(()), "{line}");
        }
        mirror
    }

    pub fn write(&mut self, line: &str) -> Written {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        self.write_words(&words)
    }

    pub fn write_words(&mut self, words: &[&[u8]]) -> Written {
        let row = write(words[0]).unwrap();
        let mut apply = Apply { keyspace: &mut self.0, db: 0, now_ms: 0 };
        (row.run)(&mut apply, &mut Words::new(&words[1..]))
    }

    /// That the write is refused, and why.
    pub fn refuses(&mut self, line: &str, why: ApplyError) {
        assert_eq!(self.write(line), Err(why), "{line}");
    }

    pub fn read(&self, name: &str, args: &[Arg<'_>]) -> Result<Reply<'_>, ReadError> {
        read(name).unwrap().call(self.0.view(0, 0), args)
    }

    pub fn cost(&self, name: &str, args: &[Arg<'_>]) -> usize {
        read(name).unwrap().elements(self.0.view(0, 0), args)
    }

    /// A sorted set as `member=score` words in order; a dash for a missing key.
    pub fn show(&self, key: &str) -> String {
        let members = self.members(key.as_bytes());
        let words: Vec<String> = members.iter().map(|(member, score)| format!("{member}={score:?}")).collect();
        if words.is_empty() { "-".into() } else { words.join(" ") }
    }

    /// The members in order; none for a missing key. That a key that is there has some is asserted.
    pub fn members(&self, key: &[u8]) -> Vec<(String, f64)> {
        let Some(entry) = self.0.db(0).get(key) else { return Vec::new() };
        let ValueRef::ZSet(zset) = entry.value() else { panic!("another type") };
        assert!(!zset.is_empty(), "the server keeps no empty sorted set");
        zset.iter().map(|(member, score)| (String::from_utf8_lossy(member).into_owned(), score.get())).collect()
    }

    pub fn keyspace(&mut self) -> &mut Keyspace {
        &mut self.0
    }
}

/// What a command that names its keys in its own way touches.
pub fn touched(line: &str) -> Vec<String> {
    let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
    let Touches::Special(touches) = write(words[0]).unwrap().touches else { panic!("the shape tells") };
    let mut keys = Vec::new();
    touches(7, &words[1..], &mut |touch| match touch {
        Touch::Key { db: 7, key } => keys.push(String::from_utf8_lossy(key).into_owned()),
        other => panic!("{other:?}"),
    });
    keys
}
