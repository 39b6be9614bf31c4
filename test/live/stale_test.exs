defmodule Vdr.Live.StaleTest do
  # What `:stale_reads` refuses and when, and what subscribers hear of it.
  use Vdr.Test.LiveCase, async: true

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp answers(id) do
    [
      Veidrodelis.get(id, 0, "k"),
      Veidrodelis.hget(id, 0, "h", "f"),
      Veidrodelis.strlen(id, 0, "k"),
      Veidrodelis.read_tx(id, 0, [{:get, "k"}]),
      Veidrodelis.read_tx(id, 0, "return ts.get('k')"),
      # Not on the caller's scheduler.
      Veidrodelis.read_tx(id, 0, "return pcall(ts.get, 'k')"),
      Veidrodelis.scan(id, 0, 0),
      Veidrodelis.digest(id),
      Veidrodelis.snapshot(id)
    ]
  end

  defp refused?(id), do: Enum.all?(answers(id), &(&1 == {:error, :stale}))
  defp read?(id), do: Enum.all?(answers(id), &match?({:ok, _value}, &1))

  live_test "denied reads are refused while no link streams, and only then", %{server: server, redis: redis},
    mirror: false do
    Redix.command!(redis, ["SET", "k", "v"])
    id = Mirror.start!(server, stale_reads: :deny, reconnect_delay_ms: 20)
    :ok = Veidrodelis.subscribe(id)
    assert read?(id)
    {:ok, held} = Veidrodelis.snapshot(id)
    Server.kill(server)
    assert_receive {:veidrodelis, ^id, :disconnected, %{refused: false, retry_in_ms: delay}}, 10_000
    assert is_integer(delay)
    assert refused?(id)
    assert Veidrodelis.get(held, 0, "k") == {:ok, "v"}
    assert %{ready: true, stale: true} = Veidrodelis.info(id)
    Server.restart(server)
    assert_receive {:veidrodelis, ^id, :streaming, %{sync: :full}}, 10_000
    Mirror.eventually("it is read again", fn -> read?(id) end)
    :ok = Veidrodelis.unsubscribe(id)
    :ok = Veidrodelis.stop(id)
    refute_received {:veidrodelis, ^id, :stopped, _details}
  end

  live_test "bounded reads are refused when nothing was heard for so long", %{server: server, redis: redis},
    mirror: false,
    config: [{"repl-ping-replica-period", 1}] do
    Redix.command!(redis, ["SET", "k", "v"])
    id = Mirror.start!(server, stale_reads: {:max_ms, 2500})
    assert read?(id)
    # Longer than the bound: the server's pings keep the data fresh.
    Process.sleep(3500)
    assert read?(id)
    Server.pause(server)
    assert read?(id)
    Mirror.eventually("a server that hangs makes the data stale", fn -> refused?(id) end)
    assert %{state: :streaming, last_message_ms_ago: ms} = Veidrodelis.info(id)
    # Another clock than the bound's, and both are rounded.
    assert ms >= 2490
    Server.resume(server)
    Mirror.eventually("it is fresh again", fn -> read?(id) end)
  end

  live_test "info tells how far behind, how large, and of what role the server is", %{redis: redis, id: id} do
    Redix.pipeline!(redis, for(n <- 1..1000, do: ["SET", "key:#{n}", String.duplicate("x", 1000)]))
    Mirror.settle(id, redis)
    Mirror.eventually("the stream has begun", fn -> Veidrodelis.get_replication_state(id) == :streaming end)
    info = Veidrodelis.info(id)
    assert %{role: :primary, state: :streaming, stale: false, ready: true, lag_bytes: 0} = info
    assert info.primary_offset == info.offset
    assert info.memory_bytes in 1_000_000..2_000_000
    Redix.pipeline!(redis, [["MULTI"], ["SET", "a", 1], ["SET", "b", 1], ["EXEC"]])
    Mirror.settle(id, redis)
    assert Veidrodelis.info(id).lag_bytes == 0
  end

  live_test "a server that does not tell its role is followed all the same", %{server: server, redis: redis},
    mirror: false do
    Redix.command!(redis, ~w(ACL SETUSER repl on >pw -@all +psync +replconf +ping))
    id = Mirror.start!(server, username: "repl", password: "pw")
    Mirror.eventually("the stream begins", fn -> Veidrodelis.get_replication_state(id) == :streaming end)
    assert Veidrodelis.info(id).role == nil
  end

  test "events go to telemetry when it is there, and to whoever subscribed before the start" do
    server = Server.start!()
    Vdr.Test.Telemetry.attach(self())
    id = {:events, System.unique_integer([:positive])}
    :ok = Veidrodelis.subscribe(id)
    :ok = Veidrodelis.subscribe(id)
    port = Server.port(server)
    {:ok, _pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: port)
    primary = {"127.0.0.1", port}
    assert_receive {:veidrodelis, ^id, :connecting, %{primary: ^primary, attempt: 1}}
    assert_receive {:veidrodelis, ^id, :syncing, %{primary: ^primary}}, 10_000
    assert_receive {:veidrodelis, ^id, :ready, %{primary: ^primary}}, 10_000
    assert_receive {:veidrodelis, ^id, :streaming, %{primary: ^primary, sync: :full}}, 10_000
    assert_receive {:telemetry, [:veidrodelis, :link, :streaming], %{system_time: _}, %{id: ^id, sync: :full}}
    :ok = Veidrodelis.stop(id)
    assert_receive {:veidrodelis, ^id, :stopped, %{}}
    refute_received {:veidrodelis, ^id, :stopped, %{}}
  end
end
