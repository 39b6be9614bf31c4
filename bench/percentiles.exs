defmodule Vdr.Bench.Percentiles do
  @moduledoc false
  # How long does a read take, slow ones included, while 300k writes per second are applied? The
  # reading process times each read. Another process of the operating system writes. That process
  # and the server take processors away from the reader, as they would from any reader; the same
  # percentiles of `:ets.lookup` under the same load show how much.
  alias Vdr.Bench.{Load, Measure}
  alias Vdr.{Paint, Test.Server}

  @writes_per_second 300_000
  @reads 1_000_000
  @turns 3
  @aim_ns 20_000
  @percents [{"p50", 50}, {"p99", 99}, {"p99.9", 99.9}, {"max", 100}]

  def run do
    Paint.title("Reads one by one, idle and under 300k writes per second")
    {server, _redis} = Measure.filled_server()
    Measure.mirror(server, :bench)
    table = :ets.new(:bench, [:set, :public, read_concurrency: true])
    for n <- 0..(Measure.count() - 1), do: :ets.insert(table, {Measure.key(n), Measure.value(n)})
    reads = [&Veidrodelis.get(:bench, 0, &1), &:ets.lookup(table, &1)]

    turns = for _ <- 1..@turns, do: {Enum.map(reads, &once/1), loaded(server, reads)}
    [idle, loaded] = for at <- 0..1, do: turns |> Enum.map(&elem(&1, at)) |> Enum.zip_with(&middle/1)

    :ets.delete(table)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    told(idle, loaded)
  end

  # The percentiles of each read, and how many writes per second were applied meanwhile.
  defp loaded(server, reads) do
    before = applied()
    load = Load.spawn(Server.port(server), @writes_per_second)
    Measure.until(fn -> applied() > before + @writes_per_second end)
    {before, since} = {applied(), System.monotonic_time(:nanosecond)}
    percentiles = Enum.map(reads, &once/1)
    rate = (applied() - before) / (System.monotonic_time(:nanosecond) - since) * 1.0e9
    Port.close(load)
    Measure.until(fn -> quiet?(applied()) end)
    Enum.map(percentiles, &Map.put(&1, :rate, rate))
  end

  defp applied, do: Veidrodelis.info(:bench).commands_applied

  defp quiet?(before) do
    Process.sleep(300)
    applied() == before
  end

  # The median of each percentile over several turns.
  defp middle([turn | _] = turns),
    do: Map.new(turn, fn {name, _} -> {name, turns |> Enum.map(& &1[name]) |> Measure.median()} end)

  # Counters instead of a list, so that the reader has next to no garbage to collect.
  defp once(read) do
    times = :counters.new(@reads, [])
    Task.await(Task.async(fn -> time(read, times, @reads) end), :infinity)
    sorted = 1..@reads |> Enum.map(&:counters.get(times, &1)) |> Enum.sort() |> List.to_tuple()
    Map.new(@percents, fn {name, percent} -> {name, Measure.percentile(sorted, percent)} end)
  end

  defp time(_read, _times, 0), do: :ok

  defp time(read, times, left) do
    key = Measure.key(:rand.uniform(Measure.count()) - 1)
    started = System.monotonic_time(:nanosecond)
    read.(key)
    :counters.put(times, left, System.monotonic_time(:nanosecond) - started)
    time(read, times, left - 1)
  end

  defp told([idle, idle_ets], [loaded, loaded_ets]) do
    name = "get beside 300k writes/s"
    rate = loaded.rate
    rate_text = "#{Paint.number(round(rate))} writes a second"

    rows =
      for {percent, _} <- @percents do
        [
          figure("get alone, #{percent}, against :ets.lookup", idle[percent], idle_ets[percent], nil),
          figure("#{name}, #{percent}, against alone", loaded[percent], idle[percent], nil),
          figure("#{name}, #{percent}, against :ets.lookup beside them", loaded[percent], loaded_ets[percent], nil)
        ]
      end

    List.flatten(rows) ++
      [
        figure("#{name}, p99.9 of 20 µs", loaded["p99.9"], @aim_ns, 1.0),
        Measure.figure(
          "#{name}: the rate",
          rate,
          @writes_per_second,
          "writes/s",
          @writes_per_second / rate,
          nil,
          rate_text
        )
      ]
  end

  defp figure(name, ours, theirs, aim) do
    text = "#{Paint.time(ours)}, #{Paint.time(theirs)}: #{Float.round(ours / theirs, 2)} of it"
    Measure.figure(name, ours, theirs, "ns", ours / theirs, aim, text)
  end
end
