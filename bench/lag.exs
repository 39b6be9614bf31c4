defmodule Vdr.Bench.Lag do
  @moduledoc false
  # After the primary has acknowledged a write, how long does it take until the write is visible
  # here? At 1k, 10k and 100k writes per second, and at as many as the primary and the sender
  # manage.
  #
  # A probe sets a key, waits for the acknowledgement, and then for the message of the watch on that
  # key, which comes once the write is readable. Nothing polls: a process that reads in a loop would
  # take a processor away from the processes that it waits for. So the figure includes waking up a
  # process. A write that was visible before its acknowledgement counts as 0. Both times come from
  # one VM's clock. A real replica is measured in the same way, by its keyspace notifications, which
  # do there what a watch does here.
  alias Vdr.Bench.{Load, Measure, Plot, Report}
  alias Vdr.{Paint, Test.Server}

  # A name, the writes per second, and for how many seconds.
  @full {"full load", 1_000_000, 2}
  @loads [{"1k writes/s", 1_000, 5}, {"10k writes/s", 10_000, 5}, {"100k writes/s", 100_000, 5}, @full]
  # The loads that have an aim.
  @aimed ["10k writes/s", "100k writes/s"]
  @points "lag.json"
  @percents [0, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9]
  @turns 3
  @probe_every_ms 2
  @keys 10_000
  @probe "bench:probe"
  @aim_us 1_000

  def run do
    Paint.title("Lag: from acknowledged to visible")
    {server, _redis} = Measure.empty_server()
    {:ok, replica} = Server.start_link(config: [{"notify-keyspace-events", "K$"}])
    measured = for {name, _rate, _seconds} = load <- @loads, do: {name, turns(load, server, replica)}
    GenServer.stop(replica)
    GenServer.stop(server)

    Report.save(@points, Enum.flat_map(measured, fn {name, pair} -> points(name, pair) end))
    Paint.note("load of the machine: #{load_average()}")
    Enum.flat_map(measured, fn {name, pair} -> figures(name, pair) end)
  end

  @busy 4
  @beside_s 5
  # More than alone.
  @beside_aim_us 1_000

  @doc """
  The lag of an idle mirror alone, and beside four that load: as much as their primary can send.
  The same of an idle replica beside four replicas says what the machine's processors allow.
  """
  def beside_busy do
    Paint.title("Lag of an idle mirror beside #{@busy} that load")
    {server, _redis} = Measure.empty_server()
    {busy_server, _redis} = Measure.empty_server()
    {:ok, replica} = Server.start_link(config: [{"notify-keyspace-events", "K$"}])

    turns =
      for _ <- 1..@turns do
        {alone, beside} = mirror_beside(server, busy_server)
        {alone, beside, replica_beside(server, replica, busy_server)}
      end

    {alone, beside} = Measure.medians(for {alone, beside, _replicas} <- turns, do: {alone, beside})
    replicas = Measure.median(for {_alone, _beside, replicas} <- turns, do: replicas)
    for each <- [replica, busy_server, server], do: GenServer.stop(each)
    Paint.note("load of the machine: #{load_average()}")
    name = "lag of an idle mirror beside #{@busy} that load, p99"
    more = max(beside - alone, 0) / @beside_aim_us
    against = "#{us(beside)}, an idle replica beside #{@busy} replicas that load #{us(replicas)}"

    [
      Measure.figure(name, beside, alone, "µs", more, 1.0, "#{us(beside)}, alone #{us(alone)}"),
      Measure.figure(name <> ", against a replica's", beside, replicas, "µs", beside / replicas, 1.0, against)
    ]
  end

  defp mirror_beside(server, busy_server) do
    Measure.mirror(server, :bench)
    alone = idle_p99(server, &mirror_probe/0)
    ids = for n <- 1..@busy, do: {:busy, n}
    for id <- ids, do: Measure.mirror(busy_server, id)
    beside = while_loaded(busy_server, fn -> idle_p99(server, &mirror_probe/0) end)
    for id <- [:bench | ids], do: Veidrodelis.stop(id)
    {alone, beside}
  end

  defp replica_beside(server, replica, busy_server) do
    redis = follow(replica, server)
    busy = for _ <- 1..@busy, do: elem(Measure.replica_of(busy_server), 0)
    beside = while_loaded(busy_server, fn -> idle_p99(server, fn -> replica_probe(replica) end) end)
    for each <- busy, do: GenServer.stop(each)
    unfollow(redis)
    beside
  end

  # The load comes from another VM: a load in this one would take the schedulers that the probe
  # waits for.
  defp while_loaded(busy_server, measure) do
    load = Load.spawn(Server.port(busy_server), 1_000_000)
    redis = Server.connect!(busy_server)
    Measure.until(fn -> Redix.command!(redis, ["DBSIZE"]) > 0 end)
    Redix.stop(redis)
    Process.sleep(500)
    measured = measure.()
    Port.close(load)
    measured
  end

  defp idle_p99(server, probe) do
    lags = Task.await(Task.async(fn -> probes(server, @beside_s, probe.()) end), :infinity)
    lags |> Enum.sort() |> List.to_tuple() |> Measure.percentile(99)
  end

  # The turn with the median p99 counts.
  defp turns(load, server, replica) do
    pairs = for _ <- 1..@turns, do: {mirror(load, server), replica(load, server, replica)}
    {pairs |> Enum.map(&elem(&1, 0)) |> middle(), pairs |> Enum.map(&elem(&1, 1)) |> middle()}
  end

  defp middle(turns), do: turns |> Enum.sort_by(&Measure.percentile(&1.lags, 99)) |> Enum.at(div(@turns, 2))

  defp mirror(load, server) do
    Measure.mirror(server, :bench)
    lags = under(load, server, &mirror_probe/0)
    Veidrodelis.stop(:bench)
    lags
  end

  defp replica(load, server, replica) do
    redis = follow(replica, server)
    lags = under(load, server, fn -> replica_probe(replica) end)
    unfollow(redis)
    lags
  end

  defp follow(replica, server) do
    redis = Server.connect!(replica)
    Redix.command!(redis, ["REPLICAOF", "127.0.0.1", Server.port(server)])
    Measure.until(fn -> Redix.command!(redis, ["INFO", "replication"]) =~ "master_link_status:up" end)
    redis
  end

  defp unfollow(redis) do
    Redix.command!(redis, ["REPLICAOF", "NO", "ONE"])
    Redix.stop(redis)
  end

  defp load_average do
    case File.read("/proc/loadavg") do
      {:ok, text} -> text |> String.split() |> hd()
      {:error, _no_linux} -> "unknown"
    end
  end

  # ---- the report

  defp figures(name, {ours, theirs} = pair) do
    rows =
      for {percentile, percent} <- [p50: 50, p99: 99, max: 100] do
        {a, b} = both(pair, percent)
        figure("lag at #{name}, #{percentile}", a, b, nil, "#{us(a)}, a replica #{us(b)}")
      end

    rows ++ more(name, ours, theirs)
  end

  defp more(name, ours, _theirs) when name in @aimed do
    p99 = Measure.percentile(ours.lags, 99)
    [figure("lag at #{name}, p99 of 1 ms", p99, @aim_us, 1.0, "#{us(p99)} of #{us(@aim_us)}")]
  end

  # The lag belongs to the rate that was reached.
  defp more(name, %{rate: ours}, %{rate: theirs}) when name == elem(@full, 0) do
    text = "#{Paint.number(round(ours))} writes a second, beside a replica #{Paint.number(round(theirs))}"
    [Measure.figure("lag at #{name}: the rate", ours, theirs, "writes/s", theirs / ours, nil, text)]
  end

  defp more(_name, _ours, _theirs), do: []

  defp both({ours, theirs}, percent),
    do: {Measure.percentile(ours.lags, percent), Measure.percentile(theirs.lags, percent)}

  # A lag of 0 has no ratio to another lag, so the clock's resolution, a microsecond, is the
  # minimum.
  defp ratio(ours, theirs), do: max(ours, 1) / max(theirs, 1)

  defp figure(name, ours, theirs, aim, text),
    do: Measure.figure(name, ours, theirs, "µs", ratio(ours, theirs), aim, text)

  defp us(us), do: Paint.time(us * 1000)

  defp points(name, pair) do
    for percent <- @percents do
      {ours, theirs} = both(pair, percent)
      Measure.row(point(name, percent), ours, theirs, "µs", ratio(ours, theirs), nil)
    end
  end

  defp point(name, percent), do: "lag at #{name}, p#{percent}"

  @doc "Draws the plot from the last measurements."
  def plot do
    by_name = Map.new(Report.read(@points), &{&1.figure, &1})

    series =
      for {who, dashed, side} <- [{"mirror", false, :ours}, {"replica", true, :theirs}],
          {name, _rate, _seconds} <- @loads do
        points = for percent <- @percents, figure = by_name[point(name, percent)], do: {percent, figure[side]}
        %{name: "#{who}, #{name}", group: name, dashed: dashed, points: points}
      end

    Plot.write("lag.svg", "Lag from acknowledged to visible", Plot.percentiles(), "µs", series)
  end

  # ---- the measurement

  # Sorted lags in microseconds, and the rate that was reached. The probes come on top of it.
  defp under({name, rate, seconds} = asked, server, probe) do
    load = Task.async(fn -> Load.run(Server.port(server), rate, fn -> "bench:#{:rand.uniform(@keys)}" end) end)
    # Waits until the load has reached its rate.
    Process.sleep(500)
    lags = Task.await(Task.async(fn -> probes(server, seconds, probe.()) end), :infinity)
    send(load.pid, :enough)
    reached = Task.await(load, :infinity)

    if asked != @full and reached < rate * 0.9,
      do: Paint.note("the client reached only #{round(reached)} writes per second, not #{name}")

    %{lags: lags |> Enum.sort() |> List.to_tuple(), rate: reached}
  end

  defp probes(server, seconds, await) do
    # Like a request that waits for an answer, not like one queued behind the load.
    Process.flag(:priority, :high)
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, Server.port(server), [:binary, active: false, nodelay: true])
    until = System.monotonic_time(:millisecond) + seconds * 1000

    numbers =
      1 |> Stream.iterate(&(&1 + 1)) |> Stream.take_while(fn _ -> System.monotonic_time(:millisecond) < until end)

    lags = for n <- numbers, do: probe(socket, Integer.to_string(n), await)
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

  # Called in the probing process. Returns a function that waits there until a value is visible.
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
