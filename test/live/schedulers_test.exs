defmodule Vdr.Live.SchedulersTest do
  # No call blocks a normal scheduler for a millisecond, whatever its arguments. Each call runs in a
  # process of its own, between two yields, so the process's scheduled time is the call's time. It
  # is wall time: it includes pauses when the system takes the processor away. Linux says how long
  # the schedulers' threads have waited for a processor, and a call that they waited in is repeated.
  #
  # A call does the same work each time, and other interruptions are rare. So a call counts as too
  # long if it is too long more often than not. It is repeated until one result leads: too long by
  # five calls, or not by three. Of 27 calls that are too long three times in four, this finds 26.
  use ExUnit.Case, async: false

  alias Vdr.Test.{Mirror, Server}

  @moduletag capture_log: true
  @moduletag timeout: 900_000

  @most_ms 1
  @lead_long 5
  @lead_short 3
  @told_ms 20
  # A call that the system interrupts this often is judged all the same.
  @interruptions 500
  @count 100_000
  # One element, the most that stays on a normal scheduler, more, and all.
  @sizes [1, 200, 1_000, @count]
  @big 8_000_000

  setup_all do
    {:ok, server} = Server.start_link()
    redis = Server.connect!(server)
    numbers = Enum.chunk_every(0..(@count - 1), 1_000)

    for chunk <- numbers do
      Redix.pipeline!(redis, [
        ["MSET" | Enum.flat_map(chunk, &[key(&1), String.duplicate("v", 1_000)])],
        ["RPUSH", "l" | Enum.map(chunk, &member/1)],
        ["SADD", "s" | Enum.map(chunk, &member/1)],
        ["HSET", "h" | Enum.flat_map(chunk, &[member(&1), member(&1)])],
        ["ZADD", "z" | Enum.flat_map(chunk, &[&1, member(&1)])],
        ["ZADD", "lex" | Enum.flat_map(chunk, &[0, member(&1)])]
      ])

      Redix.pipeline!(redis, for(n <- chunk, do: ["XADD", "x", "#{n + 1}-1", "f", member(n)]))
    end

    Redix.pipeline!(redis, [
      ["SET", "big", String.duplicate("\0", @big)],
      ["XGROUP", "CREATE", "x", "g", "0"],
      ["XREADGROUP", "GROUP", "g", "c", "COUNT", @count, "STREAMS", "x", ">"]
    ])

    {:ok, server: server, redis: redis}
  end

  setup %{server: server} do
    :erlang.system_monitor(self(), [{:long_schedule, @most_ms}])
    {:ok, id: Mirror.start!(server)}
  end

  test "a blocked scheduler is noticed" do
    # Two equal binaries: their comparison runs to the end, and nothing interrupts it.
    [one, other] = for _ <- 1..2, do: :binary.copy("v", 100_000_000)
    assert long?(fn -> one == other end)
    refute long?(fn -> :ok end)

    # Not each time: three times in four is too often, once in four may be the system.
    calls = :counters.new(1, [])

    now_and_then = fn long_ones ->
      :counters.add(calls, 1, 1)
      if rem(:counters.get(calls, 1), 4) < long_ones, do: one == other
    end

    assert long?(fn -> now_and_then.(3) end)
    refute long?(fn -> now_and_then.(1) end)
  end

  test "reads of one element, of many and of all", %{id: id} do
    calls = for n <- @sizes, {name, args} <- reads(n), do: {name, args, n}
    missing = Keyword.keys(Vdr.Native.commands()) -- Enum.map(calls, &elem(&1, 0))
    assert missing == []

    for {name, args, _n} <- calls, do: assert({:ok, _} = apply(Veidrodelis, name, [id, 0 | args]), inspect(name))
    assert [] == for({name, args, n} <- calls, long?(fn -> apply(Veidrodelis, name, [id, 0 | args]) end), do: {name, n})
  end

  # The first reader that needs the order sorts all keys.
  test "the first read that needs the order of the keys", %{server: server} do
    calls = [first: [1], last: [1], next: [key(0), 1], prev: [key(1), 1], keys: ["key:000001"]]

    for {name, args} <- calls, how <- [:alone, :in_a_list, :in_a_script] do
      call = fn id ->
        case how do
          :alone -> apply(Veidrodelis, name, [id, 0 | args])
          :in_a_list -> Veidrodelis.read_tx(id, 0, [List.to_tuple([name | args])])
          :in_a_script -> Veidrodelis.read_tx(id, 0, "return ts.#{name}(unpack(ARGV))", args: args)
        end
      end

      held? = fn ->
        id = Mirror.start!(server)
        held? = held?(fn -> {:ok, [_ | _]} = call.(id) end)
        :ok = Veidrodelis.stop(id)
        held?
      end

      # A lead of two is enough here, because each call takes a full sync.
      refute mostly?(held?, @lead_long, 2), "#{name} #{how}"
    end
  end

  test "lists of reads, and scripts", %{id: id} do
    for n <- @sizes do
      operations = for at <- 0..(n - 1), do: {:get, key(at)}
      refute long?(fn -> Veidrodelis.read_tx(id, 0, operations) end), "a list of #{n}"
      # Reads that each return much, within one list.
      refute long?(fn -> Veidrodelis.read_tx(id, 0, for(_ <- 1..min(n, 50), do: {:lrange, "l", 0, 900})) end),
             "long ones"

      source =
        "local all = {} for n = 1, #{n} do all[n % 1000 + 1] = ts.get(string.format('key:%06d', n - 1)) end return all"

      {:ok, script} = Veidrodelis.lua_load(id, source)
      refute long?(fn -> {:ok, _} = Veidrodelis.read_tx(id, 0, script) end), "a script of #{n}"
      refute long?(fn -> {:ok, _} = Veidrodelis.read_tx(id, 0, source) end), "a source of #{n}"
    end

    keys = "local all = {} for n = 1, 150 do all[string.rep('k', 100000) .. n] = n end return all"
    refute long?(fn -> {:ok, _} = Veidrodelis.read_tx(id, 0, keys) end), "a script that answers long keys"
    refute long?(fn -> Veidrodelis.read_tx(id, 0, "while true do end", timeout: 50) end), "a script without an end"
  end

  test "snapshots, walks, differences, watches and info", %{id: id, server: server, redis: redis} do
    {:ok, old} = Veidrodelis.snapshot(id)
    Redix.pipeline!(redis, for(n <- 0..9_999, do: ["SET", key(n), "changed"]))
    Mirror.settle(id, redis)
    {:ok, new} = Veidrodelis.snapshot(id)

    refute long?(fn -> Veidrodelis.snapshot(id) end)
    refute long?(fn -> Enum.take(Veidrodelis.stream_keys(id, 0), 1_000) end)
    refute long?(fn -> Enum.take(Veidrodelis.stream_keys(id, 0, chunk: 100_000, match: "*9999*"), 5) end)
    refute long?(fn -> [_] = Enum.take(Veidrodelis.diff(old, new, 0), 1) end)
    refute long?(fn -> {:ok, _} = Veidrodelis.digest(new) end)
    refute long?(fn -> {:ok, _} = Veidrodelis.digest_value(new, 0, "z") end)
    refute long?(fn -> Veidrodelis.info(id) end)

    refute long?(fn ->
             :ok = Veidrodelis.watch(id, 0, "k", :k)
             :ok = Veidrodelis.unwatch(id, 0, "k")
           end)

    other = {:other, make_ref()}

    refute long?(fn ->
             {:ok, _pid} = Veidrodelis.start_link(id: other, host: "127.0.0.1", port: Server.port(server))
             :ok = Veidrodelis.await_ready(other, 20_000)
             {:ok, last} = Veidrodelis.snapshot(other)
             Process.put(:last, last)
             # Only this process can reach the data now. Dropping it must not block the scheduler.
             :ok = Veidrodelis.stop(other)
             Process.sleep(50)
             Process.delete(:last)
             :erlang.garbage_collect()
           end)
  end

  test "a watch that is set while the publisher compares what other new ones watch", %{id: id, redis: redis} do
    # A unit is applied for milliseconds. Watches that come meanwhile are new, and what each watches
    # is compared at the end: ten thousand keys for a prefix.
    unit = [["MULTI"] | for(n <- 0..9_999, do: ["SET", key(n), "changed"])] ++ [["EXEC"]]
    writer = Task.async(fn -> until_told(fn -> Redix.pipeline!(redis, unit) end) end)

    others =
      Task.async(fn ->
        until_told(fn ->
          for n <- 1..500, do: :ok = Veidrodelis.watch_prefix(id, 0, "none:#{n}", :new)
          for n <- 1..500, do: :ok = Veidrodelis.unwatch_prefix(id, 0, "none:#{n}")
        end)
      end)

    refute long?(fn ->
             :ok = Veidrodelis.watch_prefix(id, 0, "k", :k)
             :ok = Veidrodelis.unwatch_prefix(id, 0, "k")
           end)

    for task <- [writer, others], do: send(task.pid, :enough)
    assert Task.await_many([writer, others], 60_000) == [:ok, :ok]
  end

  defp until_told(work) do
    work.()

    receive do
      :enough -> :ok
    after
      0 -> until_told(work)
    end
  end

  # ---- the reads, each with the given number of elements

  defp reads(n) do
    {last, members, at} = {n - 1, Enum.map(0..(n - 1), &member/1), member(div(@count, 2))}

    [
      get: ["big"],
      mget: [Enum.map(0..last, &key/1)],
      strlen: ["big"],
      getrange: ["big", 0, last],
      getrange: ["big", 0, div(@big * n, @count)],
      getbit: ["big", last],
      bitcount: ["big", 0, div(@big * n, @count), :byte],
      bitpos: ["big", 1, 0, div(@big * n, @count), :byte],
      llen: ["l"],
      lrange: ["l", 0, last],
      lindex: ["l", last],
      lpos: ["l", member(last)],
      lpos: ["l", "none"],
      smembers: ["s"],
      scard: ["s"],
      sismember: ["s", at],
      smismember: ["s", members],
      srandmember: ["s", n],
      srandmember: ["s", -n],
      sunion: [["s", "none"]],
      sinter: [["s", "s"]],
      sdiff: [["s", "s"]],
      sintercard: [["s", "s"]],
      sfirst: ["s", n],
      slast: ["s", n],
      snext: ["s", at, n],
      sprev: ["s", at, n],
      hget: ["h", at],
      hmget: ["h", members],
      hgetall: ["h"],
      hkeys: ["h"],
      hvals: ["h"],
      hlen: ["h"],
      hexists: ["h", at],
      hstrlen: ["h", at],
      hrandfield: ["h", n],
      hfirst: ["h", n],
      hlast: ["h", n],
      hnext: ["h", at, n],
      hprev: ["h", at, n],
      zscore: ["z", at],
      zmscore: ["z", members],
      zcard: ["z"],
      zcount: ["z", :neg_inf, last],
      zlexcount: ["lex", "-", "[" <> member(last)],
      zrange: ["z", 0, last],
      zrevrange: ["z", 0, last],
      zrangebyscore: ["z", 0, last],
      zrevrangebyscore: ["z", last, 0],
      zrangebylex: ["lex", "-", "[" <> member(last)],
      zrank: ["z", at],
      zrevrank: ["z", at],
      zfirst: ["z", n],
      zlast: ["z", n],
      znext: ["z", at, n],
      zprev: ["z", at, n],
      xlen: ["x"],
      xrange: ["x", "-", "#{n}"],
      xrevrange: ["x", "#{n}", "-"],
      xread: ["x", "0", n],
      xinfo_stream: ["x"],
      xinfo_groups: ["x"],
      xpending: ["x", "g"],
      exists: ["z"],
      type: ["z"],
      dbsize: [],
      first: [n],
      last: [n],
      next: [key(0), n],
      prev: [key(@count - 1), n],
      ttl: ["z"],
      pttl: ["z"],
      expiretime: ["z"],
      pexpiretime: ["z"],
      keys: ["*99*"],
      scan: [0, [count: n]]
    ]
  end

  defp key(n), do: "key:" <> String.pad_leading(Integer.to_string(n), 6, "0")
  defp member(n), do: "member:" <> String.pad_leading(Integer.to_string(n), 8, "0")

  # ---- the measurement

  defp long?(call), do: mostly?(fn -> held?(call) end, @lead_long, @lead_short)

  # Whether the question is true more often than not: the result that first leads by its margin
  # wins.
  defp mostly?(_asked, 0, _left_false), do: true
  defp mostly?(_asked, _left_true, 0), do: false

  defp mostly?(asked, left_true, left_false) do
    if asked.(), do: mostly?(asked, left_true - 1, left_false + 1), else: mostly?(asked, left_true + 1, left_false - 1)
  end

  defp held?(call, interruptions \\ @interruptions) do
    before = waited_ns()
    held_ms = held_ms(call)
    waited_ms = div(waited_ns() - before, 1_000_000)

    cond do
      held_ms < @most_ms -> false
      interruptions > 0 and held_ms - waited_ms < @most_ms -> held?(call, interruptions - 1)
      true -> true
    end
  end

  # How long the schedulers' threads have waited for a processor, all together.
  defp waited_ns do
    for thread <- ls("/proc/self/task"),
        {:ok, name} <- [File.read("/proc/self/task/#{thread}/comm")],
        name =~ ~r/^\d+_scheduler|^erts_sched_/,
        {:ok, times} <- [File.read("/proc/self/task/#{thread}/schedstat")],
        [_ran, waited, _slices] <- [String.split(times)],
        reduce: 0 do
      sum -> sum + String.to_integer(waited)
    end
  end

  defp ls(directory) do
    case File.ls(directory) do
      {:ok, names} -> names
      {:error, _not_linux} -> []
    end
  end

  defp held_ms(call) do
    test = self()

    {caller, monitor} =
      spawn_monitor(fn ->
        :erlang.yield()
        call.()
        :erlang.yield()
        send(test, {:called, self()})
        # The end of the process is not part of the call: a process that dies with a hundred
        # thousand binaries frees them all at once.
        receive do: (:end -> :ok)
      end)

    receive do
      {:called, ^caller} -> :ok
      {:DOWN, ^monitor, :process, ^caller, reason} -> flunk("the call failed: #{inspect(reason)}")
    end

    ms = told_ms(caller, 0)
    send(caller, :end)
    assert_receive {:DOWN, ^monitor, :process, ^caller, :normal}, 10_000
    ms
  end

  # The message comes from another thread, a little later. Other processes are not asked here.
  defp told_ms(caller, ms) do
    receive do
      {:monitor, ^caller, :long_schedule, info} -> told_ms(caller, max(ms, info[:timeout]))
      {:monitor, _other, :long_schedule, _info} -> told_ms(caller, ms)
    after
      @told_ms -> ms
    end
  end
end
