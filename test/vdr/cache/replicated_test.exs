defmodule Vdr.Cache.ReplicatedTest do
  use ExUnit.Case, async: false

  alias Vdr.Cache, as: C
  alias Vdr.Cache.Topology.Replicated
  alias Vdr.Test.{Mirror, PeerWork, Peers}

  @moduletag :peers
  @moduletag timeout: 180_000
  @cache :replicated

  defp start_on(peer, opts \\ []) do
    {topology_opts, opts} = Keyword.pop(opts, :topology_opts, [])
    opts = [name: @cache, topology: Replicated, topology_opts: [heartbeat: 200] ++ topology_opts] ++ opts
    Peers.start_cache(peer, opts)
  end

  defp start!(count, opts \\ []) do
    peers = Peers.start!(count)
    for peer <- peers, do: start_on(peer, opts)
    Peers.await_members(peers, @cache)
    peers
  end

  defp cache(peer, function, arguments), do: Peers.call(peer, C, function, [@cache | arguments])
  defp dump(peer), do: Peers.call(peer, PeerWork, :dump, [@cache])

  defp await_equal(peers) do
    Mirror.eventually("all are equal", fn -> Enum.map(peers, &length(dump(&1))) end, fn ->
      peers |> Enum.map(&dump/1) |> Enum.uniq() |> length() == 1
    end)

    dump(hd(peers))
  end

  test "every node has every entry, also one that joins later; deletes, tags, times and flushes arrive" do
    [a, b, c] = peers = Peers.start!(3)
    for peer <- [a, b], do: start_on(peer)
    Peers.await_members([a, b], @cache)
    :ok = cache(a, :put_many, [Map.new(1..2_500, &{&1, &1}), [tags: [:t]]])
    :ok = cache(b, :put, ["x", 1, [ttl: 60_000]])
    assert length(await_equal([a, b])) == 2_501
    # More than two portions.
    start_on(c)
    Peers.await_members(peers, @cache)
    assert length(await_equal(peers)) == 2_501
    assert {:ok, ms} = cache(c, :ttl, ["x"])
    assert ms in 50_000..60_000
    assert cache(c, :incr, ["x", 5]) == {:ok, 6}
    assert cache(b, :delete, [1]) == :ok
    assert cache(b, :take, [2]) == {:ok, 2}
    await_equal(peers)
    assert cache(a, :get, ["x"]) == {:ok, 6}
    assert cache(a, :get, [1]) == {:error, :not_found}
    assert cache(c, :invalidate_tag, [:t]) == {:ok, 2_498}
    assert await_equal(peers) == [{"x", 6}]
    assert cache(a, :flush, []) == :ok
    assert await_equal(peers) == []
    assert Enum.sort(cache(a, :info, []).members) == Enum.sort(Enum.map(peers, & &1.node))
  end

  test "writers on all nodes, nodes that die and join meanwhile: in the end all are equal" do
    peers = [a, b, c, d] = start!(4)

    writers =
      for {peer, n} <- Enum.with_index([a, b, d]),
          do: Peers.async(peer, PeerWork, :write_at_random, [@cache, 60, 1_500, n])

    Process.sleep(100)
    Peers.stop_cache(c, @cache)
    Process.sleep(200)
    start_on(c)
    assert Enum.uniq(Task.await_many(writers, 120_000)) == [:ok]
    Peers.await_members(peers, @cache)
    await_equal(peers)
  end

  test "splits, with writers on both sides and a wall clock an hour behind: in the end all are equal" do
    peers = Peers.start!(4)
    [a, b, c, d] = peers
    for peer <- [a, b, c], do: start_on(peer)
    start_on(d, topology_opts: [clock: &PeerWork.an_hour_ago/0])
    Peers.await_members(peers, @cache)

    for round <- 1..3 do
      writers =
        for {peer, n} <- Enum.with_index(peers),
            do: Peers.async(peer, PeerWork, :write_at_random, [@cache, 40, 600, round * 10 + n])

      Peers.split([a, b], [c, d])
      Process.sleep(200)
      Peers.heal([a, b], [c, d])
      assert Enum.uniq(Task.await_many(writers, 120_000)) == [:ok]
      Peers.await_members(peers, @cache)
      await_equal(peers)
    end

    # Whoever writes last after all have seen everything wins, whatever its clock says.
    :ok = cache(a, :put, [:last, :a])
    await_equal(peers)
    :ok = cache(d, :put, [:last, :d])
    Mirror.eventually("it wins", fn -> Enum.all?(peers, &(cache(&1, :get, [:last]) == {:ok, :d})) end)
  end

  test "what a call answers does not hide from the others that it has changed something" do
    [a, b] = peers = Peers.start!(2)
    for {peer, opts} <- [{a, max_size: 2, eviction_policy: :fifo}, {b, []}], do: start_on(peer, opts)
    Peers.await_members(peers, @cache)
    await = fn what, answer, key -> Mirror.eventually(what, fn -> cache(b, :get, [key]) == answer end) end
    :ok = cache(a, :put, [:n, 1])
    assert cache(a, :decr, [:n]) == {:ok, 0}
    await.("a sum of 0", {:ok, 0}, :n)
    :ok = cache(a, :put, [:f, false])
    await.("false", {:ok, false}, :f)
    assert cache(a, :take, [:f]) == {:ok, false}
    await.("it was taken", {:error, :not_found}, :f)
    # Evicted on one node, and deleted there.
    for n <- 1..3, do: :ok = cache(a, :put, [n, n])
    await.("the last one", {:ok, 3}, 3)
    assert cache(a, :get, [1]) == {:error, :not_found}
    assert cache(b, :get, [1]) == {:ok, 1}
    assert cache(a, :delete, [1]) == :ok
    await.("it was deleted", {:error, :not_found}, 1)
  end

  test "a node that cannot store a new value does not keep the old one" do
    [a, b] = peers = Peers.start!(2)
    for {peer, opts} <- [{a, []}, {b, max_bytes: 10_000}], do: start_on(peer, opts)
    Peers.await_members(peers, @cache)
    :ok = cache(a, :put, [:k, "small"])
    Mirror.eventually("it is there", fn -> cache(b, :get, [:k]) == {:ok, "small"} end)
    :ok = cache(a, :put, [:k, String.duplicate("x", 20_000)])
    Mirror.eventually("the old one is gone", fn -> cache(b, :get, [:k]) == {:error, :not_found} end)
    :ok = cache(a, :put, [:k, "small again"])
    Mirror.eventually("the next one fits", fn -> cache(b, :get, [:k]) == {:ok, "small again"} end)
  end

  test "what a node has written that was killed reaches all" do
    peers = [a, b, c] = start!(3)
    :ok = cache(a, :put, [:k, 0])
    await_equal(peers)
    # What it sends to one of them is lost.
    Peers.split([a], [c])
    :ok = cache(a, :put, [:k, 1])
    Mirror.eventually("one has it", fn -> cache(b, :get, [:k]) == {:ok, 1} end)
    Peers.kill(a)
    Peers.await_members([b, c], @cache)
    assert await_equal([b, c]) == [k: 1]
  end

  test "a split that lasts longer than deletes are remembered empties the cache" do
    # Several heartbeats: a node that is silent for so long counts as split off.
    peers = [a, b] = start!(2, topology_opts: [tombstone_ttl: 1_500])
    :ok = cache(a, :put, [:k, 1])
    await_equal(peers)
    Peers.split([a], [b])
    :ok = cache(a, :delete, [:k])
    Process.sleep(3_500)
    assert cache(b, :get, [:k]) == {:ok, 1}
    Peers.heal([a], [b])
    Peers.await_members(peers, @cache)
    Mirror.eventually("the deleted entry is gone", fn -> cache(b, :get, [:k]) == {:error, :not_found} end)
    assert await_equal(peers) == []
    :ok = cache(a, :put, [:k, 2])
    Mirror.eventually("it goes on", fn -> cache(b, :get, [:k]) == {:ok, 2} end)
  end

  test "a node that was frozen catches up" do
    peers = [a, b] = start!(2)
    :ok = cache(a, :put, [:k, 0])
    await_equal(peers)
    pid = Peers.freeze(b)
    for n <- 1..500, do: :ok = cache(a, :put, [n, String.duplicate("x", 2_000)])
    Peers.signal(pid, "CONT")
    assert length(await_equal(peers)) == 501
  end
end

defmodule Vdr.Cache.ReplicatedContractTest do
  # One node that runs a replicated cache behaves as any cache.
  use ExUnit.Case, async: true
  use Vdr.Test.CacheContract, except: []

  alias Vdr.Test.CacheContract.{Cache, Clock}

  setup context do
    clock = Clock.new()
    name = :"replicated_#{:erlang.phash2(context.test)}"
    opts = [name: name, backend_opts: [clock: Clock.reader(clock)], topology: Vdr.Cache.Topology.Replicated]
    start_supervised!({Cache, opts})
    {:ok, cache: name, pass: &Clock.pass(clock, &1)}
  end
end
