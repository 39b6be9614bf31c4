defmodule Vdr.Cache.PartitionedTest do
  use ExUnit.Case, async: false

  alias Vdr.Cache, as: C
  alias Vdr.Cache.Topology.Partitioned
  alias Vdr.Test.{Mirror, PeerWork, Peers}

  @moduletag :peers
  @moduletag timeout: 180_000
  @cache :partitioned

  defp start!(count, opts \\ []) do
    peers = Peers.start!(count)
    for peer <- peers, do: start_on(peer, opts)
    Peers.await_members(peers, @cache)
    peers
  end

  defp start_on(peer, opts \\ []), do: Peers.start_cache(peer, [name: @cache, topology: Partitioned] ++ opts)

  defp cache(peer, function, arguments), do: Peers.call(peer, C, function, [@cache | arguments])
  defp owner(peer, key), do: peer |> Peers.call(Partitioned, :owner, [@cache, key]) |> elem(1)
  defp local_size(peer), do: cache(peer, :info, []).local_size

  test "each key has one owner; a node that does not run the cache owns nothing; nodes join, leave and are killed" do
    [a, b, c, d] = peers = Peers.start!(4)
    for peer <- [a, b, c], do: start_on(peer)
    Peers.await_members([a, b, c], @cache)
    keys = Enum.to_list(1..300)
    :ok = cache(a, :put_many, [Map.new(keys, &{&1, &1})])

    for key <- Enum.take(keys, 50) do
      assert [_one] = for(peer <- [a, b, c], do: owner(peer, key)) |> Enum.uniq()
      assert owner(a, key) != d.node
    end

    # Everybody reads everything, and each has its own part only.
    for peer <- [a, b, c], do: assert(cache(peer, :get_many, [keys]) == {:ok, Map.new(keys, &{&1, &1})})
    sizes = for peer <- [a, b, c], do: local_size(peer)
    assert Enum.sum(sizes) == 300
    assert Enum.all?(sizes, &(&1 in 60..140))
    assert cache(b, :size, []) == 300
    assert b |> Peers.call(PeerWork, :dump, [@cache]) |> length() == 300

    # A node that joins takes its part, and what moves to it is gone.
    start_on(d)
    Peers.await_members(peers, @cache)
    moved = Enum.count(keys, &(owner(a, &1) == d.node))
    assert moved in 40..120
    assert cache(a, :size, []) == 300 - moved
    for key <- keys, owner(a, key) != d.node, do: assert(cache(d, :get, [key]) == {:ok, key})

    # A node that leaves takes its part with it, and no more. What comes back to the others comes
    # without its old value.
    :ok = cache(a, :put, [:of_d, 1])
    Peers.stop_cache(d, @cache)
    Peers.await_members([a, b, c], @cache)
    for key <- keys, do: assert(cache(a, :get, [key]) in [{:ok, key}, {:error, :not_found}])
    assert cache(a, :size, []) in (300 - moved)..(301 - moved)

    # A node that is killed: reads of its keys miss, and the others go on.
    mine = Enum.find(keys, &(owner(a, &1) == c.node))
    Peers.kill(c)
    assert cache(a, :get, [mine]) == {:error, :not_found}
    Peers.await_members([a, b], @cache)
    assert cache(a, :put, [mine, :new]) == :ok
    assert cache(b, :get, [mine]) == {:ok, :new}
  end

  test "every kind of call works from every node" do
    peers = [a, b, _c] = start!(3)

    for {peer, n} <- Enum.with_index(peers), key <- [{n, 1}, {n, 2}, {n, 3}] do
      assert cache(peer, :put, [key, 1, [ttl: 60_000, tags: [:t]]]) == :ok
      assert cache(peer, :get, [key]) == {:ok, 1}
      assert {:ok, ms} = cache(peer, :ttl, [key])
      assert ms in 50_000..60_000
      assert cache(peer, :incr, [key, 2]) == {:ok, 3}
      assert cache(peer, :put_new, [key, 1]) == {:ok, false}
      assert cache(peer, :replace, [key, 5, [tags: [:t]]]) == {:ok, true}
      assert cache(peer, :expire, [key, 50_000]) == {:ok, true}
      assert Peers.call(peer, C, :update, [@cache, key, 0, &Kernel.-/1]) == {:ok, -5}
    end

    assert cache(a, :invalidate_tag, [:t]) == {:ok, 9}
    assert cache(b, :size, []) == 0
    :ok = cache(a, :put, [:taken, 1])
    assert cache(b, :take, [:taken]) == {:ok, 1}
    :ok = cache(a, :put_many, [%{1 => 1, 2 => 2, 3 => 3}])
    assert cache(b, :delete_many, [[1, 2, 9]]) == {:ok, 2}
    assert cache(b, :flush, []) == :ok
    assert cache(a, :size, []) == 0
  end

  test "one fetch in the whole cluster; the death of the fetching node hands over" do
    peers = [a | _] = start!(4)
    keys = Enum.to_list(1..20)
    tasks = for peer <- peers, do: Peers.async(peer, PeerWork, :fetch_all, [@cache, keys, 50, 10])
    answers = Task.await_many(tasks, 120_000)
    assert answers |> Enum.map(&elem(&1, 1)) |> Enum.sum() == 20
    # Everybody got the value of the one that fetched.
    values = answers |> Enum.flat_map(&elem(&1, 0)) |> Enum.uniq()
    assert length(values) == 20

    # A key whose owner is neither the node that fetches and dies, nor the one that waits.
    [x, y] = [Enum.at(peers, 2), Enum.at(peers, 3)]
    key = Enum.find(1..1_000, &(owner(a, {:slow, &1}) == a.node))
    spawn(fn -> Peers.call(x, PeerWork, :fetch, [@cache, {:slow, key}, :of_the_dead, 60_000]) end)
    Mirror.eventually("it fetches", fn -> Peers.call(x, PeerWork, :fetching?, [{:slow, key}]) end)
    waiter = Peers.async(y, PeerWork, :fetch, [@cache, {:slow, key}, :of_the_waiter, 10])
    Process.sleep(100)
    Peers.kill(x)
    assert Task.await(waiter, 20_000) == {:ok, :of_the_waiter}
  end

  test "a delete by another node voids a fetch" do
    [a, b] = start!(2)
    fetching = Peers.async(a, PeerWork, :fetch, [@cache, :k, :old, 300])
    Mirror.eventually("it fetches", fn -> Peers.call(a, PeerWork, :fetching?, [:k]) end)
    assert cache(b, :delete, [:k]) == :ok
    assert Task.await(fetching) == {:ok, :old}
    assert cache(b, :get, [:k]) == {:error, :not_found}
    assert cache(a, :get, [:k]) == {:error, :not_found}
  end

  test "after a split has healed, nothing of before is served" do
    peers = [a, b, c, d] = start!(4)
    keys = Enum.to_list(1..100)
    :ok = cache(a, :put_many, [Map.new(keys, &{&1, :before}), [tags: [:t]]])
    Peers.split([a, b], [c, d])
    Peers.await_members([a, b], @cache)
    Peers.await_members([c, d], @cache)
    # Each side is a cache of its own.
    assert {:ok, _count} = cache(a, :invalidate_tag, [:t])
    for key <- keys, do: :ok = cache(c, :put, [key, :other_side])
    for key <- keys, do: assert(cache(d, :get, [key]) == {:ok, :other_side})
    assert cache(b, :size, []) == 0
    for key <- keys, do: :ok = cache(a, :put, [key, :this_side])
    Peers.heal([a, b], [c, d])
    Peers.await_members(peers, @cache)
    Mirror.eventually("all is cleared", fn -> cache(a, :size, []) == 0 end)
    for peer <- peers, key <- keys, do: assert(cache(peer, :get, [key]) == {:error, :not_found})
    :ok = cache(b, :put, [1, :after])
    assert cache(d, :get, [1]) == {:ok, :after}
  end

  test "under load, nodes that come and go cost misses and no exceptions" do
    peers = [a, b | rest] = start!(4)
    load = Peers.async(a, PeerWork, :load, [@cache, 4_000])
    load_b = Peers.async(b, PeerWork, :load, [@cache, 4_000])

    for peer <- rest do
      Peers.stop_cache(peer, @cache)
      Process.sleep(500)
      start_on(peer)
      Process.sleep(300)
    end

    assert Task.await(load, 60_000) == []
    assert Task.await(load_b, 60_000) == []
    Peers.await_members(peers, @cache)
  end

  test "a near cache answers without the owner, and is told of every change" do
    peers = [a, b, c] = start!(3, near_cache: true)
    keys = Enum.to_list(1..60)
    :ok = cache(a, :put_many, [Map.new(keys, &{&1, 0}), [tags: [:t]]])
    for peer <- peers, key <- keys, do: assert(cache(peer, :get, [key]) == {:ok, 0})
    assert cache(b, :info, []).near_size in 25..55
    before = cache(b, :stats, []).near_hits
    for key <- keys, do: assert(cache(b, :get, [key]) == {:ok, 0})
    assert cache(b, :stats, []).near_hits - before == cache(b, :info, []).near_size

    # Its own write is seen at once, that of another node soon.
    for {peer, n} <- Enum.with_index(peers, 1), key <- Enum.take(keys, 20) do
      assert cache(peer, :put, [key, n, [tags: [:t]]]) == :ok
      assert cache(peer, :get, [key]) == {:ok, n}
      for other <- peers, do: Mirror.eventually("told", fn -> cache(other, :get, [key]) == {:ok, n} end)
    end

    assert cache(c, :incr, [1, 10]) == {:ok, 13}
    for other <- peers, do: Mirror.eventually("told", fn -> cache(other, :get, [1]) == {:ok, 13} end)
    assert cache(a, :invalidate_tag, [:t]) == {:ok, 60}
    assert cache(a, :get, [2]) == {:error, :not_found}

    for peer <- peers,
        key <- keys,
        do: Mirror.eventually("told", fn -> cache(peer, :get, [key]) == {:error, :not_found} end)

    :ok = cache(a, :put, [:f, 1])
    for peer <- peers, do: assert(cache(peer, :get, [:f]) == {:ok, 1})
    :ok = cache(b, :flush, [])
    for peer <- peers, do: Mirror.eventually("told", fn -> cache(peer, :get, [:f]) == {:error, :not_found} end)

    # The owner goes, and with it what the others have kept of it.
    :ok = cache(a, :put_many, [Map.new(keys, &{&1, :kept})])
    for key <- keys, do: cache(a, :get, [key])
    of_c = Enum.filter(keys, &(owner(a, &1) == c.node))
    Peers.kill(c)
    Peers.await_members([a, b], @cache)
    for key <- of_c, do: assert(cache(a, :get, [key]) == {:error, :not_found})
  end

  test "a near cache keeps no value that changed while it was on its way" do
    [a, b] = start!(2, near_cache: true)
    key = Enum.find(1..100, &(owner(a, &1) == a.node))
    reader = Peers.async(b, PeerWork, :read_until, [@cache, key, 3_000])
    Mirror.eventually("it reads", fn -> cache(b, :stats, []).misses > 0 end)
    for n <- 1..3_000, do: :ok = cache(a, :put, [key, n])
    # A value that was kept wrongly would stay for a minute.
    assert {:ok, reads} = Task.await(reader, 60_000)
    # Some tens of thousands on a machine that does nothing else.
    assert reads > 100
  end

  test "a node that is frozen while it fetches holds nobody for longer than the time, and stores nothing later" do
    [a, b, c] = start!(3, topology_opts: [timeout: 1_000], stampede_timeout: 500)
    key = Enum.find(1..1_000, &(owner(a, &1) == a.node))
    # So long that it is frozen before the end.
    frozen = Peers.async(c, PeerWork, :fetch, [@cache, key, :of_the_frozen, 3_000])
    Mirror.eventually("it fetches", fn -> Peers.call(c, PeerWork, :fetching?, [key]) end)
    pid = Peers.freeze(c)
    assert Peers.call(b, PeerWork, :fetch, [@cache, key, :of_b, 10]) == {:error, :timeout}
    assert Peers.call(b, PeerWork, :fetch, [@cache, key, :of_b, 10, [on_timeout: :fetch]]) == {:ok, :of_b}
    assert cache(b, :put, [key, :put]) == :ok
    # An owner that does not answer costs the time, and the value is fetched without it.
    of_c = Enum.find(1..1_000, &(owner(a, &1) == c.node))
    assert cache(a, :get, [of_c]) == {:error, :timeout}
    assert Peers.call(a, PeerWork, :fetch, [@cache, of_c, :alone, 10]) == {:ok, :alone}
    Peers.signal(pid, "CONT")
    assert Task.await(frozen, 20_000) == {:ok, :of_the_frozen}
    for peer <- [a, b, c], do: assert(cache(peer, :get, [key]) == {:ok, :put})
  end

  test "a node that does not answer an invalidation is named, and gets it later" do
    [a, b] = start!(2, topology_opts: [timeout: 1_500])
    :ok = cache(a, :put_many, [Map.new(1..50, &{&1, &1}), [tags: [:t]]])
    on_b = Enum.count(1..50, &(owner(a, &1) == b.node))
    pid = Peers.freeze(b)
    assert cache(a, :invalidate_tag, [:t]) == {:error, {:partial, 50 - on_b, [b.node]}}
    assert cache(a, :put, [Enum.find(1..50, &(owner(a, &1) == b.node)), 1]) == {:error, :timeout}
    Peers.signal(pid, "CONT")

    Mirror.eventually("it has heard of it", fn ->
      Enum.all?(1..50, &(cache(b, :get, [&1]) in [{:error, :not_found}, {:ok, 1}]))
    end)
  end
end

defmodule Vdr.Cache.PartitionedContractTest do
  # One node that runs a partitioned cache behaves as any cache.
  use ExUnit.Case, async: true
  use Vdr.Test.CacheContract, except: [:at_once]

  alias Vdr.Test.CacheContract.{Cache, Clock}

  setup context do
    clock = Clock.new()
    name = :"partitioned_#{:erlang.phash2(context.test)}"
    opts = [name: name, backend_opts: [clock: Clock.reader(clock)], topology: Vdr.Cache.Topology.Partitioned]
    start_supervised!({Cache, opts})
    {:ok, cache: name, pass: &Clock.pass(clock, &1)}
  end

  test "what makes no sense is refused with a sentence" do
    start = fn opts ->
      Cache.start_link([name: :partitioned_refused, topology: Vdr.Cache.Topology.Partitioned] ++ opts)
    end

    assert_raise ArgumentError, ~r/each key lives on one node/, fn -> start.(topology_opts: [replication_factor: 2]) end
    assert_raise ArgumentError, ~r/unknown option :ring/, fn -> start.(topology_opts: [ring: 2]) end
    assert Vdr.Cache.Topology.Partitioned.owner(:partitioned_none, 1) == {:error, :not_started}
  end

  test "an owner is the same on every node, and a member that leaves moves its own keys only" do
    nodes = for n <- 1..5, do: :"n#{n}@host"
    owner = &Vdr.Cache.Topology.Partitioned.rendezvous/2
    counts = Enum.frequencies_by(1..20_000, &owner.(nodes, &1))
    assert counts |> Map.values() |> Enum.max() < 4_200
    [left | others] = nodes
    for key <- 1..2_000, owner.(nodes, key) != left, do: assert(owner.(others, key) == owner.(nodes, key))
    # The choice must never change, or nodes of two versions disagree.
    assert owner.(nodes, {:user, 1}) == owner.(Enum.shuffle(nodes), {:user, 1})
    assert Enum.map(1..8, &owner.(nodes, &1)) |> Enum.uniq() |> length() > 1
  end
end
