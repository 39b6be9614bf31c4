defmodule Vdr.Test.Chaos do
  @moduledoc """
  Injects random faults, from a seed, for a given time. A mirror follows its primary by Sentinel,
  with proxies before every server and every Sentinel. There are real failovers, and writers that
  stop only at quiet points. At a quiet point the mirror's digest must equal the server's.
  Throughout, the writes of a MULTI must be visible together, reads must return values, and a watch
  must miss nothing.

  The seed fixes the faults and their order, but not how the machine interleaves them. Every fault
  comes once before any fault comes again.
  """
  alias Vdr.Test.Chaos.{Cluster, Faults, Load, Quiet}
  alias Vdr.Test.{Proxy, Resources, Server}

  @ready_ms 60_000
  # How long delayed releases may take: threads that resolve names end after five idle seconds.
  @given_back_ms 15_000
  # Freed memory stays with the allocators: we saw up to 75 MB after ten minutes. A full sync that
  # leaked its data would have leaked the ballast a hundred times in that time.
  @memory_slack 200_000_000

  defstruct [
    :id,
    :seed,
    :cluster,
    :supervisor,
    :table,
    faults: 0,
    damaged: false,
    deck: [],
    round: [],
    tally: %{},
    memory: nil
  ]

  @doc "Runs for `seconds`, and returns `%{faults, full, partial, divergences, lost, leaked}`."
  def run(seed, seconds) do
    Process.flag(:trap_exit, true)
    :rand.seed(:exsss, seed)
    binary = Enum.random(Server.available())
    IO.puts("chaos: SEED=#{seed} DURATION=#{seconds}, #{binary.name}")
    cluster = Cluster.start(binary, config())
    # Things that start once and stay.
    {:ok, warm} = Veidrodelis.start_link(mirror({:chaos, :warm}, cluster))
    :ok = Veidrodelis.await_ready({:chaos, :warm}, @ready_ms)
    :ok = Veidrodelis.stop(warm)
    before = given_back(fn _now -> links(cluster) end)

    chaos = start(seed, cluster)
    helpers = Load.start(chaos)
    chaos = rounds(chaos, System.monotonic_time(:millisecond) + seconds * 1000)
    Load.stop(helpers, chaos.table)
    :ok = Veidrodelis.stop(chaos.id)
    Supervisor.stop(chaos.supervisor)
    leaked = leaked(chaos, before)
    Cluster.stop(cluster)
    result(chaos, leaked)
  end

  defp config do
    [
      {"repl-backlog-size", Enum.random(["16kb", "4mb", "4mb", "4mb"])},
      {"repl-ping-replica-period", 1},
      {"repl-diskless-sync", Enum.random(["yes", "no"])},
      {"shutdown-timeout", 1},
      {"client-output-buffer-limit", "replica 4mb 2mb 5"}
    ]
  end

  defp mirror(id, cluster) do
    [
      id: id,
      sentinel: Cluster.option(cluster),
      reconnect_delay_ms: 20,
      max_reconnect_delay_ms: 500,
      timeout: 1000,
      read_timeout: 3000
    ]
  end

  defp start(seed, cluster) do
    id = {:chaos, seed}
    children = [{Veidrodelis, mirror(id, cluster)}]
    {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one, max_restarts: 1_000_000)
    :ok = Veidrodelis.await_ready(id, @ready_ms)
    %__MODULE__{id: id, seed: seed, cluster: cluster, supervisor: supervisor, table: Load.table()}
  end

  # ---- rounds

  defp rounds(chaos, ends_at) do
    chaos = Enum.reduce(1..:rand.uniform(3), %{chaos | round: []}, fn _, chaos -> fault(chaos) end)
    IO.puts("chaos: #{chaos.faults}: #{chaos.round |> Enum.reverse() |> Enum.join(", ")}")
    rested = Quiet.point(chaos)
    chaos = %{chaos | damaged: false, memory: chaos.memory || Resources.now().memory}
    if rested and System.monotonic_time(:millisecond) < ends_at, do: rounds(chaos, ends_at), else: chaos
  end

  defp fault(%{deck: []} = chaos), do: fault(%{chaos | deck: Enum.shuffle(Faults.names())})

  defp fault(%{deck: [name | deck]} = chaos) do
    chaos = happened(name, %{chaos | deck: deck})
    Process.sleep(:rand.uniform(300))
    flush_exits()
    chaos
  end

  defp happened(name, chaos) do
    chaos = Faults.inflict(name, chaos)
    %{chaos | faults: chaos.faults + 1, round: [name | chaos.round], tally: Map.update(chaos.tally, name, 1, &(&1 + 1))}
  rescue
    # The server is gone, or busy restarting: the fault had no effect and does not count.
    error in [Redix.Error, Redix.ConnectionError, MatchError] ->
      IO.puts("chaos: #{name} had no effect: #{Exception.message(error)}")
      chaos
  end

  # Exits of connections to servers that died.
  defp flush_exits do
    receive do
      {:EXIT, _pid, _reason} -> flush_exits()
    after
      0 -> :ok
    end
  end

  # ---- the end

  # Waits until the excess is gone, and returns what is left of it.
  defp given_back(excess, deadline \\ System.monotonic_time(:millisecond) + @given_back_ms) do
    now = Resources.now()

    if excess.(now) > 0 and System.monotonic_time(:millisecond) < deadline do
      Process.sleep(100)
      given_back(excess, deadline)
    else
      now
    end
  end

  defp leaked(chaos, before) do
    excess = fn now ->
      things =
        for name <- [:sockets, :threads, :processes], do: max(Map.fetch!(now, name) - Map.fetch!(before, name), 0)

      memory = if now.memory > chaos.memory + @memory_slack, do: 1, else: 0
      Enum.sum(things) + memory + links(chaos.cluster)
    end

    now = given_back(excess)
    leaked = excess.(now)
    IO.puts("chaos: before #{inspect(before)}, after #{inspect(now)}, memory after the first round #{chaos.memory}")
    if leaked > 0, do: IO.puts("chaos: leaked: #{leaked}")
    leaked
  end

  # The connections of ours that a server still has, and those that pass through a proxy.
  defp links(cluster) do
    replicas =
      for server <- cluster.servers, {:ok, clients} <- [Cluster.ask(server, ["INFO", "replication"])] do
        length(Regex.scan(~r/port=70000/, clients))
      end

    Enum.sum(replicas) + Enum.sum(Enum.map(Cluster.proxies(cluster), &Proxy.connections/1))
  end

  defp result(chaos, leaked) do
    tally = chaos.tally |> Enum.sort() |> Enum.map_join(", ", fn {name, times} -> "#{name} #{times}" end)
    IO.puts("chaos: #{tally}")
    counts = Map.new(:ets.tab2list(chaos.table))
    IO.puts("chaos: #{counts.writes} commands written, #{counts.reads} reads judged")

    IO.puts(
      "chaos: #{counts.own} own writes visible and #{counts.own_late} late (#{counts.own_judged} judged), " <>
        "#{counts.positions} positions there and #{counts.positions_lost} lost"
    )

    Map.merge(Map.take(counts, [:full, :partial, :divergences, :lost]), %{faults: chaos.faults, leaked: leaked})
  end
end
