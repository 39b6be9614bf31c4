defmodule Vdr.Live.SupervisionTest do
  # Processes die, and instances come and go. Data, watches, threads and sockets are not affected.
  use Vdr.Test.LiveCase, async: false

  alias Vdr.Test.{Resources, Telemetry}

  @moduletag timeout: 300_000

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp child(supervisor, name) do
    Enum.find_value(Supervisor.which_children(supervisor), fn {id, pid, _, _} -> id == name && is_pid(pid) && pid end)
  catch
    :exit, _gone -> nil
  end

  defp kill(nil), do: :ok
  defp kill(pid), do: Process.exit(pid, :kill)

  # Each process of an instance, and those that all instances share.
  defp kill_one(id) do
    {_store, supervisor} = Vdr.Mirror.Stores.find(id)

    case :rand.uniform(5) do
      1 -> kill(child(supervisor, Vdr.Link))
      2 -> kill(supervisor)
      3 -> kill(Process.whereis(Vdr.Mirror.Stores))
      4 -> kill(Process.whereis(Vdr.Cleaner))
      5 -> kill(child(supervisor, Vdr.NativeLog))
    end
  end

  defp write(redis, n) do
    receive do
      :enough -> n
    after
      0 ->
        Redix.pipeline!(redis, [["SET", "n", n], ["HSET", "h", "f#{rem(n, 50)}", n], ["RPUSH", "l", n]])
        write(redis, n + 1)
    end
  end

  live_test "killing processes at random under load costs neither data nor watches", %{redis: redis, server: server},
    mirror: false,
    config: [{"repl-backlog-size", "64mb"}] do
    # A supervisor with default settings gives up at ten restarts per second.
    supervisor = start_supervised!({DynamicSupervisor, strategy: :one_for_one, max_restarts: 1000})
    id = {:killed, System.unique_integer([:positive])}
    options = [id: id, host: "127.0.0.1", port: Server.port(server), reconnect_delay_ms: 5]
    {:ok, _pid} = DynamicSupervisor.start_child(supervisor, {Veidrodelis, options})
    :ok = Veidrodelis.await_ready(id, 20_000)
    ref = make_ref()
    :ok = Veidrodelis.watch(id, 0, "end", ref)
    writer = Task.async(fn -> write(Server.connect!(server), 1) end)

    reader =
      Task.async(fn ->
        Stream.repeatedly(fn -> Veidrodelis.get(id, 0, "never") end)
        |> Enum.take_while(fn answer ->
          assert answer == {:ok, nil}

          receive do
            :enough -> false
          after
            1 -> true
          end
        end)
      end)

    # About six shared processes per second: the application gives up at a hundred in ten seconds,
    # and the next server's test follows at once.
    for _ <- 1..40 do
      kill_one(id)
      Process.sleep(:rand.uniform(180))
    end

    send(writer.pid, :enough)
    assert Task.await(writer, 20_000) > 10
    send(reader.pid, :enough)
    Task.await(reader, 20_000)

    Mirror.eventually("it streams again", fn -> Veidrodelis.info(id) end, fn ->
      match?(%{state: :streaming}, Veidrodelis.info(id))
    end)

    Redix.command!(redis, ["SET", "end", "x"])
    assert_receive {^ref, %Vdr.WatchEvent.Update{key: "end"}}, 20_000
    Compare.assert_equal(redis, id, [0])
    assert %{full_syncs: 1, watches: 1} = Veidrodelis.info(id)
  end

  # A handler that counts its commands.
  defmodule Counter do
    @behaviour Vdr.RedisStream.Callback
    @impl true
    def init(nil), do: {:ok, %{syncs: 0, last: 0, missed: 0}}
    @impl true
    def handle_replication_start(state), do: {:ok, %{state | syncs: state.syncs + 1}}
    @impl true
    def handle_commands(state, commands), do: {:ok, Enum.reduce(commands, state, &count/2)}

    defp count(%{command: {:set, "n", text}, context: %{phase: :stream}}, state) do
      n = String.to_integer(text)
      if n == state.last + 1, do: %{state | last: n}, else: %{state | last: n, missed: state.missed + 1}
    end

    defp count(_command, state), do: state
  end

  live_test "a handler outlives the processes around it, without a full sync and without a gap", %{server: server},
    mirror: false,
    config: [{"repl-backlog-size", "64mb"}] do
    {:ok, handler} =
      Vdr.RedisStream.Replica.start_link(
        host: "127.0.0.1",
        port: Server.port(server),
        reconnect_delay_ms: 5,
        callback_module: Counter,
        callback_opts: nil
      )

    Mirror.eventually("it streams", fn -> Vdr.RedisStream.Replica.get_replication_state(handler) == :streaming end)
    writer = Task.async(fn -> write(Server.connect!(server), 1) end)

    for n <- 1..12 do
      case rem(n, 3) do
        0 -> kill(Process.whereis(Vdr.Mirror.Stores))
        1 -> kill(Process.whereis(Vdr.Cleaner))
        2 -> kill(Vdr.Reports.read({:handler, handler}).pid)
      end

      Process.sleep(:rand.uniform(200))
    end

    send(writer.pid, :enough)
    written = Task.await(writer, 20_000) - 1
    state = fn -> Vdr.RedisStream.Replica.get_callback_state(handler) end
    Mirror.eventually("it has all of them", state, fn -> state.().last == written end)
    assert %{syncs: 1, missed: 0} = state.()
    assert :ok = Vdr.RedisStream.Replica.stop(handler)
  end

  live_test "the store of a killed instance without a successor is released", %{server: server}, mirror: false do
    id = {:orphan, System.unique_integer([:positive])}
    {:ok, pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: Server.port(server))
    :ok = Veidrodelis.await_ready(id, 20_000)
    kill(pid)
    assert_receive {:EXIT, ^pid, :killed}
    assert Veidrodelis.get(id, 0, "k") == {:ok, nil}
    Mirror.eventually("it is gone", fn -> Veidrodelis.get(id, 0, "k") == {:error, :no_instance} end)

    # Another server under the same id is another instance, at once.
    {:ok, pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: Server.port(server))
    :ok = Veidrodelis.await_ready(id, 20_000)
    kill(pid)
    assert_receive {:EXIT, ^pid, :killed}
    {:ok, _pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: Server.free_port())
    assert Veidrodelis.get(id, 0, "k") == {:error, :not_ready}
    :ok = Veidrodelis.stop(id)
  end

  # The code of a user is slow, or it hangs. The supervisor is killed once, or again while the
  # second link waits for the first. The second instance has the same data, or other options.
  for {title, how} <- [
        {"it ends", %{ends: true}},
        {"it hangs", %{}},
        {"the next supervisor is killed, too", %{ends: true, kills: 2}},
        {"the next instance has other options", %{options: [stale_reads: {:max_ms, 60_000}]}}
      ] do
    live_test "a link that outlives its killed supervisor does not end the next one's link: #{title}", context,
      mirror: false do
      # The user's supervisor does not wait for what hangs. A start may take long on a busy machine.
      assert Enum.any?(1..3, fn _try -> outlive(context, unquote(Macro.escape(how))) < 900_000 end)
    end
  end

  # The time of the longest start, in us.
  defp outlive(%{redis: redis, server: server}, how) do
    id = {:outlived, System.unique_integer([:positive])}
    test = self()
    once = :counters.new(1, [])

    Telemetry.attach(fn
      [:veidrodelis, :link, :streaming], %{id: ^id} ->
        :counters.add(once, 1, 1)

        if :counters.get(once, 1) == 1 do
          send(test, {:slow, self()})
          receive(do: (:go_on -> :ok), after: (60_000 -> :ok))
        end

      _event, _metadata ->
        :ok
    end)

    :ok = Veidrodelis.subscribe(id)
    options = [id: id, host: "127.0.0.1", port: Server.port(server), reconnect_delay_ms: 5]
    {:ok, pid} = Veidrodelis.start_link(options)
    assert_receive {:slow, first}, 20_000
    monitor = Process.monitor(first)
    if how[:ends], do: Process.send_after(first, :go_on, 300)
    options = Keyword.merge(options, how[:options] || [])

    {pid, us} =
      Enum.reduce(1..(how[:kills] || 1), {pid, 0}, fn _nth, {pid, longest} ->
        Process.exit(pid, :kill)
        assert_receive {:EXIT, ^pid, :killed}
        {us, {:ok, pid}} = :timer.tc(fn -> Veidrodelis.start_link(options) end)
        {pid, max(us, longest)}
      end)

    assert_receive {:DOWN, ^monitor, :process, ^first, _reason}, 20_000
    :ok = Veidrodelis.await_ready(id, 20_000)
    value = inspect(id)
    Redix.command!(redis, ["SET", "k", value])
    Mirror.eventually("it follows", fn -> Veidrodelis.get(id, 0, "k") == {:ok, value} end)
    :ok = Veidrodelis.stop(pid)
    # An instance with other options is another one, so the first is announced as stopped.
    for _ <- [:stopped | Keyword.keys(how[:options] || [])],
        do: assert_receive({:veidrodelis, ^id, :stopped, _details}, 20_000)

    events = begun_and_ended(id)
    assert events == List.flatten(List.duplicate([:connecting, :disconnected], div(length(events), 2)))
    assert length(events) >= 4
    us
  end

  defp begun_and_ended(id) do
    receive do
      {:veidrodelis, ^id, event, _details} when event in [:connecting, :disconnected] -> [event | begun_and_ended(id)]
    after
      0 -> []
    end
  end

  test "a thousand starts and stops in any state leave nothing behind, and each stop is quick" do
    server = Server.start!(config: [{"maxclients", 1000}])
    redis = Server.connect!(server)
    # 20 MB of data, so that a thousand leaked instances would be noticed.
    Redix.pipeline!(redis, for(n <- 1..20, do: ["SET", "k#{n}", :binary.copy("x", 1_000_000)]))
    port = Server.port(server)
    # Things that start once and stay.
    for n <- 1..20, do: start_and_stop({:warm, n}, port)
    before = Resources.now()

    slowest = Enum.max(for n <- 1..1000, do: start_and_stop({:round, n}, port))
    # A child that does not end is killed after five seconds.
    assert slowest < 4_000_000, "a stop took #{div(slowest, 1000)} ms"

    Mirror.eventually("everything is given back", fn -> {before, Resources.now(), clients(redis)} end, fn ->
      now = Resources.now()

      clients(redis) == 1 and now.sockets <= before.sockets and now.threads <= before.threads and
        now.processes <= before.processes + 5 and now.memory <= before.memory + 200_000_000
    end)
  end

  # Stops at once, while the file arrives, or when it is complete.
  defp start_and_stop(id, port) do
    {:ok, _pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: port)

    case :rand.uniform(10) do
      n when n <= 5 -> :ok
      n when n <= 9 -> Process.sleep(:rand.uniform(10))
      _rare -> :ok = Veidrodelis.await_ready(id, 20_000)
    end

    {us, :ok} = :timer.tc(fn -> Veidrodelis.stop(id) end)
    us
  end

  defp clients(redis), do: redis |> Redix.command!(["CLIENT", "LIST"]) |> String.split("\n", trim: true) |> length()
end
