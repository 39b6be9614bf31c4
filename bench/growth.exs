defmodule Vdr.Bench.Growth do
  @moduledoc false
  # The cost of a read, an applied SET and a key, from ten thousand keys to ten million, each beside
  # ETS, a real replica and the server.
  alias Vdr.Bench.{CpuTime, Measure, Plot, Report}
  alias Vdr.{Paint, Test.Server}

  @sizes [10_000, 100_000, 1_000_000, 10_000_000]
  @asked 100_000
  @writes 200_000
  @batch 1_000
  @turns 5
  @memory_turns 3
  # A VM's resident memory hides fewer keys than this, so below it we measure many mirrors at once.
  @memory_from 100_000
  @mirrors 20
  @prefix "user:name"
  @bytes 32

  def run do
    Paint.title("Growth: the same with more and more keys")
    steps = for size <- @sizes, do: {size, step(size)}
    Enum.flat_map(steps, &rows/1) ++ Enum.map([{:get, 3.0}, {:apply, nil}, {:memory, nil}], &growth(&1, steps))
  end

  defp step(size) do
    {server, redis} = Measure.empty_server()
    empty = Measure.used_memory(redis)
    # A client would take too long to send ten million keys. DEBUG POPULATE does not replicate: the
    # full sync brings the keys.
    Redix.command!(redis, ["DEBUG", "POPULATE", size, @prefix, @bytes])
    their_bytes = Measure.used_memory(redis) - empty
    mirrors = if size < @memory_from, do: @mirrors, else: 1
    resident = for _ <- 1..@memory_turns, do: server |> Measure.resident_mirror(mirrors) |> elem(0)
    memory = {Measure.median(resident) / size, their_bytes / size}
    Measure.mirror(server, :bench)
    get = get(size)
    apply = applied(server, redis, size)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    %{get: get, apply: apply, memory: memory}
  end

  defp get(size) do
    table = :ets.new(:bench, [:set, :public, read_concurrency: true])
    for n <- 0..(size - 1), do: :ets.insert(table, {key(n), Measure.value(n)})
    :rand.seed(:exsss, 42)
    keys = for _ <- 1..@asked, do: key(:rand.uniform(size) - 1)
    {:ok, <<_::binary-size(@bytes)>>} = Veidrodelis.get(:bench, 0, hd(keys))
    pair = Measure.side_by_side(keys, &Veidrodelis.get(:bench, 0, &1), &:ets.lookup(table, &1), @turns)
    :ets.delete(table)
    pair
  end

  # CPU time: of the threads of the native library and its allocator, and of a replica's whole
  # process.
  defp applied(server, redis, size) do
    {replica, their_redis} = Measure.replica_of(server)
    pid = Server.info(replica).pid
    batches = for _ <- 1..div(@writes, @batch), do: IO.iodata_to_binary(for _ <- 1..@batch, do: write(size))

    turns =
      for _ <- 1..@turns do
        {ours, theirs} = {CpuTime.library(), CpuTime.process(pid)}
        Measure.send_all(server, batches)
        Measure.caught_up(redis, their_redis)
        {CpuTime.library(ours) / @writes, CpuTime.process(pid, theirs) / @writes}
      end

    GenServer.stop(replica)
    Measure.medians(turns)
  end

  defp write(size), do: Redix.pack(["SET", key(:rand.uniform(size) - 1), Measure.value(:rand.uniform(9_999))])

  # The server's own names.
  defp key(n), do: @prefix <> ":" <> Integer.to_string(n)

  # ---- the report

  @kinds [
    {:get, "get", "ns", "mirror", ":ets.lookup"},
    {:apply, "CPU per SET", "ns", "mirror", "a replica"},
    {:memory, "memory per key", "bytes", "mirror", "the server"}
  ]

  defp rows({size, step}) do
    for {kind, name, unit, _ours, whose} <- @kinds do
      {ours, theirs} = step[kind]
      text = "#{round(ours)} #{unit}, #{whose} #{round(theirs)}: #{Float.round(ours / theirs, 2)} of it"
      Measure.figure(at(name, size), ours, theirs, unit, ours / theirs, nil, text)
    end
  end

  # The largest size beside the smallest.
  defp growth({kind, aim}, steps) do
    {^kind, name, unit, _ours, _whose} = List.keyfind(@kinds, kind, 0)
    [{few, first} | _] = steps
    {many, last} = List.last(steps)
    {{ours, their_last}, {theirs, their_first}} = {last[kind], first[kind]}

    text =
      "#{Float.round(ours / theirs, 2)} times, where what it is compared with takes #{Float.round(their_last / their_first, 2)} times"

    Measure.figure(
      "#{at(name, many)}, against #{short(few)}",
      ours,
      theirs,
      unit,
      ours / theirs,
      aim,
      text
    )
  end

  defp short(size) when size >= 1_000_000, do: "#{div(size, 1_000_000)}M"
  defp short(size), do: "#{div(size, 1_000)}k"

  defp at(name, size), do: "#{name} at #{short(size)} keys"

  @doc "Draws the plot from the last measurements."
  def plot do
    by_name = Map.new(Report.read(), &{&1.figure, &1})

    series =
      for {kind, name, unit, ours, theirs} <- @kinds,
          {who, dashed, side} <- [{ours, false, :ours}, {theirs, true, :theirs}] do
        points = for size <- @sizes, figure = by_name[at(name, size)], do: {size, figure[side]}
        %{name: "#{name}, #{unit}: #{who}", group: kind, dashed: dashed, points: points}
      end

    Plot.write("growth.svg", "Growth with the number of keys", Plot.powers("keys", @sizes, &short/1), "", series)
  end
end
