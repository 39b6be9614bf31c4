defmodule Vdr.Live.WritesTest do
  use Vdr.Test.LiveCase, async: true

  alias Veidrodelis.ServerError

  live_test "a write is read at once, whatever it is", %{id: id} do
    for n <- 1..200 do
      key = "k#{rem(n, 7)}"
      assert Veidrodelis.command(id, ["SET", key, n]) == {:ok, "OK"}
      assert Veidrodelis.get(id, 0, key) == {:ok, "#{n}"}
    end

    assert Veidrodelis.command(id, [:hset, "h", "f", 1.5, "g", "x"]) == {:ok, 2}
    assert Veidrodelis.hgetall(id, 0, "h") == {:ok, [{"f", "1.5"}, {"g", "x"}]}

    assert Veidrodelis.command(id, ["EVAL", "redis.call('SET', KEYS[1], 'by script') return {1, {'a', false}}", 1, "s"]) ==
             {:ok, [1, ["a", nil]]}

    assert Veidrodelis.get(id, 0, "s") == {:ok, "by script"}
    # Nothing is written: there is nothing to wait for.
    assert Veidrodelis.command(id, ["SET", "s", "x", "NX"]) == {:ok, nil}
    assert Veidrodelis.command(id, ["DEL", "none"]) == {:ok, 0}
    assert Veidrodelis.command(id, ["GET", "s"]) == {:ok, "by script"}
    assert Veidrodelis.info(id, :writes) == :ready
  end

  live_test "large values and many words are written and read", %{id: id} do
    value = :binary.copy("v", 3_000_000)
    assert Veidrodelis.command(id, ["SET", "large", value]) == {:ok, "OK"}
    assert Veidrodelis.get(id, 0, "large") == {:ok, value}
    assert Veidrodelis.command(id, ["GET", "large"]) == {:ok, value}
    members = for n <- 1..20_000, do: "member #{n}"
    assert Veidrodelis.command(id, ["SADD", "set" | members]) == {:ok, 20_000}
    assert Veidrodelis.scard(id, 0, "set") == {:ok, 20_000}
    assert {:ok, back} = Veidrodelis.command(id, ["SMEMBERS", "set"])
    assert Enum.sort(back) == Enum.sort(members)
  end

  live_test "each database has its connection", %{id: id} do
    for db <- [0, 3, 9, 3], do: assert(Veidrodelis.command(id, ["SET", "where", db], db: db) == {:ok, "OK"})
    for db <- [0, 3, 9], do: assert(Veidrodelis.get(id, db, "where") == {:ok, "#{db}"})
    assert {:error, %ServerError{code: "ERR", message: message}} = Veidrodelis.command(id, ["SET", "k", 1], db: 999)
    assert message =~ "out of range"
    assert Veidrodelis.command(id, ["SET", "where", "still"]) == {:ok, "OK"}
  end

  live_test "errors of the server are data", %{id: id} do
    {:ok, _} = Veidrodelis.command(id, ["SET", "string", "x"])

    assert {:error, %ServerError{code: "WRONGTYPE"} = error} = Veidrodelis.command(id, ["LPUSH", "string", "y"])
    assert Exception.message(error) =~ "WRONGTYPE Operation"
    assert_raise ServerError, ~r/WRONGTYPE/, fn -> Veidrodelis.command!(id, ["LPUSH", "string", "y"]) end

    assert {:ok, ["OK", %ServerError{code: "WRONGTYPE"}, 2]} =
             Veidrodelis.pipeline(id, [["SET", "a", 1], ["LPUSH", "string", 1], ["INCR", "a"]])

    assert Veidrodelis.get(id, 0, "a") == {:ok, "2"}

    assert {:ok, ["OK", %ServerError{code: "WRONGTYPE"}, 6]} =
             Veidrodelis.transaction(id, [["SET", "a", 5], ["LPUSH", "string", 1], ["INCR", "a"]])

    assert Veidrodelis.get(id, 0, "a") == {:ok, "6"}

    assert {:error, %ServerError{code: "EXECABORT", cause: %ServerError{code: "ERR"} = cause}} =
             Veidrodelis.transaction(id, [["SET", "a", "not done"], ["NOSUCH"]])

    assert cause.message =~ "NOSUCH"
    assert Veidrodelis.command(id, ["GET", "a"]) == {:ok, "6"}
    assert Veidrodelis.pipeline(id, []) == {:ok, []}
    assert Veidrodelis.transaction!(id, [["INCR", "a"], ["INCR", "a"]]) == [7, 8]
    assert Veidrodelis.pipeline!(id, [["GET", "a"]]) == ["8"]
  end

  live_test "a transaction is visible as a whole", %{id: id} do
    :ok = Veidrodelis.watch(id, 0, "left", :seen)
    for n <- 1..50, do: {:ok, _} = Veidrodelis.transaction(id, [["SET", "left", n], ["SET", "right", n]])

    for n <- 1..50 do
      assert_receive {:seen, %Vdr.WatchEvent.Update{}}
      {:ok, [{:ok, left}, {:ok, right}]} = Veidrodelis.read_tx(id, 0, [{:get, "left"}, {:get, "right"}])
      assert left == right and String.to_integer(left) >= n
    end
  end

  live_test "commands that would take the shared connection are refused by name", %{id: id} do
    subscriptions = ~w(SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR)
    blocking = ~w(BLPOP BRPOP BLMOVE BLMPOP BRPOPLPUSH BZPOPMIN BZPOPMAX BZMPOP)
    connection = ~w(SELECT MULTI EXEC DISCARD WATCH UNWATCH HELLO AUTH RESET QUIT SYNC PSYNC REPLCONF)

    for {command, name} <-
          for(name <- subscriptions ++ blocking ++ connection, do: {[String.downcase(name), "a", "b"], name}) ++
            [
              {["CLIENT", "REPLY", "OFF"], "CLIENT REPLY"},
              {["client", "tracking", "on"], "CLIENT TRACKING"},
              {["XREAD", "BLOCK", 0, "STREAMS", "s", "$"], "XREAD BLOCK"},
              {["XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">"], "XREADGROUP BLOCK"}
            ] do
      assert Veidrodelis.command(id, command) == {:error, {:not_allowed, name}}
      assert Veidrodelis.pipeline(id, [["SET", "k", 1], command]) == {:error, {:not_allowed, name}}
      assert Veidrodelis.transaction(id, [["SET", "k", 1], command]) == {:error, {:not_allowed, name}}
    end

    assert Veidrodelis.command(id, ["EXISTS", "k"]) == {:ok, 0}
  end

  live_test "WAIT holds up nobody else", %{id: id, redis: redis} do
    slow = Task.async(fn -> Veidrodelis.pipeline(id, [["SET", "w", 1], ["WAIT", 5, 60_000]], timeout: 90_000) end)
    waits = fn -> Regex.run(~r/id=(\d+) .*cmd=wait/, Redix.command!(redis, ["CLIENT", "LIST"])) end
    Mirror.eventually("it waits", fn -> waits.() != nil end)
    assert Veidrodelis.command(id, ["SET", "quick", 1], timeout: 20_000) == {:ok, "OK"}
    # It still waits.
    [_, client] = waits.()
    assert Redix.command!(redis, ["CLIENT", "UNBLOCK", client]) == 1
    assert {:ok, ["OK", replicas]} = Task.await(slow, 20_000)
    assert is_integer(replicas)
  end

  live_test "10,000 mixed writes by 16 processes beside other writers: none is read stale", %{id: id, server: server} do
    other = Server.connect!(server)

    noise = Task.async(fn -> write_noise(other, 1) end)

    stale =
      1..16
      |> Task.async_stream(fn process -> Enum.count(1..625, &(not fresh?(id, process, &1))) end,
        max_concurrency: 16,
        timeout: 120_000
      )
      |> Enum.map(fn {:ok, stale} -> stale end)
      |> Enum.sum()

    send(noise.pid, :stop)
    assert Task.await(noise, 30_000) > 0
    assert stale == 0
    assert Veidrodelis.info(id, :waiting) == 0
  end

  # Another client's writes, until it is told to stop.
  defp write_noise(redis, n) do
    Redix.pipeline!(redis, for(key <- 1..20, do: ["SET", "noise:#{key}", n]))

    receive do
      :stop -> n
    after
      0 -> write_noise(redis, n + 1)
    end
  end

  # One write of one process, and whether the process then reads it.
  defp fresh?(id, process, n) do
    key = "p#{process}:#{rem(n, 5)}"

    case rem(n, 6) do
      0 ->
        {:ok, "OK"} = Veidrodelis.command(id, ["SET", key, n])
        Veidrodelis.get(id, 0, key) == {:ok, "#{n}"}

      1 ->
        {:ok, _} = Veidrodelis.command(id, ["HSET", "h" <> key, "f", n])
        Veidrodelis.hget(id, 0, "h" <> key, "f") == {:ok, "#{n}"}

      2 ->
        {:ok, ["OK", length]} = Veidrodelis.transaction(id, [["SET", key, n], ["RPUSH", "l" <> key, n]])

        {:ok, [{:ok, value}, {:ok, seen}]} = Veidrodelis.read_tx(id, 0, [{:get, key}, {:llen, "l" <> key}])
        value == "#{n}" and seen >= length

      3 ->
        script = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('INCR', KEYS[2])"
        {:ok, count} = Veidrodelis.command(id, ["EVAL", script, 2, key, "count", n])
        # Other processes count, too.
        {:ok, seen} = Veidrodelis.get(id, 0, "count")
        Veidrodelis.get(id, 0, key) == {:ok, "#{n}"} and String.to_integer(seen) >= count

      4 ->
        {:ok, [_, "OK"]} = Veidrodelis.pipeline(id, [["DEL", key], ["SET", key, n, "EX", 100]])
        Veidrodelis.get(id, 0, key) == {:ok, "#{n}"}

      5 ->
        {:ok, _} = Veidrodelis.command(id, ["DEL", key])
        Veidrodelis.get(id, 0, key) == {:ok, nil}
    end
  end

  live_test "sync shows what another client has written", %{id: id, redis: redis} do
    for n <- 1..200 do
      Redix.command!(redis, ["SET", "by another", n])
      assert Veidrodelis.sync(id) == :ok
      assert Veidrodelis.get(id, 0, "by another") == {:ok, "#{n}"}
    end
  end

  live_test "a thousand callers of sync share the questions to the primary", context do
    %{id: id, server: server, redis: redis} = context
    :ok = Veidrodelis.sync(id)
    before = calls(redis)
    # The server answers nobody: all callers are there before the first answer.
    Server.pause(server)
    tasks = for _ <- 1..1000, do: Task.async(fn -> Veidrodelis.sync(id, 60_000) end)

    Mirror.eventually("all wait", fn ->
      Enum.all?(tasks, &(Process.info(&1.pid, :status) == {:status, :waiting}))
    end)

    Server.resume(server)
    assert tasks |> Task.await_many(60_000) |> Enum.uniq() == [:ok]

    # One on its way and one that waits, at any time, on each of a few connections.
    assert calls(redis) - before < 20
  end

  defp calls(redis) do
    stats = Redix.command!(redis, ["INFO", "commandstats"])

    for(name <- ~w(role info), do: Regex.run(~r/cmdstat_#{name}:calls=(\d+)/, stats))
    |> Enum.map(fn
      [_, calls] -> String.to_integer(calls)
      nil -> 0
    end)
    |> Enum.sum()
  end

  live_test "a position is handed to another process and another instance", %{id: id, server: server} do
    other = Mirror.start!(server)

    for n <- 1..100 do
      {:ok, "OK"} = Veidrodelis.command(id, ["SET", "handed", n])
      {:ok, position} = Veidrodelis.position(id)
      position = position |> :erlang.term_to_binary() |> :erlang.binary_to_term()

      Task.await(
        Task.async(fn ->
          assert Veidrodelis.await_position(other, position) == :ok
          assert Veidrodelis.get(other, 0, "handed") == {:ok, "#{n}"}
        end)
      )
    end
  end

  live_test "a position of another history is lost, one of the future is waited for", %{id: id} do
    {:ok, {replication_id, offset}} = Veidrodelis.position(id)
    assert Veidrodelis.await_position(id, {replication_id, 0}) == :ok
    assert Veidrodelis.await_position(id, {replication_id, offset + 1_000_000}, 50) == {:error, :timeout}
    assert Veidrodelis.await_position(id, {String.duplicate("a", 40), 1}) == {:error, :lost_history}
    Mirror.eventually("nobody waits", fn -> Veidrodelis.info(id, :waiting) == 0 end)
  end

  live_test "whoever waits and dies is forgotten", %{id: id, redis: redis} do
    {:ok, {replication_id, offset}} = Veidrodelis.position(id)
    far = {replication_id, offset + 1_000_000_000}
    pids = for _ <- 1..500, do: spawn(fn -> Veidrodelis.await_position(id, far, :infinity) end)
    Mirror.eventually("all wait", fn -> Veidrodelis.info(id, :waiting) == 500 end)
    Redix.command!(redis, ["SET", "k", 1])
    Enum.each(pids, &Process.exit(&1, :kill))
    Mirror.eventually("nobody waits", fn -> Veidrodelis.info(id, :waiting) == 0 end)
  end

  live_test "whoever waits when the instance ends is told", %{server: server} do
    id = {:ends, System.unique_integer([:positive])}
    {:ok, _pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: Server.port(server))
    :ok = Veidrodelis.await_ready(id, 20_000)
    {:ok, {replication_id, offset}} = Veidrodelis.position(id)
    waiting = Task.async(fn -> Veidrodelis.await_position(id, {replication_id, offset + 1_000_000}, :infinity) end)
    Mirror.eventually("it waits", fn -> Veidrodelis.info(id, :waiting) == 1 end)
    Veidrodelis.stop(id)
    assert Task.await(waiting) == {:error, :no_instance}
    assert Veidrodelis.command(id, ["SET", "a", 1]) == {:error, :no_instance}
    assert Veidrodelis.sync(id) == {:error, :no_instance}
    assert Veidrodelis.position(id) == {:error, :no_instance}
    assert Veidrodelis.await_position(id, {replication_id, 1}) == {:error, :no_instance}
  end

  live_test "writes of a mirror of a replica go to the primary, and are visible all the same", %{
    server: primary,
    binary: binary
  } do
    replica = Server.start!(binary: binary, config: [{"replicaof", "127.0.0.1 #{Server.port(primary)}"}])
    id = Mirror.start!(replica)

    for n <- 1..100 do
      assert Veidrodelis.command(id, ["SET", "through", n]) == {:ok, "OK"}
      assert Veidrodelis.get(id, 0, "through") == {:ok, "#{n}"}
    end

    # The replica stands still: the write is done, and not here.
    Server.pause(replica)
    assert Veidrodelis.command(id, ["SET", "through", "late"], timeout: 2000) == {:error, {:written, :not_visible}}
    assert Veidrodelis.sync(id, 100) == {:error, :timeout}
    assert Veidrodelis.command(id, ["SET", "through", "later"], sync: false) == {:ok, "OK"}
    Server.resume(replica)
    assert Veidrodelis.sync(id) == :ok
    assert Veidrodelis.get(id, 0, "through") == {:ok, "later"}
  end

  live_test "a frozen primary leaves the fate of a write unknown", %{id: id, server: server} do
    {:ok, "OK"} = Veidrodelis.command(id, ["SET", "k", 1])
    Server.pause(server)
    assert Veidrodelis.command(id, ["SET", "k", 2], timeout: 1000) == {:error, {:sent, :timeout}}
    assert Veidrodelis.sync(id, 100) == {:error, :timeout}
    Server.resume(server)
    assert Veidrodelis.command(id, ["GET", "k"]) == {:ok, "2"}
  end

  live_test "a dead primary is named, and writes go on when it is back", %{id: id, server: server} do
    {:ok, "OK"} = Veidrodelis.command(id, ["SET", "k", 1])
    Server.kill(server)
    assert Veidrodelis.command(id, ["SET", "k", 2], timeout: 2000) |> refused?()
    waiting = Task.async(fn -> Veidrodelis.command(id, ["SET", "k", 3], timeout: 30_000) end)
    Server.restart(server)
    # A server takes another replication id when the first replica attaches after its start. So the
    # position of a write from before is not known.
    assert Task.await(waiting, 40_000) in [{:ok, "OK"}, {:error, {:written, :lost_history}}]
    Mirror.eventually("it is read", fn -> Veidrodelis.get(id, 0, "k") == {:ok, "3"} end)
    assert Veidrodelis.command(id, ["SET", "k", 4], timeout: 20_000) == {:ok, "OK"}
    assert Veidrodelis.get(id, 0, "k") == {:ok, "4"}
  end

  defp refused?({:error, :connection_refused}), do: true
  # The connection may be seen to end only after the write was sent.
  defp refused?({:error, {:sent, reason}}), do: reason in [:closed, :connection_reset]

  live_test "without the right to ask for offsets, writes are possible without waiting only",
            %{server: server, redis: redis},
            mirror: false do
    Redix.command!(redis, ~w(ACL SETUSER norole on >secret ~* &* +@all -role))
    id = Mirror.start!(server, username: "norole", password: "secret")
    Mirror.eventually("the instance has asked", fn -> Veidrodelis.info(id, :writes) == :no_offset end)
    assert Veidrodelis.command(id, ["SET", "k", 1]) == {:error, :no_offset}
    assert Veidrodelis.sync(id) == {:error, :no_offset}
    assert Veidrodelis.command(id, ["SET", "k", 2], sync: false) == {:ok, "OK"}
    assert Redix.command!(redis, ["GET", "k"]) == "2"
    assert Veidrodelis.info(id, :writes) == :no_offset
  end

  live_test "what the server refuses is its error, and nothing is retried", %{server: server, redis: redis},
    mirror: false do
    Redix.command!(redis, ~w(ACL SETUSER writer on >secret ~own:* &* +@all -flushall))
    id = Mirror.start!(server, username: "writer", password: "secret")
    assert {:error, %ServerError{code: "NOPERM"}} = Veidrodelis.command(id, ["FLUSHALL"])
    assert {:error, %ServerError{code: "NOPERM"}} = Veidrodelis.command(id, ["SET", "other", 1])
    assert {:ok, "OK"} = Veidrodelis.command(id, ["SET", "own:1", 1])
    Redix.command!(redis, ["CONFIG", "SET", "maxmemory", 1])
    assert {:error, %ServerError{code: "OOM"}} = Veidrodelis.command(id, ["SET", "own:1", 2])
    assert Redix.command!(redis, ["GET", "own:1"]) == "1"
  end

  live_test "the recipe with a watch goes on working", %{id: id, redis: redis} do
    ref = make_ref()
    :ok = Veidrodelis.watch(id, 0, "events_version", ref)

    ["OK", "QUEUED", "QUEUED", [_, version]] =
      Redix.pipeline!(redis, [["MULTI"], ["LPUSH", "events", "myevent"], ["INCR", "events_version"], ["EXEC"]])

    :ok = await_version(id, ref, version)
    assert Veidrodelis.lrange(id, 0, "events", 0, -1) == {:ok, ["myevent"]}
    # The same in one call.
    {:ok, _} = Veidrodelis.command(id, ["LPUSH", "events", "another"])
    assert Veidrodelis.lrange(id, 0, "events", 0, -1) == {:ok, ["another", "myevent"]}
  end

  defp await_version(id, ref, version) do
    assert_receive {^ref, _event}, 5000
    {:ok, seen} = Veidrodelis.get(id, 0, "events_version")
    if seen && String.to_integer(seen) >= version, do: :ok, else: await_version(id, ref, version)
  end
end
