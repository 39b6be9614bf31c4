defmodule Vdr.Live.WritesFailoverTest do
  # Writes and positions across changes of the primary.
  use ExUnit.Case, async: true

  alias Vdr.Test.{Mirror, Proxy, Sentinels, Server}
  alias Veidrodelis.ServerError

  @moduletag capture_log: true

  for binary <- Server.available() do
    @tag binary: binary
    test "#{binary.name}: writers follow a failover by Sentinel, and none reads stale", %{binary: binary} do
      cluster = Sentinels.start!(binary: binary)
      id = Sentinels.mirror!(cluster)
      :ok = Veidrodelis.await_ready(id, 20_000)
      before = Sentinels.primary_port(cluster)
      test = self()

      writers =
        for writer <- 1..4 do
          Task.async(fn -> write(id, "w#{writer}", 1, test) end)
        end

      Process.sleep(300)
      Sentinels.failover!(cluster)
      Mirror.eventually("the primary changes", fn -> Sentinels.primary_port(cluster) != before end)

      # The old primary takes writes until Sentinel demotes it, and these are lost. So what counts
      # is the mirror's own switch.
      new = Sentinels.primary_port(cluster)

      Mirror.eventually("the mirror follows the new primary", fn ->
        Veidrodelis.connected_to(id) == {:ok, {"127.0.0.1", new}} and
          Veidrodelis.replication_state(id) == :streaming
      end)

      flush_written()

      for writer <- 1..4 do
        key = "w#{writer}"
        assert_receive {:written, ^key, _n}, 30_000
      end

      Enum.each(writers, &send(&1.pid, :stop))

      for errors <- Task.await_many(writers, 30_000), error <- errors do
        assert expected?(error), inspect(error)
      end

      assert {:ok, "OK"} = Veidrodelis.command(id, ["SET", "after", 1], timeout: 20_000)
      assert Veidrodelis.get(id, 0, "after") == {:ok, "1"}
      assert Sentinels.command!(new, ["GET", "after"]) == "1"
    end

    @tag binary: binary
    test "#{binary.name}: a position that the new primary never received is lost, one that it has is not",
         %{binary: binary} do
      primary = Server.start!(binary: binary)
      wire = start_supervised!(%{id: :wire, start: {Proxy, :start_link, [Server.port(primary)]}})
      replica = Server.start!(binary: binary, config: [{"replicaof", "127.0.0.1 #{Proxy.port(wire)}"}])
      link = start_supervised!(%{id: :link, start: {Proxy, :start_link, [Server.port(replica)]}})
      direct = Mirror.start!(primary)
      id = {:failover, System.unique_integer([:positive])}

      start_supervised!(
        {Veidrodelis,
         id: id, host: "127.0.0.1", port: Proxy.port(link), reconnect_delay_ms: 20, max_reconnect_delay_ms: 100}
      )

      :ok = Veidrodelis.await_ready(id, 20_000)
      redis = Server.connect!(primary)
      Redix.command!(redis, ["SET", "both", 1])
      :ok = Veidrodelis.sync(direct)
      {:ok, both} = Veidrodelis.position(direct)
      assert Veidrodelis.await_position(id, both) == :ok

      # The replica receives this, and its mirror does not.
      Proxy.weather(link, :stall)
      Redix.command!(redis, ["SET", "kept", 1])
      :ok = Veidrodelis.sync(direct)
      {:ok, kept} = Veidrodelis.position(direct)
      promoted = Server.connect!(replica)
      Mirror.eventually("the replica has it", fn -> Redix.command!(promoted, ["GET", "kept"]) == "1" end)

      # Nobody but the old primary and its mirror ever sees this.
      Proxy.weather(wire, :stall)
      Redix.command!(redis, ["SET", "lost", 1])
      :ok = Veidrodelis.sync(direct)
      {:ok, lost} = Veidrodelis.position(direct)

      waiting_for_kept = Task.async(fn -> Veidrodelis.await_position(id, kept, 30_000) end)
      waiting_for_lost = Task.async(fn -> Veidrodelis.await_position(id, lost, 30_000) end)
      Mirror.eventually("both wait", fn -> Veidrodelis.info(id, :waiting) == 2 end)

      Redix.command!(promoted, ["REPLICAOF", "NO", "ONE"])
      Proxy.cut(wire, :reset)
      for n <- 1..50, do: Redix.command!(promoted, ["SET", "another history", n])
      Proxy.cut(link, :reset)
      Proxy.weather(link, :calm)

      assert Task.await(waiting_for_kept, 40_000) == :ok
      assert Veidrodelis.get(id, 0, "kept") == {:ok, "1"}
      assert Task.await(waiting_for_lost, 40_000) == {:error, :lost_history}
      assert Veidrodelis.get(id, 0, "lost") == {:ok, nil}
      # So it is for who asks later, and for older positions.
      assert Veidrodelis.await_position(id, lost) == {:error, :lost_history}
      assert Veidrodelis.await_position(id, kept) == :ok
      assert Veidrodelis.await_position(id, both) == :ok
      # Writes go to the new primary.
      assert Veidrodelis.command(id, ["SET", "new", 1], timeout: 20_000) == {:ok, "OK"}
      assert Veidrodelis.get(id, 0, "new") == {:ok, "1"}
      assert Redix.command!(promoted, ["GET", "new"]) == "1"
    end

    @tag binary: binary
    test "#{binary.name}: a primary that is demoted and promoted behind its clients' backs", %{binary: binary} do
      [one, other] = for _ <- 1..2, do: Server.start!(binary: binary)
      id = Mirror.start!(one, reconnect_delay_ms: 20, max_reconnect_delay_ms: 100)
      {:ok, "OK"} = Veidrodelis.command(id, ["SET", "k", 1])
      {:ok, before} = Veidrodelis.position(id)
      [redis, others] = Enum.map([one, other], &Server.connect!/1)
      for n <- 1..20, do: Redix.command!(others, ["SET", "n", n])
      Redix.command!(redis, ["REPLICAOF", "127.0.0.1", Server.port(other)])

      Mirror.eventually("it holds the other's data", fn ->
        Redix.command!(redis, ["INFO", "replication"]) =~ "master_link_status:up" and
          Redix.command!(redis, ["GET", "n"]) == "20"
      end)

      Redix.command!(redis, ["REPLICAOF", "NO", "ONE"])

      # Every answer is right: the write is there, or its fate is told.
      for n <- 1..50 do
        case Veidrodelis.command(id, ["SET", "k", "new #{n}"]) do
          {:ok, "OK"} -> assert Veidrodelis.get(id, 0, "k") == {:ok, "new #{n}"}
          {:error, error} -> assert expected?(error), inspect(error)
        end
      end

      assert Veidrodelis.command(id, ["SET", "k", "last"], timeout: 20_000) == {:ok, "OK"}
      assert Veidrodelis.get(id, 0, "k") == {:ok, "last"}
      assert Veidrodelis.await_position(id, before) == {:error, :lost_history}
    end
  end

  defp flush_written do
    receive do
      {:written, _key, _n} -> flush_written()
    after
      0 -> :ok
    end
  end

  # Writes until it is told to stop; the errors on the way.
  defp write(id, key, n, test, errors \\ []) do
    history = history(id)

    {errors, written} =
      case Veidrodelis.command(id, ["SET", key, n], timeout: 3000) do
        {:ok, "OK"} ->
          seen = Veidrodelis.get(id, 0, key)

          cond do
            seen == {:ok, "#{n}"} -> {errors, true}
            # Between the answer and the read, the mirror may go to a primary without the write.
            history == nil or history != history(id) -> {errors, false}
            true -> {[{:stale, key, n, seen} | errors], false}
          end

        {:error, error} ->
          {[error | errors], false}
      end

    receive do
      :stop -> errors
    after
      5 ->
        if written, do: send(test, {:written, key, n})
        write(id, key, n + 1, test, errors)
    end
  end

  defp history(id) do
    case Veidrodelis.position(id) do
      {:ok, {replication_id, _offset}} -> replication_id
      {:error, _reason} -> nil
    end
  end

  defp expected?(%ServerError{code: code}), do: code in ~w(READONLY UNBLOCKED LOADING MASTERDOWN)
  defp expected?({:sent, _reason}), do: true
  defp expected?({:written, _reason}), do: true

  defp expected?(reason),
    do: reason in [:timeout, :connection_refused, :closed, :connection_reset, :no_primary, :handshake_timeout]
end
