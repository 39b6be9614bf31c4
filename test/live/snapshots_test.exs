defmodule Vdr.Live.SnapshotsTest do
  use Vdr.Test.LiveCase, async: true

  live_test "a snapshot keeps its data across writes, full syncs and the end of the instance", context do
    %{redis: redis, id: id} = context
    Redix.pipeline!(redis, [["SET", "k", "1"], ["RPUSH", "l", "a", "b"]])
    Mirror.settle(id, redis)
    {:ok, before} = Veidrodelis.snapshot(id)
    Redix.pipeline!(redis, [["SET", "k", "2"], ["RPOP", "l"], ["SET", "new", "1"], ["DEL", "nothing"]])
    Mirror.settle(id, redis)

    check = fn ->
      assert {:ok, [{:ok, "1"}, {:ok, 2}]} = Veidrodelis.read_tx(before, 0, [{:get, "k"}, {:llen, "l"}])
      assert {:ok, "1b"} = Veidrodelis.read_tx(before, 0, "return ts.get('k') .. ts.lindex('l', -1)")
      assert Enum.reject(Veidrodelis.stream_keys(before, 0), &(&1 =~ "vdr:")) == ["k", "l"]
    end

    check.()
    diff = before |> Veidrodelis.diff(id, 0) |> Enum.reject(fn {_change, key} -> key =~ "vdr:" end)
    assert diff == [changed: "k", changed: "l", added: "new"]

    Redix.command!(redis, ["FLUSHALL"])
    Mirror.settle(id, redis)
    check.()
    :ok = Veidrodelis.stop(id)
    check.()
  end

  live_test "held snapshots are counted, and released when their processes drop them or die", %{redis: redis, id: id} do
    held = fn -> Veidrodelis.info(id).snapshots_held end
    assert held.() == 0
    assert %{snapshots_oldest_ms: nil, snapshots_written_since_bytes: nil} = Veidrodelis.info(id)
    test = self()

    holder =
      spawn(fn ->
        snapshots = for _ <- 1..10, do: Veidrodelis.snapshot(id)
        send(test, :held)
        Process.sleep(:infinity)
        send(test, snapshots)
      end)

    assert_receive :held, 5_000
    assert held.() == 10
    Redix.command!(redis, ["SET", "k", String.duplicate("x", 10_000)])
    Mirror.settle(id, redis)
    assert %{snapshots_oldest_ms: age, snapshots_written_since_bytes: bytes} = Veidrodelis.info(id)
    assert age >= 0 and bytes > 10_000 and not Veidrodelis.info(id).snapshots_before_full_sync

    Process.exit(holder, :kill)
    Mirror.eventually("the dead process holds nothing", fn -> held.() == 0 end)

    task =
      Task.async(fn ->
        {:ok, _snapshot} = Veidrodelis.snapshot(id)
        assert held.() >= 1
        :erlang.garbage_collect()
        assert Enum.count(Veidrodelis.stream_keys(id, 0)) >= 1
        :erlang.garbage_collect()
      end)

    Task.await(task)
    Mirror.eventually("nobody holds anything", fn -> held.() == 0 end)
  end
end
