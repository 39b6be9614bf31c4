defmodule Vdr.Cache.EvictionTest do
  use ExUnit.Case, async: true

  alias Vdr.Cache, as: C
  alias Vdr.Test.CacheContract.{Cache, Clock}
  alias Vdr.Test.{CacheTraces, Telemetry}

  defp start(opts) do
    name = :"eviction_#{System.unique_integer([:positive])}"
    start_supervised!({Cache, [name: name] ++ opts ++ [sweep_interval: :infinity]}, id: name)
    name
  end

  # Requests as an application makes them: look, and store what is missing.
  defp request(c), do: fn key -> C.get(c, key) != {:error, :not_found} or C.put(c, key, key) != :ok end

  test "first in, first out: the hits of the exact policy" do
    trace = CacheTraces.zipf(20_000, 5_000, 1.0)
    c = start(max_size: 200, eviction_policy: :fifo)
    assert CacheTraces.hit_ratio(trace, request(c)) == CacheTraces.simulate(trace, :fifo, 200)
    assert C.size(c) == 200
  end

  test "a sample of 16 is as good as the exact least recently used one" do
    trace = CacheTraces.zipf(40_000, 5_000, 1.0)
    c = start(max_size: 200, eviction_policy: :lru)
    assert_in_delta CacheTraces.hit_ratio(trace, request(c)), CacheTraces.simulate(trace, :lru, 200), 0.012
  end

  test "S3-FIFO: the hits of the exact policy, and more than those of LRU" do
    for trace <- [CacheTraces.zipf(40_000, 5_000, 1.0), CacheTraces.with_scans(CacheTraces.zipf(40_000, 5_000, 1.0, 7))] do
      c = start(max_size: 200, eviction_policy: :lfu)
      ours = CacheTraces.hit_ratio(trace, request(c))
      assert_in_delta ours, CacheTraces.simulate(trace, :s3_fifo, 200), 0.01
      assert ours > CacheTraces.simulate(trace, :lru, 200) + 0.03
    end
  end

  for policy <- [:fifo, :lru, :lfu] do
    test "#{policy}: eight writers never exceed the bound by more than eight, and not at all when they rest" do
      c = start(max_size: 100, eviction_policy: unquote(policy))
      writers = for w <- 1..8, do: Task.async(fn -> for n <- 1..3_000, do: write(c, w, n) end)
      watcher = Task.async(fn -> watch(c, 0) end)
      Task.await_many(writers, 60_000)
      send(watcher.pid, :stop)
      assert Task.await(watcher) <= 108
      assert C.size(c) <= 100
      assert C.size(c) >= 92
      assert_consistent(c)
      assert C.stats(c).evictions > 10_000
      C.flush(c)
      assert C.size(c) == 0
      assert_consistent(c)
    end
  end

  # Mostly new keys, some that others write, too; deletes, takes and times.
  defp write(c, w, n) do
    case rem(n, 7) do
      0 -> C.delete(c, {:shared, rem(n, 50)})
      1 -> C.put(c, {:shared, rem(n, 50)}, w, ttl: 1)
      2 -> C.take(c, {w, n - 1})
      3 -> C.put(c, {:shared, rem(n, 50)}, w)
      _other -> C.put(c, {w, n}, n)
    end
  end

  defp watch(c, most) do
    receive do
      :stop -> most
    after
      0 -> watch(c, max(most, C.size(c)))
    end
  end

  # What is counted is what is there.
  defp assert_consistent(c) do
    %{state: h} = C.Handle.fetch(c)
    assert :atomics.get(h.counts, 2) == :ets.info(h.data, :size)
    rows = :ets.tab2list(h.data)
    assert :atomics.get(h.counts, 3) == rows |> Enum.map(&elem(elem(&1, 7), 3)) |> Enum.sum()

    # Every entry has its place, so none stays for ever.
    for row <- rows, do: assert(:ets.lookup(h.order, elem(elem(row, 7), 4)) == [{elem(elem(row, 7), 4), elem(row, 0)}])
  end

  test ":ttl_only answers :full, and keeps what is there, until something is past its time" do
    clock = Clock.new()
    c = start(max_size: 3, backend_opts: [clock: Clock.reader(clock)])
    for n <- 1..3, do: assert(C.put(c, n, n, ttl: n * 100) == :ok)
    assert C.put(c, 4, 4) == {:error, :full}
    assert C.get_or_fetch(c, 5, fn -> {:ok, 5} end) == {:ok, 5}
    assert C.put(c, 2, :new, ttl: 200) == :ok
    assert C.size(c) == 3
    Clock.pass(clock, 150)
    assert C.put(c, 4, 4) == :ok
    assert C.put(c, 5, 5) == {:error, :full}
    assert C.get(c, 2) == {:ok, :new}
    assert C.delete(c, 2) == :ok
    assert C.put(c, 5, 5) == :ok
    assert %{errors: 3, expirations: 1, evictions: 0} = C.stats(c)
  end

  test "max_bytes holds, with entries of all sizes" do
    for policy <- [:fifo, :lru, :lfu] do
      c = start(max_bytes: 100_000, eviction_policy: policy)

      for n <- 1..2_000 do
        assert C.put(c, rem(n * 7, 300), String.duplicate("x", rem(n * 37, 5_000))) == :ok
        assert C.info(c).bytes <= 100_000
      end

      assert C.info(c).bytes > 80_000
      assert_consistent(c)
      assert C.put(c, :huge, String.duplicate("x", 100_000)) == {:error, :full}
      assert C.info(c).bytes > 80_000
    end
  end

  test "size_of counts what it wants" do
    c = start(max_bytes: 10, size_of: fn _key, value -> value end, eviction_policy: :fifo)
    for n <- 1..5, do: C.put(c, n, n)
    assert c |> C.keys() |> Enum.sort() == [4, 5]
    assert C.put(c, 6, 10) == :ok
    assert c |> C.keys() |> Enum.to_list() == [6]
    assert C.put(c, 6, 11) == {:error, :full}
    assert C.get(c, 6) == {:ok, 10}
  end

  test "evictions are told" do
    c = start(max_size: 1, eviction_policy: :fifo)
    Telemetry.attach(self())
    C.put(c, 1, 1)
    C.put(c, 2, 2)
    assert_received {:telemetry, [:veidrodelis, :cache, :eviction, :stop], %{count: 1}, %{cache: ^c, policy: :fifo}}
  end

  test "a sweep of a hundred thousand entries leaves no index behind" do
    c = start([])
    for n <- 1..100_000, do: C.put(c, n, n, ttl: 1, tags: [rem(n, 10)])
    Process.sleep(2)
    assert C.sweep(c) == {:ok, 100_000}
    %{state: h} = C.Handle.fetch(c)
    for table <- [h.data, h.due, h.tags], do: assert(:ets.info(table, :size) == 0)
    assert C.stats(c).expirations == 100_000
  end

  test "invalidations leave nothing behind" do
    c = start([])
    for n <- 1..100, do: C.put(c, n, n, tags: [:a, {:b, n}], ttl: 60_000)
    for n <- 1..50, do: assert(C.invalidate_tag(c, {:b, n}) == {:ok, 1})
    assert C.invalidate_tag(c, :a) == {:ok, 50}
    C.sweep(c)
    %{state: h} = C.Handle.fetch(c)
    for table <- [h.data, h.due, h.tags, h.generations, h.leases], do: assert(:ets.info(table, :size) == 0)
  end

  test "the sweeper sweeps by itself" do
    c = start(sweep_interval: 20)
    C.put(c, 1, 1, ttl: 1)
    Vdr.Test.Mirror.eventually("it is gone", fn -> C.size(c) == 0 end)
  end

  test "no read is stale after an invalidation of a hundred thousand entries, from its first moment on" do
    c = start([])
    for n <- 1..100_000, do: C.put(c, n, n, tags: [:t])
    %{state: h} = C.Handle.fetch(c)
    parent = self()

    task =
      Task.async(fn ->
        send(parent, :now)
        C.invalidate_tag(c, :t)
      end)

    assert_receive :now, 5_000
    Vdr.Test.Mirror.eventually("it has begun", fn -> :ets.lookup(h.generations, :t) != [] end)
    for n <- Enum.take_random(1..100_000, 1_000), do: assert(C.get(c, n) == {:error, :not_found})
    assert Task.await(task, 60_000) == {:ok, 100_000}
  end
end
