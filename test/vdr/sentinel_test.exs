defmodule Vdr.SentinelTest do
  use ExUnit.Case, async: true

  alias Vdr.Sentinel.Connection
  alias Vdr.Test.FakeServer

  describe "a reply" do
    @reply "*3\r\n$7\r\nmessage\r\n$-1\r\n*2\r\n:42\r\n-ERR no\r\n"

    test "is taken whole, and what follows is left" do
      assert Connection.parse(@reply <> "+PONG\r\n") == {:ok, ["message", nil, [42, {:error, "ERR no"}]], "+PONG\r\n"}
      assert Connection.parse("*-1\r\n") == {:ok, nil, ""}
    end

    test "that is cut anywhere is waited for" do
      for size <- 0..(byte_size(@reply) - 1), do: assert(Connection.parse(binary_part(@reply, 0, size)) == :more)
    end

    test "that nests without end, is too long or is none is refused" do
      assert Connection.parse(String.duplicate("*1\r\n", 100)) == :error
      assert Connection.parse("$99999999999\r\n") == :error
      assert Connection.parse("*99999999999\r\n") == :error
      assert Connection.parse("HTTP/1.1 400 Bad Request\r\n") == :error
      assert Connection.parse("+" <> String.duplicate("x", 300_000)) == :error
      assert Connection.parse("$3\r\nabcde") == :error
    end
  end

  describe "a connection" do
    test "to what is no address, or by what are no options, is an error and no crash" do
      connect = sentinel([1]).connect

      for host <- ["no host", "", <<255>>, "a\0b", String.duplicate("a", 300)] do
        assert {:error, {:unreachable, _text}} = Connection.open({host, 1}, connect)
      end

      for wrong <- [%{socket_opts: [:bogus]}, %{socket_opts: 5}, %{ssl: true, ssl_opts: [certfile: 5]}] do
        assert {:error, {:unreachable, _text}} = Connection.open({"127.0.0.1", 1}, Map.merge(connect, wrong))
      end
    end

    test "reads bytes, whatever the options of its socket say" do
      connect = %{sentinel([1]).connect | socket_opts: [:list, active: true, packet: :line, nodelay: false]}
      port = FakeServer.primary!(fn _command -> "$3\r\na\nb\r\n" end)
      assert {:ok, connection} = Connection.open({"127.0.0.1", port}, connect)
      assert {:ok, "a\nb", connection} = Connection.command(connection, ["PING"])
      assert Connection.close(connection) == :ok
    end
  end

  defp sentinel(ports, opts \\ []) do
    sentinels = for port <- ports, do: [host: "127.0.0.1", port: port]
    Vdr.Options.validate!(sentinel: [sentinels: sentinels, group: "g"] ++ opts).sentinel
  end

  defp saying(address_port) do
    text = Integer.to_string(address_port)

    FakeServer.primary!(fn
      "SENTINEL GET-MASTER-ADDR-BY-NAME g" -> "*2\r\n$1\r\nh\r\n$#{byte_size(text)}\r\n#{text}\r\n"
      _other -> "*0\r\n"
    end)
  end

  test "the one that answered is asked first the next time" do
    {:ok, listener} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, dead} = :inet.port(listener)
    :gen_tcp.close(listener)
    alive = saying(7)
    sentinel = sentinel([dead, alive])
    assert {:ok, {"h", 7}, order} = Vdr.Sentinel.find(sentinel, sentinel.sentinels)
    assert order == [{"127.0.0.1", alive}, {"127.0.0.1", dead}]
  end

  test "one that takes the connection and says nothing is left after its time" do
    silent = FakeServer.start!(fn _socket -> Process.sleep(:infinity) end)
    sentinel = sentinel([silent, saying(7)], connect_opts: [timeout: 100])
    {us, answer} = :timer.tc(fn -> Vdr.Sentinel.find(sentinel, sentinel.sentinels) end)
    assert {:ok, {"h", 7}, _order} = answer
    assert us < 2_000_000
  end

  test "one that answers a byte at a time does not stretch its time" do
    slow =
      FakeServer.start!(fn socket ->
        for _ <- 1..100, do: :gen_tcp.send(socket, "*") && Process.sleep(50)
      end)

    sentinel = sentinel([slow], connect_opts: [timeout: 200])
    {us, answer} = :timer.tc(fn -> Vdr.Sentinel.find(sentinel, sentinel.sentinels) end)
    assert {:error, :no_sentinel_reachable, _detail, :soon} = answer
    assert us < 2_000_000
  end

  test "what most of them say counts, and a tie says nothing" do
    ports = [saying(1), saying(2), saying(2)]
    sentinel = sentinel(ports)
    assert Vdr.Sentinel.majority(sentinel, sentinel.sentinels) == {"h", 2}
    assert Vdr.Sentinel.majority(sentinel, Enum.take(sentinel.sentinels, 2)) == nil
    assert Vdr.Sentinel.majority(sentinel, []) == nil
  end

  test "an address that is none is passed over" do
    sentinel = sentinel([saying(70_000), saying(0), saying(8)])
    assert {:ok, {"h", 8}, _order} = Vdr.Sentinel.find(sentinel, sentinel.sentinels)
  end

  test "the Sentinel that is listened to is asked for a sign of life once a second, however often it was another" do
    test = self()

    port =
      FakeServer.start!(fn socket ->
        :inet.setopts(socket, active: true)
        subscription(socket, test)
      end)

    options =
      Vdr.Options.validate!(id: make_ref(), sentinel: [sentinels: [[host: "127.0.0.1", port: port]], group: "g"])

    start_supervised!({Vdr.Sentinel.Listener, {{:mirror, options.id}, options}})

    for _ <- 1..5 do
      assert_receive {:subscribed, subscription}, 5000
      Process.sleep(50)
      send(subscription, :hang_up)
    end

    assert_receive {:subscribed, _subscription}, 5000
    assert pings(System.monotonic_time(:millisecond) + 2500, 0) in 1..3
  end

  defp pings(deadline, count) do
    receive do
      :ping -> pings(deadline, count + 1)
    after
      max(deadline - System.monotonic_time(:millisecond), 0) -> count
    end
  end

  defp subscription(socket, test) do
    receive do
      {:tcp, _socket, bytes} ->
        cond do
          bytes =~ "SUBSCRIBE" ->
            :gen_tcp.send(socket, "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n")
            send(test, {:subscribed, self()})

          bytes =~ "PING" ->
            :gen_tcp.send(socket, "*2\r\n$4\r\npong\r\n$0\r\n\r\n")
            send(test, :ping)

          true ->
            :gen_tcp.send(socket, "*-1\r\n")
        end

        subscription(socket, test)

      {:tcp_closed, _socket} ->
        :ok

      :hang_up ->
        :ok
    end
  end
end
