defmodule Vdr.Cache.ModelTest do
  # Random programs against a map with times and tags, under a clock that the test moves; and many
  # processes at once, where no read may be older than what a write that has returned has put.
  use ExUnit.Case, async: true

  alias Vdr.Cache, as: C
  alias Vdr.Test.CacheContract.{Cache, Clock}

  @programs 40
  @steps 300
  @keys [1, 1.0, "1", :one, {:one, 1}, nil]
  @tags [:a, :b, "a", 1, 1.0]

  for {name, opts} <- [
        in_memory: [],
        replicated: [topology: Vdr.Cache.Topology.Replicated],
        partitioned: [topology: Vdr.Cache.Topology.Partitioned],
        bounded: [max_size: 1_000, eviction_policy: :lfu],
        on_disk: [backend: Vdr.Cache.Backend.DETS]
      ] do
    test "#{name}: random programs answer as a map does" do
      seed = String.to_integer(System.get_env("CACHE_SEED") || "#{System.unique_integer([:positive])}")
      opts = unquote(Macro.escape(opts))
      dir = Path.join(System.tmp_dir!(), "vdr_model_#{System.pid()}_#{seed}_#{unquote(name)}")
      on_exit(fn -> File.rm_rf!(dir) end)

      for program <- 1..@programs do
        :rand.seed(:exsss, {seed, program, 0})
        clock = Clock.new()
        c = :"model_#{unquote(name)}_#{program}"
        kept = if opts[:backend], do: [data_dir: dir], else: []
        opts = [name: c, backend_opts: [clock: Clock.reader(clock)] ++ kept, sweep_interval: :infinity] ++ opts
        start_supervised!({Cache, opts}, id: c)
        run(c, clock, seed, program)
        stop_supervised!(c)
      end
    end
  end

  defp run(c, clock, seed, program) do
    Enum.reduce(1..@steps, {%{}, []}, fn _step, {model, done} ->
      call = random_call()
      done = [call | done]
      {expected, model} = step(call, alive(model, clock), now(clock))
      got = execute(call, c, clock)

      unless got === expected do
        flunk(
          "CACHE_SEED=#{seed}, program #{program}: #{inspect(expected)} expected, got #{inspect(got)} after " <>
            inspect(Enum.reverse(done), limit: :infinity)
        )
      end

      {model, done}
    end)
  end

  defp random_call do
    key = Enum.random(@keys)

    case :rand.uniform(16) do
      n when n <= 3 -> {:put, key, value(), ttl(), tags()}
      4 -> {:get, key}
      5 -> {:delete, key}
      6 -> {:take, key}
      7 -> {:put_new, key, value(), ttl(), tags()}
      8 -> {:replace, key, value(), ttl(), tags()}
      9 -> {:incr, key, :rand.uniform(5) - 3}
      10 -> {:expire, key, ttl()}
      11 -> {:invalidate, Enum.random(@tags)}
      12 -> {:pass, :rand.uniform(40)}
      13 -> {:all}
      14 -> {:fetch, key, value(), ttl(), tags()}
      15 -> {:update, key, value()}
      16 -> if :rand.uniform(10) == 1, do: {:flush}, else: {:ttl, key}
    end
  end

  defp value, do: Enum.random([nil, 1, 7, "x", [1]])
  defp ttl, do: Enum.random([:infinity, 0, 10, 50])
  defp tags, do: @tags |> Enum.take_random(:rand.uniform(4) - 1) |> Enum.sort()
  defp now(clock), do: Clock.reader(clock).()
  defp alive(model, clock), do: Map.filter(model, fn {_key, {_value, until, _tags}} -> now(clock) < until end)

  # ---- the cache

  defp execute({:put, key, value, ttl, tags}, c, _clock), do: C.put(c, key, value, ttl: ttl, tags: tags)
  defp execute({:get, key}, c, _clock), do: C.get(c, key)
  defp execute({:delete, key}, c, _clock), do: C.delete(c, key)
  defp execute({:take, key}, c, _clock), do: C.take(c, key)
  defp execute({:put_new, key, value, ttl, tags}, c, _clock), do: C.put_new(c, key, value, ttl: ttl, tags: tags)
  defp execute({:replace, key, value, ttl, tags}, c, _clock), do: C.replace(c, key, value, ttl: ttl, tags: tags)
  defp execute({:incr, key, n}, c, _clock), do: C.incr(c, key, n)
  defp execute({:expire, key, ttl}, c, _clock), do: C.expire(c, key, ttl)
  defp execute({:invalidate, tag}, c, _clock), do: C.invalidate_tag(c, tag)
  defp execute({:pass, ms}, _c, clock), do: Clock.pass(clock, ms)

  defp execute({:all}, c, _clock) do
    C.sweep(c)
    entries = c |> C.stream() |> Map.new()
    true = C.size(c) == map_size(entries)
    {:ok, ^entries} = C.get_many(c, Map.keys(entries))
    tagged = for tag <- @tags, into: %{}, do: {tag, c |> C.tagged(tag) |> MapSet.new()}
    {entries, tagged}
  end

  defp execute({:fetch, key, value, ttl, tags}, c, _clock),
    do: C.get_or_fetch(c, key, fn -> {:ok, value} end, ttl: ttl, tags: tags)

  defp execute({:update, key, value}, c, _clock), do: C.update(c, key, value, &{:was, &1})
  defp execute({:flush}, c, _clock), do: C.flush(c)
  defp execute({:ttl, key}, c, _clock), do: C.ttl(c, key)

  # ---- the model: key => {value, until, tags}

  defp step({:put, key, value, ttl, tags}, model, now), do: {:ok, store(model, key, value, ttl, tags, now)}
  defp step({:get, key}, model, _now), do: {read(model, key), model}
  defp step({:delete, key}, model, _now), do: {:ok, Map.delete(model, key)}
  defp step({:take, key}, model, _now), do: {read(model, key), Map.delete(model, key)}

  defp step({:put_new, key, value, ttl, tags}, model, now) do
    if is_map_key(model, key), do: {{:ok, false}, model}, else: {{:ok, true}, store(model, key, value, ttl, tags, now)}
  end

  defp step({:replace, key, value, ttl, tags}, model, now) do
    if is_map_key(model, key), do: {{:ok, true}, store(model, key, value, ttl, tags, now)}, else: {{:ok, false}, model}
  end

  defp step({:incr, key, n}, model, _now) do
    case model do
      %{^key => {value, until, tags}} when is_integer(value) ->
        {{:ok, value + n}, Map.put(model, key, {value + n, until, tags})}

      %{^key => _other} ->
        {{:error, :not_an_integer}, model}

      _none ->
        {{:ok, n}, Map.put(model, key, {n, :infinity, []})}
    end
  end

  defp step({:expire, key, ttl}, model, now) do
    case model do
      %{^key => {value, _until, tags}} -> {{:ok, true}, store(model, key, value, ttl, tags, now)}
      _none -> {{:ok, false}, model}
    end
  end

  defp step({:invalidate, tag}, model, _now) do
    {gone, left} = Enum.split_with(model, fn {_key, {_value, _until, tags}} -> Enum.any?(tags, &(&1 === tag)) end)
    {{:ok, length(gone)}, Map.new(left)}
  end

  defp step({:pass, _ms}, model, _now), do: {:ok, model}

  defp step({:all}, model, _now) do
    entries = Map.new(model, fn {key, {value, _until, _tags}} -> {key, value} end)
    has = fn tag -> for {key, {_value, _until, tags}} <- model, Enum.any?(tags, &(&1 === tag)), do: key end
    {{entries, Map.new(@tags, &{&1, MapSet.new(has.(&1))})}, model}
  end

  defp step({:fetch, key, value, ttl, tags}, model, now) do
    case read(model, key) do
      {:ok, _value} = hit -> {hit, model}
      _miss -> {{:ok, value}, store(model, key, value, ttl, tags, now)}
    end
  end

  defp step({:update, key, value}, model, _now) do
    case model do
      %{^key => {old, until, tags}} -> {{:ok, {:was, old}}, Map.put(model, key, {{:was, old}, until, tags})}
      _none -> {{:ok, value}, Map.put(model, key, {value, :infinity, []})}
    end
  end

  defp step({:flush}, _model, _now), do: {:ok, %{}}

  defp step({:ttl, key}, model, now) do
    case model do
      %{^key => {_value, :infinity, _tags}} -> {{:ok, :infinity}, model}
      %{^key => {_value, until, _tags}} -> {{:ok, until - now}, model}
      _none -> {{:error, :not_found}, model}
    end
  end

  defp read(model, key),
    do: with(%{^key => {value, _until, _tags}} <- model, do: {:ok, value}, else: (_ -> {:error, :not_found}))

  defp store(model, key, _value, 0, _tags, _now), do: Map.delete(model, key)
  defp store(model, key, value, :infinity, tags, _now), do: Map.put(model, key, {value, :infinity, tags})
  defp store(model, key, value, ttl, tags, now), do: Map.put(model, key, {value, now + ttl, tags})

  # ---- many processes

  test "of up to a million reads beside writers, deletes, invalidations, flushes and fetches, none is stale" do
    c = :model_stale
    start_supervised!({Cache, name: c})
    keys = 8
    # For each key the number of its last write, and of the last one that has returned.
    {begun, acked} = {:counters.new(keys, []), :counters.new(keys, [])}
    stop = :counters.new(1, [])

    writers = for key <- 1..keys//2, do: Task.async(fn -> write(c, key, begun, acked, stop, 0) end)
    # A busy machine makes fewer.
    until = System.monotonic_time(:millisecond) + 45_000
    readers = for seed <- 1..4, do: Task.async(fn -> read_all(c, keys, begun, acked, seed, 250_000, 0, until) end)
    counts = Task.await_many(readers, 110_000)
    :counters.put(stop, 1, 1)
    Task.await_many(writers, 10_000)
    # A test of nothing but misses would prove nothing.
    assert Enum.sum(counts) > 20_000
  end

  # Writes two keys with one tag: all that is written before an invalidation is older than its
  # number.
  defp write(c, key, begun, acked, stop, n) do
    if :counters.get(stop, 1) == 0 do
      both = [key, key + 1]
      n = n + 1

      case :rand.uniform(12) do
        1 ->
          all(both, begun, acked, n, fn -> {:ok, _count} = C.invalidate_tag(c, {:tag, key}) end)

        2 ->
          Enum.each(both, fn k -> all([k], begun, acked, n, fn -> :ok = C.delete(c, k) end) end)

        3 ->
          all(both, begun, acked, n, fn -> :ok = C.put_many(c, Map.new(both, &{&1, n}), tags: [{:tag, key}]) end)

        _ ->
          Enum.each(both, fn k ->
            all([k], begun, acked, n, fn -> :ok = C.put(c, k, n, tags: [{:tag, key}], ttl: 60_000) end)
          end)
      end

      # The readers are what is tested.
      if rem(n, 20) == 0, do: Process.sleep(1)
      write(c, key, begun, acked, stop, n)
    end
  end

  defp all(keys, begun, acked, n, fun) do
    Enum.each(keys, &:counters.put(begun, &1, n))
    fun.()
    Enum.each(keys, &:counters.put(acked, &1, n))
  end

  defp read_all(_c, _keys, _begun, _acked, _seed, 0, hits, _until), do: hits

  defp read_all(c, keys, begun, acked, seed, left, hits, until) do
    key = rem(left * 7 + seed, keys) + 1
    oldest = :counters.get(acked, key)

    answer =
      if rem(left, 16) == 0,
        # The source changes before the cache does, as it must.
        do: C.get_or_fetch(c, key, fn -> {:ok, :counters.get(begun, key), tags: [{:tag, key - rem(key + 1, 2)}]} end),
        else: C.get(c, key)

    with {:ok, value} <- answer do
      assert value >= oldest, "key #{key}: read #{value} after #{oldest} had returned"
      assert value <= :counters.get(begun, key)
    end

    hits = if match?({:ok, _value}, answer), do: hits + 1, else: hits
    over? = rem(left, 1_000) == 0 and System.monotonic_time(:millisecond) > until
    read_all(c, keys, begun, acked, seed, if(over?, do: 0, else: left - 1), hits, until)
  end
end
