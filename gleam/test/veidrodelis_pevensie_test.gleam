import gleam/option.{None, Some}
import gleeunit
import gleeunit/should
import pevensie/cache
import pevensie/drivers
import veidrodelis/mirror
import veidrodelis/pevensie

// A Redis or Valkey server must run at this port of this machine. The tests
// write keys that begin with `gleam-test:`, and delete them.
const port = 6379

pub fn main() {
  gleeunit.main()
}

@external(erlang, "timer", "sleep")
fn sleep(milliseconds: Int) -> anything

fn connected() {
  let config =
    pevensie.Config(..pevensie.default_config(), host: "localhost", port: port)
  let driver =
    pevensie.new_cache_driver(config)
    |> pevensie.with_prefix("gleam-test:")
  let assert Ok(ships) = cache.connect(cache.new(driver: driver))
  ships
}

fn started() {
  let assert Ok(server) =
    mirror.start([
      mirror.Host("localhost"),
      mirror.Port(port),
      mirror.Prefixes(["gleam-test:"]),
    ])
  server
}

// ----- The driver ----- //

pub fn connect_and_disconnect_test() {
  let ships = connected()
  let assert Ok(ships) = cache.disconnect(ships)
  let assert Ok(ships) = cache.connect(ships)
  let assert Ok(_) = cache.disconnect(ships)
  should.equal(cache.disconnect(ships), Error(drivers.NotConnected))
}

pub fn set_and_get_test() {
  let ships = connected()
  should.equal(cache.set(ships, "ship", "1", "Dawn Treader", None), Ok(Nil))
  should.equal(cache.get(ships, "ship", "1"), Ok("Dawn Treader"))
  should.equal(cache.delete(ships, "ship", "1"), Ok(Nil))
  should.equal(cache.get(ships, "ship", "1"), Error(cache.GotTooFewRecords))
  should.equal(cache.delete(ships, "ship", "1"), Ok(Nil))
  let assert Ok(_) = cache.disconnect(ships)
}

pub fn expiry_test() {
  let ships = connected()
  let assert Ok(Nil) = cache.set(ships, "ship", "short", "v", Some(1))
  let assert Ok(Nil) = cache.set(ships, "ship", "shorter", "v", Some(100))
  let assert Ok(Nil) = cache.set(ships, "ship", "shorter", "v", Some(1))
  let assert Ok(Nil) = cache.set(ships, "ship", "for ever", "v", Some(1))
  let assert Ok(Nil) = cache.set(ships, "ship", "for ever", "v", None)
  let assert Ok(Nil) = cache.set(ships, "ship", "over", "v", Some(0))
  should.equal(cache.get(ships, "ship", "short"), Ok("v"))
  should.equal(cache.get(ships, "ship", "over"), Error(cache.GotTooFewRecords))
  sleep(1100)
  should.equal(cache.get(ships, "ship", "short"), Error(cache.GotTooFewRecords))
  should.equal(
    cache.get(ships, "ship", "shorter"),
    Error(cache.GotTooFewRecords),
  )
  should.equal(cache.get(ships, "ship", "for ever"), Ok("v"))
  let assert Ok(Nil) = cache.delete(ships, "ship", "for ever")
  let assert Ok(_) = cache.disconnect(ships)
}

pub fn a_server_that_is_not_there_test() {
  let config =
    pevensie.Config(..pevensie.default_config(), port: 1, timeout: 100)
  let driver = pevensie.new_cache_driver(config)
  let assert Error(drivers.ConnectDriverError(mirror.StartFailed(_))) =
    cache.connect(cache.new(driver: driver))
}

// ----- The reads ----- //

pub fn strings_test() {
  let server = started()
  let assert Ok(Nil) = mirror.set(server, "gleam-test:s", "Ona", Some(100))
  should.equal(mirror.get(server, "gleam-test:s"), Ok(Some("Ona")))
  should.equal(
    mirror.mget(server, ["gleam-test:s", "gleam-test:none"]),
    Ok([Some("Ona"), None]),
  )
  should.equal(mirror.strlen(server, "gleam-test:s"), Ok(3))
  should.equal(mirror.exists(server, "gleam-test:s"), Ok(True))
  should.equal(mirror.keys(server, "gleam-test:s*"), Ok(["gleam-test:s"]))
  let assert Ok(mirror.ExpiresIn(_)) = mirror.ttl(server, "gleam-test:s")
  let assert Ok(Nil) = mirror.set(server, "gleam-test:s", "Ona", None)
  should.equal(mirror.ttl(server, "gleam-test:s"), Ok(mirror.Never))
  let assert Ok(Nil) = mirror.delete(server, "gleam-test:s")
  should.equal(mirror.get(server, "gleam-test:s"), Ok(None))
  should.equal(mirror.ttl(server, "gleam-test:s"), Ok(mirror.NoSuchKey))
  let assert Ok(Nil) = mirror.stop(server)
  should.equal(mirror.get(server, "gleam-test:s"), Error(mirror.NotRunning))
  should.equal(mirror.stop(server), Error(mirror.NotRunning))
}

pub fn hashes_test() {
  let server = started()
  let words = ["HSET", "gleam-test:h", "age", "36", "city", "Kaunas"]
  should.equal(mirror.command(server, words), Ok(mirror.Number(2)))
  should.equal(mirror.hget(server, "gleam-test:h", "age"), Ok(Some("36")))
  should.equal(
    mirror.hgetall(server, "gleam-test:h"),
    Ok([#("age", "36"), #("city", "Kaunas")]),
  )
  should.equal(
    mirror.hmget(server, "gleam-test:h", ["age", "none"]),
    Ok([Some("36"), None]),
  )
  should.equal(mirror.hkeys(server, "gleam-test:h"), Ok(["age", "city"]))
  should.equal(mirror.hvals(server, "gleam-test:h"), Ok(["36", "Kaunas"]))
  should.equal(mirror.hlen(server, "gleam-test:h"), Ok(2))
  should.equal(mirror.hexists(server, "gleam-test:h", "none"), Ok(False))
  should.equal(mirror.get(server, "gleam-test:h"), Error(mirror.WrongType))
  let assert Ok(Nil) = mirror.delete(server, "gleam-test:h")
  let assert Ok(Nil) = mirror.stop(server)
}

pub fn lists_and_sets_test() {
  let server = started()
  let assert Ok(mirror.Number(3)) =
    mirror.command(server, ["RPUSH", "gleam-test:l", "a", "b", "c"])
  should.equal(mirror.lrange(server, "gleam-test:l", 0, -1), Ok(["a", "b", "c"]))
  should.equal(mirror.lindex(server, "gleam-test:l", -1), Ok(Some("c")))
  should.equal(mirror.lindex(server, "gleam-test:l", 3), Ok(None))
  should.equal(mirror.llen(server, "gleam-test:l"), Ok(3))
  let assert Ok(mirror.Number(1)) =
    mirror.command(server, ["SADD", "gleam-test:set", "a"])
  should.equal(mirror.smembers(server, "gleam-test:set"), Ok(["a"]))
  should.equal(mirror.sismember(server, "gleam-test:set", "a"), Ok(True))
  should.equal(mirror.scard(server, "gleam-test:set"), Ok(1))
  let assert Ok(Nil) = mirror.delete(server, "gleam-test:l")
  let assert Ok(Nil) = mirror.delete(server, "gleam-test:set")
  should.equal(mirror.dbsize(server), Ok(0))
  let assert Ok(Nil) = mirror.stop(server)
}

pub fn sorted_sets_test() {
  let server = started()
  let words = ["ZADD", "gleam-test:z", "1.5", "a", "+inf", "b", "-inf", "c"]
  should.equal(mirror.command(server, words), Ok(mirror.Number(3)))
  should.equal(
    mirror.zrange(server, "gleam-test:z", 0, -1),
    Ok([
      #("c", mirror.NegativeInfinite),
      #("a", mirror.Finite(1.5)),
      #("b", mirror.Infinite),
    ]),
  )
  should.equal(
    mirror.zrangebyscore(
      server,
      "gleam-test:z",
      mirror.Finite(1.0),
      mirror.Infinite,
    ),
    Ok([#("a", mirror.Finite(1.5)), #("b", mirror.Infinite)]),
  )
  should.equal(
    mirror.zscore(server, "gleam-test:z", "a"),
    Ok(Some(mirror.Finite(1.5))),
  )
  should.equal(mirror.zrank(server, "gleam-test:z", "a"), Ok(Some(1)))
  should.equal(mirror.zrank(server, "gleam-test:z", "none"), Ok(None))
  should.equal(mirror.zcard(server, "gleam-test:z"), Ok(3))
  let assert Ok(Nil) = mirror.delete(server, "gleam-test:z")
  let assert Ok(Nil) = mirror.stop(server)
}

pub fn commands_test() {
  let server = started()
  should.equal(
    mirror.command(server, ["SET", "gleam-test:c", "1"]),
    Ok(mirror.Text("OK")),
  )
  should.equal(
    mirror.command(server, ["MGET", "gleam-test:c", "gleam-test:none"]),
    Ok(mirror.Many([mirror.Text("1"), mirror.Nothing])),
  )
  let assert Error(mirror.ServerFailed(_)) =
    mirror.command(server, ["LPUSH", "gleam-test:c", "1"])
  let assert Error(mirror.Refused(_)) = mirror.command(server, ["MULTI"])
  should.equal(mirror.sync(server), Ok(Nil))
  let assert Ok(Nil) = mirror.delete(server, "gleam-test:c")
  let assert Ok(Nil) = mirror.stop(server)
}

pub fn a_named_mirror_test() {
  let assert Ok(server) =
    mirror.start([
      mirror.Name("gleam-test"),
      mirror.Url("redis://localhost:6379"),
    ])
  let assert Ok(Nil) = mirror.set(server, "gleam-test:named:1", "v", None)
  let driver =
    pevensie.with_mirror("gleam-test")
    |> pevensie.with_prefix("gleam-test:")
  let assert Ok(ships) = cache.connect(cache.new(driver: driver))
  should.equal(cache.get(ships, "named", "1"), Ok("v"))
  let assert Ok(Nil) = cache.delete(ships, "named", "1")
  let assert Ok(_) = cache.disconnect(ships)
  should.equal(mirror.is_ready(server), True)
  let assert Ok(Nil) = mirror.stop(server)
  should.equal(mirror.is_running(mirror.named("gleam-test")), False)
}

pub fn watches_test() {
  let server = started()
  should.equal(mirror.watch(server, "gleam-test:w", "tag"), Ok(Nil))
  let assert Error(mirror.Refused(_)) =
    mirror.watch(server, "gleam-test:w", "tag")
  should.equal(mirror.event("something else"), mirror.Unknown)
  should.equal(mirror.unwatch(server, "gleam-test:w"), Ok(Nil))
  should.equal(mirror.watch_prefix(server, "gleam-test:", "tag"), Ok(Nil))
  should.equal(mirror.unwatch_prefix(server, "gleam-test:"), Ok(Nil))
  let assert Ok(Nil) = mirror.stop(server)
}
