defmodule Vdr.Bench.Command do
  @moduledoc false
  # What it costs to wait until a write is visible: `command/3` against the same call with `sync:
  # false`, which is the bare round trip of the same connection. And the writes per second of 16
  # processes: pipelined by the library, each with its wait, against the same 16 processes with a
  # plain client that pipelines what they send, and against one process that puts the same 16 writes
  # into one pipeline. And what those cost the writer who wait for a position whose turn has not
  # come.
  alias Vdr.Bench.{Measure, PlainClient}
  alias Vdr.{Paint, Test.Server}

  @calls 5_000
  @turns 7
  @writers 16
  @writes 2_000
  @aim 1.3
  @writers_aim 1.2
  @waiters_aim 1.05

  def run do
    Paint.title("Writes of one's own")
    {server, redis} = Measure.empty_server()
    Measure.mirror(server, :bench)
    for _ <- 1..500, do: {synced(), bare(), Veidrodelis.sync(:bench)}

    # Each call has its turn, so that both sides meet the same moments of the machine.
    turns = for _ <- 1..@turns, do: turn()
    figures = latency(turns) ++ writers(server, redis) ++ [waiters()]
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    figures
  end

  defp synced, do: {:ok, "OK"} = Veidrodelis.command(:bench, ["SET", "bench:key", "value"])
  defp bare, do: {:ok, "OK"} = Veidrodelis.command(:bench, ["SET", "bench:key", "value"], sync: false)

  defp turn do
    pairs = for _ <- 1..@calls, do: {Measure.us(&synced/0), Measure.us(&bare/0)}
    {synced, bare} = Enum.unzip(pairs)
    for times <- [synced, bare], do: times |> Enum.sort() |> List.to_tuple()
  end

  defp latency(turns) do
    for percent <- [50, 99] do
      {ours, theirs} =
        Measure.medians(
          for [synced, bare] <- turns, do: {Measure.percentile(synced, percent), Measure.percentile(bare, percent)}
        )

      text = "#{Float.round(ours, 1)} µs, the bare round trip #{Float.round(theirs, 1)} µs"
      Measure.figure("command, visible here, p#{percent}", ours, theirs, "µs", ours / theirs, @aim, text)
    end
  end

  defp writers(server, redis) do
    {:ok, client} = PlainClient.start_link(Server.port(server))
    ours = fn key, value -> {:ok, "OK"} = Veidrodelis.command(:bench, ["SET", key, value]) end
    theirs = fn key, value -> "+OK\r\n" = PlainClient.command(client, ["SET", key, value]) end
    turns = for _ <- 1..@turns, do: {by_processes(ours), by_processes(theirs), by_pipeline(redis)}
    [ours, plain, pipeline] = for at <- 0..2, do: turns |> Enum.map(&elem(&1, at)) |> Measure.median()

    for {name, theirs} <- [
          {"against a plain client", plain},
          {"against one process and one pipeline", pipeline}
        ] do
      text = "#{Paint.number(round(ours))} a second, #{Paint.number(round(theirs))}"
      name = "writes of 16 processes, visible here, #{name}"
      Measure.figure(name, ours, theirs, "writes/s", theirs / ours, @writers_aim, text)
    end
  end

  defp by_processes(write) do
    per_second(fn ->
      1..@writers
      |> Enum.map(fn writer ->
        Task.async(fn -> for n <- 1..@writes, do: write.("bench:#{writer}", "#{n}") end)
      end)
      |> Task.await_many(:infinity)
    end)
  end

  defp by_pipeline(redis) do
    per_second(fn ->
      for n <- 1..@writes do
        Redix.pipeline!(redis, for(writer <- 1..@writers, do: ["SET", "bench:#{writer}", "#{n}"]))
      end
    end)
  end

  defp waiters do
    median = Measure.native("waiters")
    {ours, theirs} = {median["100k"], median["none"]}
    told = "#{Paint.number(round(ours))} writes a second, beside nobody #{Paint.number(round(theirs))}"
    name = "SETs, each published alone, beside 100,000 who wait for a position"
    Measure.figure(name, ours, theirs, "writes/s", theirs / ours, @waiters_aim, told)
  end

  defp per_second(writes) do
    started = System.monotonic_time(:nanosecond)
    writes.()
    @writers * @writes / (System.monotonic_time(:nanosecond) - started) * 1.0e9
  end
end
