defmodule Vdr.Live.ReconnectTest do
  # A link ends in many ways; reads continue from the last snapshot, and the mirror recovers by
  # itself.
  use Vdr.Test.LiveCase, async: true

  live_test "reads continue while the server is gone, and the mirror recovers", %{server: server, redis: redis, id: id} do
    Process.flag(:trap_exit, true)
    Redix.pipeline!(redis, [["SET", "kept", "before"], ["RPUSH", "list", 1, 2, 3]])
    Mirror.settle(id, redis)
    ref = make_ref()
    :ok = Veidrodelis.watch(id, 0, "kept", ref)

    Server.kill(server)

    Mirror.eventually("the link is seen to be broken", fn -> Veidrodelis.info(id) end, fn ->
      Veidrodelis.info(id).stale
    end)

    assert {:ok, "before"} = Veidrodelis.get(id, 0, "kept")
    assert {:ok, ["1", "2", "3"]} = Veidrodelis.lrange(id, 0, "list", 0, -1)
    assert {:error, :not_connected} = Veidrodelis.connected_to(id)
    assert %{ready: true} = Veidrodelis.info(id)

    # The core knows that the link has ended before the link's process reports the reason.
    Mirror.eventually("why it ended is told", fn -> Veidrodelis.info(id) end, fn ->
      Veidrodelis.info(id).last_error != nil
    end)

    :ok = Server.restart(server)
    redis = Server.connect!(server)
    Redix.command!(redis, ["SET", "kept", "after"])

    # The server came back empty: the full sync removes everything else, and the watch lives on.
    assert_receive {^ref, _init_or_update}, 20_000
    Mirror.settle(id, redis)
    assert {:ok, "after"} = Veidrodelis.get(id, 0, "kept")
    assert {:ok, false} = Veidrodelis.exists(id, 0, "list")
    assert %{stale: false, full_syncs: syncs} = Veidrodelis.info(id)
    assert syncs >= 2
  end

  # A server without persistence soon deletes the file that its last full sync left, and the file of
  # SAVE has the same name.
  live_test "readers never fail during restarts under load", %{server: server, redis: redis, id: id},
    config: [{"rdb-del-sync-files", "no"}] do
    Process.flag(:trap_exit, true)
    Redix.command!(redis, ["SET", "steady", "value"])
    # SAVE fails while the child process that served our full sync still runs.
    Mirror.eventually("the file is saved", fn -> Redix.command(redis, ["SAVE"]) == {:ok, "OK"} end)
    Mirror.settle(id, redis)
    reader = Task.async(fn -> read_until_told(id, 0) end)

    for round <- 1..3 do
      if round == 2, do: Server.stop(server), else: Server.kill(server)
      :ok = Server.restart(server)
      redis = Server.connect!(server)
      Redix.command!(redis, ["SET", "round", round])
      expected = {:ok, Integer.to_string(round)}

      Mirror.eventually("round #{round} is seen", fn -> Veidrodelis.info(id) end, fn ->
        Veidrodelis.get(id, 0, "round") == expected
      end)
    end

    send(reader.pid, :enough)
    assert Task.await(reader) > 0
  end

  # The server loads its file again, so the key is in every snapshot.
  defp read_until_told(id, count) do
    assert {:ok, "value"} = Veidrodelis.get(id, 0, "steady")

    receive do
      :enough -> count
    after
      0 -> read_until_told(id, count + 1)
    end
  end

  live_test "a server that closes the link is followed again", %{redis: redis, id: id} do
    Redix.command!(redis, ["SET", "k", 1])
    Mirror.settle(id, redis)
    Redix.command!(redis, ["CLIENT", "KILL", "TYPE", "REPLICA"])
    Redix.command!(redis, ["SET", "k", 2])

    Mirror.eventually("the write after the break", fn -> Veidrodelis.info(id) end, fn ->
      Veidrodelis.get(id, 0, "k") == {:ok, "2"}
    end)

    Compare.assert_equal(redis, id, [0])
  end

  live_test "a DEBUG RELOAD changes nothing", %{redis: redis, id: id} do
    Redix.pipeline!(redis, [["SET", "k", 1], ["DEBUG", "RELOAD"], ["INCR", "k"]])
    Compare.assert_equal(redis, id, [0])
    assert {:ok, "2"} = Veidrodelis.get(id, 0, "k")
  end

  live_test "the offset equals the server's", %{redis: redis, id: id} do
    Writes.seed!("offsets")
    Writes.program(500) |> Enum.chunk_every(50) |> Enum.each(&Redix.pipeline!(redis, &1))
    Mirror.settle(id, redis)

    # The server adds a ping every ten seconds, and a DEL for each expired key. So ask until both
    # offsets stand still.
    Mirror.eventually("offsets are equal", fn -> {Veidrodelis.info(id).offset, offset(redis)} end, fn ->
      Veidrodelis.info(id).offset == offset(redis)
    end)

    Mirror.eventually(
      "the server has our acknowledgement",
      fn -> Redix.command!(redis, ["INFO", "replication"]) end,
      fn ->
        [_, acked] = Regex.run(~r/slave0:.*offset=(\d+)/, Redix.command!(redis, ["INFO", "replication"]))
        String.to_integer(acked) == offset(redis)
      end
    )
  end

  defp offset(redis) do
    [_, offset] = Regex.run(~r/master_repl_offset:(\d+)/, Redix.command!(redis, ["INFO", "replication"]))
    String.to_integer(offset)
  end
end
