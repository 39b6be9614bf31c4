defmodule Vdr.Live.SyncByTest do
  # The way of the snapshot file, on servers as installed: they wait five seconds before a file by
  # the socket. All other tests give their servers a delay of 0. Where the mirror must not wait, the
  # delay here is a minute, so that a loaded machine looks like no wait.
  use Vdr.Test.LiveCase, async: true

  @as_installed [{"repl-diskless-sync-delay", "5"}]
  @a_minute [{"repl-diskless-sync-delay", "60"}]
  @soon_ms 20_000

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp start!(port, options) do
    id = {:sync_by, System.unique_integer([:positive])}
    start_supervised!({Veidrodelis, [id: id, host: "127.0.0.1", port: port] ++ options})
    id
  end

  live_test "a mirror of a server as installed is ready at once", %{port: port, redis: redis},
    mirror: false,
    config: @a_minute do
    Redix.command!(redis, ["SET", "k", "v"])
    # As in the README's first example.
    id = start!(port, [])
    assert Veidrodelis.await_ready(id, @soon_ms) == :ok
    assert Veidrodelis.get(id, 0, "k") == {:ok, "v"}
    Redix.command!(redis, ["SET", "k", "w"])
    Mirror.settle(id, redis)
    assert Veidrodelis.get(id, 0, "k") == {:ok, "w"}
  end

  live_test "several that start together are ready at once, too", %{port: port, redis: redis},
    mirror: false,
    config: @a_minute do
    Redix.command!(redis, ["SET", "k", "v"])
    ids = for _ <- 1..8, do: start!(port, [])
    for id <- ids, do: assert(Veidrodelis.await_ready(id, @soon_ms) == :ok)
  end

  test "by the socket, and without the right to INFO, await_ready/1 waits for the server's delay" do
    server = Server.start!(config: @as_installed)
    redis = Server.connect!(server)
    Redix.command!(redis, ~w(ACL SETUSER mirror on >pw -@all +psync +replconf +ping))
    started = System.monotonic_time(:millisecond)
    socket = start!(Server.port(server), sync_by: :socket)
    least = start!(Server.port(server), username: "mirror", password: "pw")
    assert Veidrodelis.await_ready(socket) == :ok
    assert Veidrodelis.await_ready(least) == :ok
    assert System.monotonic_time(:millisecond) - started >= 4_000
  end

  test "a handler gets its full sync at once, too" do
    server = Server.start!(config: @a_minute)
    redis = Server.connect!(server)
    Redix.command!(redis, ["SET", "k", "v"])

    options = [
      host: "127.0.0.1",
      port: Server.port(server),
      callback_module: Vdr.Test.Recorder,
      callback_opts: %{to: self()}
    ]

    start_supervised!({Vdr.RedisStream.Replica, options})
    assert_receive {:recorded, _handler, :streaming_start}, @soon_ms
  end

  # The folder of a server that has lost it: no file can be made there, not even by root.
  defp lose_dir(server, redis) do
    dir = Path.join(Server.info(server).dir, "lost")
    File.mkdir!(dir)
    "OK" = Redix.command!(redis, ["CONFIG", "SET", "dir", dir])
    File.rmdir!(dir)
  end

  live_test "after a disk that failed the file comes by the socket", %{server: server, redis: redis, port: port},
    mirror: false,
    config: [{"enable-protected-configs", "yes"}] do
    lose_dir(server, redis)
    id = start!(port, reconnect_delay_ms: 50)
    assert Veidrodelis.await_ready(id, 20_000) == :ok
    assert Veidrodelis.info(id).attempts == 2
    assert Redix.command!(redis, ["INFO", "persistence"]) =~ "rdb_last_bgsave_status:err"
  end

  test "who insists on the disk hears that it fails" do
    server = Server.start!(config: [{"enable-protected-configs", "yes"}])
    lose_dir(server, Server.connect!(server))
    id = start!(Server.port(server), reconnect_delay_ms: 50, sync_by: :disk)
    assert Veidrodelis.await_ready(id, 1_000) == {:error, :timeout}
    last_error = fn -> Veidrodelis.info(id, :last_error) end
    Mirror.eventually("it is told", last_error, fn -> last_error.() != nil end)
    refute Veidrodelis.ready?(id)
    {code, _detail} = last_error.()
    assert code in [:closed, :bgsave_failed, :sync_aborted]
  end
end
