defmodule Vdr.Cache.Supervisor do
  @moduledoc false
  # The supervisor of one cache. It owns the tables, and does nothing else.

  use Supervisor

  alias Vdr.Cache.{Flights, Handle, Near, Publisher, Stats, Sweeper, Telemetry, Warmer}

  @spec start_link(map) :: Supervisor.on_start()
  def start_link(options) do
    options = near(options)
    # A wrong option is the caller's mistake, so it raises in the calling process.
    check!(options)

    case Supervisor.start_link(__MODULE__, options, name: options.name) do
      {:error, {:shutdown, {:failed_to_start_child, _id, reason}}} -> {:error, reason}
      {:error, {:shutdown, reason}} -> {:error, reason}
      other -> other
    end
  end

  # In front of a server, the mirror is the near cache: the server sends it every change.
  defp near(%{near_cache: true, backend: Vdr.Cache.Backend.Redis} = options),
    do: %{options | backend: Vdr.Cache.Backend.Mirror}

  defp near(options), do: options

  defp check!(%{backend: backend, topology: topology} = options) do
    module!(backend, :backend, :get, 2)
    module!(topology, :topology, :start, 2)
    if options.near_cache, do: near!(backend, topology)

    if options.size_of && options.max_bytes == :infinity,
      do: raise(ArgumentError, "option :size_of of #{inspect(options.module)} needs :max_bytes beside it")

    if function_exported?(backend, :check!, 1), do: backend.check!(config(options, nil, nil))

    if function_exported?(topology, :check!, 2),
      do: topology.check!(%{config(options, nil, nil) | opts: options.topology_opts}, backend)
  end

  defp module!(module, option, function, arity) do
    unless Code.ensure_loaded?(module) and function_exported?(module, function, arity) do
      raise ArgumentError, "option #{inspect(option)} takes a module of the behaviour, got: #{inspect(module)}"
    end
  end

  # These backends and topologies keep the values on this node, so they need no near cache.
  @local [Vdr.Cache.Backend.ETS, Vdr.Cache.Backend.DETS, Vdr.Cache.Backend.Mirror]
  @topologies [Vdr.Cache.Topology.Local, Vdr.Cache.Topology.Replicated, Vdr.Cache.Topology.Partitioned]

  defp near!(backend, topology) do
    unless backend in @local and topology in @topologies do
      raise ArgumentError,
            "near_cache: true needs a backend and a topology that tell of changes, and #{inspect(backend)} with " <>
              "#{inspect(topology)} does not"
    end
  end

  @impl Supervisor
  def init(options) do
    stats = Stats.new(options.stats_enabled)
    telemetry = Telemetry.new(options)
    config = config(options, stats, telemetry)

    near? = options.near_cache and options.topology == Vdr.Cache.Topology.Partitioned
    config = if near?, do: told_of_changes(config), else: config

    with {:ok, backend_children, state} <- options.backend.start(config),
         {:ok, topology_children, store} <-
           options.topology.start(%{config | opts: options.topology_opts}, {options.backend, state}) do
      {:ok, near_children, {store, state}} = if near?, do: Near.start(config, options, store), else: {:ok, [], store}
      topology_children = topology_children ++ near_children
      handle = handle(options, {store, state}, stats, telemetry)

      own = [
        {Task.Supervisor, name: handle.tasks},
        {Sweeper, handle},
        {Publisher, handle},
        {Warmer, handle}
      ]

      Supervisor.init(backend_children ++ topology_children ++ own, strategy: :rest_for_one)
    else
      {:error, reason} -> exit({:shutdown, reason})
    end
  end

  # The owner's table for near caches: which node has fetched which key.
  defp told_of_changes(config) do
    fetched = :ets.new(Near, [:bag, :public, read_concurrency: true, write_concurrency: true])
    name = config.name
    Map.merge(config, %{fetched: fetched, changed: Near.changed(name, fetched), forget: fn -> Near.clear(name) end})
  end

  defp config(options, stats, telemetry) do
    %{
      name: options.name,
      module: options.module,
      opts: options.backend_opts.(),
      max_size: options.max_size,
      max_bytes: options.max_bytes,
      size_of: options.size_of,
      policy: options.eviction_policy,
      default_ttl: options.default_ttl,
      telemetry: telemetry,
      report: &report(stats, telemetry, options.eviction_policy, &1, &2)
    }
  end

  defp report(stats, telemetry, policy, :evictions, n) do
    Stats.add(stats, :evictions, n)
    Telemetry.execute(telemetry, [:eviction, :stop], %{count: n}, %{policy: policy})
  end

  defp report(stats, _telemetry, _policy, what, n), do: Stats.add(stats, what, n)

  defp handle(options, {store, state}, stats, telemetry) do
    %Handle{
      name: options.name,
      module: options.module,
      store: store,
      state: state,
      options: options,
      stats: stats,
      telemetry: telemetry,
      flights: Flights.new(),
      refreshes: :ets.new(__MODULE__, [:set, :public, write_concurrency: true]),
      tasks: Module.concat(options.name, "Vdr.Cache.Tasks"),
      started_at: System.system_time(:millisecond),
      default_ttl: options.default_ttl,
      leases: Code.ensure_loaded?(store) and function_exported?(store, :acquire, 3),
      tell_get: Telemetry.tells?(telemetry, :get),
      bypass: options.bypass
    }
  end
end

defmodule Vdr.Cache.Publisher do
  @moduledoc false
  # Publishes the handle after all other processes of the cache have started, and withdraws it
  # before they stop.

  use GenServer

  alias Vdr.Cache.Handle

  def start_link(handle), do: GenServer.start_link(__MODULE__, handle)

  @impl GenServer
  def init(handle) do
    Process.flag(:trap_exit, true)
    Handle.publish(handle)
    # From now on other nodes may call this one.
    if function_exported?(handle.store, :ready, 1), do: handle.store.ready(handle.state)
    {:ok, handle}
  end

  @impl GenServer
  def terminate(_reason, handle) do
    if function_exported?(handle.store, :leaving, 1), do: handle.store.leaving(handle.state)
    Handle.withdraw(handle.name)
  end
end

defmodule Vdr.Cache.Sweeper do
  @moduledoc false
  # Removes expired entries at every interval, and sends the summary of the stats.

  use GenServer

  alias Vdr.Cache.{Stats, Telemetry}

  def start_link(handle), do: GenServer.start_link(__MODULE__, handle)

  @doc "Sweeps now, in the calling process."
  @spec sweep(Vdr.Cache.Handle.t()) :: {:ok, non_neg_integer} | {:error, term}
  def sweep(h) do
    forget_refreshes(h.refreshes)

    if function_exported?(h.store, :sweep, 1) do
      with {:ok, count} <- h.store.sweep(h.state) do
        Telemetry.execute(h.telemetry, [:ttl_sweep, :stop], %{evicted: count}, %{})
        {:ok, count}
      end
    else
      {:ok, 0}
    end
  end

  # Forgets refreshes that failed long ago, and those of dead processes.
  defp forget_refreshes(table) do
    now = :erlang.monotonic_time(:millisecond)

    for row <- :ets.tab2list(table), over?(row, now), do: :ets.delete_object(table, row)
  end

  defp over?({_key, pid}, _now), do: not Process.alive?(pid)
  defp over?({_key, not_before, _delay}, now), do: not_before + 600_000 < now

  @impl GenServer
  def init(h) do
    schedule(:sweep, h.options.sweep_interval)
    if Telemetry.tells?(h.telemetry, :stats), do: schedule(:summary, h.options.stats_interval)
    {:ok, h}
  end

  @impl GenServer
  def handle_info(:sweep, h) do
    sweep(h)
    schedule(:sweep, h.options.sweep_interval)
    {:noreply, h}
  end

  def handle_info(:summary, h) do
    Telemetry.execute(h.telemetry, [:stats, :summary], Stats.read(h.stats), %{})
    schedule(:summary, h.options.stats_interval)
    {:noreply, h}
  end

  # A random part is taken off, so that the caches of all nodes do not sweep at the same moment.
  defp schedule(_what, :infinity), do: :ok
  defp schedule(what, ms), do: Process.send_after(self(), what, max(1, ms - :rand.uniform(div(ms, 10) + 1) + 1))
end
