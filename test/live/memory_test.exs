defmodule Vdr.Live.MemoryTest do
  # Resident memory follows the data, down too, and `memory_bytes` tells it. Not beside other tests: the whole VM's memory is measured.
  use ExUnit.Case, async: false

  alias Vdr.Test.{Mirror, Resources, Server}

  @moduletag capture_log: true
  @moduletag timeout: 600_000

  @keys 1_000_000
  # What may be left, or more: of what the data needs.
  @slack 0.2
  @estimate_off 0.1
  # How often everything is written over.
  @rounds 2

  setup do
    server = Server.start!(config: [{"client-output-buffer-limit", "replica 0 0 0"}])
    {:ok, server: server, redis: Server.connect!(server)}
  end

  # Under no supervisor, which would start anew what is stopped here.
  defp start(server) do
    id = {:memory, make_ref()}
    {:ok, _pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: Server.port(server))
    :ok = Veidrodelis.await_ready(id, 60_000)
    id
  end

  defp resident, do: Resources.now().memory

  # Once the allocators have given back what was of use before: it has not become less for a while, twice over.
  defp at_rest(last \\ resident(), calm \\ 0)
  defp at_rest(last, 2), do: last

  defp at_rest(last, calm) do
    Process.sleep(3_000)
    now = resident()
    at_rest(now, if(last - now > 1_000_000, do: 0, else: calm + 1))
  end

  # The allocator gives back what it has not needed for some seconds.
  defp settled(above, most) do
    Mirror.eventually("#{most} bytes above #{above}", fn -> resident() - above end, fn -> resident() - above <= most end)
  end

  test "it comes back after a full sync, FLUSHALL and stop", %{server: server, redis: redis} do
    # What is started once and stays.
    :ok = Veidrodelis.stop(start(server))
    before = at_rest()
    Redix.command!(redis, ["DEBUG", "POPULATE", @keys, "key", 100])
    id = start(server)
    needed = Veidrodelis.info(id).memory_bytes
    assert needed > @keys * 100
    most = round(needed * (1 + @slack))
    settled(before, most)

    # Old and new data live side by side for a while.
    for n <- 2..3 do
      Redix.pipeline!(redis, [["DEBUG", "CHANGE-REPL-ID"], ["CLIENT", "KILL", "TYPE", "replica"]])
      Mirror.eventually("full sync #{n}", fn -> Veidrodelis.info(id).full_syncs == n end)
      settled(before, most)
    end

    Redix.command!(redis, ["FLUSHALL"])
    Mirror.settle(id, redis)
    settled(before, round(needed * @slack))
    :ok = Veidrodelis.stop(id)

    Redix.command!(redis, ["DEBUG", "POPULATE", @keys, "key", 100])
    id = start(server)
    assert resident() - before > needed / 2
    :ok = Veidrodelis.stop(id)
    settled(before, round(needed * @slack))
  end

  # What the core tells is compared with what its allocator tells for many more shapes of data in native/vdr_bench/tests/memory.rs.
  test "memory_bytes is what the data makes resident, however it came to be", %{server: server, redis: redis} do
    for {what, fill, write} <- data() do
      Redix.command!(redis, ["FLUSHALL"])
      fill.(redis)

      change = fn id ->
        write.(redis)
        Mirror.settle(id, redis)
      end

      {told, truth} = measured(server, change)
      assert near?({told, truth}), "#{what}: #{told} bytes are told, #{truth} are resident"
    end
  end

  # The whole VM is measured, and what was before this test may have left some MB that come back meanwhile: where that may have been, the
  # middle one of three counts.
  defp measured(server, change) do
    first = measured_once(server, change)

    if near?(first) do
      first
    else
      [first, measured_once(server, change), measured_once(server, change)]
      |> Enum.sort_by(fn {told, truth} -> told / truth end)
      |> Enum.at(1)
    end
  end

  defp measured_once(server, change) do
    # Once before: what the allocator keeps for itself is not the data's.
    :ok = Veidrodelis.stop(start(server))
    before = at_rest()
    id = start(server)
    change.(id)
    told = Veidrodelis.info(id).memory_bytes
    truth = at_rest() - before
    :ok = Veidrodelis.stop(id)
    {told, truth}
  end

  defp near?({told, truth}), do: abs(told - truth) <= truth * @estimate_off

  # What is told, what is there at the full sync, and what is written after it.
  defp data do
    nothing = fn _redis -> :ok end

    [
      {"strings of 1 KB", &Redix.command!(&1, ["DEBUG", "POPULATE", div(@keys, 5), "key", 1_000]), nothing},
      {"a sorted set in no order", nothing, &each(&1, "redis.call('ZADD', 'one', n, (n * 7919) % 1000003)")},
      {"hashes and strings that are written over, and a large set",
       fn redis ->
         each(redis, "redis.call('SADD', 'one', member)")
         write(redis, 0)
       end, fn redis -> for round <- 1..@rounds, do: write(redis, round) end}
    ]
  end

  # Whatever was written once is written again, longer or shorter, so that it takes other places: what the allocator cannot use between
  # them is resident, too.
  defp write(redis, round) do
    each(redis, "redis.call('SET', 'string:' .. n, string.rep('v', n * #{round + 7} % 307))", 2)
    each(redis, small("'field:' .. f, string.rep('v', (n + f) * #{round + 7} % 41)"), 10)
  end

  # A hash of 20 fields for each n.
  defp small(words) do
    """
    local words = {}
    for f = 1, 20 do
      for _, word in ipairs({#{words}}) do table.insert(words, word) end
    end
    redis.call('HSET', member, unpack(words))
    """
  end

  # By the server itself, so that it leaves no garbage in the VM whose memory is measured.
  defp each(redis, does, one_of \\ 1) do
    for at <- 0..(div(@keys, 1_000 * one_of) - 1) do
      script = """
      for n = ARGV[1] * 1000, ARGV[1] * 1000 + 999 do
        local member = string.format('member:%08d', n)
        #{does}
      end
      """

      Redix.command!(redis, ["EVAL", script, 0, at])
    end
  end
end
