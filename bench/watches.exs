defmodule Vdr.Bench.Watches do
  @moduledoc false
  # Watches: how many events per second reach one process and a hundred, what watches that a write
  # does not touch cost it, and how much memory a watch takes.
  #
  # A primary that sends ready-made bytes feeds the mirror, so that the server is not what we
  # measure. The time from a write's acknowledgement to its event stands in the bench `lag`.
  alias Vdr.Bench.{Measure, Primary}
  alias Vdr.{Paint, Test.Resources}

  @events 1_000_000
  @turns 3
  @most_pending 1_000_000
  @aim_one 500_000
  @watches 1_000_000
  @aim_bytes 200

  def run do
    Paint.title("Watches")
    events() ++ applying() ++ memory()
  end

  # ---- events

  defp events do
    for {count, aim} <- [{1, @aim_one}, {100, nil}] do
      rate = Measure.median(for _ <- 1..@turns, do: events_per_second(count))
      text = "#{Paint.number(round(rate))} events a second"
      name = "events to #{count} #{if count == 1, do: "watcher", else: "watchers"}"
      {theirs, ratio} = if aim, do: {aim, aim / rate}, else: {rate, 1.0}
      Measure.figure(name, rate, theirs, "events/s", ratio, if(aim, do: 1.0), text)
    end
  end

  defp events_per_second(count) do
    with_mirror(fn socket -> events_per_second(socket, count, div(@events, count)) end)
  end

  defp with_mirror(measure) do
    {listener, port} = Primary.listen()
    {:ok, _pid} = Veidrodelis.start_link(id: :bench, host: "127.0.0.1", port: port)
    socket = Primary.accept(listener)
    :ok = Veidrodelis.await_ready(:bench, 60_000)
    result = measure.(socket)
    Veidrodelis.stop(:bench)
    :gen_tcp.close(socket)
    :gen_tcp.close(listener)
    result
  end

  defp events_per_second(socket, count, writes) do
    bench = self()
    watchers = for _ <- 1..count, do: spawn_link(fn -> watch(bench, writes) end)
    for pid <- watchers, do: receive(do: ({:watching, ^pid} -> :ok))
    stream = IO.iodata_to_binary(for n <- 1..1000, do: Redix.pack(["SET", "watched", Measure.value(n)]))
    started = System.monotonic_time(:nanosecond)
    for _ <- 1..div(writes, 1000), do: :ok = :gen_tcp.send(socket, stream)
    for pid <- watchers, do: receive(do: ({:heard, ^pid} -> :ok))
    writes * count / (System.monotonic_time(:nanosecond) - started) * 1.0e9
  end

  defp watch(bench, writes) do
    :ok = Veidrodelis.watch(:bench, 0, "watched", :ref, max_pending: @most_pending)
    send(bench, {:watching, self()})
    count(writes)
    send(bench, {:heard, self()})
  end

  defp count(0), do: :ok

  defp count(left) do
    receive do
      {:ref, %Vdr.WatchEvent.Update{}} -> count(left - 1)
      {:ref, %Vdr.WatchEvent.Init{}} -> count(left)
    end
  end

  # ---- applying

  defp applying do
    median = Measure.native("watches")

    for {name, text} <- [
          {"1k", "1,000 watched keys"},
          {"1m", "1,000,000 watched keys"},
          {"prefixes-patterns", "100,000 watched prefixes and 1,000 patterns"}
        ] do
      {ours, theirs} = {median[name], median["none"]}
      told = "#{Paint.number(round(ours))} writes a second, without watches #{Paint.number(round(theirs))}"
      Measure.figure("SETs beside #{text}", ours, theirs, "writes/s", theirs / ours, 1.05, told)
    end
  end

  # ---- memory

  # Each on an instance of its own: a table keeps its size.
  defp memory do
    for {name, tag} <- [
          {"memory of a watch", fn _n -> :ref end},
          {"memory of a watch with a reference of its own", fn _n -> make_ref() end}
        ] do
      bytes = with_mirror(fn _socket -> bytes_per_watch(tag) end)
      Measure.figure(name, bytes, @aim_bytes, "bytes", bytes / @aim_bytes, 1.0, "#{round(bytes)} bytes")
    end
  end

  defp bytes_per_watch(tag) do
    before = resident()
    bench = self()
    watcher = spawn_link(fn -> watch_many(bench, tag) end)
    receive(do: ({:watching, ^watcher} -> :ok))
    bytes = (resident() - before) / @watches
    Process.unlink(watcher)
    Process.exit(watcher, :kill)
    bytes
  end

  defp watch_many(bench, tag) do
    for n <- 1..@watches, do: :ok = Veidrodelis.watch(:bench, 0, Measure.key(n), tag.(n))
    :erlang.garbage_collect()
    send(bench, {:watching, self()})
    Process.sleep(:infinity)
  end

  @settle_ms 3_000

  defp resident do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    Process.sleep(@settle_ms)
    Resources.resident("self")
  end
end
