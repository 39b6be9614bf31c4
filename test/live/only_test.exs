defmodule Vdr.Live.OnlyTest do
  # A mirror of a part of the data: kept keys equal the primary's, other keys cost nothing, and no
  # value is ever wrong.
  use Vdr.Test.LiveCase, async: true

  @moduletag timeout: 120_000

  defp mirror!(server, only), do: Mirror.start!(server, only: only, reconnect_delay_ms: 20, max_reconnect_delay_ms: 100)

  # The marker that `Mirror.settle` writes must be kept, too.
  defp with_marker(prefixes), do: ["vdr:" | prefixes]

  live_test "full sync and stream keep only the prefix", %{server: server, redis: redis}, mirror: false do
    Redix.pipeline!(redis, [["SET", "user:1", "a"], ["SET", "other", "b"], ["HSET", "user:2", "f", "v"]])
    id = mirror!(server, prefixes: with_marker(["user:"]))
    assert {:ok, ["user:1", "user:2"]} = Veidrodelis.first(id, 0, 10)

    Redix.pipeline!(redis, [
      ["SET", "user:3", 3],
      ["SET", "else", 4],
      ["MSET", "user:4", 4, "more", 5],
      ["RENAME", "user:1", "gone"],
      ["SADD", "pool", "m", "n"],
      ["SMOVE", "pool", "user:set", "m"]
    ])

    Mirror.settle(id, redis)
    assert {:ok, ["user:2", "user:3", "user:4", "user:set", "vdr:settled"]} = Veidrodelis.first(id, 0, 10)
    assert {:ok, ["m"]} = Veidrodelis.smembers(id, 0, "user:set")
    assert %{full_syncs: 1} = Veidrodelis.info(id)
  end

  live_test "databases and types", %{server: server, redis: redis}, mirror: false do
    Redix.pipeline!(redis, [
      ["HSET", "h", "f", 1],
      ["SET", "s", 1],
      ["SELECT", 1],
      ["HSET", "h1", "f", 1],
      ["SELECT", 0]
    ])

    id = mirror!(server, dbs: [0], types: [:hash, :string])

    Redix.pipeline!(redis, [
      ["RPUSH", "l", 1, 2],
      ["LSET", "l", 0, 9],
      ["HSET", "was", "f", 1],
      ["DEL", "was"],
      ["RPUSH", "was", 1]
    ])

    Mirror.settle(id, redis)
    assert {:ok, ["h", "s", "vdr:settled"]} = Veidrodelis.first(id, 0, 10)
    assert {:ok, 0} = Veidrodelis.dbsize(id, 1)
  end

  # Each command brings a value from outside the kept part into it.
  sources = [
    {"RENAME", [["RENAME", "out:s", "in:d"]]},
    {"COPY", [["COPY", "out:s", "in:d"]]},
    {"SUNIONSTORE", [["SUNIONSTORE", "in:d", "in:set", "out:set"]]},
    {"LMOVE", [["LMOVE", "out:l", "in:d", "LEFT", "RIGHT"]]},
    {"SORT STORE", [["SORT", "out:l", "STORE", "in:d"]]},
    {"SORT BY STORE", [["SORT", "in:l", "BY", "out:w_*", "STORE", "in:d"]]},
    {"ZUNIONSTORE", [["ZUNIONSTORE", "in:d", 2, "in:z", "out:z"]]},
    {"BITOP", [["BITOP", "OR", "in:d", "in:s", "out:s"]]},
    {"PFMERGE", [["PFADD", "out:hll", "a"], ["PFMERGE", "in:d", "out:hll"]]}
  ]

  for {name, commands} <- sources do
    live_test "#{name} from outside leads to a full sync and the right value", %{server: server, redis: redis},
      mirror: false do
      Redix.pipeline!(redis, [
        ["SET", "in:s", "abc"],
        ["SET", "out:s", "xyz"],
        ["SADD", "in:set", 1],
        ["SADD", "out:set", 2, 3],
        ["RPUSH", "in:l", 3, 1, 2],
        ["RPUSH", "out:l", 9, 7, 8],
        ["MSET", "out:w_1", 30, "out:w_2", 20, "out:w_3", 10],
        ["ZADD", "in:z", 1, "a"],
        ["ZADD", "out:z", 2, "a", 3, "b"]
      ])

      id = mirror!(server, prefixes: with_marker(["in:"]))
      Redix.pipeline!(redis, unquote(Macro.escape(commands)))
      Redix.command!(redis, ["SET", "in:last", 1])

      Mirror.eventually("the mirror has what the server has", fn -> Veidrodelis.info(id) end, fn ->
        Veidrodelis.get(id, 0, "in:last") == {:ok, "1"}
      end)

      Mirror.settle(id, redis)
      assert dumped(redis, "in:d") == read(id, "in:d")
      refute Enum.any?(elem(Veidrodelis.first(id, 0, 100), 1), &String.starts_with?(&1, "out:"))
    end
  end

  defp dumped(redis, key) do
    case Redix.command!(redis, ["TYPE", key]) do
      "string" ->
        Redix.command!(redis, ["GET", key])

      "list" ->
        Redix.command!(redis, ["LRANGE", key, 0, -1])

      "set" ->
        Enum.sort(Redix.command!(redis, ["SMEMBERS", key]))

      "zset" ->
        for [member, score] <- Enum.chunk_every(Redix.command!(redis, ["ZRANGE", key, 0, -1, "WITHSCORES"]), 2),
            do: {member, String.to_integer(score) * 1.0}

      "none" ->
        nil
    end
  end

  defp read(id, key) do
    {:ok, value} =
      case Veidrodelis.type(id, 0, key) do
        {:ok, :string} -> Veidrodelis.get(id, 0, key)
        {:ok, :list} -> Veidrodelis.lrange(id, 0, key, 0, -1)
        {:ok, :set} -> Veidrodelis.smembers(id, 0, key)
        {:ok, :zset} -> Veidrodelis.zrange(id, 0, key, 0, -1)
        {:ok, nil} -> {:ok, nil}
      end

    value
  end

  live_test "a random program leaves the same kept data with and without a filter", %{server: server, redis: redis},
    mirror: false do
    Writes.seed!("only")
    # No key may expire between the looks at the two mirrors.
    Writes.ttls_ms!([600_000, 3_600_000])
    all = Mirror.start!(server)
    part = mirror!(server, types: [:hash, :string])
    Writes.program(2_000) |> Enum.chunk_every(50) |> Enum.each(&Redix.pipeline!(redis, &1))
    Mirror.settle(all, redis)

    Mirror.eventually("the part has caught up", fn -> Veidrodelis.info(part) end, fn ->
      Veidrodelis.info(part).offset >= Veidrodelis.info(all).offset
    end)

    Mirror.settle(part, redis)
    Mirror.settle(all, redis)

    for db <- Map.keys(Veidrodelis.info(all).keys) do
      {:ok, keys} = Veidrodelis.keys(all, db, "*")

      # The last settling of one mirror may not have reached the other.
      for key <- keys, key != "vdr:settled", {:ok, type} = Veidrodelis.type(all, db, key) do
        expected = if type in [:hash, :string], do: {:ok, type}, else: {:ok, nil}
        assert {key, Veidrodelis.type(part, db, key)} == {key, expected}
        if type == :string, do: assert(Veidrodelis.get(part, db, key) == Veidrodelis.get(all, db, key))
        if type == :hash, do: assert(Veidrodelis.hgetall(part, db, key) == Veidrodelis.hgetall(all, db, key))
      end
    end
  end

  live_test "a guard window closes although its key is filtered", %{server: server, redis: redis}, mirror: false do
    id = mirror!(server, prefixes: with_marker(["in:"]))
    Redix.pipeline!(redis, [["SET", "__vdr_tx", 1], ["SET", "in:a", 1]])
    Redix.pipeline!(redis, [["SET", "in:b", 1], ["DEL", "__vdr_tx"]])
    Mirror.settle(id, redis)
    assert {:ok, ["1", "1"]} = Veidrodelis.mget(id, 0, ["in:a", "in:b"])
  end

  live_test "a key that changes databases is right in both", %{server: server, redis: redis}, mirror: false do
    id = mirror!(server, dbs: [0, 2])
    Redix.pipeline!(redis, [["SET", "stays", 1], ["SET", "goes", 1], ["MOVE", "goes", 1]])
    Redix.pipeline!(redis, [["SELECT", 1], ["SET", "comes", 1], ["MOVE", "comes", 0], ["SET", "copied", 2]])
    Redix.pipeline!(redis, [["COPY", "copied", "copied", "DB", 2], ["SELECT", 0], ["SWAPDB", 0, 2], ["SWAPDB", 1, 2]])
    Redix.command!(redis, ["SET", "last", 1])

    Mirror.eventually("the mirror has what the server has", fn -> Veidrodelis.info(id) end, fn ->
      Veidrodelis.get(id, 0, "last") == {:ok, "1"}
    end)

    Mirror.settle(id, redis)
    assert {:ok, ["copied", "last", "vdr:settled"]} = Veidrodelis.first(id, 0, 10)
    assert {:ok, ["copied", "goes"]} = Veidrodelis.first(id, 2, 10)
    assert {:ok, 0} = Veidrodelis.dbsize(id, 1)
    assert %{full_syncs: syncs} = Veidrodelis.info(id)
    assert syncs > 1
  end
end
