defmodule Vdr.Live.BadInputTest do
  # Whatever the other end sends: a clear error, no crash, and another attempt if that can help.
  use Vdr.Test.LiveCase, async: true

  defp start(port, opts \\ []) do
    id = {:bad, System.unique_integer([:positive])}
    options = Keyword.merge([id: id, host: "127.0.0.1", port: port, reconnect_delay_ms: 20], opts)
    start_supervised!({Veidrodelis, options}, id: id)
    id
  end

  defp await_error(id) do
    Mirror.eventually("an error is told", fn -> Veidrodelis.info(id) end, fn ->
      Veidrodelis.info(id).last_error != nil
    end)

    {code, detail} = Veidrodelis.info(id).last_error
    assert is_binary(detail)
    assert {:error, :not_ready} = Veidrodelis.get(id, 0, "k")
    code
  end

  test "a refused connection is reported and tried again" do
    port = Server.free_port()
    id = start(port)
    assert await_error(id) == :connection_refused
    assert {:error, :not_connected} = Veidrodelis.connected_to(id)
    assert {:error, :timeout} = Veidrodelis.await_ready(id, 50)

    server = Server.start!(port: port)
    assert :ok = Veidrodelis.await_ready(id, 20_000)
    assert {:ok, {"127.0.0.1", ^port}} = Veidrodelis.connected_to(id)
    GenServer.stop(server)
  end

  test "a host that does not exist is reported" do
    # A resolver waits for five seconds if a packet is lost.
    assert await_error(start(6379, host: "no-such-host.invalid", timeout: 60_000)) == :host_not_found
  end

  live_test "a wrong password ends the wait", %{port: port},
    mirror: false,
    config: [{"requirepass", "right"}] do
    id = start(port, password: "wrong")
    assert {:error, :wrong_password} = Veidrodelis.await_ready(id, 10_000)
    assert await_error(id) == :wrong_password
    refute inspect(Veidrodelis.info(id)) =~ "wrong\""

    right = start(port, password: "right")
    assert :ok = Veidrodelis.await_ready(right, 10_000)
  end

  live_test "a missing password is reported", %{port: port}, mirror: false, config: [{"requirepass", "right"}] do
    assert {:error, :password_required} = Veidrodelis.await_ready(start(port), 10_000)
  end

  live_test "a user without the permission to replicate is reported", %{port: port, redis: redis}, mirror: false do
    Redix.command!(redis, ["ACL", "SETUSER", "weak", "on", ">pw", "~*", "+@all", "-psync", "-sync"])
    id = start(port, username: "weak", password: "pw")
    assert {:error, :no_permission} = Veidrodelis.await_ready(id, 10_000)
    assert await_error(id) == :no_permission

    Redix.command!(redis, ["ACL", "SETUSER", "strong", "on", ">pw", "+ping", "+replconf", "+psync"])
    assert :ok = Veidrodelis.await_ready(start(port, username: "strong", password: "pw"), 10_000)
  end

  test "a server that speaks HTTP is reported as such" do
    port =
      FakeServer.start!(fn socket ->
        {:ok, _} = :gen_tcp.recv(socket, 0)
        :gen_tcp.send(socket, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        :gen_tcp.recv(socket, 0, 1_000)
      end)

    assert await_error(start(port)) == :not_redis
  end

  test "a server that hangs up is tried again" do
    port = FakeServer.start!(fn socket -> :gen_tcp.close(socket) end)
    id = start(port)
    for _ <- 1..3, do: assert_receive({:connected, ^port}, 10_000)
    assert await_error(id) == :closed_in_handshake
  end

  test "a server that is loading is tried again" do
    port = psync("-LOADING server is loading the dataset in memory\r\n")
    assert await_error(start(port)) == :loading
    for _ <- 1..2, do: assert_receive({:connected, ^port}, 30_000)
  end

  test "a managed service that forbids PSYNC is reported" do
    port = psync("-ERR unknown command 'PSYNC', with args beginning with: '?' '-1' \r\n")
    assert {:error, :psync_forbidden} = Veidrodelis.await_ready(start(port), 10_000)
  end

  for {what, file} <- [
        {"garbage instead of a file", "$20\r\nthis is no rdb at all"},
        {"a length field of 2^63", "$9223372036854775808\r\nREDIS0011"},
        {"a file that ends early", "$18\r\nREDIS0011\xFE\x00\x00\x01k"},
        {"a string of 2^62 bytes",
         "$40\r\nREDIS0011\xFE\x00\x00\x81\x40\x00\x00\x00\x00\x00\x00\x00aaaaaaaaaaaaaaaaaa"},
        {"a reply of garbage", <<0, 255, 13, 10, 0>>}
      ] do
    test "a full sync that brings #{what} is an error, not a crash" do
      port = psync("+FULLRESYNC #{String.duplicate("a", 40)} 0\r\n" <> unquote(file))
      id = start(port)
      assert is_atom(await_error(id))
      assert %{ready: false, full_syncs: 0} = Veidrodelis.info(id)
      assert_receive {:connected, ^port}, 10_000
      assert_receive {:connected, ^port}, 30_000
    end
  end

  live_test "a broken full sync leaves the last good snapshot", %{server: server, redis: redis, port: port, id: id} do
    Process.flag(:trap_exit, true)
    Redix.command!(redis, ["SET", "kept", "good"])
    Mirror.settle(id, redis)
    Server.stop(server)

    # Another server takes its place and sends a damaged file.
    {:ok, listener} = :gen_tcp.listen(port, [:binary, ip: {127, 0, 0, 1}, active: false, reuseaddr: true])
    {:ok, socket} = :gen_tcp.accept(listener, 30_000)
    rotten = "+FULLRESYNC #{String.duplicate("b", 40)} 0\r\n$30\r\nREDIS0011\xFE\x00\x00\x04kept\x03bad\xFFwrongsum...."
    FakeServer.serve(socket, reply(rotten))

    assert {:ok, "good"} = Veidrodelis.get(id, 0, "kept")
    assert %{full_syncs: 1, stale: true} = Veidrodelis.info(id)
  end

  defp psync(answer), do: FakeServer.primary!(reply(answer))

  # A primary's replies up to PSYNC. After the given answer it hangs up.
  defp reply(answer) do
    fn
      "PING" -> "+PONG\r\n"
      "REPLCONF" <> _ -> "+OK\r\n"
      "PSYNC" <> _ -> {:last, answer}
      _other -> "-ERR unknown command\r\n"
    end
  end
end
