defmodule Vdr.Bench.Writes do
  @moduledoc false
  # How many writes per second arrive, from sending the first to the primary to seeing the last?
  # First with the mirror as the only replica, then with a real server in its place: the same
  # primary, the same writes, the same client.
  alias Vdr.Bench.{Measure, Primary}
  alias Vdr.{Paint, Test.Server}

  @writes 400_000
  @batch 1_000
  @turns 3

  def run do
    Paint.title("Writes applied, SET of 1M keys in random order")
    {server, _redis} = Measure.filled_server()
    batches = random_writes()

    {ours, theirs} =
      Measure.in_turns(@turns, fn -> by_mirror(server, batches) end, fn -> by_replica(server, batches) end)

    GenServer.stop(server)
    told(ours, theirs)
  end

  defp told(ours, theirs) do
    [ours_rate, theirs_rate] = for ns <- [ours, theirs], do: @writes / ns * 1.0e9
    text = "#{Paint.number(round(ours_rate))} a second, a replica #{Paint.number(round(theirs_rate))}"
    figure("writes, from sending to visible", ours_rate, theirs_rate, nil, text)
  end

  # Packed before the clock starts, so that the client is not what we measure.
  defp random_writes do
    :rand.seed(:exsss, 7)
    for _ <- 1..div(@writes, @batch), do: IO.iodata_to_binary(for _ <- 1..@batch, do: random_write())
  end

  defp random_write do
    Redix.pack(["SET", Measure.key(:rand.uniform(Measure.count()) - 1), Measure.value(:rand.uniform(9_999))])
  end

  defp by_mirror(server, batches) do
    Measure.mirror(server, :bench)
    took = time(server, batches, fn marker -> Veidrodelis.get(:bench, 0, "bench:marker") == {:ok, marker} end)
    Veidrodelis.stop(:bench)
    took
  end

  defp by_replica(server, batches) do
    {replica, redis} = Measure.replica_of(server)
    took = time(server, batches, fn marker -> Redix.command!(redis, ["GET", "bench:marker"]) == marker end)
    GenServer.stop(replica)
    took
  end

  defp time(server, batches, seen?) do
    marker = Integer.to_string(System.unique_integer([:positive]))
    started = System.monotonic_time(:nanosecond)
    Measure.send_all(server, batches ++ [Redix.pack(["SET", "bench:marker", marker])])
    Measure.until(fn -> seen?.(marker) end)
    System.monotonic_time(:nanosecond) - started
  end

  # ---- sustained: how fast is the applying itself, without the primary's own work?

  @passes 5
  @aim_rate 1_000_000

  def sustained do
    Paint.title("SETs applied in a row, 1M keys, from a primary that sends ready-made bytes")
    :rand.seed(:exsss, 7)
    # Each pass has an order of its own, so that recent keys of one pass are not recent in the next.
    # The first pass creates the keys.
    passes = for _ <- 0..@passes, do: packed(Enum.shuffle(0..(Measure.count() - 1)))
    {ours, theirs} = Measure.in_turns(@turns, fn -> sustained_mirror(passes) end, fn -> sustained_replica(passes) end)
    [ours_rate, theirs_rate] = for ns <- [ours, theirs], do: @passes * Measure.count() / ns * 1.0e9
    [ours_text, theirs_text] = for rate <- [ours_rate, theirs_rate], do: Paint.number(round(rate))

    [
      figure("SETs applied in a row", ours_rate, theirs_rate, 1.0, "#{ours_text} a second, a replica #{theirs_text}"),
      figure("SETs applied in a row, of 1M a second", ours_rate, @aim_rate, 1.0, "#{ours_text} a second")
    ]
  end

  defp figure(name, ours, theirs, aim, text),
    do: Measure.figure(name, ours, theirs, "writes/s", theirs / ours, aim, text)

  # Packed before the clock starts.
  defp packed(numbers) do
    for chunk <- Enum.chunk_every(numbers, 10_000), do: IO.iodata_to_binary(Enum.map(chunk, &set/1))
  end

  defp set(n), do: Redix.pack(["SET", Measure.key(n), Measure.value(n)])

  defp sustained_mirror(passes) do
    {listener, port} = Primary.listen()
    {:ok, _pid} = Veidrodelis.start_link(id: :bench, host: "127.0.0.1", port: port)
    took = passes(listener, passes, fn -> Veidrodelis.info(:bench).offset end)
    Veidrodelis.stop(:bench)
    took
  end

  defp sustained_replica(passes) do
    {listener, port} = Primary.listen()
    {:ok, replica} = Server.start_link(config: [{"replicaof", "127.0.0.1 #{port}"}])
    redis = Server.connect!(replica)
    took = passes(listener, passes, fn -> Measure.offset(redis, "slave_repl_offset") end)
    GenServer.stop(replica)
    took
  end

  defp passes(listener, [first | others], offset) do
    socket = Primary.accept(listener)
    # Each pass has the same number of bytes.
    bytes = first |> Enum.map(&byte_size/1) |> Enum.sum()
    pass(socket, first, fn -> offset.() >= bytes end)
    others = List.flatten(others)
    started = System.monotonic_time(:nanosecond)
    pass(socket, others, fn -> offset.() >= (1 + @passes) * bytes end)
    took = System.monotonic_time(:nanosecond) - started
    :gen_tcp.close(socket)
    :gen_tcp.close(listener)
    took
  end

  defp pass(socket, batches, done?) do
    Enum.each(batches, &(:ok = :gen_tcp.send(socket, &1)))
    # Asks rarely: the replica answers in the time in which it applies.
    Measure.until(20, done?)
  end
end
