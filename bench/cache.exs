defmodule Vdr.Bench.Cache do
  @moduledoc false
  # What does the cache add to the table, to the mirror and to the server that it stands on? And how
  # good are the choices of its policies?
  alias Vdr.Bench.Measure
  alias Vdr.Cache, as: C
  alias Vdr.Paint
  alias Vdr.Test.CacheTraces

  defmodule Cache do
    @moduledoc false
    use Vdr.Cache
  end

  @keys 1_000_000
  @asked 300_000

  def run, do: gets() ++ puts() ++ crowds() ++ invalidation()
  def on_server, do: mirror()

  defp start(opts) do
    {:ok, pid} = Cache.start_link([name: :bench_cache, telemetry: false] ++ opts)
    Process.unlink(pid)
    fn -> Supervisor.stop(pid) end
  end

  defp table, do: :ets.new(:bench, [:set, :public, read_concurrency: true, write_concurrency: true])

  defp gets do
    Paint.title("Vdr.Cache.get against :ets.lookup, 1M keys, stats on")
    stop = start([])
    table = table()

    for n <- 0..(@keys - 1) do
      :ets.insert(table, {Measure.key(n), Measure.value(n)})
      C.put(:bench_cache, Measure.key(n), Measure.value(n))
    end

    keys = Measure.random_keys(@asked)
    {ours, theirs} = Measure.side_by_side(keys, &C.get(:bench_cache, &1), &:ets.lookup(table, &1))
    stop.()
    stop = start(ttl_and_stats_off())
    for n <- 0..(@keys - 1), do: C.put(:bench_cache, Measure.key(n), Measure.value(n))
    {off, theirs_again} = Measure.side_by_side(keys, &C.get(:bench_cache, &1), &:ets.lookup(table, &1))
    stop.()
    :ets.delete(table)

    [
      told("cache get in memory, 1M keys, against :ets.lookup", ours, theirs, 1.5),
      told("the same with a time to live and without stats", off, theirs_again, nil)
    ]
  end

  defp ttl_and_stats_off, do: [default_ttl: 3_600_000, stats_enabled: false]

  defp puts do
    Paint.title("Vdr.Cache.put against :ets.insert, and with a bound that is reached")
    table = table()
    keys = Measure.random_keys(@asked)
    stop = start([])
    {plain, theirs} = Measure.side_by_side(keys, &C.put(:bench_cache, &1, 1), &:ets.insert(table, {&1, 1}))
    stop.()
    :ets.delete(table)

    bounded =
      for policy <- [:fifo, :lru, :lfu] do
        stop = start([])
        {:ok, pid} = Cache.start_link(name: :bench_bounded, telemetry: false, max_size: 10_000, eviction_policy: policy)
        for n <- 1..20_000, do: C.put(:bench_bounded, n, 1)
        {ours, unbounded} = Measure.side_by_side(keys, &C.put(:bench_bounded, &1, 1), &C.put(:bench_cache, &1, 1), 3)
        Supervisor.stop(pid)
        stop.()
        # `:lru` looks at 16 entries for each that it evicts.
        told("cache put, #{policy}, full, against no bound", ours, unbounded, if(policy == :lfu, do: 3.0))
      end

    [told("cache put in memory, against :ets.insert", plain, theirs, nil) | bounded]
  end

  @waiters 10_000

  # One value that is missing and many who ask: how long after the value is there does the last one
  # have it?
  defp crowds do
    Paint.title("#{@waiters} processes wait for one value")

    {ours, theirs} =
      Measure.in_turns(5, fn -> crowd() end, fn ->
        # The same processes get one message each.
        test = self()
        pids = for _ <- 1..@waiters, do: spawn_link(fn -> receive(do: (:go -> send(test, :done))) end)
        started = System.monotonic_time(:nanosecond)
        Enum.each(pids, &send(&1, :go))
        for _ <- 1..@waiters, do: receive(do: (:done -> :ok))
        System.monotonic_time(:nanosecond) - started
      end)

    [told("10k who wait for one fetch, against one message to each", ours, theirs, nil)]
  end

  defp crowd do
    stop = start([])
    test = self()
    fetch = fn -> receive(do: (:value -> {:ok, 1})) end

    pids =
      for _ <- 1..@waiters do
        spawn_link(fn ->
          {:ok, 1} = C.get_or_fetch(:bench_cache, :k, fetch)
          send(test, :done)
        end)
      end

    Measure.until(fn -> C.stats(:bench_cache).waits == @waiters - 1 end)
    # Only the one that fetches takes it for its value.
    [{_key, leader, _ref, _state}] = :ets.tab2list(C.Handle.fetch(:bench_cache).flights.flights)
    true = leader in pids
    started = System.monotonic_time(:nanosecond)
    send(leader, :value)
    for _ <- 1..@waiters, do: receive(do: (:done -> :ok))
    spent = System.monotonic_time(:nanosecond) - started
    1 = C.stats(:bench_cache).fetches
    stop.()
    spent
  end

  @tagged 100_000

  defp invalidation do
    Paint.title("invalidate_tag of #{@tagged} entries")

    times =
      for _ <- 1..5 do
        stop = start([])
        for n <- 1..@tagged, do: C.put(:bench_cache, n, n, tags: [:t])
        test = self()
        started = System.monotonic_time(:nanosecond)

        spawn_link(fn ->
          {:ok, @tagged} = C.invalidate_tag(:bench_cache, :t)
          send(test, {:counted, System.monotonic_time(:nanosecond) - started})
        end)

        # The last one put is the last one that is counted.
        Measure.until(0, fn -> C.get(:bench_cache, @tagged) == {:error, :not_found} end)
        invalid = System.monotonic_time(:nanosecond) - started
        counted = receive(do: ({:counted, ns} -> ns))
        stop.()
        {invalid, counted}
      end

    {invalid, counted} = Measure.medians(times)

    [
      told("100k entries of a tag are invalid, against 1 ms", invalid, 1.0e6, 1.0),
      told("100k entries of a tag are counted and removed, against invalid", counted, invalid, nil)
    ]
  end

  # ---- on a server: what is read costs the mirror's read and the decoding, what is written the
  # round trip

  @entries 100_000

  defp mirror do
    Paint.title("a cache on a mirror, #{@entries} entries")
    {server, redis} = Measure.empty_server()
    port = Vdr.Test.Server.port(server)
    stop = start(backend: C.Backend.Mirror, backend_opts: [url: "redis://127.0.0.1:#{port}", key_prefix: "b:"])
    id = {C, :bench_cache}
    value = %{id: 1, name: "a name of some length", tags: ["one", "two"], at: 1_764_000_000}
    key = &"key:#{&1}"

    for part <- Enum.chunk_every(1..@entries, 1_000) do
      :ok = C.put_many(:bench_cache, Map.new(part, &{key.(&1), value}))
      :ok = C.put_many(:bench_cache, Map.new(part, &{"tagged:" <> key.(&1), value}), tags: [:t])
    end

    :rand.seed(:exsss, 42)
    keys = for _ <- 1..50_000, do: key.(:rand.uniform(@entries))
    get = &C.get(:bench_cache, &1)

    decode = fn key ->
      {:ok, bytes} = Veidrodelis.get(id, 0, "b:e:" <> key)
      {:ok, :erlang.binary_to_term(bytes, [:safe])}
    end

    {ours, bare} = Measure.side_by_side(keys, get, decode)
    {tagged, _untagged} = Measure.side_by_side(keys, &C.get(:bench_cache, "tagged:" <> &1), get)
    few = Enum.take(keys, 5_000)
    {ours_few, over} = Measure.side_by_side(few, get, &Redix.command!(redis, ["GET", "b:e:" <> &1]), 4)
    {put, trip} = Measure.side_by_side(few, &C.put(:bench_cache, &1, value), &round_trip(id, &1), 4)
    put_server = &C.put(:bench_cache, &1, value, consistency: :server)
    {put_far, trip_again} = Measure.side_by_side(few, put_server, &round_trip(id, &1), 4)
    stop.()
    GenServer.stop(server)

    [
      told("cache get on a mirror, against Veidrodelis.get and decoding", ours, bare, 1.2),
      told("the same of an entry with a tag, against one without", tagged, ours, 2.0),
      told("cache get on a mirror, against GET over loopback", ours_few, over, 0.02),
      told("cache put on a mirror, visible here, against a bare round trip", put, trip, 1.3),
      told("the same, done on the server, against a bare round trip", put_far, trip_again, 1.3)
    ]
  end

  defp round_trip(id, key), do: {:ok, "OK"} = Veidrodelis.command(id, ["SET", "bare:" <> key, "1"], sync: false)

  # ---- hit ratios, from real runs: what is missing is stored

  @requests 300_000

  def hit_ratios do
    Paint.title("hit ratios in percent, #{@requests} requests of 100k keys")
    zipf = CacheTraces.zipf(@requests, 100_000, 1.0)

    workloads = [
      {"zipf 0.8, 1k entries", CacheTraces.zipf(@requests, 100_000, 0.8), 1_000},
      {"zipf 1.0, 1k entries", zipf, 1_000},
      {"zipf 1.0, 10k entries", zipf, 10_000},
      {"zipf 1.0 and a quarter scans, 1k entries", CacheTraces.with_scans(zipf), 1_000},
      {"hot keys that move six times, 1k entries", CacheTraces.moving(zipf, 6), 1_000}
    ]

    Enum.flat_map(workloads, fn {name, trace, entries} ->
      ratios = for policy <- [:fifo, :lru, :lfu], into: %{}, do: {policy, 100 * hits(trace, policy, entries)}

      exact =
        for policy <- [:lru, :w_tinylfu], into: %{}, do: {policy, 100 * CacheTraces.simulate(trace, policy, entries)}

      text =
        "fifo #{percent(ratios.fifo)}, lru #{percent(ratios.lru)}, lfu #{percent(ratios.lfu)}; " <>
          "exact LRU #{percent(exact.lru)}, W-TinyLFU #{percent(exact.w_tinylfu)}"

      Paint.line(name, text)

      [
        Measure.row("hits of :lru against exact LRU, #{name}", ratios.lru, exact.lru, "%", ratios.lru / exact.lru, nil),
        Measure.row(
          "hits of :lfu against W-TinyLFU, #{name}",
          ratios.lfu,
          exact.w_tinylfu,
          "%",
          ratios.lfu / exact.w_tinylfu,
          nil
        )
      ]
    end)
  end

  defp hits(trace, policy, entries) do
    stop = start(max_size: entries, eviction_policy: policy)

    ratio =
      CacheTraces.hit_ratio(trace, fn key ->
        C.get(:bench_cache, key) != {:error, :not_found} or C.put(:bench_cache, key, 1) != :ok
      end)

    stop.()
    ratio
  end

  defp percent(ratio), do: :erlang.float_to_binary(ratio, decimals: 1)

  defp told(name, ours, theirs, aim) do
    text = "#{Paint.time(ours)}, theirs #{Paint.time(theirs)}: #{Float.round(ours / theirs, 2)} of it"
    Measure.figure(name, ours, theirs, "ns", ours / theirs, aim, text)
  end
end
