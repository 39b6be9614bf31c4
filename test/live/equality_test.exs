defmodule Vdr.Live.EqualityTest do
  # After random writes, every key of the mirror equals the server's own answer.
  use Vdr.Test.LiveCase, async: true

  # The configuration names for the limits of the small encodings. A name that a version lacks is
  # skipped.
  @limits ~w(hash-max-listpack-entries set-max-intset-entries set-max-listpack-entries zset-max-listpack-entries)

  live_test "a full sync carries every key, in small encodings", %{server: server, redis: redis}, mirror: false do
    assert full_sync(server, redis, [{"list-compress-depth", 1}]) > 0
  end

  live_test "a full sync carries every key, in large encodings", %{server: server, redis: redis}, mirror: false do
    config = [{"list-max-listpack-size", 1}, {"rdbcompression", "no"} | Enum.map(@limits, &{&1, 0})]
    assert full_sync(server, redis, config) > 0
  end

  live_test "a full sync through a file on disk is the same", %{server: server, redis: redis}, mirror: false do
    assert full_sync(server, redis, [{"repl-diskless-sync", "no"}]) > 0
  end

  live_test "a full sync of an empty server works", %{server: server, redis: redis}, mirror: false do
    id = Mirror.start!(server)
    assert {:ok, 0} = Veidrodelis.dbsize(id, 0)
    # The comparison's own marker.
    assert Compare.assert_equal(redis, id, Writes.databases()) == 1
  end

  live_test "random writes arrive completely", %{redis: redis, id: id} do
    Writes.seed!("random writes")

    for _round <- 1..4 do
      write(redis, 2_500)
      Compare.assert_equal(redis, id, Writes.databases())
    end

    assert %{unknown_commands: unknown} = Veidrodelis.info(id)
    assert unknown == %{}
  end

  live_test "a mirror that attaches under load ends up equal", %{server: server, redis: redis}, mirror: false do
    Writes.seed!("attach under load")
    write(redis, 2_000)
    writer = Task.async(fn -> attach_writer(server) end)
    id = Mirror.start!(server)
    Task.await(writer, 60_000)
    assert Compare.assert_equal(redis, id, Writes.databases()) > 0
  end

  defp attach_writer(server) do
    redis = Server.connect!(server)
    :rand.seed(:exsss, 1)
    write(redis, 5_000)
  end

  defp write(redis, count) do
    Writes.program(count) |> Enum.chunk_every(100) |> Enum.each(&Redix.pipeline!(redis, &1))
  end

  defp full_sync(server, redis, config) do
    for {name, value} <- config, do: Redix.command(redis, ["CONFIG", "SET", name, value])
    Writes.seed!("full sync")
    write(redis, 3_000)
    big_values(redis)
    id = Mirror.start!(server)
    Compare.assert_equal(redis, id, Writes.databases())
  end

  # Sizes that random writes seldom reach.
  defp big_values(redis) do
    members = for n <- 1..2_000, do: "member:#{n}"
    scored = Enum.flat_map(members, &["#{:erlang.phash2(&1) / 7}", &1])
    pairs = Enum.flat_map(members, &[&1, Writes.value()])

    replies =
      Redix.pipeline!(redis, [
        ["SET", "big:string", String.duplicate("0123456789abcdef", 100_000)],
        ["SET", "big:noise", :rand.bytes(300_000)],
        ["RPUSH", "big:list" | Enum.map(members, fn _ -> Writes.value() end)],
        ["RPUSH", "big:elements", :rand.bytes(70_000), String.duplicate("x", 20_000)],
        ["SADD", "big:set" | members],
        ["SADD", "big:ints" | Enum.to_list(-3_000..3_000//7)],
        ["HSET", "big:hash" | pairs],
        ["ZADD", "big:zset" | scored],
        ["SET", "big:expires", "later", "PX", 3_600_000]
      ])

    refute Enum.any?(replies, &match?(%Redix.Error{}, &1))
  end
end
