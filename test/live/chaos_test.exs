defmodule Vdr.Live.ChaosTest do
  # The checks of `make chaos` find faults: this test plants each kind. (DEBUG POPULATE writes keys
  # without telling the replicas.)
  use Vdr.Test.LiveCase, async: true

  import ExUnit.CaptureIO

  alias Vdr.Test.Chaos.{Load, OwnWrites, Quiet}

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp chaos(id, server), do: %{id: id, seed: 1, faults: 0, table: Load.table(), cluster: %{servers: [server]}}

  defp verdict(id, server) do
    with {:not_yet, _why} <- Quiet.compare(id, server) do
      Process.sleep(10)
      verdict(id, server)
    end
  end

  live_test "a missing key of the mirror is found and named", %{id: id, server: server, redis: redis} do
    Redix.command!(redis, ["SET", "k", "v"])
    assert {:equal, ^server} = verdict(id, server)
    Redix.command!(redis, ["DEBUG", "POPULATE", 1, "lost"])
    assert {:different, text} = verdict(id, server)
    assert text =~ "lost:0"
  end

  live_test "a mirror of another history is no verdict", %{id: id, server: server, redis: redis} do
    Redix.command!(redis, ["SET", "k", "v"])
    Mirror.settle(id, redis)
    other = Server.start!()
    assert {:not_yet, "another history"} = Quiet.compare(id, other)
    assert {:equal, ^server} = verdict(id, server)
  end

  live_test "writers and readers report nothing without a fault; half a MULTI is reported", context do
    {chaos, told} =
      found(context, :reads, fn chaos ->
        assert Load.get(chaos.table, :writes) > 0
        fn -> Redix.command!(context.redis, ["INCR", "chaos:count"]) end
      end)

    assert told =~ "half a MULTI was seen"
    assert Load.get(chaos.table, :lost) == 0
  end

  live_test "own writes and their positions are judged: one that is gone without a failover is reported", context do
    {_chaos, told} =
      found(context, :positions, fn chaos ->
        assert Load.get(chaos.table, :own) > 0
        fn -> Redix.pipeline!(context.redis, OwnWrites.lose_marks()) end
      end)

    assert told =~ "the position of the write" or told =~ "was answered with :ok and is not read"
  end

  live_test "a late write is done if any primary has it", %{server: server, redis: redis} do
    other = Server.start!()
    {:ok, after_failover} = Redix.start_link(host: "127.0.0.1", port: Server.port(other))
    [_, history] = Regex.run(~r/master_replid:(\w+)/, Redix.command!(redis, ["INFO", "replication"]))
    done = fn epoch -> OwnWrites.done([server, other], 1, history, epoch) end
    assert done.(nil) == :no
    assert done.("of another epoch") == :unknown
    Redix.pipeline!(after_failover, OwnWrites.mark(1))
    assert done.(nil) == :yes
    Redix.pipeline!(after_failover, OwnWrites.lose_marks())
    Redix.pipeline!(redis, OwnWrites.mark(1))
    assert done.(nil) == :yes
    Redix.pipeline!(redis, OwnWrites.lose_marks())
    assert done.(nil) == :no
    # Nobody can say what a server that is down has.
    :ok = Server.kill(other)
    assert done.(nil) == :unknown
  end

  # Runs the load without a fault until `counter` exceeds 50. Then calls the function that `plant`
  # returns until the load reports a divergence. Returns what the load printed.
  defp found(%{id: id, server: server}, counter, plant) do
    chaos = chaos(id, server)

    told =
      capture_io(fn ->
        helpers = Load.start(chaos)
        Mirror.eventually("#{counter} are judged", fn -> Load.get(chaos.table, counter) > 50 end)
        assert Load.get(chaos.table, :divergences) == 0
        fault = plant.(chaos)

        Mirror.eventually("it is found", fn ->
          fault.()
          Load.get(chaos.table, :divergences) > 0
        end)

        Load.stop(helpers, chaos.table)
      end)

    {chaos, told}
  end

  live_test "a silent watch is found", %{id: id, server: server, redis: redis} do
    Redix.command!(redis, ["SET", Load.watched(), "something"])
    Mirror.settle(id, redis)
    # Nobody listens, so no event arrives.
    chaos = chaos(id, server)
    assert capture_io(fn -> Quiet.watches(chaos, server) end) =~ "the last message of a watch read nil"
    assert Load.get(chaos.table, :lost) > 0
  end

  test "the invariants of a MULTI's writes" do
    whole = [{:ok, "1"}, {:ok, "1"}, {:ok, "5"}, {:ok, "-5"}, {:ok, "2"}, {:ok, 2}]
    refute Load.torn?(whole)
    refute Load.torn?([{:ok, nil}, {:ok, nil}, {:ok, nil}, {:ok, nil}, {:ok, nil}, {:ok, 0}])

    for at <- 0..5 do
      assert Load.torn?(List.replace_at(whole, at, {:ok, "7"})) or at == 5
      assert Load.torn?(List.replace_at(whole, at, {:error, :wrong_type}))
    end

    assert Load.torn?(List.replace_at(whole, 5, {:ok, 3}))
    assert Load.torn?(List.replace_at(whole, 2, {:ok, "no number"}))
  end
end
