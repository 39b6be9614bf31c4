defmodule Vdr.Live.MigrateTest do
  # MIGRATE moves keys from one server to another, and both are mirrored. Servers send this to their
  # replicas: the source a DEL of the moved keys, in one command (nothing with COPY); the target a
  # RESTORE of each key, with an absolute time if the key has one.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.Test.Values

  setup %{binary: binary} do
    target = Server.start!(binary: binary)
    {:ok, target: Server.connect!(target), target_port: Server.port(target), target_id: Mirror.start!(target)}
  end

  live_test "values of every kind move, alone and together",
            %{redis: redis, id: id, target_id: target_id} = context do
    keys = redis |> Values.write!() |> Enum.sort()
    digests = Enum.zip(keys, Redix.command!(redis, ["DEBUG", "DIGEST-VALUE" | keys]))
    {together, alone} = Enum.split(keys, 9)
    assert {:ok, "OK"} = migrate(context, "", 3, ["KEYS", "no such key" | together])
    for key <- alone, do: assert({:ok, "OK"} = migrate(context, key, 3, []))
    both_equal(context)

    for {key, digest} <- digests do
      assert {key, {:ok, nil}} == {key, Veidrodelis.type(id, 0, key)}
      assert {key, {:ok, digest}} == {key, Veidrodelis.digest_value(target_id, 3, key)}
    end

    # The remaining time to live moves along, so a key may live some milliseconds longer there.
    [_, at_ms, _] = Redix.pipeline!(context.target, [["SELECT", 3], ["PEXPIRETIME", "string:timed"], ["SELECT", 0]])
    assert at_ms >= Values.far_ms()
    assert {:ok, at_ms} == Veidrodelis.pexpiretime(target_id, 3, "string:timed")
  end

  live_test "COPY leaves the key, REPLACE replaces another, and a refused key changes nothing", context do
    %{redis: redis, id: id, target: target, target_id: target_id} = context
    Redix.pipeline!(redis, [["SET", "a", "new"], ["HSET", "b", "f", "v"], ["PEXPIREAT", "b", Values.far_ms()]])
    Redix.pipeline!(target, [["RPUSH", "a", "old"], ["PEXPIREAT", "a", Values.far_ms()]])

    assert {:ok, "OK"} = migrate(context, "b", 0, ["COPY"])
    both_equal(context)
    assert {{:ok, "v"}, {:ok, "v"}} == {Veidrodelis.hget(id, 0, "b", "f"), Veidrodelis.hget(target_id, 0, "b", "f")}

    # Of several keys, the accepted ones move; a refused key stays.
    Redix.command!(redis, ["SET", "c", "1"])

    assert {:error, %{message: "ERR Target instance replied with error: BUSYKEY" <> _}} =
             migrate(context, "", 0, ["KEYS", "a", "c"])

    assert {:ok, "NOKEY"} = migrate(context, "no such key", 0, [])
    both_equal(context)
    assert {{:ok, :string}, {:ok, :list}} == {Veidrodelis.type(id, 0, "a"), Veidrodelis.type(target_id, 0, "a")}
    assert {{:ok, nil}, {:ok, "1"}} == {Veidrodelis.get(id, 0, "c"), Veidrodelis.get(target_id, 0, "c")}

    assert {:ok, "OK"} = migrate(context, "a", 0, ["REPLACE"])
    assert {:ok, "OK"} = migrate(context, "", 0, ["COPY", "REPLACE", "KEYS", "b"])
    both_equal(context)
    assert {{:ok, nil}, {:ok, "new"}} == {Veidrodelis.get(id, 0, "a"), Veidrodelis.get(target_id, 0, "a")}
    assert {:ok, :infinity} == Veidrodelis.pexpiretime(target_id, 0, "a")
    assert {:ok, Values.far_ms()} == Veidrodelis.pexpiretime(id, 0, "b")
  end

  live_test "in a transaction or a script it is part of the atomic unit", %{redis: redis, id: id} = context do
    Redix.pipeline!(redis, [["SET", "a", "1"], ["SET", "b", "2"]])
    script = "redis.call('SET', 'd', '1') return redis.call('MIGRATE', '127.0.0.1', ARGV[1], 'b', 0, 5000)"

    assert [_, _, _, ["OK", "OK"], "OK"] =
             Redix.pipeline!(redis, [
               ["MULTI"],
               ["SET", "c", "1"],
               ["MIGRATE", "127.0.0.1", context.target_port, "a", 0, 5_000],
               ["EXEC"],
               ["EVAL", script, 0, context.target_port]
             ])

    both_equal(context)
    assert {:ok, ["c", "d"]} == id |> Veidrodelis.keys(0, "?") |> sorted()
    assert {:ok, ["a", "b"]} == context.target_id |> Veidrodelis.keys(0, "?") |> sorted()
  end

  defp migrate(context, key, db, options),
    do: Redix.command(context.redis, ["MIGRATE", "127.0.0.1", context.target_port, key, db, 5_000 | options])

  defp both_equal(context) do
    for {redis, id} <- [{context.redis, context.id}, {context.target, context.target_id}] do
      Mirror.settle(id, redis)
      assert {:ok, Redix.command!(redis, ["DEBUG", "DIGEST"])} == Veidrodelis.digest(id)
      assert %{full_syncs: 1, divergences: 0, unknown_commands: none} = Veidrodelis.info(id)
      assert none == %{}
    end
  end

  defp sorted({:ok, keys}), do: {:ok, Enum.sort(keys)}
end
