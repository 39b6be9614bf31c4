defmodule Vdr.Bench.Writes do
  @moduledoc false
  # How many writes a second arrive, from sending the first to the primary to seeing the last? First with the mirror as the only
  # replica, then with a real server in its place: the same primary, the same writes, the same client.
  alias Vdr.Bench.Measure
  alias Vdr.{Paint, Test.Server}

  @writes 400_000
  @batch 1_000
  @turns 3

  def run do
    Paint.title("Writes applied, SET of 1M keys in random order")
    {server, _redis} = Measure.filled_server()
    batches = random_writes()

    Measure.mirror(server, :bench)
    ours = best(server, batches, fn marker -> Veidrodelis.get(:bench, 0, "bench:marker") == {:ok, marker} end)
    Veidrodelis.stop(:bench)

    {replica, redis} = Measure.replica_of(server)
    theirs = best(server, batches, fn marker -> Redix.command!(redis, ["GET", "bench:marker"]) == marker end)
    GenServer.stop(replica)
    GenServer.stop(server)
    told(ours, theirs)
  end

  defp told(ours, theirs) do
    [ours_rate, theirs_rate] = for ns <- [ours, theirs], do: @writes / ns * 1.0e9
    text = "#{Paint.number(round(ours_rate))} a second, a replica #{Paint.number(round(theirs_rate))}"
    Measure.figure("writes, from sending to visible", ours_rate, theirs_rate, "writes/s", ours / theirs, nil, text)
  end

  # Packed before the clock runs: the client must not be what is measured.
  defp random_writes do
    :rand.seed(:exsss, 7)
    for _ <- 1..div(@writes, @batch), do: IO.iodata_to_binary(for _ <- 1..@batch, do: random_write())
  end

  defp random_write do
    Redix.pack(["SET", Measure.key(:rand.uniform(Measure.count()) - 1), Measure.value(:rand.uniform(9_999))])
  end

  defp best(server, batches, seen?), do: 1..@turns |> Enum.map(fn _ -> time(server, batches, seen?) end) |> Enum.min()

  defp time(server, batches, seen?) do
    marker = Integer.to_string(System.unique_integer([:positive]))
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, Server.port(server), [:binary, active: false])
    # "+OK" and a line end for each.
    reader = Task.async(fn -> drain(socket, (@writes + 1) * 5) end)
    started = System.monotonic_time(:nanosecond)
    for batch <- batches, do: :ok = :gen_tcp.send(socket, batch)
    :ok = :gen_tcp.send(socket, Redix.pack(["SET", "bench:marker", marker]))
    Measure.until(fn -> seen?.(marker) end)
    took = System.monotonic_time(:nanosecond) - started
    :ok = Task.await(reader, :infinity)
    :gen_tcp.close(socket)
    took
  end

  defp drain(_socket, bytes) when bytes <= 0, do: :ok

  defp drain(socket, bytes) do
    {:ok, replies} = :gen_tcp.recv(socket, 0, 60_000)
    drain(socket, bytes - byte_size(replies))
  end
end
