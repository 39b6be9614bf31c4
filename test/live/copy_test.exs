defmodule Vdr.Live.CopyTest do
  # The commands that a handler receives are enough to rebuild the data on a second real server.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.RedisStream.Replica

  @moduletag timeout: 180_000

  # A target that is not a replica expires keys by its own clock, and a write that arrives later
  # finds no key. So every time here is either over at once, or longer than the test.
  @ttls_ms [600_000, 3_600_000]

  defp copy!(port, target, opts \\ []) do
    defaults = [host: "127.0.0.1", port: port, callback_module: Vdr.Test.Copy, callback_opts: Server.connect!(target)]
    replica = start_supervised!({Replica, Keyword.merge(defaults, opts)}, restart: :temporary)
    Mirror.eventually("it streams", fn -> Replica.get_replication_state(replica) == :streaming end)
    replica
  end

  defp settle(redis, replica) do
    [_, _] = Redix.pipeline!(redis, [["SELECT", 0], ["SET", "s:settled", System.unique_integer([:positive])]])

    Mirror.eventually("all is handled", fn -> Process.alive?(replica) end, fn ->
      Redix.command!(redis, ["WAIT", 1, 100]) == 1
    end)
  end

  defp program(count), do: Enum.flat_map(1..count, fn _ -> [Writes.newer_command() | Writes.program(2)] end)

  defp write!(redis, program), do: program |> Enum.chunk_every(200) |> Enum.each(&Redix.pipeline!(redis, &1))

  defp digest(redis), do: Redix.command!(redis, ["DEBUG", "DIGEST"])

  # Servers before 7.4 do not send how many entries a group has read in the stream; a full sync
  # does.
  defp assert_same(redis, at_target, of_group \\ ~w(name last-delivered-id)) do
    for db <- Writes.databases() do
      for server <- [redis, at_target], do: Redix.command!(server, ["SELECT", db])
      keys = Enum.sort(Compare.scan(redis))
      assert {db, keys} == {db, Enum.sort(Compare.scan(at_target))}
      for key <- keys, do: assert({db, key, facts(redis, key, of_group)} == {db, key, facts(at_target, key, of_group)})
    end

    for server <- [redis, at_target], do: Redix.command!(server, ["SELECT", 0])
    assert digest(redis) == digest(at_target)
  end

  # The parts that the digest does not cover.
  defp facts(redis, key, of_group) do
    {Redix.command!(redis, ["DEBUG", "DIGEST-VALUE", key]), Redix.command!(redis, ["PEXPIRETIME", key]),
     more(Redix.command!(redis, ["TYPE", key]), redis, key, of_group)}
  end

  defp more("stream", redis, key, of_group) do
    about = redis |> Redix.command!(["XINFO", "STREAM", key]) |> Compare.pairs() |> Map.new()
    groups = for group <- Redix.command!(redis, ["XINFO", "GROUPS", key]), do: Map.new(Compare.pairs(group))
    there = MapSet.new(Redix.command!(redis, ["XRANGE", key, "-", "+"]), &hd/1)

    {Map.take(about, ~w(length last-generated-id max-deleted-entry-id entries-added recorded-first-entry-id)),
     Enum.sort(
       for group <- groups do
         {Map.take(group, of_group), pending(redis, key, group["name"], there)}
       end
     )}
  end

  defp more("hash", redis, key, _of_group) do
    fields = Enum.sort(Redix.command!(redis, ["HKEYS", key]))

    # A server without the command reports that on both sides.
    case Redix.command(redis, ["HPEXPIRETIME", key, "FIELDS", length(fields) | fields]) do
      {:ok, times} -> Enum.zip(fields, times)
      {:error, _unknown} -> nil
    end
  end

  defp more(_type, _redis, _key, _of_group), do: nil

  # A deleted entry that is still pending is the only thing that XCLAIM does not recreate.
  defp pending(redis, key, group, there) do
    for [id, consumer, _idle, deliveries] <- Redix.command!(redis, ["XPENDING", key, group, "-", "+", 1000]),
        id in there,
        do: {id, consumer, deliveries}
  end

  live_test "a full sync and the stream make the same data on another server",
            %{binary: binary, port: port, redis: redis},
            mirror: false do
    Writes.seed!("copy, #{binary.name}")
    Writes.ttls_ms!(@ttls_ms)
    target = Server.start!(binary: binary)
    at_target = Server.connect!(target)
    Redix.command!(at_target, ["SET", "leftover", 1])
    write!(redis, program(700))

    # Created whatever the program did: a stream without entries, one with a group and pending
    # entries, a long list.
    Redix.pipeline!(redis, [
      ["SELECT", 2],
      ["XADD", "x:empty", "5-5", "f", "v"],
      ["XDEL", "x:empty", "5-5"],
      ["DEL", "x:group"],
      ["XGROUP", "CREATE", "x:group", "g", "0", "MKSTREAM"],
      ["XADD", "x:group", "1-1", "f", "v", "f", "w"],
      ["XADD", "x:group", "2-1", "f", "v"],
      ["XREADGROUP", "GROUP", "g", "alice", "COUNT", 1, "STREAMS", "x:group", ">"],
      ["XREADGROUP", "GROUP", "g", "bob", "STREAMS", "x:group", ">"],
      ["SET", "s:some", "v", "PX", 600_000],
      ["SADD", "t:some", "m", 1],
      ["ZADD", "z:some", "1.5", "m", "inf", "n"],
      ["HSET", "h:some", "f", "v", "g", "w"],
      ["HPEXPIRE", "h:some", 600_000, "FIELDS", 1, "f"],
      ["RPUSH", "l:long" | Enum.to_list(1..5_000)],
      ["PEXPIRE", "l:long", 600_000],
      ["SELECT", 0]
    ])

    replica = copy!(port, target)
    settle(redis, replica)
    assert_same(redis, at_target, ~w(name last-delivered-id entries-read lag))

    assert [_, [2, "1-1", "2-1", [["alice", "1"], ["bob", "1"]]], _] =
             Redix.pipeline!(at_target, [["SELECT", 2], ["XPENDING", "x:group", "g"], ["SELECT", 0]])

    some = ~w(s:some l:long t:some z:some h:some x:empty)
    [_ | types] = Redix.pipeline!(at_target, [["SELECT", 2] | Enum.map(some, &["TYPE", &1])] ++ [["SELECT", 0]])
    assert types == ~w(string list set zset hash stream OK)

    for _ <- 1..3 do
      write!(redis, program(300))
      settle(redis, replica)
      assert_same(redis, at_target)
    end

    # A partial resync in between.
    Redix.command!(redis, ["CLIENT", "KILL", "TYPE", "REPLICA"])
    write!(redis, program(300))
    settle(redis, replica)
    assert_same(redis, at_target)
  end
end
