defmodule Vdr.CacheTest do
  # Every example of the page that a user of Vela knows, module names apart.
  use ExUnit.Case, async: true

  alias Vdr.Test.Telemetry

  defmodule MyApp.Cache do
    use Vdr.Cache,
      backend: Vdr.Cache.Backend.ETS,
      default_ttl: :timer.minutes(5)
  end

  defmodule MyApp.AllOptions do
    use Vdr.Cache,
      backend: Vdr.Cache.Backend.ETS,
      backend_opts: [],
      topology: Vdr.Cache.Topology.Local,
      topology_opts: [],
      default_ttl: :infinity,
      max_size: :infinity,
      eviction_policy: :ttl_only,
      stampede_protection: true,
      stampede_timeout: 5_000,
      stats_enabled: true,
      telemetry_prefix: [:vela, :cache],
      sweep_interval: 30_000,
      near_cache: false,
      near_cache_l1_ttl: 60_000
  end

  defmodule MyApp.Defaults do
    use Vdr.Cache
  end

  test "quick start" do
    children = [MyApp.Cache]
    start_supervised!(%{id: :app, start: {Supervisor, :start_link, [children, [strategy: :one_for_one]]}})
    assert MyApp.Cache.put(:user_1, %{name: "Alice"}) == :ok
    assert MyApp.Cache.get(:user_1) == {:ok, %{name: "Alice"}}
    assert MyApp.Cache.get(:missing) == {:error, :not_found}
    assert {:ok, ms} = MyApp.Cache.ttl(:user_1)
    assert ms in 290_000..300_000
  end

  test "the API" do
    start_supervised!({MyApp.Cache, name: MyApp.Cache})
    assert MyApp.Cache.get(:key, []) == {:error, :not_found}
    assert_raise KeyError, fn -> MyApp.Cache.get!(:key, []) end
    assert MyApp.Cache.put(:key, :value, ttl: 1_000, tags: [:users, :active]) == :ok
    assert MyApp.Cache.get!(:key) == :value
    assert MyApp.Cache.exists?(:key, [])
    assert MyApp.Cache.size() == 1
    assert %{hits: 1, misses: 2, writes: 1} = MyApp.Cache.stats()
    assert MyApp.Cache.delete(:key, []) == :ok
    refute MyApp.Cache.exists?(:key)
    assert MyApp.Cache.get_or_fetch(:expensive_key, fn _key -> {:ok, :data} end) == {:ok, :data}
    assert MyApp.Cache.get_or_fetch(:failing, fn _key -> {:error, :reason} end, []) == {:error, :reason}
    assert MyApp.Cache.flush([]) == :ok
    assert MyApp.Cache.size() == 0
  end

  test "tags" do
    start_supervised!(MyApp.Cache)
    {alice, bob, widget} = {%{name: "Alice"}, %{name: "Bob"}, %{name: "Widget"}}
    MyApp.Cache.put(:user_1, alice, tags: [:users])
    MyApp.Cache.put(:user_2, bob, tags: [:users])
    MyApp.Cache.put(:product_1, widget, tags: [:products])
    assert MyApp.Cache.invalidate_tag(:users) == {:ok, 2}
    assert MyApp.Cache.get(:user_1) == {:error, :not_found}
    assert MyApp.Cache.get(:product_1) == {:ok, widget}
  end

  test "all options, with their defaults" do
    for module <- [MyApp.AllOptions, MyApp.Defaults] do
      start_supervised!(module)
      assert module.put(:a, 1) == :ok
      assert module.ttl(:a) == {:ok, :infinity}
    end

    ours = Vdr.Cache.Options.resolve!(MyApp.Defaults, [], [])
    theirs = Vdr.Cache.Options.resolve!(MyApp.AllOptions, MyApp.AllOptions.__vdr_cache__(), [])
    assert ours.telemetry_prefix == [:veidrodelis, :cache]
    same = &(&1 |> Map.drop([:telemetry_prefix, :name, :module]) |> Map.update!(:backend_opts, fn opts -> opts.() end))
    assert same.(ours) == same.(theirs)
  end

  test "options at run time win" do
    assert {:ok, pid} = MyApp.Cache.start_link(default_ttl: :timer.minutes(10))
    MyApp.Cache.put(:a, 1)
    assert {:ok, ms} = MyApp.Cache.ttl(:a)
    assert ms in 590_000..600_000
    assert MyApp.Cache.start_link() == {:error, {:already_started, pid}}
    Supervisor.stop(pid)
    assert MyApp.Cache.get(:a) == {:error, :not_started}
  end

  test "one module, started several times" do
    start_supervised!({MyApp.Cache, name: :vela_tenant_a})
    start_supervised!({MyApp.Cache, name: :vela_tenant_b})
    assert Vdr.Cache.put(:vela_tenant_a, :user_1, 1) == :ok
    assert Vdr.Cache.get(:vela_tenant_a, :user_1) == {:ok, 1}
    assert Vdr.Cache.get(:vela_tenant_b, :user_1) == {:error, :not_found}
    assert MyApp.Cache.child_spec(name: :vela_tenant_a).id == :vela_tenant_a
    assert MyApp.Cache.child_spec().id == MyApp.Cache
  end

  test "stampede protection" do
    start_supervised!({MyApp.Cache, stampede_protection: true, stampede_timeout: 5_000})
    test = self()

    fetch = fn _key ->
      send(test, :fetching)
      Process.sleep(100)
      {:ok, 1}
    end

    tasks = for _ <- 1..50, do: Task.async(fn -> MyApp.Cache.get_or_fetch(:expensive_key, fetch) end)
    assert tasks |> Task.await_many() |> Enum.uniq() == [{:ok, 1}]
    assert_received :fetching
    refute_received :fetching
  end

  test "the events of telemetry" do
    start_supervised!(MyApp.AllOptions)
    Telemetry.attach(self())
    cache = MyApp.AllOptions
    cache.put(:k, 1, ttl: 5_000)
    cache.get(:k)
    cache.get(:missing)
    cache.get_or_fetch(:f, fn _key -> {:ok, 1} end)
    cache.get_or_fetch(:f, fn _key -> {:ok, 1} end)
    cache.invalidate_tag(:t)
    cache.sweep()
    assert_received {:telemetry, [:vela, :cache, :put, :stop], %{duration: d}, %{cache: ^cache, key: :k, ttl: 5_000}}
    assert is_integer(d) and d > 0
    assert_received {:telemetry, [:vela, :cache, :get, :stop], %{duration: _}, %{cache: ^cache, key: :k, result: :hit}}
    assert_received {:telemetry, [:vela, :cache, :get, :stop], %{}, %{cache: ^cache, key: :missing, result: :miss}}
    assert_received {:telemetry, [:vela, :cache, :fetch, :stop], %{}, %{cache: ^cache, key: :f, result: :fetched}}
    assert_received {:telemetry, [:vela, :cache, :fetch, :stop], %{duration: _}, %{key: :f, result: :hit}}
    assert_received {:telemetry, [:vela, :cache, :invalidate_tag, :stop], %{count: 0}, %{cache: ^cache, tag: :t}}
    assert_received {:telemetry, [:vela, :cache, :ttl_sweep, :stop], %{evicted: 0}, %{cache: ^cache}}
  end
end
