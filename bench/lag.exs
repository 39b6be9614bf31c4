defmodule Vdr.Bench.Lag do
  @moduledoc false
  # How long after the primary has acknowledged a write is it visible here, at 1k, 10k and 100k writes a second?
  #
  # A probe sets a key, waits for the acknowledgement, and then for the watch on that key, which speaks once the write can be
  # read. Nothing polls: a process that reads in a loop takes a processor away from those whom it waits for. So the wake-up of
  # a process is part of the figure. What was visible before the acknowledgement had come counts as 0. One VM's clock is read for both.
  # The same is measured of a real replica, by its keyspace notifications, which are what a watch is there.
  alias Vdr.Bench.{Load, Measure, Plot}
  alias Vdr.{Paint, Test.Server}

  @rates [1_000, 10_000, 100_000]
  @seconds 5
  @turns 3
  @probe_every_ms 2
  @keys 10_000
  @probe "bench:probe"
  @aim_us 1_000

  def run do
    Paint.title("Lag: from acknowledged to visible")
    {server, _redis} = Measure.empty_server()
    {:ok, replica} = Server.start_link(config: [{"notify-keyspace-events", "K$"}])
    lags = for rate <- @rates, do: {rate, turns(rate, server, replica)}
    GenServer.stop(replica)
    GenServer.stop(server)

    plot(lags)
    Paint.note("load of the machine: #{load_average()}")
    Enum.flat_map(lags, fn {rate, {ours, theirs}} -> figures(rate, ours, theirs) end)
  end

  # The turn with the median p99 counts.
  defp turns(rate, server, replica) do
    pairs = for _ <- 1..@turns, do: {mirror(rate, server), replica(rate, server, replica)}
    {pairs |> Enum.map(&elem(&1, 0)) |> middle(), pairs |> Enum.map(&elem(&1, 1)) |> middle()}
  end

  defp middle(lags), do: lags |> Enum.sort_by(&Measure.percentile(&1, 99)) |> Enum.at(div(@turns, 2))

  defp mirror(rate, server) do
    Measure.mirror(server, :bench)
    lags = at_rate(server, rate, &mirror_probe/0)
    Veidrodelis.stop(:bench)
    lags
  end

  defp replica(rate, server, replica) do
    redis = Server.connect!(replica)
    Redix.command!(redis, ["REPLICAOF", "127.0.0.1", Server.port(server)])
    Measure.until(fn -> Redix.command!(redis, ["INFO", "replication"]) =~ "master_link_status:up" end)
    lags = at_rate(server, rate, fn -> replica_probe(replica) end)
    Redix.command!(redis, ["REPLICAOF", "NO", "ONE"])
    Redix.stop(redis)
    lags
  end

  defp load_average do
    case File.read("/proc/loadavg") do
      {:ok, text} -> text |> String.split() |> hd()
      {:error, _no_linux} -> "unknown"
    end
  end

  # ---- what is told

  defp figures(rate, ours, theirs) do
    writes = "#{div(rate, 1000)}k writes/s"

    rows =
      for {name, percent} <- [p50: 50, p99: 99, max: 100] do
        {a, b} = {Measure.percentile(ours, percent), Measure.percentile(theirs, percent)}
        figure("lag at #{writes}, #{name}", a, b, nil, "#{us(a)}, a replica #{us(b)}")
      end

    p99 = Measure.percentile(ours, 99)

    if rate == List.last(@rates),
      do: rows ++ [figure("lag at #{writes}, p99 of 1 ms", p99, @aim_us, 1.0, "#{us(p99)} of #{us(@aim_us)}")],
      else: rows
  end

  # A lag of nothing has no ratio to another: a microsecond is what the clock tells apart.
  defp figure(name, ours, theirs, aim, text),
    do: Measure.figure(name, ours, theirs, "µs", max(ours, 1) / max(theirs, 1), aim, text)

  defp us(us), do: Paint.time(us * 1000)

  defp plot(lags) do
    series =
      for {who, dashed, at} <- [{"mirror", false, 0}, {"replica", true, 1}], {rate, pair} <- lags do
        sorted = elem(pair, at)

        points =
          for percent <- [0, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9],
              do: {percent, Measure.percentile(sorted, percent)}

        %{name: "#{who}, #{div(rate, 1000)}k writes/s", group: rate, dashed: dashed, points: points}
      end

    path = Path.join([__DIR__, "results", "lag.svg"])
    File.mkdir_p!(Path.dirname(path))
    Plot.write(path, "Lag from acknowledged to visible, #{Server.any().name}", Plot.percentiles(), "µs", series)
    Paint.note("plotted in #{Path.relative_to_cwd(path)}")
  end

  # ---- how it is measured

  # Sorted lags in microseconds. The probes come in addition to the rate.
  defp at_rate(server, rate, probe) do
    load = Task.async(fn -> Load.run(Server.port(server), rate, fn -> "bench:#{:rand.uniform(@keys)}" end) end)
    # Until the load is what it is to be.
    Process.sleep(500)
    lags = Task.await(Task.async(fn -> probes(server, probe.()) end), :infinity)
    send(load.pid, :enough)
    reached = Task.await(load, :infinity)
    if reached < rate * 0.9, do: Paint.note("the client came to #{round(reached)} writes a second only, not to #{rate}")
    lags |> Enum.sort() |> List.to_tuple()
  end

  defp probes(server, await) do
    # Like a request that waits for an answer, not like one in a queue behind the load.
    Process.flag(:priority, :high)
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, Server.port(server), [:binary, active: false, nodelay: true])
    count = div(@seconds * 1000, @probe_every_ms)
    lags = for n <- 1..count, do: probe(socket, Integer.to_string(n), await)
    :gen_tcp.close(socket)
    lags
  end

  defp probe(socket, value, await) do
    Process.sleep(@probe_every_ms)
    :ok = :gen_tcp.send(socket, Redix.pack(["SET", @probe, value]))
    {:ok, "+OK\r\n"} = :gen_tcp.recv(socket, 5, 60_000)
    acknowledged = System.monotonic_time(:nanosecond)
    :ok = await.(value)
    (System.monotonic_time(:nanosecond) - acknowledged) / 1000
  end

  # Called in the probing process; answers what waits there until a value is visible.
  defp mirror_probe do
    :ok = Veidrodelis.watch(:bench, 0, @probe, :probe)
    &await_read/1
  end

  defp await_read(value) do
    receive do
      {:probe, _event} -> if Veidrodelis.get(:bench, 0, @probe) == {:ok, value}, do: :ok, else: await_read(value)
    end
  end

  defp replica_probe(replica) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, Server.port(replica), [:binary, active: false, nodelay: true])
    channel = "__keyspace@0__:#{@probe}"
    :ok = :gen_tcp.send(socket, Redix.pack(["SUBSCRIBE", channel]))
    {:ok, "*3\r\n" <> _subscribed} = :gen_tcp.recv(socket, 0, 60_000)
    message = "*3\r\n$7\r\nmessage\r\n$#{byte_size(channel)}\r\n#{channel}\r\n$3\r\nset\r\n"

    fn _value ->
      {:ok, ^message} = :gen_tcp.recv(socket, byte_size(message), 60_000)
      :ok
    end
  end
end
