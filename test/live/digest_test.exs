defmodule Vdr.Live.DigestTest do
  # The mirror's digest is the server's, at rest and at any offset of a stream under way.
  use Vdr.Test.LiveCase, async: true

  live_test "digests are the server's at quiet points", %{redis: redis, id: id} do
    Writes.seed!("digest")

    for _round <- 1..3 do
      write(redis, 1_500)
      equal_at_rest(redis, id)
    end
  end

  live_test "an empty server has the digest of nothing", %{server: server, redis: redis}, mirror: false do
    id = Mirror.start!(server)
    assert Veidrodelis.digest(id) == {:ok, String.duplicate("0", 40)}
    assert Redix.command!(redis, ["DEBUG", "DIGEST"]) == String.duplicate("0", 40)
  end

  live_test "under load a snapshot of an offset has the digest of that offset", %{server: server, redis: redis, id: id} do
    Writes.seed!("digest under load")
    writer = Task.async(fn -> server |> Server.connect!() |> write_until_told() end)
    Mirror.eventually("five offsets are compared", fn -> under_load(redis, id) end)
    send(writer.pid, :enough)
    Task.await(writer, 60_000)
    equal_at_rest(redis, id)
  end

  live_test "the digest of one value is the server's", %{redis: redis, id: id} do
    Writes.seed!("digest value")
    write(redis, 500)
    Redix.command!(redis, ["SELECT", 0])
    Redix.command!(redis, ["ZADD", "scored", "1e8", "a", "-0.1", "b", "inf", "c", "1152921504606847000", "d"])
    Mirror.settle(id, redis)

    for key <- ["scored", "no such key" | Redix.command!(redis, ["KEYS", "*"])] do
      assert [theirs] = Redix.command!(redis, ["DEBUG", "DIGEST-VALUE", key])
      assert {:ok, theirs} == Veidrodelis.digest_value(id, 0, key), "key #{inspect(key)}"
    end
  end

  # Servers go on deleting what has expired while they are asked: the pair may be of a later offset than the mirror's.
  defp equal_at_rest(redis, id) do
    Mirror.eventually("the digests are equal", fn -> {pair(redis), ours(id)} end, fn -> pair(redis) == ours(id) end)
  end

  # The mirror publishes once for each read of its socket, so it does not show every offset.
  defp under_load(redis, id) do
    {offset, theirs} = pair(redis)

    with snapshot when snapshot != nil <- snapshot_at(id, offset) do
      assert {:ok, theirs} == Veidrodelis.digest(snapshot), "at offset #{offset}"
      compared = Process.get(:compared, 0) + 1
      Process.put(:compared, compared)
      compared >= 5
    end
  end

  defp write_until_told(redis) do
    write(redis, 200)

    receive do
      :enough -> :ok
    after
      0 -> write_until_told(redis)
    end
  end

  defp snapshot_at(id, offset) do
    {:ok, snapshot} = Veidrodelis.snapshot(id)

    case Vdr.Snapshot.offset(snapshot) do
      ^offset -> snapshot
      earlier when earlier < offset -> snapshot_at(id, offset)
      _later -> nil
    end
  end

  defp ours(id) do
    {:ok, snapshot} = Veidrodelis.snapshot(id)
    {:ok, digest} = Veidrodelis.digest(snapshot)
    {Vdr.Snapshot.offset(snapshot), digest}
  end

  defp pair(redis) do
    [_, _, _, [info, digest]] =
      Redix.pipeline!(redis, [["MULTI"], ["INFO", "replication"], ["DEBUG", "DIGEST"], ["EXEC"]])

    [_, offset] = Regex.run(~r/master_repl_offset:(\d+)/, info)
    {String.to_integer(offset), digest}
  end

  defp write(redis, count), do: Writes.program(count) |> Enum.chunk_every(100) |> Enum.each(&Redix.pipeline!(redis, &1))
end
