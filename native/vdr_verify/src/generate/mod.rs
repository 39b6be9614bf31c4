//! Seeded random programs of writes: every write command with its options, on few keys so that the
//! commands interact.
//!
//! Some things a primary does differently from its own replicas. Programs leave these out, by name:
//!
//! - `BITFIELD ... OVERFLOW FAIL` on a missing key: the primary creates the key and does not send
//!   the command.
//! - Geo distances, whose last bit depends on the C library, and `COUNT ANY`.
//! - Ranges by member of a sorted set with several scores: unspecified, and random in a skiplist.
//! - `SORT ... ALPHA BY` with equal keys: the order depends on the sorting algorithm.
//! - -0 as a score with other limits of the sorted sets' encoding than the default: a replica does
//!   not see the limits. With the default limits, a ZADD or GEOADD with XX of a member that no
//!   listpack holds: newer primaries change the encoding and do not send it.
//! - `hll-sparse-max-bytes` other than its default: a replica with another value diverges by
//!   design.
//! - Writes into the bytes of a HyperLogLog: a PFADD that then meets a broken register fails after
//!   it has added some elements, and the primary does not send it.
//! - HSETEX on a key named like one of its words: Valkey 9.1 takes the key for that word.
//! - XREADGROUP of entries that a consumer already received: the primary counts the delivery and
//!   does not send it.
//! - `ENTRIESREAD` above zero and `ENTRIESADDED`, which let a group count more entries than there
//!   ever were: left out for servers whose replicas cap the count, while the primary does not.
//! - `MINID ~` with ACKED or DELREF: the primary deletes more than it reports.
//! - HINCRBYFLOAT on Redis 8.0, which sends it as an HSET.
//!
//! A program also leaves out what crashes its server: FCALL without the key or argument that the
//! function passes on, after which Redis 8.0 crashes in the next FUNCTION FLUSH. CONTRIBUTING.md
//! explains each of these.

mod draw;
mod strings;
mod collections;
mod zsets;
mod streams;
mod keyspace;
mod hostile;
mod left_out;
mod program;

pub use draw::{Abilities, DATABASES, Generator};
pub use program::Unit;
