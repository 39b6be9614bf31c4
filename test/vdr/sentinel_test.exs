defmodule Vdr.SentinelTest do
  # What the link's process does for its Sentinel monitor. How the monitor decides is tested in
  # `native/vdr_link`.
  use ExUnit.Case, async: true

  alias Vdr.Test.{FakeServer, Mirror}

  @moduletag capture_log: true

  defp mirror!(port, more) do
    id = {:sentinel, System.unique_integer([:positive])}
    # So long that a loaded machine does not lose the Sentinel.
    connect_opts = [timeout: 10_000] ++ Keyword.get(more, :connect_opts, [])
    sentinel = [sentinels: [[host: "127.0.0.1", port: port]], group: "g", connect_opts: connect_opts]
    sentinel = Keyword.merge(more, sentinel)
    start_supervised!({Veidrodelis, id: id, sentinel: sentinel, reconnect_delay_ms: 50, max_reconnect_delay_ms: 100})
    id
  end

  defp last_error(id), do: Veidrodelis.info(id).last_error

  # A Sentinel that names a server at which nothing listens.
  defp sentinel! do
    FakeServer.primary!(fn
      "SENTINEL GET-MASTER-ADDR-BY-NAME g" -> "*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n"
      "SUBSCRIBE +switch-master" -> "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
      "AUTH sesame" -> "+OK\r\n"
      _other -> "*0\r\n"
    end)
  end

  test "functions for a password and for hosts are called, in processes of their own" do
    test = self()

    host_map = fn host ->
      send(test, {host, self()})
      "localhost"
    end

    id = mirror!(sentinel!(), connect_opts: [password: {__MODULE__, :password, [test]}], host_map: host_map)

    assert_receive {:password, pid}
    assert_receive {"127.0.0.1", other}
    assert pid != other
    Mirror.eventually("the server is tried", fn -> match?({:connection_refused, _detail}, last_error(id)) end)
    assert Veidrodelis.info(id).primary == {"localhost", 1}
  end

  def password(test) do
    send(test, {:password, self()})
    "sesame"
  end

  test "a function that crashes is an error of its own" do
    id = mirror!(sentinel!(), host_map: fn _host -> raise "no" end)
    assert Veidrodelis.await_ready(id, 10_000) == {:error, :bad_host_map}
    id = mirror!(sentinel!(), connect_opts: [password: {Kernel, :exit, [:no]}])
    assert Veidrodelis.await_ready(id, 10_000) == {:error, :sentinel_refused}
  end

  test "a function that hangs is given up, and delays neither questions nor the end" do
    id = mirror!(sentinel!(), host_map: fn _host -> Process.sleep(:infinity) end)
    # Far less than the five seconds after which the function is given up, even on a busy machine.
    {us, _info} = :timer.tc(fn -> Veidrodelis.info(id) end)
    assert us < 4_000_000
    assert Veidrodelis.await_ready(id, 20_000) == {:error, :bad_host_map}
    {us, :ok} = :timer.tc(fn -> stop_supervised!({Veidrodelis, id}) end)
    assert us < 4_000_000
  end

  test "a password function of the server that hangs is given up, too" do
    id = {:sentinel, System.unique_integer([:positive])}
    start_supervised!({Veidrodelis, id: id, port: 1, password: {Process, :sleep, [:infinity]}})
    assert Veidrodelis.await_ready(id, 20_000) == {:error, :bad_password_function}
  end

  test "the monitor ends with the link's process, and the next one has one of its own" do
    id = mirror!(subscribed!(), [])
    assert_receive {:subscribed, first}, 10_000
    refute_receive {:subscribed, _another}, 500
    {_store, supervisor} = Vdr.Mirror.Stores.find(id)
    {Vdr.Link, link, :worker, _} = supervisor |> Supervisor.which_children() |> List.keyfind(Vdr.Link, 0)
    monitor = Process.monitor(first)
    Process.exit(link, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^first, _reason}, 10_000
    assert_receive {:subscribed, _second}, 10_000
  end

  test "the Sentinel that is listened to is asked for a sign of life once a second, however often it was another" do
    mirror!(subscribed!(), [])

    for _ <- 1..5 do
      assert_receive {:subscribed, subscription}, 10_000
      Process.sleep(50)
      send(subscription, :hang_up)
    end

    assert_receive {:subscribed, _subscription}, 10_000
    # Those of the Sentinels before.
    pings(System.monotonic_time(:millisecond), 0)
    # If each of the six had its own clock, it would be a dozen.
    assert pings(System.monotonic_time(:millisecond) + 2500, 0) in 1..5
  end

  defp pings(deadline, count) do
    receive do
      :ping -> pings(deadline, count + 1)
    after
      max(deadline - System.monotonic_time(:millisecond), 0) -> count
    end
  end

  # A Sentinel of which each connection is a subscription that the test hears of.
  defp subscribed! do
    test = self()

    FakeServer.start!(fn socket ->
      :inet.setopts(socket, active: true)
      subscription(socket, test)
    end)
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
            :gen_tcp.send(socket, String.duplicate("*-1\r\n", 4))
        end

        subscription(socket, test)

      {:tcp_closed, _socket} ->
        :ok

      :hang_up ->
        :ok
    end
  end
end
