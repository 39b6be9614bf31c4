defmodule Vdr.Test.Chaos.Faults do
  @moduledoc "What goes wrong. `inflict/2` does one of it and comes back when that one is over, or goes on by itself."
  alias Vdr.Test.Chaos.{Cluster, Load}
  alias Vdr.Test.{Proxy, Server}

  @network ~w(cut reset cut_before_delivery stall long_stall throttle split split_by_byte delay corrupt_file
              corrupt_stream reset_in_file)a
  @sentinels ~w(sentinels_cut sentinels_reset sentinels_stall sentinels_throttle sentinels_split sentinels_delay
                sentinels_corrupt kill_sentinel pause_sentinel kill_sentinels)a
  @servers ~w(kill restart restart_saved pause debug_sleep kill_replica_link overrun small_backlog large_backlog new_id)a
  @failovers ~w(failover failover_by_kill failover_by_pause failover_unheard)a
  @processes ~w(kill_link kill_instance kill_instances kill_cleaner)a

  @doc "All faults."
  def names, do: @network ++ @sentinels ++ @servers ++ @failovers ++ @processes

  # How long a failover may take: until the server counts as down, the election, and the promotion.
  @failover_ms 15_000
  # How long a mirror that was cut off may take until it begins a full sync.
  @begin_ms 1000

  # ---- the network between the mirror and the servers

  def inflict(:cut, chaos), do: servers(chaos, &Proxy.cut(&1, :close))
  def inflict(:reset, chaos), do: servers(chaos, &Proxy.cut(&1, :reset))

  # What is written through the instance meanwhile is done, and what the server sent of it is lost.
  def inflict(:cut_before_delivery, chaos) do
    Enum.each(chaos.cluster.server_proxies, &Proxy.weather(&1, :stall_replication))
    Process.sleep(:rand.uniform(1500))
    servers(chaos, &Proxy.cut(&1, :reset))
    servers(chaos, &Proxy.weather(&1, :calm))
  end

  def inflict(:stall, chaos), do: weather(chaos, chaos.cluster.server_proxies, :stall, 500)
  # Longer than the read timeout.
  def inflict(:long_stall, chaos), do: weather(chaos, chaos.cluster.server_proxies, :stall, 4000)

  def inflict(:throttle, chaos),
    do: weather(chaos, chaos.cluster.server_proxies, {:throttle, :rand.uniform(200), 5}, 1000)

  def inflict(:split, chaos), do: weather(chaos, chaos.cluster.server_proxies, {:split, 1 + :rand.uniform(6)}, 500)

  # Lasts through a handshake and a full sync, so that every boundary is split.
  def inflict(:split_by_byte, chaos) do
    Enum.each(chaos.cluster.server_proxies, &Proxy.weather(&1, {:split, 1}))
    inflict(Enum.random([:cut, :new_id]), chaos)
    weather(chaos, chaos.cluster.server_proxies, {:split, 1}, 1000)
  end

  def inflict(:delay, chaos), do: weather(chaos, chaos.cluster.server_proxies, {:delay, :rand.uniform(100)}, 500)
  def inflict(:corrupt_file, chaos), do: damaged_file(chaos, {:corrupt, 2000 + :rand.uniform(50_000)})
  def inflict(:reset_in_file, chaos), do: damaged_file(chaos, {:reset, 500 + :rand.uniform(60_000)})

  # A byte that changes a value in transit parses like any other, and no checksum covers the stream.
  # Until the next full sync nobody can notice it. So the invariants are not judged until then, and
  # the quiet point begins with a full sync.
  def inflict(:corrupt_stream, chaos) do
    Load.set(chaos.table, :judged, 0)
    servers(chaos, &Proxy.corrupt/1)
    Process.sleep(300)
    %{chaos | damaged: true}
  end

  # ---- the network between the mirror and the Sentinels

  def inflict(:sentinels_cut, chaos), do: sentinels(chaos, &Proxy.cut(&1, :close))
  def inflict(:sentinels_reset, chaos), do: sentinels(chaos, &Proxy.cut(&1, :reset))
  def inflict(:sentinels_stall, chaos), do: asked_meanwhile(chaos, :stall)
  def inflict(:sentinels_throttle, chaos), do: asked_meanwhile(chaos, {:throttle, :rand.uniform(20), 5})
  def inflict(:sentinels_split, chaos), do: asked_meanwhile(chaos, {:split, 1})
  def inflict(:sentinels_delay, chaos), do: asked_meanwhile(chaos, {:delay, :rand.uniform(300)})

  # Sentinel may then name any port; the mirror asks whatever listens there for its role.
  def inflict(:sentinels_corrupt, chaos) do
    sentinels(chaos, &Proxy.corrupt/1)
    servers(chaos, &Proxy.cut(&1, :close))
  end

  def inflict(:kill_sentinel, chaos), do: down(chaos, Enum.random(chaos.cluster.sentinels), &Server.kill/1)

  def inflict(:pause_sentinel, chaos) do
    # After two seconds a Sentinel no longer trusts its clock, and does nothing for half a minute.
    paused(Enum.random(chaos.cluster.sentinels), 1500)
    chaos
  end

  def inflict(:kill_sentinels, chaos) do
    Enum.each(chaos.cluster.sentinels, &Server.kill/1)
    servers(chaos, &Proxy.cut(&1, :close))
    Process.sleep(:rand.uniform(500))
    Enum.each(chaos.cluster.sentinels, &Server.restart/1)
    chaos
  end

  # ---- the servers

  def inflict(:kill, chaos), do: down(chaos, Cluster.primary(chaos.cluster), &Server.kill/1)
  def inflict(:restart, chaos), do: down(chaos, Cluster.primary(chaos.cluster), &Server.stop/1)

  def inflict(:restart_saved, chaos) do
    command!(chaos, ["CONFIG", "SET", "save", "3600 1"])
    down(chaos, Cluster.primary(chaos.cluster), &Server.stop/1)
  end

  def inflict(:pause, chaos) do
    paused(Cluster.primary(chaos.cluster), 300)
    chaos
  end

  def inflict(:debug_sleep, chaos), do: done(chaos, command!(chaos, ["DEBUG", "SLEEP", "0.5"]))
  def inflict(:kill_replica_link, chaos), do: done(chaos, command!(chaos, ["CLIENT", "KILL", "TYPE", "replica"]))
  def inflict(:small_backlog, chaos), do: done(chaos, command!(chaos, ["CONFIG", "SET", "repl-backlog-size", "16kb"]))
  def inflict(:large_backlog, chaos), do: done(chaos, command!(chaos, ["CONFIG", "SET", "repl-backlog-size", "4mb"]))
  def inflict(:new_id, chaos), do: full_sync(chaos)

  # More than the server's limit for a replica that does not read.
  def inflict(:overrun, chaos) do
    Enum.each(chaos.cluster.server_proxies, &Proxy.weather(&1, :stall))
    value = :crypto.strong_rand_bytes(500_000)
    for n <- 1..20, do: command!(chaos, ["SET", "chaos:big:#{rem(n, 3)}", value])
    weather(chaos, chaos.cluster.server_proxies, :stall, 10)
  end

  # ---- failovers

  def inflict(:failover, chaos), do: failover(chaos, fn _primary -> planned(chaos) end)
  def inflict(:failover_by_kill, chaos), do: failover(chaos, &Server.kill/1)
  def inflict(:failover_by_pause, chaos), do: failover(chaos, &Server.pause/1)

  # Nobody tells the mirror about it, and it can ask no Sentinel until it is over.
  def inflict(:failover_unheard, chaos) do
    Enum.each(chaos.cluster.sentinel_proxies, &Proxy.weather(&1, :stall))
    chaos = failover(chaos, fn _primary -> planned(chaos) end)
    weather(chaos, chaos.cluster.sentinel_proxies, :stall, 10)
  end

  # ---- the BEAM's processes

  def inflict(:kill_link, chaos), do: done(chaos, kill(child(instance(chaos), Vdr.Link)))
  def inflict(:kill_instance, chaos), do: done(chaos, kill(instance(chaos)))
  def inflict(:kill_instances, chaos), do: done(chaos, kill(Process.whereis(Vdr.Mirror.Stores)))
  def inflict(:kill_cleaner, chaos), do: done(chaos, kill(Process.whereis(Vdr.Cleaner)))

  # ---- helpers

  @doc "Causes a full sync, by a new replication id and a cut."
  def full_sync(chaos) do
    command!(chaos, ["DEBUG", "CHANGE-REPL-ID"])
    servers(chaos, &Proxy.cut(&1, :close))
  end

  defp done(chaos, _answer), do: chaos

  defp servers(chaos, act) do
    Enum.each(chaos.cluster.server_proxies, act)
    chaos
  end

  defp sentinels(chaos, act) do
    Enum.each(chaos.cluster.sentinel_proxies, act)
    chaos
  end

  defp weather(chaos, proxies, weather, ms) do
    Enum.each(proxies, &Proxy.weather(&1, weather))
    Process.sleep(ms)
    Enum.each(proxies, &Proxy.weather(&1, :calm))
    chaos
  end

  # A mirror whose link holds asks no Sentinel.
  defp asked_meanwhile(chaos, weather) do
    Enum.each(chaos.cluster.sentinel_proxies, &Proxy.weather(&1, weather))
    servers(chaos, &Proxy.cut(&1, :close))
    weather(chaos, chaos.cluster.sentinel_proxies, weather, 1000)
  end

  # Random bytes: a file whose least size is known, and that compression does not shrink. The file
  # of another full sync may be shorter, and a bit of the stream would flip.
  defp damaged_file(chaos, due) do
    primary = Cluster.primary(chaos.cluster)
    proxy = Cluster.proxy(chaos.cluster, primary)
    {:ok, "OK"} = Cluster.ask(primary, ["SET", "chaos:fill", :crypto.strong_rand_bytes(100_000)], timeout: 5000)
    Proxy.next(proxy, due)
    full_sync(chaos)
    begun? = begun?(proxy, now() + @begin_ms)
    Proxy.next(proxy, nil)
    unless begun?, do: raise(Redix.Error, message: "no full sync came of it")
    chaos
  end

  defp begun?(proxy, deadline) do
    cond do
      Proxy.next(proxy) == nil -> true
      now() > deadline -> false
      true -> Process.sleep(5) && begun?(proxy, deadline)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)

  defp down(chaos, server, how) do
    upset(chaos, server, how)
    Process.sleep(:rand.uniform(500))
    :ok = upset(chaos, server, &Server.restart/1)
    chaos
  end

  # A server may lose its data.
  defp upset(chaos, server, how) do
    :ets.update_counter(chaos.table, :upset, 1)
    how.(server)
  end

  defp paused(server, ms) do
    Server.pause(server)
    Process.sleep(ms)
    Server.resume(server)
  end

  # Waits until the Sentinels name another primary. Then the old one returns and follows.
  defp failover(chaos, how) do
    before = Cluster.primary(chaos.cluster)
    # A replica without data is not promoted.
    {:ok, ["slave", _host, _port, "connected", _offset]} = Cluster.ask(Cluster.other(chaos.cluster), ["ROLE"])
    upset(chaos, before, how)
    switched = switched?(chaos.cluster, before, now() + @failover_ms)
    Server.resume(before)
    unless Server.running?(before), do: :ok = upset(chaos, before, &Server.restart/1)
    unless switched, do: raise(Redix.Error, message: "no failover came of it")
    chaos
  end

  defp planned(chaos) do
    {:ok, "OK"} =
      Cluster.ask(Enum.random(chaos.cluster.sentinels), ["SENTINEL", "FAILOVER", Vdr.Test.Sentinels.group()])
  end

  defp switched?(cluster, before, deadline) do
    cond do
      Cluster.primary(cluster) != before -> true
      now() > deadline -> false
      true -> Process.sleep(50) && switched?(cluster, before, deadline)
    end
  end

  defp command!(chaos, words), do: Cluster.command!(chaos.cluster, words)

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
end
