defmodule Vdr.Bench.Pevensie do
  @moduledoc false
  # What the cache driver for Pevensie costs: its `get` against the read below it, and its `set`
  # against a bare round trip, and against two, which is what `pevensie_redis` sends (SET, and then
  # EXPIRE or PERSIST). That driver cannot be installed. As its client does, the one that stands for
  # it has a process for its connection; the driver's pool is not counted.
  alias Vdr.Bench.Measure
  alias Vdr.{Paint, Test}

  @keys 1_000_000
  @reads 200_000
  @calls 5_000
  @turns 7
  @get_aim 1.5
  @set_aim 1.3
  @seed_aim 0.6

  def run do
    Paint.title("The cache driver for Pevensie")
    {server, redis} = Measure.filled_server()
    mirror = "bench"
    Measure.mirror(server, mirror)
    {:ok, cache} = Test.Pevensie.connect(driver().(mirror: mirror))
    figures = [get(cache, mirror) | set(cache, mirror, redis)]
    Veidrodelis.stop(mirror)
    GenServer.stop(server)
    figures
  end

  # The driver in Gleam, where its compiler is at hand. The one by hand is the same in Elixir.
  defp driver do
    if Test.Gleam.ready?() do
      directory = Path.join(System.tmp_dir!(), "vdr_bench_gleam_#{System.pid()}")
      {:ok, ebin} = Test.Gleam.compile(Test.Gleam.sources(), directory)
      Test.Gleam.load!(ebin)
      File.rm_rf!(directory)
      &Test.Pevensie.compiled/1
    else
      IO.puts("the driver by hand stands for it")
      &Test.Pevensie.by_hand/1
    end
  end

  # The keys have the form `resource_type:key`. Both sides have their parts ready, as programs do.
  defp get(cache, mirror) do
    keys = Measure.random_keys(@reads, @keys)
    parts = for "user:" <> key <- keys, do: key
    {:cache_driver, driver, _connect, _disconnect, _set, get, _delete} = cache
    read = fn key -> {:ok, _value} = Veidrodelis.get(mirror, 0, key) end
    drive = fn key -> {:ok, _value} = get.(driver, "user", key) end

    {ours, theirs} =
      Measure.in_turns(@turns, fn -> Measure.per_call(parts, drive) end, fn -> Measure.per_call(keys, read) end)

    text = "#{round(ours)} ns, Veidrodelis.get #{round(theirs)} ns"
    Measure.figure("pevensie: get, against Veidrodelis.get", ours, theirs, "ns", ours / theirs, @get_aim, text)
  end

  defp set(cache, mirror, redis) do
    ours = fn -> {:ok, nil} = Test.Pevensie.set(cache, "bench", "key", "value", {:some, 100}) end
    words = ["SET", "bench:key", "value", "EX", "100"]
    bare = fn -> {:ok, "OK"} = Veidrodelis.command(mirror, words, sync: false) end

    seed = fn ->
      {:ok, "OK"} = Redix.command(redis, ["SET", "bench:key", "value"])
      {:ok, 1} = Redix.command(redis, ["EXPIRE", "bench:key", "100"])
    end

    for _ <- 1..500, do: {ours.(), bare.(), seed.(), Veidrodelis.sync(mirror)}

    # Each call has its turn, so that all sides meet the same moments of the machine.
    turns =
      for _ <- 1..@turns do
        times = for _ <- 1..@calls, do: {Measure.us(ours), Measure.us(bare), Measure.us(seed)}
        for side <- 0..2, do: times |> Enum.map(&elem(&1, side)) |> Measure.median()
      end

    [ours, bare, seed] = for side <- 0..2, do: turns |> Enum.map(&Enum.at(&1, side)) |> Measure.median()

    [
      figure("pevensie: set, against a bare round trip", ours, bare, @set_aim, "the bare round trip"),
      figure("pevensie: set, against two round trips", ours, seed, @seed_aim, "two round trips")
    ]
  end

  defp figure(name, ours, theirs, aim, what) do
    text = "#{Float.round(ours, 1)} µs, #{what} #{Float.round(theirs, 1)} µs"
    Measure.figure(name, ours, theirs, "µs", ours / theirs, aim, text)
  end
end
