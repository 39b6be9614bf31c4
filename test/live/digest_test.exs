defmodule Vdr.Live.DigestTest do
  # The mirror's digest equals the server's, at rest and at any offset of a running stream.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.Test.Values

  live_test "digests equal the server's at quiet points", %{redis: redis, id: id} do
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
    writer =
      Task.async(fn ->
        Writes.seed!("digest under load")
        server |> Server.connect!() |> write_until_told()
      end)

    Mirror.eventually("five offsets are compared", fn -> under_load(redis, id) end)
    send(writer.pid, :enough)
    Task.await(writer, 60_000)
    equal_at_rest(redis, id)
  end

  live_test "the digest of one value equals the server's after a random program", %{redis: redis, id: id} do
    Writes.seed!("digest value")
    # An expired key stays until a client accesses it.
    Redix.command!(redis, ["DEBUG", "SET-ACTIVE-EXPIRE", 0])
    write(redis, 500)
    keys = Redix.command!(redis, ["KEYS", "*"])
    Mirror.settle(id, redis)
    values_equal(redis, [id], 0, keys)
  end

  # Several values at once, by the stream and by a full sync, in two databases. A key or field past
  # its time stays until the server deletes it.
  live_test "the digest of one value equals the server's for each type and encoding", context do
    %{server: server, redis: redis, id: id} = context
    Redix.command!(redis, ["DEBUG", "SET-ACTIVE-EXPIRE", 0])
    keys = Values.write!(redis)
    for key <- keys, do: 1 = Redix.command!(redis, ["COPY", key, key, "DB", 3])

    Redix.pipeline!(redis, [
      ["PEXPIRE", "list", 1],
      ["HPEXPIRE", "hash", 1, "FIELDS", 1, "f"],
      ["HPEXPIRE", "hash:large", 1, "FIELDS", 2, "element 8", "element 9"]
    ])

    Redix.command!(redis, ["DEBUG", "SLEEP", "0.005"])
    Mirror.settle(id, redis)
    missing = ["no such key", ""]
    synced = Mirror.start!(server)
    values_equal(redis, [id, synced], 0, keys ++ missing)
    values_equal(redis, [id, synced], 3, keys ++ missing)
    assert {:ok, String.duplicate("0", 40)} == Veidrodelis.digest_value(id, 3, "no such key")
    assert {:ok, String.duplicate("0", 40)} == Veidrodelis.digest_value(id, 99, "string")

    {:ok, snapshot} = Veidrodelis.snapshot(id)
    Redix.command!(redis, ["APPEND", "string", "!"])
    Mirror.settle(id, redis)
    values_equal(redis, [id], 0, ["string"])
    assert Veidrodelis.digest_value(snapshot, 0, "string") == Veidrodelis.digest_value(id, 3, "string")
    assert Veidrodelis.digest_value(snapshot, 0, "string") != Veidrodelis.digest_value(id, 0, "string")
  end

  # A vector set is a module's value that newer Redis servers bring along.
  live_test "a module's value has no digest, and the error says so", %{server: server, redis: redis}, mirror: false do
    Redix.command!(redis, ["SET", "string", "hello"])

    with {:ok, 1} <- Redix.command(redis, ["VADD", "vectors", "VALUES", 2, 1, 2, "element"]) do
      id = Mirror.start!(server)
      assert {:ok, :other} = Veidrodelis.type(id, 0, "vectors")
      assert {:error, {:not_comparable, 1}} = Veidrodelis.digest_value(id, 0, "vectors")
      assert {:error, {:not_comparable, 1}} = Veidrodelis.digest(id)
      values_equal(redis, [id], 0, ["string"])

      Redix.command!(redis, ["DEL", "vectors"])
      Mirror.settle(id, redis)
      values_equal(redis, [id], 0, ["string", "vectors"])
      assert {:ok, Redix.command!(redis, ["DEBUG", "DIGEST"])} == Veidrodelis.digest(id)
    end
  end

  test "a missing instance and a missing key have no digest" do
    assert {:error, :no_instance} = Veidrodelis.digest_value(:no_such_instance, 0, "k")
    {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "k", "v"]])

    for {db, key} <- [{-1, "k"}, {:db, "k"}, {0, :k}],
        do: assert_raise(ArgumentError, fn -> Veidrodelis.digest_value(snapshot, db, key) end)
  end

  defp values_equal(redis, ids, db, keys) do
    Redix.command!(redis, ["SELECT", db])
    theirs = Redix.command!(redis, ["DEBUG", "DIGEST-VALUE" | keys])
    Redix.command!(redis, ["SELECT", 0])

    for id <- ids, {key, digest} <- Enum.zip(keys, theirs) do
      assert {id, db, key, {:ok, digest}} == {id, db, key, Veidrodelis.digest_value(id, db, key)}
    end
  end

  # Servers keep deleting expired keys during the questions, so the pair may belong to a later
  # offset than the mirror's.
  defp equal_at_rest(redis, id) do
    Mirror.eventually("the digests are equal", fn -> {pair(redis), ours(id)} end, fn -> pair(redis) == ours(id) end)
  end

  # The mirror publishes once for each read of its socket, so not every offset is visible.
  defp under_load(redis, id) do
    {offset, theirs} = pair(redis)

    with snapshot when snapshot != nil <- snapshot_at(id, offset) do
      assert {:ok, theirs} == Veidrodelis.digest(snapshot), "at offset #{offset}"
      compared = Process.get(:compared, 0) + 1
      Process.put(:compared, compared)
      compared >= 5
    end
  end

  # Writes with pauses. Without them a mirror on a busy machine always lags, and publishes hardly
  # any of the offsets that the test asks for.
  defp write_until_told(redis) do
    write(redis, 50)

    receive do
      :enough -> :ok
    after
      :rand.uniform(20) -> write_until_told(redis)
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
