defmodule Vdr.Live.LentTest do
  # A binary from a read points to the memory of the data itself, and keeps its content whatever
  # happens to the data.
  use Vdr.Test.LiveCase, async: true

  # Copied; beside its key and exported; exported alone; and too large for reuse.
  @sizes [100, 511, 512, 1_000, 4_095, 4_096, 20_000, 100_000]

  live_test "a binary that was read never changes, whatever is written", %{redis: redis, id: id} do
    ends = [
      fn key, _size -> ["SETRANGE", key, 3, "!!!"] end,
      fn key, _size -> ["APPEND", key, "!!!"] end,
      fn key, _size -> ["SETBIT", key, 7, 1] end,
      fn key, size -> ["SET", key, String.duplicate("w", size)] end,
      fn key, _size -> ["PEXPIREAT", key, 99_999_999_999_999] end,
      fn key, _size -> ["DEL", key] end,
      fn key, _size -> ["RENAME", key, key <> ":renamed"] end
    ]

    held =
      for {write, number} <- Enum.with_index(ends), size <- @sizes do
        {key, value} = {"#{number}:#{size}", pattern(number, size)}
        Redix.command!(redis, ["SET", key, value])
        {key, size, value, write}
      end

    Mirror.settle(id, redis)
    terms = for {key, _size, value, _write} <- held, do: {read(id, key), value}

    # Two rounds: overwritten memory may be reused, exported memory may not.
    for round <- 1..2 do
      for {key, size, _value, write} <- held,
          do: Redix.command(redis, write.(key, if(round == 1, do: size, else: size - 1)))

      Mirror.settle(id, redis)
      for {_key, size, _value, _write} <- held, do: Redix.command!(redis, ["SET", "other", String.duplicate("o", size)])
      Mirror.settle(id, redis)
      Process.sleep(300)
      unchanged(terms)
    end

    for {key, _size, _value, _write} <- held,
        do: assert({:ok, Redix.command!(redis, ["GET", key])} == Veidrodelis.get(id, 0, key), key)
  end

  live_test "it outlives its instance, and is freed with the process that holds it", %{redis: redis, server: server},
    mirror: false do
    for size <- @sizes, do: Redix.command!(redis, ["SET", "k:#{size}", pattern(0, size)])
    id = {:lent, make_ref()}
    {:ok, _pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: Server.port(server))
    :ok = Veidrodelis.await_ready(id, 20_000)
    terms = for size <- @sizes, do: {read(id, "k:#{size}"), pattern(0, size)}
    {holder, monitor} = spawn_monitor(fn -> receive(do: (:end -> unchanged(terms))) end)
    :ok = Veidrodelis.stop(id)
    Process.sleep(500)
    unchanged(terms)
    send(holder, :end)
    assert_receive {:DOWN, ^monitor, :process, ^holder, :normal}, 5_000
  end

  # Alone, among others, in a list of reads, from a snapshot, and as part of another binary.
  defp read(id, key) do
    {:ok, alone} = Veidrodelis.get(id, 0, key)
    {:ok, [among, nil]} = Veidrodelis.mget(id, 0, [key, "no such key"])
    {:ok, [{:ok, listed}]} = Veidrodelis.read_tx(id, 0, [{:get, key}])
    {:ok, snapshot} = Veidrodelis.snapshot(id)
    {:ok, whole} = Veidrodelis.getrange(snapshot, 0, key, 0, -1)
    <<_first, behind::binary>> = alone
    [alone, among, listed, whole, "." <> behind]
  end

  defp unchanged(terms) do
    for {[alone, among, listed, whole, part], <<_first, behind::binary>> = value} <- terms do
      assert [value, value, value, value, "." <> behind] == [alone, among, listed, whole, part]
    end
  end

  defp pattern(number, size), do: "#{number} of #{size} " |> String.duplicate(div(size, 8) + 1) |> binary_part(0, size)
end
