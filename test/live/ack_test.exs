defmodule Vdr.Live.AckTest do
  # What a mirror does to its primary, depending on the option `:ack`: each effect on a real server,
  # both ways.
  use Vdr.Test.LiveCase, async: true

  @moduletag timeout: 180_000

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp lagging(server), do: Mirror.start!(server, ack: :lagging)

  defp acknowledged(redis) do
    [_, offset] = Regex.run(~r/slave0:.*offset=(\d+)/, Redix.command!(redis, ["INFO", "replication"]))
    String.to_integer(offset)
  end

  live_test "WAIT counts a truthful mirror", %{redis: redis} do
    Redix.command!(redis, ["SET", "k", 1])
    assert Redix.command!(redis, ["WAIT", 1, 5000]) == 1
  end

  live_test "WAIT does not count a lagging mirror, which follows nevertheless", %{server: server, redis: redis},
    mirror: false do
    id = lagging(server)
    Redix.command!(redis, ["SET", "k", 1])
    assert Redix.command!(redis, ["WAIT", 1, 1500]) == 0
    Mirror.settle(id, redis)
    assert Veidrodelis.get(id, 0, "k") == {:ok, "1"}
    assert acknowledged(redis) == 0
  end

  live_test "SHUTDOWN does not wait for a truthful mirror", %{server: server, redis: redis, id: id} do
    Redix.command!(redis, ["SET", "k", 1])
    Mirror.settle(id, redis)
    {us, :ok} = :timer.tc(fn -> Server.stop(server) end)
    # Its time is ten seconds.
    assert us < 8_000_000
  end

  live_test "SHUTDOWN waits its full time for a lagging mirror", %{server: server, redis: redis},
    mirror: false,
    config: [{"shutdown-timeout", 2}] do
    id = lagging(server)
    Redix.command!(redis, ["SET", "k", 1])
    Mirror.settle(id, redis)
    {us, :ok} = :timer.tc(fn -> Server.stop(server) end)
    assert us >= 1_900_000
  end

  live_test "FAILOVER without a target may elect a truthful mirror, and then has to be aborted", %{redis: redis, id: id} do
    Redix.command!(redis, ["SET", "k", 1])
    Mirror.settle(id, redis)
    assert Redix.command!(redis, ["FAILOVER", "TIMEOUT", 60_000]) == "OK"

    # The failover targets port 70000, where no server can be. Nobody takes over, and it can be
    # aborted.
    Mirror.eventually("the failover goes on", fn -> Redix.command!(redis, ["INFO", "replication"]) end, fn ->
      Redix.command!(redis, ["INFO", "replication"]) =~ "failover-in-progress"
    end)

    assert Redix.command!(redis, ["FAILOVER", "ABORT"]) == "OK"

    Mirror.eventually("the primary takes writes again", fn ->
      match?({:ok, "OK"}, Redix.command(redis, ["SET", "k", 2]))
    end)

    Mirror.eventually("and is followed", fn -> Veidrodelis.get(id, 0, "k") == {:ok, "2"} end)
  end

  live_test "FAILOVER never elects a lagging mirror", %{server: server, redis: redis}, mirror: false do
    id = lagging(server)
    Redix.command!(redis, ["SET", "k", 1])
    Mirror.settle(id, redis)
    assert Redix.command!(redis, ["FAILOVER", "TIMEOUT", 1500]) == "OK"

    Mirror.eventually("the failover is given up", fn -> Redix.command!(redis, ["INFO", "replication"]) end, fn ->
      Redix.command!(redis, ["INFO", "replication"]) =~ "no-failover"
    end)

    assert Redix.command!(redis, ["ROLE"]) |> hd() == "master"
    Redix.command!(redis, ["SET", "k", 2])
    Mirror.settle(id, redis)
    assert Veidrodelis.get(id, 0, "k") == {:ok, "2"}
  end

  live_test "min-replicas-to-write counts a mirror of either kind", %{server: server, redis: redis},
    mirror: false,
    config: [{"min-replicas-to-write", 1}] do
    assert {:error, %{message: "NOREPLICAS" <> _}} = Redix.command(redis, ["SET", "k", 1])

    for ack <- [:truthful, :lagging] do
      id = Mirror.start!(server, ack: ack)
      Mirror.eventually("the mirror counts", fn -> match?({:ok, "OK"}, Redix.command(redis, ["SET", "k", 1])) end)
      :ok = stop_supervised({Veidrodelis, id})

      Mirror.eventually("nobody is left", fn ->
        match?({:error, %{message: "NOREPLICAS" <> _}}, Redix.command(redis, ["SET", "k", 1]))
      end)
    end
  end
end
