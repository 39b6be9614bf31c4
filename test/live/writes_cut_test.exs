defmodule Vdr.Live.WritesCutTest do
  # Links that are cut between a write and its delivery. The connection for commands holds
  # meanwhile, so each answer has to be exact: visible, or done and not here.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.Test.Proxy

  @moduletag timeout: 120_000

  # The link and the connections for commands go through one proxy, which can hold up the link only.
  defp behind_proxy!(server) do
    proxy = start_supervised!({Proxy, Server.port(server)})
    id = {:cut, System.unique_integer([:positive])}
    delays = [reconnect_delay_ms: 10, max_reconnect_delay_ms: 50]
    start_supervised!({Veidrodelis, [id: id, host: "127.0.0.1", port: Proxy.port(proxy)] ++ delays})
    :ok = Veidrodelis.await_ready(id, 20_000)
    assert Veidrodelis.command(id, ["SET", "k", "first"]) == {:ok, "OK"}
    {proxy, id}
  end

  # A write whose answer is read at once, by the process that wrote.
  defp write(id, value, timeout) do
    Task.async(fn -> {Veidrodelis.command(id, ["SET", "k", value], timeout: timeout), Veidrodelis.get(id, 0, "k")} end)
  end

  defp await_waiting(id, count),
    do: Mirror.eventually("#{count} wait", fn -> Veidrodelis.info(id, :waiting) == count end)

  defp syncs(id), do: id |> Veidrodelis.info() |> Map.take([:full_syncs, :partial_syncs])

  live_test "a write that is cut off from its delivery is told as written, or waits for the partial sync",
            %{server: server, redis: redis},
            mirror: false do
    {proxy, id} = behind_proxy!(server)

    for n <- 1..3 do
      %{full_syncs: full, partial_syncs: partial} = syncs(id)
      # The connection for commands is open.
      assert Veidrodelis.command(id, ["SET", "k", "before #{n}"], timeout: 20_000) == {:ok, "OK"}
      Proxy.weather(proxy, :stall_replication)

      # Without the time to wait: done, and not here.
      assert Veidrodelis.command(id, ["SET", "k", "late #{n}"], timeout: 2000) == {:error, {:written, :not_visible}}
      assert Redix.command!(redis, ["GET", "k"]) == "late #{n}"
      assert Veidrodelis.get(id, 0, "k") == {:ok, "before #{n}"}
      await_waiting(id, 0)

      # With the time: the bytes are lost with the connection, and come again.
      waiting = write(id, "waits #{n}", 30_000)
      await_waiting(id, 1)
      assert Veidrodelis.get(id, 0, "k") == {:ok, "before #{n}"}
      Proxy.cut(proxy, :reset)
      Proxy.weather(proxy, :calm)
      assert Task.await(waiting, 40_000) == {{:ok, "OK"}, {:ok, "waits #{n}"}}
      assert syncs(id) == %{full_syncs: full, partial_syncs: partial + 1}
    end
  end

  live_test "a link that stays away: what was sent is written and not visible, what was not sent is not done",
            %{server: server, redis: redis},
            mirror: false do
    {proxy, id} = behind_proxy!(server)
    Proxy.weather(proxy, :stall_replication)
    waiting = write(id, "written", 3000)
    await_waiting(id, 1)
    Proxy.target(proxy, Server.free_port())
    Proxy.cut(proxy, :reset)
    Proxy.weather(proxy, :calm)
    assert Task.await(waiting, 20_000) == {{:error, {:written, :not_visible}}, {:ok, "first"}}

    # Now there is no connection, and so no doubt either.
    assert {:error, reason} = Veidrodelis.command(id, ["SET", "k", "never"], timeout: 300)
    assert is_atom(reason)
    assert Redix.command!(redis, ["GET", "k"]) == "written"

    Proxy.target(proxy, Server.port(server))
    assert Veidrodelis.command(id, ["SET", "k", "again"], timeout: 30_000) == {:ok, "OK"}
    assert Veidrodelis.get(id, 0, "k") == {:ok, "again"}
  end

  live_test "a delivery by a full sync: of the same history it is visible, of another one it is lost",
            %{server: server, redis: redis},
            mirror: false do
    {proxy, id} = behind_proxy!(server)
    Redix.command!(redis, ["CONFIG", "SET", "repl-backlog-size", "16kb"])

    # More than the backlog keeps: the write comes with the data of a full sync.
    %{full_syncs: full} = syncs(id)
    Proxy.weather(proxy, :stall_replication)
    waiting = write(id, "by full sync", 30_000)
    await_waiting(id, 1)
    Proxy.target(proxy, Server.free_port())
    Proxy.cut(proxy, :reset)
    Proxy.weather(proxy, :calm)

    # A server keeps what a replica that it still has did not read.
    Mirror.eventually("it has no replica", fn ->
      Redix.command!(redis, ["INFO", "replication"]) =~ "connected_slaves:0"
    end)

    for _ <- 1..20, do: Redix.command!(redis, ["SET", "fill", :binary.copy("x", 100_000)])
    Proxy.target(proxy, Server.port(server))
    assert Task.await(waiting, 40_000) == {{:ok, "OK"}, {:ok, "by full sync"}}
    assert syncs(id).full_syncs == full + 1

    # The server takes another replication id: nothing says that the write is in its data.
    assert Veidrodelis.command(id, ["SET", "k", "before"], timeout: 20_000) == {:ok, "OK"}
    Proxy.weather(proxy, :stall_replication)
    waiting = write(id, "another id", 30_000)
    await_waiting(id, 1)
    Redix.command!(redis, ["DEBUG", "CHANGE-REPL-ID"])
    Proxy.cut(proxy, :reset)
    Proxy.weather(proxy, :calm)
    assert {{:error, {:written, :lost_history}}, _read} = Task.await(waiting, 40_000)
  end

  live_test "the server drops the link again and again, and no write is told wrongly or read stale",
            %{redis: redis, server: server},
            mirror: false do
    id = Mirror.start!(server, reconnect_delay_ms: 5, max_reconnect_delay_ms: 20)
    test = self()

    writers =
      for writer <- 1..8 do
        Task.async(fn -> write_on(id, "w#{writer}", 1, test) end)
      end

    for _ <- 1..30 do
      Redix.command!(redis, ["CLIENT", "KILL", "TYPE", "replica"])
      flush_wrote()
      # Every writer goes on, beyond the write that this met.
      for writer <- 1..8, _ <- 1..2, do: assert_receive({:wrote, ^writer}, 20_000)
    end

    Enum.each(writers, &send(&1.pid, :stop))
    assert Enum.uniq(Task.await_many(writers, 40_000)) == [:ok]
    assert %{full_syncs: 1, partial_syncs: partial} = syncs(id)
    assert partial >= 1
  end

  defp flush_wrote do
    receive do
      {:wrote, _writer} -> flush_wrote()
    after
      0 -> :ok
    end
  end

  # Writes and reads until it is told to stop; `:ok`, or what was wrong.
  defp write_on(id, "w" <> writer = key, n, test) do
    answer = Veidrodelis.command(id, ["SET", key, n], timeout: 20_000)
    read = Veidrodelis.get(id, 0, key)
    send(test, {:wrote, String.to_integer(writer)})

    receive do
      :stop -> if {answer, read} == {{:ok, "OK"}, {:ok, "#{n}"}}, do: :ok, else: {n, answer, read}
    after
      0 ->
        if {answer, read} == {{:ok, "OK"}, {:ok, "#{n}"}},
          do: write_on(id, key, n + 1, test),
          else: {n, answer, read}
    end
  end
end
