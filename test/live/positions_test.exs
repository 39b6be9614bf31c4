defmodule Vdr.Live.PositionsTest do
  # Positions on other nodes, and a hundred thousand processes that wait for positions. They take
  # some hundred megabytes, so nothing else runs beside them.
  use ExUnit.Case

  import ExUnit.CaptureLog

  alias Vdr.Test.{Mirror, Peers, Server}

  @moduletag capture_log: true, timeout: 180_000
  @waiters 100_000

  test "a hundred thousand wait, writes go on, and each is woken when its turn has come and not before" do
    server = Server.start!()
    redis = Server.connect!(server)
    id = Mirror.start!(server)
    {:ok, {replication_id, offset}} = Veidrodelis.position(id)
    test = self()

    # A turn every ten bytes, from a megabyte on.
    waiters =
      for n <- 1..@waiters do
        mine = offset + 1_000_000 + 10 * n
        spawn_link(fn -> send(test, {:woken, self(), wait(id, {replication_id, mine})}) end)
      end

    Mirror.eventually("all wait", fn -> Veidrodelis.info(id, :waiting) == @waiters end)

    # Nobody's turn: each of these is visible at once, and wakes nobody.
    for n <- 1..1000 do
      assert Veidrodelis.command(id, ["SET", "k", n], timeout: 20_000) == {:ok, "OK"}
      assert Veidrodelis.get(id, 0, "k") == {:ok, "#{n}"}
    end

    assert Veidrodelis.info(id, :waiting) == @waiters
    refute_received {:woken, _pid, _answer}

    # Whoever gives up leaves the others.
    {gone, others} = Enum.split(waiters, 100)

    for pid <- gone do
      Process.unlink(pid)
      Process.exit(pid, :kill)
    end

    Mirror.eventually("they are gone", fn -> Veidrodelis.info(id, :waiting) == @waiters - 100 end)

    # Everybody's turn, in the middle of writes.
    for _ <- 1..100, do: Redix.pipeline!(redis, for(_ <- 1..10, do: ["SET", "k", :binary.copy("v", 3000)]))
    for pid <- others, do: assert_receive({:woken, ^pid, :visible}, 60_000)
    assert Veidrodelis.info(id, :waiting) == 0
    assert Veidrodelis.command(id, ["SET", "k", "after"], timeout: 20_000) == {:ok, "OK"}
  end

  defp wait(id, {_replication_id, mine} = position) do
    with :ok <- Veidrodelis.await_position(id, position, :infinity),
         {:ok, {_same, visible}} <- Veidrodelis.position(id),
         do: if(visible >= mine, do: :visible, else: {:early, mine, visible})
  end

  test "a position is handed to a mirror of another node" do
    server = Server.start!()
    id = Mirror.start!(server)
    [peer] = Peers.start!(1)
    there = Veidrodelis.child_spec(id: :there, host: "127.0.0.1", port: Server.port(server))
    there = Map.put(there, :restart, :temporary)
    {:ok, _pid} = Peers.call(peer, Supervisor, :start_child, [Vdr.Supervisor, there])
    :ok = Peers.call(peer, Veidrodelis, :await_ready, [:there, 20_000])

    for n <- 1..100 do
      {:ok, "OK"} = Veidrodelis.command(id, ["SET", "handed", n])
      {:ok, position} = Veidrodelis.position(id)
      position = Peers.call(peer, :erlang, :binary_to_term, [:erlang.term_to_binary(position), [:safe]])
      assert Peers.call(peer, Veidrodelis, :await_position, [:there, position, 20_000]) == :ok
      assert Peers.call(peer, Veidrodelis, :get, [:there, 0, "handed"]) == {:ok, "#{n}"}
    end
  end

  test "that the user may not ask for offsets is said at the start, before the first write" do
    server = Server.start!()
    Redix.command!(Server.connect!(server), ~w(ACL SETUSER norole on >secret ~* &* +@all -role))

    id = {:norole, System.unique_integer([:positive])}
    access = [username: "norole", password: "secret"]
    :ok = Veidrodelis.subscribe(id)

    told =
      capture_log(fn ->
        instance = start_supervised!({Veidrodelis, [id: id, host: "127.0.0.1", port: Server.port(server)] ++ access})

        assert_receive {:veidrodelis, ^id, :streaming, _details}, 20_000
        # The link's process has done what belongs to this event.
        {_id, link, _type, _modules} = List.keyfind(Supervisor.which_children(instance), Vdr.Link, 0)
        :sys.get_state(link)
      end)

    assert told =~ "[warning] Veidrodelis #{inspect(id)}: the server does not tell its role"
    assert told =~ "needs the permission +role: commands take sync: false only"
    assert Veidrodelis.info(id, :writes) == :no_offset
  end
end
