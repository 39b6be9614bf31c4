//! An offset, the server's digest at exactly that offset, and the comparison with a snapshot of
//! ours.

use std::collections::BTreeSet;
use std::io;
use vdr_data::digest::{self, Dialect};
use vdr_data::keyspace::Keyspace;
use vdr_data::value::ValueRef;
use vdr_link::now_ms;
use vdr_replica::live::Snapshot;
use vdr_testkit::{Client, Reply, command};

pub struct Proof {
    pub offset: u64,
    digest: String,
    /// The server read its clock between these two times.
    asked_ms: i64,
    answered_ms: i64,
}

impl Proof {
    /// Asks in one transaction, which leaves no trace in the stream.
    pub fn ask(checker: &mut Client) -> io::Result<Self> {
        let ask =
            [command(&["MULTI"]), command(&["INFO", "replication"]), command(&["DEBUG", "DIGEST"]), command(&["EXEC"])];
        let asked_ms = now_ms();
        let replies = checker.pipeline(&ask)?;
        let answered_ms = now_ms();
        let Some(Reply::Array(Some(answers))) = replies.last() else {
            // A server without memory refuses to queue commands, because it has nothing left to
            // evict.
            checker.call(&["CONFIG", "SET", "maxmemory", "0"])?;
            return Proof::ask(checker);
        };
        let [info, digest] = answers.as_slice() else { return Err(io::Error::other("no answer to the digest")) };
        let offset = info.text().lines().find_map(|line| line.strip_prefix("master_repl_offset:")?.trim().parse().ok());
        let offset = offset.ok_or_else(|| io::Error::other("no offset in INFO replication"))?;
        Ok(Proof { offset, digest: digest.text(), asked_ms, answered_ms })
    }

    /// Some servers leave expired fields out of the digest. Then any moment between the question
    /// and the answer is acceptable.
    pub fn holds(&self, snapshot: &Snapshot, dialect: Dialect) -> io::Result<bool> {
        for moment in self.moments(&snapshot.keyspace) {
            let ours = digest::digest(&snapshot.keyspace, dialect, moment);
            let ours = ours.map_err(|_| io::Error::other("the mirror holds values without a digest"))?;
            if ours.to_string() == self.digest {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The moment of the question, and each later moment at which a field had just expired.
    fn moments(&self, keyspace: &Keyspace) -> BTreeSet<i64> {
        let mut moments = BTreeSet::from([self.asked_ms]);
        let entries = keyspace.dbs().flat_map(|(_, db)| db.iter());
        for entry in entries {
            let ValueRef::Hash(hash) = entry.value() else { continue };
            if hash.has_expiring_fields() {
                let times = hash.iter().filter_map(|(_, field)| field.expiry.get());
                moments.extend(times.filter(|ms| (self.asked_ms..self.answered_ms).contains(ms)).map(|ms| ms + 1));
            }
        }
        moments
    }
}
