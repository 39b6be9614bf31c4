//// Reads from a mirror of a Redis or Valkey server that lives in this node.
////
//// A mirror attaches to the server as a replica, loads its data once, and
//// follows every write. A read takes about a microsecond: it uses no network
//// and calls no process. A write is one round trip, and returns when this
//// node can read it.
////
//// ```gleam
//// import gleam/option.{None, Some}
//// import veidrodelis/mirror
////
//// pub fn main() {
////   let assert Ok(server) =
////     mirror.start([mirror.Host("localhost"), mirror.Port(6379)])
////   let assert Ok(Nil) = mirror.set(server, "ship", "Dawn Treader", None)
////   let assert Ok(Some("Dawn Treader")) = mirror.get(server, "ship")
////   let assert Ok(Nil) = mirror.stop(server)
//// }
//// ```
////
//// The reads have the names of the server's commands. For a missing key, a
//// read returns `None`, an empty list, or the number that the server would
//// return.

import gleam/option

/// A running mirror. It holds no process, so it may be kept, copied and sent
/// to other processes.
pub type Mirror

/// How a mirror is started. Each setting may be left out.
pub type Setting {
  /// The name by which `named` finds the mirror. Without it, the mirror has
  /// no name.
  Name(String)
  /// The server's host name or address, `localhost` by default.
  Host(String)
  /// The server's port, 6379 by default.
  Port(Int)
  /// `redis://`, `rediss://`, `valkey://` or `valkeys://`, or `unix://` and
  /// the path of a socket, instead of host, port, user name, password and TLS.
  /// A number at its end names the database: `redis://localhost:6379/2`.
  Url(String)
  Username(String)
  Password(String)
  /// Whether to use TLS. The server's certificate is verified by the
  /// authorities of the system.
  Tls(Bool)
  /// The number of the database that is mirrored. The default is the one that
  /// the URL names, or 0.
  Database(Int)
  /// Keeps only keys that begin with one of these.
  Prefixes(List(String))
  /// Whether reads may use old data while the server is away.
  StaleReads(Staleness)
  /// How long connecting, and each write, may take in milliseconds; 5000 by
  /// default.
  Timeout(Int)
  /// How long the first load of the data may take in milliseconds. The
  /// default is the timeout.
  StartTimeout(Int)
}

/// What reads do while the link to the server is down.
pub type Staleness {
  /// They answer from the last data, however old it is. This is the default.
  Allow
  /// They fail with `Stale` once the server has been silent for so many
  /// milliseconds.
  MaxMs(Int)
  /// They fail with `Stale` at once.
  Deny
}

pub type Failure {
  /// The first load of the data is not complete.
  NotReady
  /// The data is older than the setting `StaleReads` allows.
  Stale
  /// There is no such mirror, or it has been stopped.
  NotRunning
  /// The key holds a value of another type.
  WrongType
  /// The value is not UTF-8, so it cannot be a `String`.
  NotText
  /// There is no connection to the server. If it broke after a write was
  /// sent, it is unknown whether the write has run.
  ConnectionLost(String)
  /// The timeout ended first. It is unknown whether the write has run.
  TimedOut
  /// The server has run the write, but this node cannot read it yet.
  NotVisible
  /// The server refused the write with this error. The write has not run.
  ServerFailed(String)
  /// The library did not send the command, or cannot answer the read.
  Refused(String)
  /// The mirror could not be started, and nothing of it is left running.
  StartFailed(String)
}

/// A score of a sorted set.
pub type Score {
  Finite(Float)
  Infinite
  NegativeInfinite
}

/// When a key expires.
pub type Expiry {
  ExpiresIn(seconds: Int)
  Never
  NoSuchKey
}

/// A reply of the server to `command`.
pub type Reply {
  Text(String)
  Number(Int)
  Nothing
  Many(List(Reply))
  /// An error among the replies of a script or a transaction.
  Failed(String)
}

/// The content of a watch's message.
pub type Event {
  /// A write has touched the key. It is `None` if the whole database was
  /// emptied or swapped, or if the key is not UTF-8.
  Changed(key: option.Option(String))
  /// All data was loaded anew, so any key may have changed.
  Replaced
  /// The process did not read its messages, and some were not sent: any key
  /// may have changed.
  Missed
  /// The message does not come from a watch.
  Unknown
}

// ----- Lifecycle ----- //

/// Starts a mirror, and returns when it can be read.
///
/// The mirror is not linked to the caller. It lives until `stop`, or until the
/// application `veidrodelis` stops. If this fails, nothing is left running.
@external(erlang, "veidrodelis_gleam", "start")
pub fn start(settings: List(Setting)) -> Result(Mirror, Failure)

/// Stops a mirror that `start` has started. For any other mirror, it returns
/// `NotRunning`: the supervisor of that mirror must stop it.
@external(erlang, "veidrodelis_gleam", "stop")
pub fn stop(mirror: Mirror) -> Result(Nil, Failure)

/// Returns a mirror that is running already: one that was started with a
/// `Name`, or one that a supervisor of the application has started. The id of
/// the latter may be a string or an atom. Reads use database 0.
@external(erlang, "veidrodelis_gleam", "named")
pub fn named(name: String) -> Mirror

/// Returns the same mirror, with reads and writes of another database. A
/// mirror that `start` has started holds one database only.
@external(erlang, "veidrodelis_gleam", "in_database")
pub fn in_database(mirror: Mirror, number: Int) -> Mirror

/// Returns the same mirror, with another timeout for writes, in milliseconds.
@external(erlang, "veidrodelis_gleam", "with_timeout")
pub fn with_timeout(mirror: Mirror, milliseconds: Int) -> Mirror

/// Waits until the mirror can be read, for at most so many milliseconds.
@external(erlang, "veidrodelis_gleam", "await_ready")
pub fn await_ready(mirror: Mirror, milliseconds: Int) -> Result(Nil, Failure)

/// Returns whether the mirror can be read now.
@external(erlang, "veidrodelis_gleam", "is_ready")
pub fn is_ready(mirror: Mirror) -> Bool

/// Returns whether the mirror is running, ready or not.
@external(erlang, "veidrodelis_gleam", "is_running")
pub fn is_running(mirror: Mirror) -> Bool

// ----- Strings and keys ----- //

@external(erlang, "veidrodelis_gleam", "get")
pub fn get(
  mirror: Mirror,
  key: String,
) -> Result(option.Option(String), Failure)

/// Returns the values at the keys, in their order, all read at one moment.
/// `None` stands for a key that does not exist or holds another type.
@external(erlang, "veidrodelis_gleam", "mget")
pub fn mget(
  mirror: Mirror,
  keys: List(String),
) -> Result(List(option.Option(String)), Failure)

/// The length of a string in bytes.
@external(erlang, "veidrodelis_gleam", "strlen")
pub fn strlen(mirror: Mirror, key: String) -> Result(Int, Failure)

@external(erlang, "veidrodelis_gleam", "exists")
pub fn exists(mirror: Mirror, key: String) -> Result(Bool, Failure)

@external(erlang, "veidrodelis_gleam", "ttl")
pub fn ttl(mirror: Mirror, key: String) -> Result(Expiry, Failure)

/// The number of keys of the database.
@external(erlang, "veidrodelis_gleam", "dbsize")
pub fn dbsize(mirror: Mirror) -> Result(Int, Failure)

/// The keys that match a glob such as `"user:*"`, in the order of their bytes.
@external(erlang, "veidrodelis_gleam", "keys")
pub fn keys(mirror: Mirror, pattern: String) -> Result(List(String), Failure)

// ----- Hashes ----- //

@external(erlang, "veidrodelis_gleam", "hget")
pub fn hget(
  mirror: Mirror,
  key: String,
  field: String,
) -> Result(option.Option(String), Failure)

@external(erlang, "veidrodelis_gleam", "hmget")
pub fn hmget(
  mirror: Mirror,
  key: String,
  fields: List(String),
) -> Result(List(option.Option(String)), Failure)

/// The fields and values of a hash.
@external(erlang, "veidrodelis_gleam", "hgetall")
pub fn hgetall(
  mirror: Mirror,
  key: String,
) -> Result(List(#(String, String)), Failure)

@external(erlang, "veidrodelis_gleam", "hkeys")
pub fn hkeys(mirror: Mirror, key: String) -> Result(List(String), Failure)

@external(erlang, "veidrodelis_gleam", "hvals")
pub fn hvals(mirror: Mirror, key: String) -> Result(List(String), Failure)

@external(erlang, "veidrodelis_gleam", "hlen")
pub fn hlen(mirror: Mirror, key: String) -> Result(Int, Failure)

@external(erlang, "veidrodelis_gleam", "hexists")
pub fn hexists(
  mirror: Mirror,
  key: String,
  field: String,
) -> Result(Bool, Failure)

// ----- Lists ----- //

@external(erlang, "veidrodelis_gleam", "llen")
pub fn llen(mirror: Mirror, key: String) -> Result(Int, Failure)

/// The elements from `start` to `stop`, both included. Negative positions
/// count from the end.
@external(erlang, "veidrodelis_gleam", "lrange")
pub fn lrange(
  mirror: Mirror,
  key: String,
  start: Int,
  stop: Int,
) -> Result(List(String), Failure)

@external(erlang, "veidrodelis_gleam", "lindex")
pub fn lindex(
  mirror: Mirror,
  key: String,
  index: Int,
) -> Result(option.Option(String), Failure)

// ----- Sets ----- //

@external(erlang, "veidrodelis_gleam", "smembers")
pub fn smembers(mirror: Mirror, key: String) -> Result(List(String), Failure)

@external(erlang, "veidrodelis_gleam", "sismember")
pub fn sismember(
  mirror: Mirror,
  key: String,
  member: String,
) -> Result(Bool, Failure)

@external(erlang, "veidrodelis_gleam", "scard")
pub fn scard(mirror: Mirror, key: String) -> Result(Int, Failure)

// ----- Sorted sets ----- //

@external(erlang, "veidrodelis_gleam", "zscore")
pub fn zscore(
  mirror: Mirror,
  key: String,
  member: String,
) -> Result(option.Option(Score), Failure)

/// The rank of a member in ascending order, counted from 0.
@external(erlang, "veidrodelis_gleam", "zrank")
pub fn zrank(
  mirror: Mirror,
  key: String,
  member: String,
) -> Result(option.Option(Int), Failure)

@external(erlang, "veidrodelis_gleam", "zcard")
pub fn zcard(mirror: Mirror, key: String) -> Result(Int, Failure)

/// The members of rank `start` to `stop`, both included, with their scores.
/// Negative ranks count from the end.
@external(erlang, "veidrodelis_gleam", "zrange")
pub fn zrange(
  mirror: Mirror,
  key: String,
  start: Int,
  stop: Int,
) -> Result(List(#(String, Score)), Failure)

/// The members with a score from `min` to `max`, both included, with their
/// scores.
@external(erlang, "veidrodelis_gleam", "zrangebyscore")
pub fn zrangebyscore(
  mirror: Mirror,
  key: String,
  min: Score,
  max: Score,
) -> Result(List(#(String, Score)), Failure)

// ----- Writes ----- //

/// Stores a value, and returns when this node can read it. It expires after
/// so many seconds, or never with `None`. A time of 0 or less deletes the key.
@external(erlang, "veidrodelis_gleam", "set")
pub fn set(
  mirror: Mirror,
  key: String,
  value: String,
  ttl_seconds: option.Option(Int),
) -> Result(Nil, Failure)

/// Deletes a key, and returns when this node no longer reads it.
@external(erlang, "veidrodelis_gleam", "delete")
pub fn delete(mirror: Mirror, key: String) -> Result(Nil, Failure)

/// Sends any command to the server, and returns its reply when this node can
/// read what it wrote. Commands that would change or hold the connection, such
/// as `SUBSCRIBE`, are `Refused`.
@external(erlang, "veidrodelis_gleam", "command")
pub fn command(mirror: Mirror, words: List(String)) -> Result(Reply, Failure)

/// Waits until this node can read every write that the server had
/// acknowledged before the call, to any client.
@external(erlang, "veidrodelis_gleam", "sync")
pub fn sync(mirror: Mirror) -> Result(Nil, Failure)

// ----- Watches ----- //

/// Sends `#(tag, event)` to this process after writes to the key have become
/// visible; `event` reads it. With `gleam_erlang`, select such messages as
/// records: `process.select_record(selector, tag, 1, mirror.event)`.
@external(erlang, "veidrodelis_gleam", "watch")
pub fn watch(mirror: Mirror, key: String, tag: tag) -> Result(Nil, Failure)

/// Watches all keys that begin with the prefix, as `watch` watches one key.
@external(erlang, "veidrodelis_gleam", "watch_prefix")
pub fn watch_prefix(
  mirror: Mirror,
  prefix: String,
  tag: tag,
) -> Result(Nil, Failure)

@external(erlang, "veidrodelis_gleam", "unwatch")
pub fn unwatch(mirror: Mirror, key: String) -> Result(Nil, Failure)

@external(erlang, "veidrodelis_gleam", "unwatch_prefix")
pub fn unwatch_prefix(mirror: Mirror, prefix: String) -> Result(Nil, Failure)

/// Returns the content of a watch's message.
@external(erlang, "veidrodelis_gleam", "event")
pub fn event(message: message) -> Event
