defmodule Vdr.Bench.Counting do
  @moduledoc false
  @behaviour Vdr.RedisStream.Callback

  @impl true
  def init(counter), do: {:ok, counter}

  @impl true
  def handle_commands(counter, commands) do
    :counters.add(counter, 1, length(commands))
    {:ok, counter}
  end
end

defmodule Vdr.Bench.Handlers do
  @moduledoc false
  # How many commands per second reach a handler that only counts them, and how many reach a sink in
  # Rust that drops them: from a full sync, and from a stream that was already waiting, so that the
  # server is not what we measure.
  alias Vdr.Bench.Measure
  alias Vdr.RedisStream.Replica
  alias Vdr.Test.Server

  @writes 2_000_000
  @batch 5_000
  @keys 1_000_000
  @turns 3
  # A filter that no command passes: the link, its decoder and its filter work, and no term is
  # built.
  @nothing [prefixes: ["no key begins so"]]

  def run do
    {server, redis} = Measure.filled_server([{"repl-backlog-size", "1gb"}])
    by_noop = fn -> full_sync(server, [only: @nothing], @keys) end
    {handler, noop} = Measure.in_turns(@turns, fn -> full_sync(server, [], @keys) end, by_noop)
    full = figure("full sync into a handler", @keys, handler, noop)

    {position, behind} = backlog(server, redis)
    by_handler = fn -> stream(server, [initial: position], behind, @writes) end
    by_noop = fn -> stream(server, [initial: position, only: @nothing], behind, 0) end
    {handler, noop} = Measure.in_turns(@turns, by_handler, by_noop)
    [full, figure("stream into a handler", @writes, handler, noop)]
  end

  defp figure(name, count, handler, noop) do
    {ours, theirs} = {count / (handler / 1.0e9), count / (noop / 1.0e9)}

    text =
      "#{Vdr.Paint.number(round(ours))} commands a second, a sink that does nothing #{Vdr.Paint.number(round(theirs))}"

    Measure.figure(name, ours, theirs, "commands/s", handler / noop, nil, text)
  end

  defp start(server, opts, counter) do
    common = [host: "127.0.0.1", port: Server.port(server), callback_module: Vdr.Bench.Counting, callback_opts: counter]
    {:ok, replica} = Replica.start_link(common ++ opts)
    replica
  end

  # The server makes its file before it sends it. The clock starts with the file's first byte.
  defp full_sync(server, opts, count) do
    counter = :counters.new(1, [])
    replica = start(server, opts, counter)
    Measure.until(fn -> Replica.get_replication_state(replica) in [:rdb_transfer, :streaming] end)
    expected = if opts[:only], do: 0, else: count

    took =
      clock(fn -> Replica.get_replication_state(replica) == :streaming and :counters.get(counter, 1) >= expected end)

    Replica.stop(replica)
    took
  end

  # Writes that a replica has missed: the offset where it was, and the offset after the writes.
  defp backlog(server, redis) do
    counter = :counters.new(1, [])
    replica = start(server, [only: @nothing], counter)
    Measure.until(fn -> Replica.get_position(replica) != nil end)
    position = Replica.get_position(replica)
    Replica.stop(replica)

    for _ <- 1..div(@writes, @batch) do
      Redix.pipeline!(redis, for(_ <- 1..@batch, do: ["SET", Measure.key(:rand.uniform(@keys) - 1), Measure.value(1)]))
    end

    {position, Measure.offset(redis, "master_repl_offset")}
  end

  defp stream(server, opts, behind, count) do
    counter = :counters.new(1, [])
    replica = start(server, opts, counter)
    took = clock(fn -> :counters.get(counter, 1) >= count and Replica.get_offset(replica) >= behind end)
    Replica.stop(replica)
    took
  end

  defp clock(done?) do
    started = System.monotonic_time(:nanosecond)
    Measure.until(done?)
    System.monotonic_time(:nanosecond) - started
  end
end
