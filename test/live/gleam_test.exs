defmodule Vdr.Live.GleamTest do
  # The typed reads of the border to Gleam.
  use Vdr.Test.LiveCase, async: true

  @border :veidrodelis_gleam

  setup %{server: server} do
    {:ok, handle} = @border.start(host: "127.0.0.1", port: Server.port(server))
    on_exit(fn -> @border.stop(handle) end)
    %{handle: handle}
  end

  live_test "reads answer in Gleam's encodings", %{handle: h, redis: redis}, mirror: false do
    Redix.pipeline!(redis, [
      ["SET", "s", "Ona", "EX", 100],
      ["SET", "other", "x"],
      ["HSET", "h", "f", "1", "g", "2"],
      ["RPUSH", "l", "a", "b", "c"],
      ["SADD", "set", "a"],
      ["ZADD", "z", "1.5", "a", "+inf", "b", "-inf", "c"]
    ])

    assert @border.sync(h) == {:ok, nil}
    assert @border.get(h, "s") == {:ok, {:some, "Ona"}}
    assert @border.get(h, "none") == {:ok, :none}
    assert @border.mget(h, ["s", "none", "h"]) == {:ok, [{:some, "Ona"}, :none, :none]}
    assert @border.mget(h, []) == {:ok, []}
    assert @border.strlen(h, "s") == {:ok, 3}
    assert @border.exists(h, "none") == {:ok, false}
    assert {:ok, {:expires_in, seconds}} = @border.ttl(h, "s")
    assert seconds in 90..100
    assert @border.ttl(h, "other") == {:ok, :never}
    assert @border.ttl(h, "none") == {:ok, :no_such_key}
    assert @border.dbsize(h) == {:ok, 6}
    assert @border.keys(h, "*e*") == {:ok, ["other", "set"]}
    assert @border.hget(h, "h", "f") == {:ok, {:some, "1"}}
    assert @border.hmget(h, "h", ["f", "none"]) == {:ok, [{:some, "1"}, :none]}
    assert @border.hmget(h, "h", []) == {:ok, []}
    assert @border.hgetall(h, "h") == {:ok, [{"f", "1"}, {"g", "2"}]}
    assert @border.hkeys(h, "h") == {:ok, ["f", "g"]}
    assert @border.hvals(h, "h") == {:ok, ["1", "2"]}
    assert @border.hlen(h, "none") == {:ok, 0}
    assert @border.hexists(h, "h", "f") == {:ok, true}
    assert @border.llen(h, "l") == {:ok, 3}
    assert @border.lrange(h, "l", 0, -1) == {:ok, ["a", "b", "c"]}
    assert @border.lindex(h, "l", 1) == {:ok, {:some, "b"}}
    assert @border.smembers(h, "set") == {:ok, ["a"]}
    assert @border.sismember(h, "set", "b") == {:ok, false}
    assert @border.scard(h, "set") == {:ok, 1}
    assert @border.zscore(h, "z", "a") == {:ok, {:some, {:finite, 1.5}}}
    assert @border.zscore(h, "z", "b") == {:ok, {:some, :infinite}}
    assert @border.zscore(h, "z", "none") == {:ok, :none}
    assert @border.zrank(h, "z", "a") == {:ok, {:some, 1}}
    assert @border.zcard(h, "z") == {:ok, 3}
    all = [{"c", :negative_infinite}, {"a", {:finite, 1.5}}, {"b", :infinite}]
    assert @border.zrange(h, "z", 0, -1) == {:ok, all}
    assert @border.zrangebyscore(h, "z", :negative_infinite, :infinite) == {:ok, all}
    assert @border.zrangebyscore(h, "z", {:finite, 1.5}, {:finite, 2.0}) == {:ok, [{"a", {:finite, 1.5}}]}
    assert @border.get(h, "h") == {:error, :wrong_type}
    assert @border.lrange(h, "s", 0, -1) == {:error, :wrong_type}
    assert @border.is_ready(h)
  end

  live_test "integers without an end, and numbers of databases, raise nothing", %{handle: h, redis: redis},
    mirror: false do
    Redix.command!(redis, ["RPUSH", "l", "a", "b", "c"])
    Redix.command!(redis, ["ZADD", "z", 1, "a"])
    assert @border.sync(h) == {:ok, nil}
    far = 2 ** 70
    assert @border.lrange(h, "l", -far, far) == {:ok, ["a", "b", "c"]}
    assert @border.lrange(h, "l", far, -far) == {:ok, []}
    assert @border.lindex(h, "l", far) == {:ok, :none}
    assert @border.lindex(h, "l", -far) == {:ok, :none}
    assert @border.zrange(h, "z", -far, far) == {:ok, [{"a", {:finite, 1.0}}]}
    assert @border.get(@border.with_timeout(h, -far), "none") == {:ok, :none}
    assert @border.set(@border.with_timeout(h, far), "k", "v", :none) == {:ok, nil}
    assert @border.await_ready(h, -far) == {:ok, nil}
    assert @border.await_ready(h, far) == {:ok, nil}

    for number <- [-1, 99, 2 ** 32, far, -far] do
      elsewhere = @border.in_database(h, number)
      assert @border.get(elsewhere, "k") == {:ok, :none}
      assert @border.dbsize(elsewhere) == {:ok, 0}
      assert {:error, {:server_failed, _}} = @border.set(elsewhere, "k", "v", :none)
    end
  end

  live_test "what is no UTF-8 is told, wherever it stands", %{handle: h, redis: redis}, mirror: false do
    bytes = <<"abcdefgh", 0xFF>>

    Redix.pipeline!(redis, [
      ["SET", "s", bytes],
      ["SET", "k" <> bytes, "v"],
      ["HSET", "h", "f", bytes],
      ["RPUSH", "l", "a", bytes],
      ["SADD", "set", bytes],
      ["ZADD", "z", 1, bytes]
    ])

    assert @border.sync(h) == {:ok, nil}
    not_text = {:error, :not_text}
    assert @border.get(h, "s") == not_text
    assert @border.mget(h, ["s", "none"]) == not_text
    assert @border.keys(h, "k*") == not_text
    assert @border.hget(h, "h", "f") == not_text
    assert @border.hgetall(h, "h") == not_text
    assert @border.hvals(h, "h") == not_text
    assert @border.hkeys(h, "h") == {:ok, ["f"]}
    assert @border.lrange(h, "l", 0, -1) == not_text
    assert @border.lrange(h, "l", 0, 0) == {:ok, ["a"]}
    assert @border.smembers(h, "set") == not_text
    assert @border.zrange(h, "z", 0, -1) == not_text
    assert @border.command(h, ["GET", "s"]) == not_text
    assert @border.command(h, ["LRANGE", "l", "0", "-1"]) == not_text
    assert @border.strlen(h, "s") == {:ok, 9}
  end

  live_test "commands and their replies", %{handle: h}, mirror: false do
    assert @border.command(h, ["SET", "n", "1"]) == {:ok, {:text, "OK"}}
    assert @border.command(h, ["INCR", "n"]) == {:ok, {:number, 2}}
    assert @border.get(h, "n") == {:ok, {:some, "2"}}
    assert @border.command(h, ["GET", "none"]) == {:ok, :nothing}
    assert @border.command(h, ["MGET", "n", "none"]) == {:ok, {:many, [{:text, "2"}, :nothing]}}
    assert {:error, {:server_failed, "WRONGTYPE" <> _}} = @border.command(h, ["LPUSH", "n", "x"])
    assert {:error, {:refused, _}} = @border.command(h, ["SUBSCRIBE", "c"])
    assert {:error, {:refused, _}} = @border.command(h, [])
    assert {:error, {:server_failed, "ERR" <> _}} = @border.command(h, ["NOSUCH"])
    assert {:error, {:server_failed, "ERR" <> _}} = @border.command(h, [""])
  end

  live_test "watches", %{handle: h, redis: redis}, mirror: false do
    assert @border.watch(h, "k", "tag") == {:ok, nil}
    assert @border.watch_prefix(h, "p:", :prefix) == {:ok, nil}
    assert {:error, {:refused, _}} = @border.watch(h, "k", "tag")
    Redix.pipeline!(redis, [["SET", "k", 1], ["SET", "p:1", 1], ["SET", "p:" <> <<255>>, 1]])
    assert_receive {"tag", _event} = message, 5000
    assert @border.event(message) == {:changed, {:some, "k"}}
    assert_receive {:prefix, event}, 5000
    assert @border.event(event) == {:changed, {:some, "p:1"}}
    assert_receive message = {:prefix, _event}, 5000
    assert @border.event(message) == {:changed, :none}
    Redix.command!(redis, ["FLUSHALL"])
    assert_receive message = {:prefix, _event}, 5000
    assert @border.event(message) == {:changed, :none}
    assert @border.unwatch(h, "k") == {:ok, nil}
    assert @border.unwatch_prefix(h, "p:") == {:ok, nil}
    assert {:error, {:refused, _}} = @border.unwatch(h, "k")

    assert @border.event({"tag", %Vdr.WatchEvent.Init{offset: 1}}) == :replaced
    assert @border.event(%Vdr.WatchEvent.Missed{from: 1, to: 2, count: 2}) == :missed
    for other <- [nil, "text", {1, 2}, {:a, {:b, :c}}, {1, 2, 3}, %{}], do: assert(@border.event(other) == :unknown)
  end

  live_test "mirrors with names", %{server: server}, mirror: false do
    name = "gleam #{System.unique_integer([:positive])}"
    settings = [name: name, host: "127.0.0.1", port: Server.port(server)]
    assert @border.named(name) |> @border.get("k") == {:error, :not_running}
    assert {:ok, handle} = @border.start(settings)
    assert {:error, {:start_failed, text}} = @border.start(settings)
    assert text =~ "this name"
    # The one that was there first is not touched.
    assert @border.set(@border.named(name), "k", "v", :none) == {:ok, nil}
    assert @border.get(handle, "k") == {:ok, {:some, "v"}}
    assert @border.stop(@border.named(name)) == {:ok, nil}
    assert @border.stop(handle) == {:error, :not_running}
    refute @border.is_running(handle)
    refute @border.is_ready(handle)
    assert @border.await_ready(handle, 100) == {:error, :not_running}
    assert @border.sync(handle) == {:error, :not_running}
    assert @border.watch(handle, "k", 1) == {:error, :not_running}

    # The name is free again.
    assert {:ok, again} = @border.start(settings)
    assert @border.stop(again) == {:ok, nil}

    # No name makes an atom, however long it is, and whatever it names.
    for name <- ["", "no such #{name}", String.duplicate("x", 1000), "Elixir.Vdr.Unlinked", "kernel"] do
      assert @border.named(name) |> @border.get("k") == {:error, :not_running}
    end
  end

  live_test "a mirror of a supervisor is not stopped", %{id: id} do
    name = :"gleam_#{System.unique_integer([:positive])}"
    start_supervised!({Veidrodelis, id: name, host: "127.0.0.1", port: 1})
    handle = @border.named(Atom.to_string(name))
    # Its name is taken for those that start one, too.
    start_supervised!({Veidrodelis, id: "#{name}", host: "127.0.0.1", port: 1})
    assert @border.start(name: "#{name}", port: 1) == {:error, {:start_failed, "there is a mirror of this name"}}
    :ok = stop_supervised!({Veidrodelis, "#{name}"})
    Mirror.eventually("it has ended", fn -> Veidrodelis.info("#{name}") == {:error, :no_instance} end)
    assert @border.is_running(handle)
    refute @border.is_ready(handle)
    assert @border.get(handle, "k") == {:error, :not_ready}
    assert @border.await_ready(handle, 10) == {:error, :timed_out}
    assert @border.stop(handle) == {:error, :not_running}
    assert @border.is_running(handle)
    assert Veidrodelis.ready?(id)
  end
end
