defmodule Vdr.Live.WatchPrefixTest do
  # Watches of key prefixes, on real servers.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.WatchEvent.{Init, Update}

  live_test "a write to a key with a watched prefix sends the key", %{redis: redis, id: id} do
    assert Veidrodelis.watch_prefix(id, 0, "user:", :ref) == :ok
    assert Veidrodelis.watch_prefix(id, 0, "user:", :other) == {:error, :already_registered}
    assert Veidrodelis.watch(id, 0, "user:1", :key) == :ok
    assert Veidrodelis.info(id).watches == 2
    Mirror.settle_watches(id, redis)

    Redix.command!(redis, ["SET", "user:1", "Alice"])
    assert_receive {:ref, %Update{command: {:set, "user:1", "Alice"}, db: 0, key: "user:1"}}
    assert_receive {:key, %Update{key: "user:1"}}
    assert Veidrodelis.get(id, 0, "user:1") == {:ok, "Alice"}

    Redix.command!(redis, ["MSET", "user:2", "Bob", "user:3", "Carol", "else", "1"])
    assert_receive {:ref, %Update{command: {:mset, [_, _, _]}, key: nil}}
    Redix.command!(redis, ["MSET", "user:2", "Dave", "else", "2"])
    assert_receive {:ref, %Update{command: {:mset, [_, _]}, key: "user:2"}}
    Redix.command!(redis, ["FLUSHALL"])
    assert_receive {:ref, %Update{key: nil}}
    assert_receive {:key, %Update{key: "user:1"}}

    Redix.pipeline!(redis, [["SET", "users", "1"], ["SELECT", "1"], ["SET", "user:1", "1"], ["SELECT", "0"]])
    assert Veidrodelis.unwatch_prefix(id, 0, "user:") == :ok
    assert Veidrodelis.unwatch_prefix(id, 0, "user:") == {:error, :not_found}
    Redix.command!(redis, ["SET", "user:1", "Erin"])
    assert_receive {:key, %Update{}}
    Mirror.settle(id, redis)
    refute_received {_ref, _event}
  end

  live_test "a full sync sends an Init, and wrong arguments raise", %{server: server, redis: redis}, mirror: false do
    id = Mirror.start!(server, reconnect_delay_ms: 20, max_reconnect_delay_ms: 100)
    :ok = Veidrodelis.watch_prefix(id, 0, "", :ref)
    # The server came back empty.
    Redix.command!(redis, ["CONFIG", "SET", "appendonly", "no"])
    Server.kill(server)
    Server.restart_empty(server)
    assert_receive {:ref, %Init{}}

    assert_raise ArgumentError, ~r/Veidrodelis.watch_prefix takes \(instance, db, prefix, ref\).* got db -1/, fn ->
      Veidrodelis.watch_prefix(id, -1, "a", :ref)
    end

    assert_raise ArgumentError,
                 ~r/Veidrodelis.unwatch_prefix takes \(instance, db, prefix\).* got db 0 and prefix :a/,
                 fn ->
                   Veidrodelis.unwatch_prefix(id, 0, :a)
                 end

    assert Veidrodelis.watch_prefix({:no, :such}, 0, "a", :ref) == {:error, :no_instance}
  end

  @writes 400

  # A process that reads again only what its messages name must end with the current data. One
  # missing message, and it does not.
  live_test "a process that reads only the keys of its messages misses nothing", %{redis: redis, id: id} do
    seed = String.to_integer(System.get_env("SEED", "#{:rand.uniform(1_000_000)}"))
    :rand.seed(:exsss, seed)
    writes = for _ <- 1..@writes, do: write()
    {before, rest} = Enum.split(writes, div(@writes, 4))
    test = self()

    writer =
      Task.async(fn ->
        Redix.pipeline!(redis, before)
        send(test, :half)
        for chunk <- Enum.chunk_every(rest, 7), do: Redix.pipeline!(redis, [["MULTI"] | chunk] ++ [["EXEC"]])
      end)

    assert_receive :half, 10_000
    :ok = Veidrodelis.watch_prefix(id, 0, "p:", :ref)
    known = all(id)
    Task.await(writer, 30_000)
    Mirror.settle(id, redis)
    Redix.command!(redis, ["SET", "p:end", "1"])
    assert told(id, known) == all(id), "SEED=#{seed}"
  end

  defp told(id, known) do
    receive do
      {:ref, %Update{key: "p:end"}} -> Map.put(known, "p:end", value(id, "p:end"))
      {:ref, %Update{key: key}} when is_binary(key) -> told(id, read(id, key, known))
      {:ref, _update_of_several_or_init} -> told(id, all(id))
    after
      10_000 -> flunk("the last write was not told")
    end
  end

  defp read(id, key, known) do
    case value(id, key) do
      nil -> Map.delete(known, key)
      value -> Map.put(known, key, value)
    end
  end

  defp value(id, key) do
    {:ok, value} = Veidrodelis.get(id, 0, key)
    value
  end

  defp all(id) do
    {:ok, keys} = Veidrodelis.keys(id, 0, "p:*")
    {:ok, values} = Veidrodelis.mget(id, 0, keys)
    keys |> Enum.zip(values) |> Enum.reject(&match?({_key, nil}, &1)) |> Map.new()
  end

  defp write do
    [a, b] = [key(), key()]

    case :rand.uniform(24) do
      1 -> ["FLUSHDB"]
      2 -> ["SWAPDB", "0", "1"]
      3 -> ["MSET", a, number(), b, number()]
      4 -> ["DEL", a, b]
      5 -> ["COPY", a, b, "REPLACE"]
      6 -> ["MOVE", a, "1"]
      7 -> ["PEXPIRE", a, "100000"]
      8 -> ["EVAL", "redis.call('SET', KEYS[1], ARGV[1]) redis.call('DEL', KEYS[2])", "2", a, b, number()]
      9 -> ["GETDEL", a]
      _ -> ["SET", a, number()]
    end
  end

  defp key, do: Enum.random(["p:", "p:", "p", "q:"]) <> Enum.random(~w(1 2 3 4 5 6 7 8))
  defp number, do: Integer.to_string(:rand.uniform(1_000_000))
end
