defmodule Vdr.Bench.Growth do
  @moduledoc false
  # What a read, an applied SET and a key cost from ten thousand keys to ten million, each beside ETS, a real replica and the server.
  alias Vdr.Bench.{CpuTime, Measure, Plot}
  alias Vdr.{Paint, Test.Server}

  @sizes [10_000, 100_000, 1_000_000, 10_000_000]
  @asked 100_000
  @writes 200_000
  @batch 1_000
  @turns 5
  # Beside what a VM has resident, fewer keys are not to be seen.
  @memory_from 100_000
  @prefix "user:name"
  @bytes 32

  def run do
    Paint.title("Growth: the same with more and more keys")
    steps = for size <- @sizes, do: {size, step(size)}
    plot(steps)
    Enum.flat_map(steps, &rows/1) ++ Enum.map([{:get, 3.0}, {:apply, nil}, {:memory, nil}], &growth(&1, steps))
  end

  defp step(size) do
    {server, redis} = Measure.empty_server()
    empty = Measure.used_memory(redis)
    # No client could send ten million in a time that anybody waits for. It is not replicated: the full sync brings it.
    Redix.command!(redis, ["DEBUG", "POPULATE", size, @prefix, @bytes])
    their_bytes = Measure.used_memory(redis) - empty
    {resident, _told} = Measure.resident_mirror(server)
    memory = {resident / size, their_bytes / size}
    Measure.mirror(server, :bench)
    get = get(size)
    apply = applied(server, redis, size)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    step = %{get: get, apply: apply}
    if size < @memory_from, do: step, else: Map.put(step, :memory, memory)
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

  # Time of a processor: of the native library's threads, and of a replica's whole process.
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

  # As the server names them.
  defp key(n), do: @prefix <> ":" <> Integer.to_string(n)

  # ---- what is told

  @kinds [
    {:get, "get", "ns", "mirror", ":ets.lookup"},
    {:apply, "CPU per SET", "ns", "mirror", "a replica"},
    {:memory, "memory per key", "bytes", "mirror", "the server"}
  ]

  defp rows({size, step}) do
    for {kind, name, unit, _ours, whose} <- @kinds, {ours, theirs} <- List.wrap(step[kind]) do
      text = "#{round(ours)} #{unit}, #{whose} #{round(theirs)}: #{Float.round(ours / theirs, 2)} of it"
      Measure.figure("#{name} at #{short(size)} keys", ours, theirs, unit, ours / theirs, nil, text)
    end
  end

  # The largest beside the smallest.
  defp growth({kind, aim}, steps) do
    {^kind, name, unit, _ours, _whose} = List.keyfind(@kinds, kind, 0)
    [{few, first} | _] = measured = Enum.filter(steps, fn {_size, step} -> Map.has_key?(step, kind) end)
    {many, last} = List.last(measured)
    {{ours, their_last}, {theirs, their_first}} = {last[kind], first[kind]}

    text =
      "#{Float.round(ours / theirs, 2)} times, where what it is compared with takes #{Float.round(their_last / their_first, 2)} times"

    Measure.figure(
      "#{name} at #{short(many)} keys, against #{short(few)}",
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

  defp plot(steps) do
    series =
      for {kind, name, unit, ours, theirs} <- @kinds, {who, dashed, at} <- [{ours, false, 0}, {theirs, true, 1}] do
        points = for {size, %{^kind => pair}} <- steps, do: {size, elem(pair, at)}
        %{name: "#{name}, #{unit}: #{who}", group: kind, dashed: dashed, points: points}
      end

    path = Path.join([__DIR__, "results", "growth.svg"])
    Plot.write(path, "Growth with the number of keys", Plot.powers("keys", @sizes, &short/1), "", series)
    Paint.note("plotted in #{Path.relative_to_cwd(path)}")
  end
end
