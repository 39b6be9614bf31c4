defmodule Vdr.Live.MemoryTest do
  # Resident memory follows the data, downwards too, and `memory_bytes` reports it. It runs alone,
  # because large data takes time.
  use ExUnit.Case, async: false

  alias Vdr.Test.{Mirror, Server, Vm}

  @moduletag capture_log: true
  @moduletag timeout: 900_000

  @keys 1_000_000
  # The share of the data's memory that may remain, or be added.
  @slack 0.2
  @estimate_off 0.1
  # How often everything is overwritten.
  @rounds 2

  setup do
    server = Server.start!(config: [{"client-output-buffer-limit", "replica 0 0 0"}])
    {:ok, server: server, redis: Server.connect!(server)}
  end

  defp start(vm, server), do: Vm.start_mirror(vm, :memory, server)
  defp stop(vm), do: Vm.stop_mirror(vm, :memory)
  defp info(vm), do: Vm.info(vm, :memory)
  defp memory_bytes(vm), do: Vm.memory_bytes(vm, :memory)

  defp caught_up(vm, redis) do
    [_, offset] = Regex.run(~r/master_repl_offset:(\d+)/, Redix.command!(redis, ["INFO", "replication"]))
    offset = String.to_integer(offset)
    Mirror.eventually("offset #{offset}", fn -> info(vm).offset end, fn -> info(vm).offset >= offset end)
  end

  # Waits until the allocators have returned unused memory: until it has not shrunk for a while,
  # twice in a row.
  defp at_rest(vm), do: at_rest(vm, Vm.resident(vm), 0)
  defp at_rest(_vm, last, 2), do: last

  defp at_rest(vm, last, calm) do
    Process.sleep(3_000)
    now = Vm.resident(vm)
    at_rest(vm, now, if(last - now > 1_000_000, do: 0, else: calm + 1))
  end

  # The allocator returns memory that it has not needed for some seconds.
  defp settled(vm, above, most) do
    grown = fn -> Vm.resident(vm) - above end
    Mirror.eventually("#{most} bytes above #{above}", grown, fn -> grown.() <= most end)
  end

  test "memory is returned after a full sync, FLUSHALL and stop", %{server: server, redis: redis} do
    vm = Vm.start!()
    # Things that start once and stay.
    start(vm, server)
    stop(vm)
    before = at_rest(vm)
    Redix.command!(redis, ["DEBUG", "POPULATE", @keys, "key", 100])
    start(vm, server)
    needed = memory_bytes(vm)
    assert needed > @keys * 100
    most = round(needed * (1 + @slack))
    settled(vm, before, most)

    # Old and new data exist side by side for a while.
    for n <- 2..3 do
      Redix.pipeline!(redis, [["DEBUG", "CHANGE-REPL-ID"], ["CLIENT", "KILL", "TYPE", "replica"]])
      Mirror.eventually("full sync #{n}", fn -> info(vm).full_syncs == n end)
      settled(vm, before, most)
    end

    Redix.command!(redis, ["FLUSHALL"])
    caught_up(vm, redis)
    settled(vm, before, round(needed * @slack))
    stop(vm)

    Redix.command!(redis, ["DEBUG", "POPULATE", @keys, "key", 100])
    start(vm, server)
    assert Vm.resident(vm) - before > needed / 2
    stop(vm)
    settled(vm, before, round(needed * @slack))
  end

  # native/vdr_bench/tests/memory.rs compares the core's estimate with its allocator's count, for
  # many more shapes of data.
  test "memory_bytes equals what the data makes resident, whatever its history", %{server: server, redis: redis} do
    for {what, fill, write} <- data() do
      Redix.command!(redis, ["FLUSHALL"])
      fill.(redis)

      {told, truth} = measured(server, redis, write)
      assert near?({told, truth}), "#{what}: #{told} bytes are told, #{truth} are resident"
    end
  end

  test "a message of a watch takes less than a kilobyte while it waits", %{server: server, redis: redis} do
    vm = Vm.start!()
    start(vm, server)
    watcher = Vm.call(vm, :erlang, :spawn, [:timer, :sleep, [:infinity]])
    :ok = Vm.call(vm, Veidrodelis, :watch, [:memory, 0, "k", :ref, [to: watcher, max_pending: 100_000]])
    before = Vm.call(vm, :erlang, :memory, [:total])
    for _ <- 1..20, do: Redix.pipeline!(redis, for(n <- 1..1000, do: ["SET", "k", "#{n}"]))
    caught_up(vm, redis)
    waiting = fn -> Vm.call(vm, :erlang, :process_info, [watcher, :message_queue_len]) end
    Mirror.eventually("all wait", waiting, fn -> waiting.() == {:message_queue_len, 20_000} end)
    assert (Vm.call(vm, :erlang, :memory, [:total]) - before) / 20_000 < 1000
    Vm.stop(vm)
  end

  # The system may have given a VM huge pages that it does not need. In such a case the median of
  # three counts.
  defp measured(server, redis, write) do
    first = measured_once(server, redis, write)

    if near?(first) do
      first
    else
      [first, measured_once(server, redis, write), measured_once(server, redis, write)]
      |> Enum.sort_by(fn {told, truth} -> told / truth end)
      |> Enum.at(1)
    end
  end

  defp measured_once(server, redis, write) do
    vm = Vm.start!()
    # The memory of a mirror without data is not counted as data.
    empty = Server.start!()
    start(vm, empty)
    before = at_rest(vm)
    stop(vm)
    start(vm, server)
    write.(redis)
    caught_up(vm, redis)
    told = memory_bytes(vm)
    truth = at_rest(vm) - before
    Vm.stop(vm)
    {told, truth}
  end

  defp near?({told, truth}), do: abs(told - truth) <= truth * @estimate_off

  # The name, the data at the full sync, and the data that is written after it.
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

  # Overwrites everything that exists, longer or shorter, so that it needs other places. The gaps
  # between them, which the allocator cannot use, are resident, too.
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

  # The server itself writes, so that no garbage arises in the VM whose memory is measured.
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
