defmodule Vdr.Test.Chaos do
  @moduledoc """
  Everything that goes wrong, at random, from a seed, for a given time: a mirror behind a proxy, a primary and its replica, writers that
  never stop but for the quiet points, at which mirror and server must be equal. Throughout, what a MULTI wrote together is
  read together, and a watch stays alive.

  The seed fixes which faults come in which order, not how the machine interleaves them.
  """

  alias Vdr.Test.{Compare, Mirror, Proxy, Server, Writes}

  @invariant ["chaos:a", "chaos:b"]
  @settle_ms 60_000

  defstruct [:id, :seed, :proxy, :servers, :supervisor, :binary, :counts, faults: 0, primary: 0, damaged: false]

  @doc "Runs for `seconds`; answers `%{faults, full, partial, divergences, lost, leaked}`."
  def run(seed, seconds) do
    :rand.seed(:exsss, seed)
    threads = threads()
    chaos = start(seed)
    ends_at = System.monotonic_time(:millisecond) + seconds * 1000
    helpers = [writer(chaos, 1), writer(chaos, 2), bookkeeper(chaos), reader(chaos), listener(chaos)]
    chaos = rounds(chaos, ends_at)
    Enum.each(helpers, &stop_helper/1)
    result(chaos, threads)
  end

  defp start(seed) do
    binary = pick(Server.available())

    config = [
      {"repl-backlog-size", pick(["16kb", "4mb"])},
      {"repl-ping-replica-period", 1},
      {"repl-diskless-sync", pick(["yes", "no"])},
      {"shutdown-timeout", 1},
      {"client-output-buffer-limit", "replica 4mb 2mb 5"}
    ]

    servers = for _ <- 1..2, {:ok, server} <- [Server.start_link(binary: binary, config: config)], do: server
    {:ok, proxy} = Proxy.start_link(Server.port(hd(servers)))
    id = {:chaos, seed}

    mirror = [
      id: id,
      host: "127.0.0.1",
      port: Proxy.port(proxy),
      reconnect_delay_ms: 20,
      max_reconnect_delay_ms: 500,
      timeout: 1000,
      read_timeout: 3000
    ]

    {:ok, supervisor} = Supervisor.start_link([{Veidrodelis, mirror}], strategy: :one_for_one, max_restarts: 1_000_000)

    :ok = Veidrodelis.await_ready(id, @settle_ms)
    counts = :ets.new(:chaos, [:public, :set])
    :ets.insert(counts, full: 0, partial: 0, divergences: 0, lost: 0, paused: 0, judged: 1, heard: 0)
    IO.puts("chaos: seed #{seed}, #{binary.name}")

    %__MODULE__{
      id: id,
      seed: seed,
      proxy: proxy,
      servers: servers,
      supervisor: supervisor,
      binary: binary,
      counts: counts
    }
  end

  # ---- rounds

  defp rounds(chaos, ends_at) do
    chaos = Enum.reduce(1..:rand.uniform(4), chaos, fn _, chaos -> fault(chaos) end)
    chaos = quiet_point(chaos)
    if System.monotonic_time(:millisecond) < ends_at, do: rounds(chaos, ends_at), else: chaos
  end

  @faults ~w(cut reset stall long_stall throttle split delay corrupt_file corrupt_stream reset_in_file kill restart
             restart_saved pause kill_replica_link debug_sleep overrun new_id failover kill_link kill_instance kill_instances)a

  defp fault(chaos) do
    name = pick(@faults)
    chaos = apply_fault(name, chaos)
    Process.sleep(:rand.uniform(300))
    %{chaos | faults: chaos.faults + 1}
  rescue
    # The server is gone, or busy being restarted: that fault came to nothing.
    error in [Redix.Error, Redix.ConnectionError, MatchError] ->
      IO.puts("chaos: a fault had no effect: #{Exception.message(error)}")
      chaos
  end

  defp apply_fault(:cut, chaos), do: kept(chaos, Proxy.cut(chaos.proxy, :close))
  defp apply_fault(:reset, chaos), do: kept(chaos, Proxy.cut(chaos.proxy, :reset))
  defp apply_fault(:stall, chaos), do: weather(chaos, :stall, 500)
  defp apply_fault(:long_stall, chaos), do: weather(chaos, :stall, 4000)
  defp apply_fault(:throttle, chaos), do: weather(chaos, {:throttle, :rand.uniform(200), 5}, 1000)
  defp apply_fault(:split, chaos), do: weather(chaos, {:split, :rand.uniform(7)}, 500)
  defp apply_fault(:delay, chaos), do: weather(chaos, {:delay, :rand.uniform(100)}, 500)

  defp apply_fault(:corrupt_file, chaos) do
    fill(chaos)
    Proxy.next(chaos.proxy, {:corrupt, 2000 + :rand.uniform(50_000)})
    full_sync(chaos)
  end

  # A byte that changes a value on its way parses as well as any other, and no checksum covers the stream: until the next full
  # sync nobody can know. So the invariants are not judged till then, and the quiet point begins with one.
  defp apply_fault(:corrupt_stream, chaos) do
    judge(chaos, 0)
    Proxy.corrupt(chaos.proxy)
    Process.sleep(300)
    %{chaos | damaged: true}
  end

  defp apply_fault(:reset_in_file, chaos) do
    fill(chaos)
    Proxy.next(chaos.proxy, {:reset, 500 + :rand.uniform(60_000)})
    full_sync(chaos)
  end

  defp apply_fault(:kill, chaos), do: down(chaos, &Server.kill/1)
  defp apply_fault(:restart, chaos), do: down(chaos, &Server.stop/1)

  defp apply_fault(:restart_saved, chaos) do
    command(chaos, ["CONFIG", "SET", "save", "3600 1"])
    down(chaos, &Server.stop/1)
  end

  defp apply_fault(:pause, chaos) do
    server = primary(chaos)
    Server.pause(server)
    Process.sleep(pick([200, 4000]))
    Server.resume(server)
    chaos
  end

  defp apply_fault(:kill_replica_link, chaos), do: kept(chaos, command(chaos, ["CLIENT", "KILL", "TYPE", "replica"]))
  defp apply_fault(:debug_sleep, chaos), do: kept(chaos, command(chaos, ["DEBUG", "SLEEP", "0.5"]))

  defp apply_fault(:overrun, chaos) do
    Proxy.weather(chaos.proxy, :stall)
    value = :crypto.strong_rand_bytes(500_000)
    for n <- 1..20, do: command(chaos, ["SET", "chaos:big:#{rem(n, 3)}", value])
    Proxy.weather(chaos.proxy, :calm)
    chaos
  end

  defp apply_fault(:new_id, chaos), do: full_sync(chaos)

  # What Sentinel does to servers and clients, in order: the new one is promoted, the old one follows it, clients move.
  defp apply_fault(:failover, chaos) do
    new = %{chaos | primary: 1 - chaos.primary}
    linked = replicate(new, chaos)
    command(new, ["REPLICAOF", "NO", "ONE"])

    if linked do
      Proxy.target(chaos.proxy, Server.port(primary(new)))
      Proxy.cut(chaos.proxy, :close)
      command(chaos, ["REPLICAOF", "127.0.0.1", Integer.to_string(Server.port(primary(new)))])
      new
    else
      IO.puts("chaos: no failover, the replica did not get its data")
      chaos
    end
  end

  defp apply_fault(:kill_link, chaos) do
    kept(chaos, kill(child(instance(chaos), Vdr.Link)))
  end

  defp apply_fault(:kill_instance, chaos), do: kept(chaos, kill(instance(chaos)))
  defp apply_fault(:kill_instances, chaos), do: kept(chaos, kill(Process.whereis(Vdr.Instances)))

  defp kept(chaos, _answer), do: chaos

  defp weather(chaos, weather, ms) do
    Proxy.weather(chaos.proxy, weather)
    Process.sleep(ms)
    Proxy.weather(chaos.proxy, :calm)
    chaos
  end

  defp down(chaos, how) do
    server = primary(chaos)
    how.(server)
    Process.sleep(:rand.uniform(500))
    :ok = Server.restart(server)
    chaos
  end

  # Until the other one has all that it can have; a write may come in between, and is then lost, as in any failover.
  defp replicate(new, old) do
    :ets.insert(old.counts, {:paused, 1})
    command(new, ["REPLICAOF", "127.0.0.1", Integer.to_string(Server.port(primary(old)))])
    linked = linked?(new, 100)
    :ets.insert(old.counts, {:paused, 0})
    # With writes on their way when the new one is promoted.
    Process.sleep(:rand.uniform(200))
    linked
  end

  defp linked?(_new, 0), do: false

  defp linked?(new, tries) do
    command(new, ["INFO", "replication"]) =~ "master_link_status:up" or (Process.sleep(100) && linked?(new, tries - 1))
  end

  # Random bytes: a file whose size is known and that no compression makes smaller.
  defp fill(chaos), do: command(chaos, ["SET", "chaos:fill", :crypto.strong_rand_bytes(100_000)])

  defp full_sync(chaos) do
    command(chaos, ["DEBUG", "CHANGE-REPL-ID"])
    Proxy.cut(chaos.proxy, :close)
    chaos
  end

  defp kill(nil), do: :ok
  defp kill(pid), do: Process.exit(pid, :kill)

  defp instance(chaos), do: child(chaos.supervisor, {Veidrodelis, chaos.id})

  defp child(nil, _id), do: nil

  defp child(supervisor, id) do
    Enum.find_value(Supervisor.which_children(supervisor), fn {child, pid, _, _} ->
      child == id && is_pid(pid) && pid
    end)
  catch
    :exit, _gone -> nil
  end

  # ---- quiet points

  defp quiet_point(chaos) do
    :ets.insert(chaos.counts, {:paused, 1})
    Proxy.next(chaos.proxy, nil)
    Proxy.weather(chaos.proxy, :calm)
    Mirror.eventually("the primary answers", fn -> match?({:ok, _}, try_command(chaos, ["PING"])) end)
    # A writer may be in the middle of what it sends.
    Process.sleep(300)
    if chaos.damaged, do: new_data(chaos)
    await_streaming(chaos)
    {:ok, redis} = Redix.start_link(host: "127.0.0.1", port: Server.port(primary(chaos)))
    compare(chaos, redis)
    judge(chaos, 1)
    watch_alive(chaos, redis)
    Redix.stop(redis)
    :ets.insert(chaos.counts, {:paused, 0})
    %{chaos | damaged: false}
  end

  defp new_data(chaos) do
    before = Veidrodelis.info(chaos.id).full_syncs
    full_sync(chaos)
    Mirror.eventually("new data", fn -> Veidrodelis.info(chaos.id).full_syncs > before end)
  end

  defp await_streaming(chaos) do
    Mirror.eventually("the mirror streams", fn -> Veidrodelis.info(chaos.id) end, fn ->
      match?(%{state: :streaming}, Veidrodelis.info(chaos.id))
    end)
  end

  defp compare(chaos, redis) do
    Mirror.settle(chaos.id, redis)
    Compare.assert_equal(redis, chaos.id, Writes.databases())
  rescue
    error in [ExUnit.AssertionError] -> divergence(chaos, Exception.message(error))
  end

  defp watch_alive(chaos, redis) do
    [{:heard, before}] = :ets.lookup(chaos.counts, :heard)
    Redix.command!(redis, ["SET", "chaos:watched", "#{chaos.faults}"])

    Mirror.eventually("the watch hears of a write", fn -> :ets.lookup_element(chaos.counts, :heard, 2) > before end)
  rescue
    error in [ExUnit.AssertionError] ->
      IO.puts("chaos: a watch is lost: #{Exception.message(error)}")
      :ets.update_counter(chaos.counts, :lost, 1)
  end

  defp divergence(chaos, message) do
    IO.puts("chaos: divergence after #{chaos.faults} faults: #{message}")
    :ets.update_counter(chaos.counts, :divergences, 1)
  end

  defp judge(chaos, yes), do: :ets.insert(chaos.counts, {:judged, yes})

  # ---- who is busy all the time

  defp writer(chaos, number) do
    servers = Enum.map(chaos.servers, &Server.port/1)
    seed = chaos.seed

    helper(fn ->
      Process.flag(:trap_exit, true)
      :rand.seed(:exsss, {seed, number, 0})
      write(chaos.counts, servers, nil, 0)
    end)
  end

  # To whoever takes writes: a replica refuses them.
  defp write(counts, ports, redis, turn) do
    unless told?() do
      if paused?(counts) do
        Process.sleep(20)
        write(counts, ports, redis, turn)
      else
        redis = redis || connect(Enum.at(ports, rem(turn, length(ports))))
        write(counts, ports, written(redis), turn + 1)
      end
    end
  end

  defp connect(port) do
    case Redix.start_link(host: "127.0.0.1", port: port) do
      {:ok, redis} -> redis
      {:error, _down} -> Process.sleep(20) && nil
    end
  end

  defp written(nil), do: nil

  defp written(redis) do
    value = Integer.to_string(System.unique_integer())
    together = [["SELECT", 0], ["MULTI"]] ++ Enum.map(@invariant, &["SET", &1, value]) ++ [["EXEC"]]

    case Redix.pipeline(redis, together ++ Writes.program(20)) do
      {:ok, replies} -> if readonly?(replies), do: Redix.stop(redis) && nil, else: redis
      {:error, _down} -> nil
    end
  catch
    :exit, _down -> nil
  end

  defp readonly?(replies), do: Enum.any?(replies, &match?(%Redix.Error{message: "READONLY" <> _}, &1))

  defp reader(chaos) do
    helper(fn -> read(chaos, Enum.map(@invariant, &{:get, &1})) end)
  end

  defp read(chaos, operations) do
    unless told?() do
      case Veidrodelis.read_tx(chaos.id, 0, operations) do
        {:ok, [same, same]} -> :ok
        {:ok, torn} -> if judged?(chaos), do: divergence(chaos, "half a MULTI was seen: #{inspect(torn)}")
        {:error, reason} -> divergence(chaos, "a read failed: #{inspect(reason)}")
      end

      Process.sleep(1)
      read(chaos, operations)
    end
  end

  defp bookkeeper(chaos) do
    helper(fn ->
      :ok = Veidrodelis.subscribe(chaos.id)
      count_syncs(chaos)
    end)
  end

  defp count_syncs(%{counts: counts} = chaos) do
    receive do
      :enough ->
        :ok

      {:veidrodelis, _id, :streaming, %{sync: sync}} ->
        :ets.update_counter(counts, sync, 1)
        count_syncs(chaos)

      _other ->
        count_syncs(chaos)
    end
  end

  defp listener(chaos) do
    helper(fn ->
      :ok = Veidrodelis.watch(chaos.id, 0, "chaos:watched", :watched)
      listen(chaos.counts)
    end)
  end

  defp listen(counts) do
    receive do
      :enough ->
        :ok

      {:watched, _event} ->
        :ets.update_counter(counts, :heard, 1)
        listen(counts)
    end
  end

  defp helper(fun), do: spawn_link(fun)

  defp stop_helper(pid) do
    monitor = Process.monitor(pid)
    send(pid, :enough)

    receive do
      {:DOWN, ^monitor, _, _, _} -> :ok
    after
      10_000 -> Process.exit(pid, :kill)
    end
  end

  defp told? do
    receive do
      :enough -> true
    after
      0 -> false
    end
  end

  defp paused?(counts), do: :ets.lookup_element(counts, :paused, 2) == 1
  defp judged?(chaos), do: :ets.lookup_element(chaos.counts, :judged, 2) == 1

  # ---- the end

  defp result(chaos, threads_before) do
    :ok = Veidrodelis.stop(chaos.id)
    Supervisor.stop(chaos.supervisor)
    leaked = leaked(chaos, threads_before, 100)
    Enum.each(chaos.servers, &GenServer.stop/1)
    counts = Map.new(:ets.tab2list(chaos.counts))
    Map.merge(Map.take(counts, [:full, :partial, :divergences, :lost]), %{faults: chaos.faults, leaked: leaked})
  end

  # Connections that are still open, threads that were not there before the first link beyond the library's own pool.
  @own_threads 5 + 16

  defp leaked(chaos, threads_before, tries) do
    leaked = Proxy.connections(chaos.proxy) + max(threads() - threads_before - @own_threads, 0)

    if leaked > 0 and tries > 0 do
      Process.sleep(50)
      leaked(chaos, threads_before, tries - 1)
    else
      leaked
    end
  end

  defp threads do
    case File.ls("/proc/self/task") do
      {:ok, tasks} -> length(tasks)
      {:error, _no_linux} -> 0
    end
  end

  # ---- small things

  defp primary(chaos), do: Enum.at(chaos.servers, chaos.primary)

  defp command(chaos, words) do
    {:ok, reply} = try_command(chaos, words)
    reply
  end

  defp try_command(chaos, words) do
    previous = Process.flag(:trap_exit, true)

    try do
      with {:ok, redis} <- Redix.start_link(host: "127.0.0.1", port: Server.port(primary(chaos))) do
        reply = Redix.command(redis, words)
        if Process.alive?(redis), do: Redix.stop(redis)
        reply
      end
    catch
      :exit, reason -> {:error, reason}
    after
      Process.flag(:trap_exit, previous)
    end
  end

  defp pick(list), do: Enum.random(list)
end
