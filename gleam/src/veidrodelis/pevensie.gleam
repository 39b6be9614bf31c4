//// A cache driver for Pevensie that reads from a mirror of a Redis or Valkey
//// server in this node.
////
//// `get` takes about a microsecond: it uses no network and calls no process.
//// `set` and `delete` are one round trip, and return when this node can read
//// what they wrote. In exchange, the node holds a copy of the database, or of
//// the keys under the driver's prefix.
////
//// ```gleam
//// import gleam/option.{None}
//// import pevensie/cache
//// import veidrodelis/pevensie as redis
////
//// pub fn main() {
////   let config = redis.Config(..redis.default_config(), host: "localhost")
////   let ships = cache.new(driver: redis.new_cache_driver(config))
////   let assert Ok(ships) = cache.connect(ships)
////   let assert Ok(Nil) = cache.set(ships, "ship", "1", "Dawn Treader", None)
////   let assert Ok("Dawn Treader") = cache.get(ships, "ship", "1")
////   let assert Ok(_) = cache.disconnect(ships)
//// }
//// ```

import gleam/option.{None, Some}
import pevensie/cache
import pevensie/drivers
import veidrodelis/mirror

/// The fields are those of the driver `pevensie_redis`. Functions of this
/// module set everything else.
///
/// `timeout` is how long a call may take as a whole, in milliseconds.
/// `pool_size` has no effect: all calls share connections.
pub type Config {
  Config(
    host: String,
    port: Int,
    timeout: Int,
    pool_size: Int,
    username: option.Option(String),
    password: option.Option(String),
  )
}

/// `localhost`, port 6379, and 5000 milliseconds.
pub fn default_config() -> Config {
  Config(
    host: "localhost",
    port: 6379,
    timeout: 5000,
    pool_size: 10,
    username: None,
    password: None,
  )
}

/// The driver's own part of a `CacheDriver`.
pub opaque type Driver {
  Driver(
    origin: Origin,
    tls: option.Option(Bool),
    database: option.Option(Int),
    prefix: String,
    stale_reads: mirror.Staleness,
    timeout: Int,
    start_timeout: option.Option(Int),
    running: option.Option(mirror.Mirror),
  )
}

// Functions, because a printed driver must not show its password.
type Origin {
  Address(fn() -> List(mirror.Setting))
  Url(fn() -> String)
  Named(String)
}

type CacheDriver =
  cache.CacheDriver(Driver, mirror.Failure)

/// A driver for `cache.new`.
pub fn new_cache_driver(
  config: Config,
) -> cache.CacheDriver(Driver, mirror.Failure) {
  let address = fn() {
    [mirror.Host(config.host), mirror.Port(config.port)]
    |> with_option(config.username, mirror.Username)
    |> with_option(config.password, mirror.Password)
  }

  new(Address(address), config.timeout)
}

/// A driver on a mirror that is running already: one that `mirror.start`
/// started with a name, or one that a supervisor of the application started.
/// `connect` waits until it can be read, and `disconnect` leaves it running.
pub fn with_mirror(name: String) -> cache.CacheDriver(Driver, mirror.Failure) {
  new(Named(name), default_config().timeout)
}

fn new(origin: Origin, timeout: Int) -> CacheDriver {
  cache.CacheDriver(
    driver: Driver(
      origin: origin,
      tls: None,
      database: None,
      prefix: "",
      stale_reads: mirror.Allow,
      timeout: timeout,
      start_timeout: None,
      running: None,
    ),
    connect: connect,
    disconnect: disconnect,
    set: set,
    get: get,
    delete: delete,
  )
}

// ----- Settings ----- //

/// Uses the database with this number. The default is the database that the
/// URL names, or 0.
pub fn with_database(
  driver: cache.CacheDriver(Driver, mirror.Failure),
  number: Int,
) -> cache.CacheDriver(Driver, mirror.Failure) {
  changed(driver, Driver(..driver.driver, database: Some(number)))
}

/// Uses TLS, and verifies the server's certificate by the authorities of the
/// system. For other settings of TLS, start a mirror in the application, and
/// use `with_mirror`.
pub fn with_tls(
  driver: cache.CacheDriver(Driver, mirror.Failure),
  tls: Bool,
) -> cache.CacheDriver(Driver, mirror.Failure) {
  changed(driver, Driver(..driver.driver, tls: Some(tls)))
}

/// Finds the server by a URL such as `rediss://user:password@host:6379/2`,
/// instead of the configuration's host, port, user name and password. The
/// number at the end names the database.
pub fn with_url(
  driver: cache.CacheDriver(Driver, mirror.Failure),
  url: String,
) -> cache.CacheDriver(Driver, mirror.Failure) {
  changed(driver, Driver(..driver.driver, origin: Url(fn() { url })))
}

/// Puts these characters before every key, and mirrors only keys that begin
/// with them. A driver on a mirror that is running already does not change
/// which keys that mirror holds.
pub fn with_prefix(
  driver: cache.CacheDriver(Driver, mirror.Failure),
  prefix: String,
) -> cache.CacheDriver(Driver, mirror.Failure) {
  changed(driver, Driver(..driver.driver, prefix: prefix))
}

/// Sets what `get` does while the server is away. By default, it reads the
/// last data.
pub fn with_stale_reads(
  driver: cache.CacheDriver(Driver, mirror.Failure),
  stale_reads: mirror.Staleness,
) -> cache.CacheDriver(Driver, mirror.Failure) {
  changed(driver, Driver(..driver.driver, stale_reads: stale_reads))
}

/// Sets how long `connect` may take, in milliseconds. It loads the whole
/// database. The default is the timeout of the configuration.
pub fn with_start_timeout(
  driver: cache.CacheDriver(Driver, mirror.Failure),
  milliseconds: Int,
) -> cache.CacheDriver(Driver, mirror.Failure) {
  changed(driver, Driver(..driver.driver, start_timeout: Some(milliseconds)))
}

fn changed(driver: CacheDriver, inner: Driver) -> CacheDriver {
  cache.CacheDriver(..driver, driver: inner)
}

// ----- The contract of Pevensie ----- //

fn connect(
  driver: Driver,
) -> Result(Driver, drivers.ConnectError(mirror.Failure)) {
  case is_connected(driver) {
    True -> Error(drivers.AlreadyConnected)
    False ->
      case open(driver) {
        Ok(running) -> Ok(Driver(..driver, running: Some(running)))
        Error(failure) -> Error(drivers.ConnectDriverError(failure))
      }
  }
}

// Another copy of the driver, or the end of the application, may have stopped
// the mirror.
fn is_connected(driver: Driver) -> Bool {
  case driver.running {
    Some(running) -> mirror.is_running(running)
    None -> False
  }
}

fn open(driver: Driver) -> Result(mirror.Mirror, mirror.Failure) {
  case driver.origin {
    Address(settings) -> mirror.start(with_settings(settings(), driver))
    Url(url) -> mirror.start(with_settings([mirror.Url(url())], driver))
    Named(name) -> {
      let found =
        mirror.named(name)
        |> mirror.in_database(option.unwrap(driver.database, 0))
        |> mirror.with_timeout(driver.timeout)
      let patience = option.unwrap(driver.start_timeout, driver.timeout)

      case mirror.await_ready(found, patience) {
        Ok(_) -> Ok(found)
        Error(failure) -> Error(failure)
      }
    }
  }
}

fn with_settings(
  settings: List(mirror.Setting),
  driver: Driver,
) -> List(mirror.Setting) {
  let prefixes = case driver.prefix {
    "" -> None
    prefix -> Some([prefix])
  }

  [mirror.StaleReads(driver.stale_reads), mirror.Timeout(driver.timeout)]
  |> with_option(driver.tls, mirror.Tls)
  |> with_option(driver.database, mirror.Database)
  |> with_option(prefixes, mirror.Prefixes)
  |> with_option(driver.start_timeout, mirror.StartTimeout)
  |> append(settings)
}

fn with_option(
  settings: List(mirror.Setting),
  value: option.Option(value),
  setting: fn(value) -> mirror.Setting,
) -> List(mirror.Setting) {
  case value {
    Some(value) -> [setting(value), ..settings]
    None -> settings
  }
}

fn append(
  settings: List(mirror.Setting),
  others: List(mirror.Setting),
) -> List(mirror.Setting) {
  case settings {
    [setting, ..rest] -> append(rest, [setting, ..others])
    [] -> others
  }
}

fn disconnect(
  driver: Driver,
) -> Result(Driver, drivers.DisconnectError(mirror.Failure)) {
  let closed = case driver.origin, driver.running {
    _, None -> Error(mirror.NotRunning)
    Named(_), Some(_) -> Ok(Nil)
    _, Some(running) -> mirror.stop(running)
  }

  case closed {
    Ok(_) -> Ok(Driver(..driver, running: None))
    Error(mirror.NotRunning) -> Error(drivers.NotConnected)
    Error(failure) -> Error(drivers.DisconnectDriverError(failure))
  }
}

fn set(
  driver: Driver,
  resource_type: String,
  key: String,
  value: String,
  ttl_seconds: option.Option(Int),
) -> Result(Nil, cache.SetError(mirror.Failure)) {
  let written = case driver.running {
    Some(running) -> {
      let full_key = on_server(driver, resource_type, key)
      mirror.set(running, full_key, value, ttl_seconds)
    }
    None -> Error(mirror.NotRunning)
  }

  case written {
    Ok(_) -> Ok(Nil)
    Error(failure) -> Error(cache.SetDriverError(failure))
  }
}

fn get(
  driver: Driver,
  resource_type: String,
  key: String,
) -> Result(String, cache.GetError(mirror.Failure)) {
  let found = case driver.running {
    Some(running) -> mirror.get(running, on_server(driver, resource_type, key))
    None -> Error(mirror.NotRunning)
  }

  case found {
    Ok(Some(value)) -> Ok(value)
    Ok(None) -> Error(cache.GotTooFewRecords)
    Error(failure) -> Error(cache.GetDriverError(failure))
  }
}

fn delete(
  driver: Driver,
  resource_type: String,
  key: String,
) -> Result(Nil, cache.DeleteError(mirror.Failure)) {
  let deleted = case driver.running {
    Some(running) ->
      mirror.delete(running, on_server(driver, resource_type, key))
    None -> Error(mirror.NotRunning)
  }

  case deleted {
    Ok(_) -> Ok(Nil)
    Error(failure) -> Error(cache.DeleteDriverError(failure))
  }
}

// Returns the key that `pevensie_redis` uses, too, so that each driver reads
// what the other has written.
fn on_server(driver: Driver, resource_type: String, key: String) -> String {
  join(driver.prefix, resource_type, key)
}

// Returns `prefix <> resource_type <> ":" <> key`, at a fifth of its cost.
@external(erlang, "veidrodelis_gleam", "join")
fn join(prefix: String, resource_type: String, key: String) -> String
