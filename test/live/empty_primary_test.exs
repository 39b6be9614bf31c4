defmodule Vdr.Live.EmptyPrimaryTest do
  # A server that is killed and comes back without its data, and `:on_empty_primary`.
  use Vdr.Test.LiveCase, async: true

  @delays [reconnect_delay_ms: 50, max_reconnect_delay_ms: 100]

  live_test "by default the mirror follows", %{server: server, redis: redis}, mirror: false do
    id = mirror(server, redis, [])
    lose(server)
    Mirror.eventually("the mirror is empty", fn -> Veidrodelis.get(id, 0, "k1") == {:ok, nil} end)
    refute_received {:veidrodelis, ^id, :emptied, _details}
  end

  live_test "with a fraction the data stays, until enough of it is back",
            %{server: server, redis: redis},
            mirror: false do
    id = mirror(server, redis, on_empty_primary: {:keep, 0.5})
    lose(server)
    assert_receive {:veidrodelis, ^id, :emptied, %{keys: 0, before: 10, decision: :keep, primary: {_, _}}}, 20_000
    assert_receive {:veidrodelis, ^id, :disconnected, %{reason: :primary_emptied, refused: true}}, 20_000
    assert Veidrodelis.get(id, 0, "k1") == {:ok, "v"}
    assert %{last_error: {:primary_emptied, "0 keys instead of 10"}, stale: true} = Veidrodelis.info(id)

    redis = Server.connect!(server)
    set(redis, 1..4)
    assert_receive {:veidrodelis, ^id, :emptied, %{keys: 4}}, 20_000
    assert Veidrodelis.get(id, 0, "k9") == {:ok, "v"}
    set(redis, 5..5)
    Mirror.eventually("half is enough", fn -> Veidrodelis.get(id, 0, "k9") == {:ok, nil} end)
    assert Veidrodelis.get(id, 0, "k5") == {:ok, "v"}
  end

  live_test "a function decides", %{server: server, redis: redis}, mirror: false do
    test = self()

    keep = fn counts ->
      send(test, {:asked, counts, self()})
      receive(do: (answer -> answer))
    end

    id = mirror(server, redis, on_empty_primary: {:keep, keep})
    lose(server)
    assert_receive {:asked, %{keys: 0, before: 10, primary: {_host, _port}}, asked}, 20_000
    send(asked, :keep)
    assert_receive {:veidrodelis, ^id, :emptied, %{decision: :keep}}, 20_000
    assert Veidrodelis.get(id, 0, "k1") == {:ok, "v"}

    assert_receive {:asked, _counts, asked}, 20_000
    Process.exit(asked, :kill)
    assert_receive {:veidrodelis, ^id, :emptied, %{decision: :keep}}, 20_000

    accept_all(id)
    Mirror.eventually("the mirror is empty", fn -> Veidrodelis.get(id, 0, "k1") == {:ok, nil} end)
    # The data is shown before the link tells of its new state.
    Mirror.eventually("the link streams", fn -> Veidrodelis.replication_state(id) == :streaming end)
  end

  # FLUSHALL is a command like any other.
  live_test "data that the primary removes is no loss", %{server: server, redis: redis}, mirror: false do
    id = mirror(server, redis, on_empty_primary: {:keep, 1})
    Redix.command!(redis, ["FLUSHALL"])
    Mirror.eventually("the mirror is empty", fn -> Veidrodelis.get(id, 0, "k1") == {:ok, nil} end)
    refute_received {:veidrodelis, ^id, :emptied, _details}
  end

  test "other values are refused" do
    for bad <- [:keep, {:keep, 0}, {:keep, 1.5}, {:keep, fn -> :accept end}, "accept"] do
      assert_raise ArgumentError, ~r/on_empty_primary/, fn ->
        Veidrodelis.start_link(id: {:bad, bad}, on_empty_primary: bad)
      end
    end
  end

  defp accept_all(id) do
    receive do
      {:asked, _counts, asked} ->
        send(asked, :accept)
        accept_all(id)

      {:veidrodelis, ^id, :emptied, %{decision: :accept}} ->
        :ok
    after
      20_000 -> flunk("nothing was accepted")
    end
  end

  defp mirror(server, redis, opts) do
    set(redis, 1..10)
    id = {:test, System.unique_integer([:positive])}
    Veidrodelis.subscribe(id)
    start_supervised!({Veidrodelis, [id: id, host: "127.0.0.1", port: Server.port(server)] ++ @delays ++ opts})
    assert :ok = Veidrodelis.await_ready(id, 20_000)
    id
  end

  defp set(redis, numbers), do: Enum.each(numbers, &Redix.command!(redis, ["SET", "k#{&1}", "v"]))

  defp lose(server) do
    Server.kill(server)
    File.rm(Path.join(Server.info(server).dir, "dump.rdb"))
    Server.restart(server)
  end
end
