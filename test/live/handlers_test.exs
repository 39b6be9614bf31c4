# The handlers of docs/handlers.md, unchanged.
guide = File.read!(Path.expand("../../docs/handlers.md", __DIR__))
for [_, code] <- Regex.scan(~r/^```elixir\n(.*?)^```/ms, guide), do: Code.compile_string(code, "docs/handlers.md")

defmodule Vdr.Live.HandlersTest do
  use Vdr.Test.LiveCase, async: true

  import ExUnit.CaptureLog
  alias Vdr.RedisStream.Replica

  @moduletag timeout: 120_000

  defp run!(module, port, callback_opts, opts \\ []) do
    defaults = [
      host: "127.0.0.1",
      port: port,
      callback_module: module,
      callback_opts: callback_opts,
      reconnect_delay_ms: 20
    ]

    pid = start_supervised!({Replica, Keyword.merge(defaults, opts)}, id: make_ref())
    Mirror.eventually("it streams", fn -> Replica.get_replication_state(pid) == :streaming end)
    pid
  end

  defp settle(redis) do
    Redix.command!(redis, ["SET", "settled", 1])
    Mirror.eventually("all is handled", fn -> Redix.command!(redis, ["WAIT", 1, 100]) == 1 end)
  end

  live_test "the logger", %{port: port}, mirror: false do
    log =
      capture_log(fn ->
        {:ok, replica} =
          Vdr.RedisStream.Replica.start_link(
            host: "localhost",
            port: port,
            callback_module: LoggingCallback,
            callback_opts: %{}
          )

        Mirror.eventually("it streams", fn -> Replica.get_replication_state(replica) == :streaming end)
        {:ok, redis} = Redix.start_link(port: port)
        Redix.command!(redis, ["SET", "logged", port])
        settle(redis)
        assert {:ok, :ok} = Replica.call(replica, :anything)
        assert %{} = Replica.get_callback_state(replica)
        send(replica, :anything)
        :ok = Replica.stop(replica)
      end)

    assert log =~ "Replication started"
    assert log =~ "Command streaming started"
    assert log =~ ~s(Received command: db=0 cmd={:set, "logged", "#{port}"})
    assert log =~ "Replica shutting down"
  end

  live_test "the index equals the server's data", %{port: port, redis: redis}, mirror: false do
    table = :"index_#{port}"
    :rand.seed(:exsss, 11)

    Redix.pipeline!(
      redis,
      for(n <- 1..200, do: ["HSET", "user:#{n}", "city", Enum.random(~w(Vilnius Riga Tallinn)), "x", n])
    )

    run!(CityIndex, port, table, only: [dbs: [0], prefixes: ["user:"], types: [:hash]])

    for _ <- 1..20 do
      Redix.pipeline!(redis, for(_ <- 1..50, do: random_write()))
    end

    settle(redis)
    for city <- ~w(Vilnius Riga Tallinn), do: assert(index(table, city) == {city, truth(redis, city)})

    # A full sync brings what the index cannot follow.
    Redix.pipeline!(redis, [["HSET", "draft", "city", "Riga"], ["RENAME", "draft", "user:new"]])
    Mirror.eventually("the renamed user is found", fn -> "user:new" in keys_in(table, "Riga") end)
    settle(redis)
    for city <- ~w(Vilnius Riga Tallinn), do: assert(index(table, city) == {city, truth(redis, city)})
    Redix.command!(redis, ["FLUSHALL"])
    settle(redis)
    assert index(table, "Riga") == {"Riga", []}
  end

  defp random_write do
    key = "user:#{:rand.uniform(200)}"
    city = Enum.random(~w(Vilnius Riga Tallinn))

    Enum.random([
      ["HSET", key, "city", city],
      ["HSETNX", key, "city", city],
      ["HDEL", key, "city"],
      ["HINCRBY", key, "x", 1],
      ["DEL", key],
      ["UNLINK", key, "other"],
      [
        "EVAL",
        "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end",
        2,
        key,
        "user:#{:rand.uniform(200)}"
      ],
      ["EVAL", "redis.call('SET', KEYS[1], 'x'); redis.call('DEL', KEYS[1])", 1, key],
      ["PEXPIRE", key, 100_000]
    ])
  end

  # The table is missing for a moment while the handler restarts.
  defp keys_in(table, city), do: if(:ets.whereis(table) != :undefined, do: CityIndex.keys_in(table, city), else: [])
  defp index(table, city), do: {city, Enum.sort(CityIndex.keys_in(table, city))}

  defp truth(redis, city) do
    keys = Redix.command!(redis, ["KEYS", "user:*"])
    Enum.sort(for key <- keys, Redix.command!(redis, ["HGET", key, "city"]) == city, do: key)
  end

  live_test "the forwarder resumes", %{port: port, redis: redis, binary: binary}, mirror: false do
    target = Server.start!(binary: binary)
    at_target = Server.connect!(target)
    target_opts = [host: "127.0.0.1", port: Server.port(target)]
    Redix.command!(at_target, ["SET", "leftover", 1])
    Redix.pipeline!(redis, [["RPUSH", "l" | Enum.to_list(1..2_000)], ["SELECT", 4], ["SET", "in4", 1], ["SELECT", 0]])
    first = run!(Forwarder, port, target_opts)

    Redix.pipeline!(redis, [
      ["INCR", "n"],
      ["SELECT", 4],
      ["MULTI"],
      ["INCR", "n"],
      ["INCR", "in4"],
      ["EXEC"],
      ["SELECT", 0]
    ])

    settle(redis)
    assert Redix.command!(at_target, ["GET", "leftover"]) == nil
    same!(redis, at_target)

    # After a kill the supervisor restarts it, and it resumes after the last unit: nothing counts
    # twice.
    for n <- 1..5 do
      Process.exit(first, :kill)
      Redix.pipeline!(redis, [["INCR", "n"], ["SELECT", 4], ["INCR", "n"], ["SELECT", 0], ["RPUSH", "l", n]])
    end

    Mirror.eventually("it is back", fn -> Redix.command!(redis, ["WAIT", 1, 100]) == 1 end)
    settle(redis)
    same!(redis, at_target)
    [_, full] = Regex.run(~r/sync_full:(\d+)/, Redix.command!(redis, ["INFO", "stats"]))
    assert full == "1"
  end

  defp same!(redis, at_target) do
    for db <- [0, 4] do
      [_, keys] = Redix.pipeline!(redis, [["SELECT", db], ["KEYS", "*"]])
      [_, at] = Redix.pipeline!(at_target, [["SELECT", db], ["KEYS", "*"]])
      assert Enum.sort(keys) == Enum.sort(at -- ["forwarder:position"])
      digests = fn redis -> Redix.command!(redis, ["DEBUG", "DIGEST-VALUE" | Enum.sort(keys)]) end
      assert digests.(redis) == digests.(at_target)
    end

    Redix.command!(redis, ["SELECT", 0])
  end
end
