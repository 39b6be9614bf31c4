defmodule Vdr.Bench.Reads do
  @moduledoc false
  # Is a read of the mirror as cheap as a read of ETS, and how much cheaper than a request to the
  # server?
  alias Vdr.Bench.Measure
  alias Vdr.Paint

  @asked 300_000
  @turns 5

  def get_ets do
    with_mirror_and_table(fn keys, ours, theirs ->
      {ours_ns, theirs_ns} = Measure.side_by_side(keys, ours, theirs)
      told("get, 1M keys, against :ets.lookup", ours_ns, theirs_ns, 0.6)
    end)
  end

  def get_ets_two_readers do
    with_mirror_and_table(fn keys, ours, theirs ->
      # A single reader also runs in a process of its own.
      at_once = fn readers, read -> fn -> Measure.per_call_in(readers, keys, read) end end
      {ours_ns, theirs_ns} = Measure.in_turns(@turns, at_once.(2, ours), at_once.(2, theirs))
      beside = told("the same, two readers at once", ours_ns, theirs_ns, 1.0)

      # The share of one call in the time in which two processes did all of theirs.
      shared = fn name, call, aim ->
        {two, one} = Measure.in_turns(@turns, fn -> at_once.(2, call).() / 2 end, at_once.(1, call))
        text = "#{Paint.time(two)} a call, one #{Paint.time(one)}: #{Float.round(one / two, 2)} times as many"
        Measure.figure(name, two, one, "ns", two / one, aim, text)
      end

      [
        beside,
        shared.("get by two readers, against one", ours, 0.526),
        shared.(":ets.lookup by two readers, against one", theirs, nil) | native()
      ]
    end)
  end

  # Of the cost of two readers, the part that the library adds; and how well two of this machine's
  # processors scale without shared memory. The figures are halved already.
  defp native do
    median = Measure.native("two-threads")

    for {what, name} <- [{"pin", "pinning a snapshot by two threads"}, {"loop", "a loop without memory by two threads"}] do
      {two, one} = {median[what <> "-two"], median[what <> "-one"]}

      text =
        "#{Float.round(two, 2)} ns a turn, one #{Float.round(one, 2)} ns: #{Float.round(one / two, 2)} times as many"

      Measure.figure(name <> ", against one", two, one, "ns", two / one, nil, text)
    end
  end

  # A million values of 16 KB would take 16 GB, three times: in the server, the mirror and ETS. Few
  # machines have that much memory.
  def get_ets_1_kb, do: get_ets_long("1M keys of 1 KB", 1_000_000, 1024, 0.7)
  def get_ets_16_kb, do: get_ets_long("50k keys of 16 KB", 50_000, 16_384, 0.6)

  defp get_ets_long(name, count, bytes, aim) do
    Paint.title("get against :ets.lookup, #{name}")
    {server, redis} = Measure.empty_server()
    value = String.duplicate("v", bytes)
    Measure.fill(redis, count, fn _ -> value end)
    Measure.mirror(server, :bench)
    table = :ets.new(:bench, [:set, :public, read_concurrency: true])
    # Each key has a binary of its own, as in the mirror.
    for n <- 0..(count - 1), do: :ets.insert(table, {Measure.key(n), :binary.copy(value)})
    keys = Measure.random_keys(100_000, count)
    {ours, theirs} = Measure.side_by_side(keys, &Veidrodelis.get(:bench, 0, &1), &:ets.lookup(table, &1))
    :ets.delete(table)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    told("get, #{name}, against :ets.lookup", ours, theirs, aim)
  end

  @doc "The cost of a difference must grow with the changes, not with the data."
  def diff do
    Paint.title("diff/3 of 1,000 changes among 1M keys, against a walk over the keys")
    {server, redis} = Measure.filled_server()
    Measure.mirror(server, :bench)
    {:ok, before} = Veidrodelis.snapshot(:bench)
    Redix.pipeline!(redis, for(key <- Measure.random_keys(1_000), do: ["SET", key, "changed"]))
    Redix.command!(redis, ["SET", "bench:marker", "there"])
    Measure.until(fn -> Veidrodelis.get(:bench, 0, "bench:marker") == {:ok, "there"} end)
    {:ok, later} = Veidrodelis.snapshot(:bench)
    changes = fn _ -> Enum.count(Veidrodelis.diff(before, later, 0)) end
    # The keys are random, so a few come twice.
    true = changes.(nil) in 990..1_001
    {ours, theirs} = Measure.side_by_side([nil], changes, fn _ -> Enum.count(Veidrodelis.stream_keys(later, 0)) end)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    told("diff of 1,000 changes among 1M keys, against a walk", ours, theirs, nil)
  end

  def get_network do
    Paint.title("get against GET over loopback")
    {server, redis} = Measure.filled_server()
    Measure.mirror(server, :bench)
    keys = Measure.random_keys(10_000)
    ours = &Veidrodelis.get(:bench, 0, &1)
    theirs = &Redix.command!(redis, ["GET", &1])
    {ours_ns, theirs_ns} = Measure.side_by_side(keys, ours, theirs, 4)
    hundreds = Enum.chunk_every(keys, 100)
    in_one = fn keys -> Redix.pipeline!(redis, Enum.map(keys, &["GET", &1])) end
    {our_hundred, their_hundred} = Measure.side_by_side(hundreds, &Enum.map(&1, ours), in_one)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)

    [
      told("get, 1M keys, against GET over loopback", ours_ns, theirs_ns, 0.01),
      told("100 get, 1M keys, against 100 GET in one pipeline", our_hundred, their_hundred, nil)
    ]
  end

  defp with_mirror_and_table(measure) do
    Paint.title("get against :ets.lookup, 1M keys, values of 32 bytes")
    {server, _redis} = Measure.filled_server()
    Measure.mirror(server, :bench)
    table = :ets.new(:bench, [:set, :public, read_concurrency: true])
    for n <- 0..(Measure.count() - 1), do: :ets.insert(table, {Measure.key(n), Measure.value(n)})

    keys = Measure.random_keys(@asked)
    # Both return the value, or that there is none.
    figure = measure.(keys, &Veidrodelis.get(:bench, 0, &1), &:ets.lookup(table, &1))
    :ets.delete(table)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    figure
  end

  defp told(name, ours, theirs, aim) do
    text = "#{Paint.time(ours)}, theirs #{Paint.time(theirs)}: #{Float.round(ours / theirs, 3)} of it"
    Measure.figure(name, ours, theirs, "ns", ours / theirs, aim, text)
  end
end
