defmodule Vdr.Live.OrderTest do
  # The key index is built while writes continue, and the writer maintains it from then on.
  use Vdr.Test.LiveCase, async: true

  @keys 30_000

  live_test "keys in order, requested while writes continue, equal the server's", %{
    server: server,
    redis: redis,
    id: id
  } do
    Writes.seed!("order")

    for chunk <- Enum.chunk_every(1..@keys, 1_000),
        do: Redix.command!(redis, ["MSET" | Enum.flat_map(chunk, &[key(&1), ""])])

    writer = Task.async(fn -> server |> Server.connect!() |> write_until_told() end)

    for _ <- 1..30 do
      {:ok, snapshot} = Veidrodelis.snapshot(id)
      in_order(id)
      in_order(snapshot)
    end

    send(writer.pid, :enough)
    Task.await(writer, 60_000)
    Mirror.settle(id, redis)
    theirs = Enum.sort(Redix.command!(redis, ["KEYS", "*"]))
    assert theirs == in_order(id)
    assert {:ok, theirs} == Veidrodelis.keys(id, 0, "*")
    assert {:ok, [Enum.at(theirs, 1)]} == Veidrodelis.next(id, 0, hd(theirs), 1)
    assert {:ok, [List.last(theirs)]} == Veidrodelis.last(id, 0, 1)

    # Other keys after another full sync, in order from the beginning.
    Redix.pipeline!(redis, [
      ["FLUSHALL"],
      ["MSET", "b", "1", "a", "1"],
      ["DEBUG", "RELOAD"],
      ["CLIENT", "KILL", "TYPE", "replica"]
    ])

    Mirror.settle(id, redis)
    assert {:ok, ["a", "b" | _]} = Veidrodelis.first(id, 0, 3)
  end

  # Writers add and delete keys meanwhile. Each walk still returns keys in order, none twice.
  defp in_order(source) do
    keys = source |> Veidrodelis.stream_keys(0, chunk: 5_000) |> Enum.to_list()
    assert keys == keys |> Enum.sort() |> Enum.dedup()
    keys
  end

  defp write_until_told(redis) do
    write = fn _ ->
      if :rand.uniform(3) == 1, do: ["DEL", key(:rand.uniform(60_000))], else: ["SET", key(:rand.uniform(60_000)), ""]
    end

    Redix.pipeline!(redis, Enum.map(1..200, write))

    receive do
      :enough -> :ok
    after
      0 -> write_until_told(redis)
    end
  end

  defp key(n), do: "key:#{n}"
end

defmodule Vdr.Live.OrderMemoryTest do
  # What the index takes. The estimate of the memory counts the allocator's gaps, which all mirrors
  # of the VM leave, so this runs alone.
  use Vdr.Test.LiveCase, async: false

  @keys 30_000
  # A key takes about 30 bytes in the index. The estimate of everything else varies with the
  # allocator's gaps.
  @order_bytes 15..60

  for {how, ask} <- [
        alone: quote(do: &Veidrodelis.first(&1, 0, 1)),
        list: quote(do: &Veidrodelis.read_tx(&1, 0, [{:keys, "key:1"}])),
        script: quote(do: &Veidrodelis.read_tx(&1, 0, "return ts.last(1)")),
        walk: quote(do: &(&1 |> Veidrodelis.stream_keys(0) |> Enum.take(1))),
        snapshot: quote(do: fn id -> id |> Veidrodelis.snapshot() |> elem(1) |> Veidrodelis.next(0, "key:1", 1) end)
      ] do
    test "the order, requested #{how}, lasts from then on" do
      server = Server.start!()
      redis = Server.connect!(server)
      Redix.command!(redis, ["MSET" | Enum.flat_map(1..@keys, &["key:#{&1}", ""])])
      id = Mirror.start!(server)
      without = Veidrodelis.info(id, :memory_bytes)
      unquote(ask).(id)
      for _ <- 1..2, do: Mirror.settle(id, redis)
      assert div(Veidrodelis.info(id, :memory_bytes) - without, @keys) in @order_bytes
    end
  end
end
