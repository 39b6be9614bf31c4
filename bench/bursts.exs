defmodule Vdr.Bench.Bursts do
  @moduledoc false
  # How far behind the primary is a mirror after a burst of writes into large values, by kind of
  # write? A burst is 1,000 commands into an aggregate of a million elements, or into a string of
  # many megabytes. Its clock starts when the primary has executed the burst, and stops when the
  # mirror has applied all of it. A real replica of the same primary has its own clock. Each kind
  # runs once with nothing held and once while a process holds a snapshot, which makes the mirror
  # copy what it changes.
  #
  # All kinds are in bench/results/bursts.json. The table has those into long strings, and the worst
  # of all.
  alias Vdr.Bench.{Measure, Report}
  alias Vdr.Paint

  @results "bursts.json"
  @burst 1_000
  @million 1_000_000
  @mb 1_000_000
  # No kind may be so much longer behind than a replica, in milliseconds. Some kinds walk a million
  # elements, on either side.
  @aim_ms 50

  def run do
    Paint.title("Behind the primary after bursts of #{@burst} writes into a million elements")
    {server, redis} = Measure.empty_server([{"proto-max-bulk-len", "512mb"}])
    fill(redis)
    {replica, their_redis} = Measure.replica_of(server)
    Measure.mirror(server, :bench)
    Measure.caught_up(redis, their_redis)

    figures =
      for {held, suffix} <- [{false, ""}, {true, ", a snapshot held"}],
          {name, commands} <- kinds(),
          known?(redis, hd(commands)) do
        snapshot = if held, do: Veidrodelis.snapshot!(:bench)
        {ours, theirs} = behind(server, redis, their_redis, commands)
        # Keeps the snapshot until here.
        if held, do: Vdr.Snapshot.offset(snapshot)
        Measure.row("behind after #{name}#{suffix}", ours, theirs, "ms", max(ours, 1) / max(theirs, 1), nil)
      end

    Veidrodelis.stop(:bench)
    Enum.each([replica, server], &GenServer.stop/1)
    Report.save(@results, figures)
    summary(figures)
  end

  # The kinds into long strings, and the kind that is furthest behind a replica.
  defp summary(figures) do
    slowest = Enum.max_by(figures, &(&1.ours - &1.theirs))
    behind = max(slowest.ours - slowest.theirs, 0)

    long =
      for figure <- figures, figure.figure =~ " MB" do
        text = "#{ms(figure.ours)}, a replica #{ms(figure.theirs)}"
        Measure.figure(figure.figure, figure.ours, figure.theirs, "ms", figure.ratio, nil, text)
      end

    text = "#{ms(behind)} of #{ms(@aim_ms)}: #{slowest.figure}"
    name = "longer behind than a replica: the worst of #{length(figures)} bursts"
    long ++ [Measure.figure(name, behind, @aim_ms, "ms", behind / @aim_ms, 1.0, text)]
  end

  defp ms(ms), do: Paint.time(ms * 1_000_000)

  # Milliseconds from the primary's last reply until the mirror, and the replica, have everything.
  defp behind(server, redis, their_redis, commands) do
    # What the burst before left to free does not count.
    Process.sleep(200)
    Measure.send_all(server, commands |> Enum.map(&Redix.pack/1) |> Enum.chunk_every(100))
    started = System.monotonic_time(:microsecond)
    offset = Measure.offset(redis, "master_repl_offset")
    theirs = Task.async(fn -> time(started, fn -> Measure.offset(their_redis, "slave_repl_offset") >= offset end) end)
    ours = time(started, fn -> Veidrodelis.info(:bench, :offset) >= offset end)
    {ours, Task.await(theirs, :infinity)}
  end

  defp time(started, condition) do
    Measure.until(condition)
    (System.monotonic_time(:microsecond) - started) / 1000
  end

  # An older server does not know every command.
  defp known?(redis, [name | _arguments]) do
    known = Redix.command!(redis, ["COMMAND", "INFO", name]) != [nil]
    unless known, do: Paint.note("this server does not know #{name}")
    known
  end

  # ---- the data

  defp fill(redis) do
    for {command, key, words} <- [
          {"RPUSH", "list", &[Measure.member(&1)]},
          {"SADD", "set", &[Measure.member(&1)]},
          {"SADD", "ints", &[Integer.to_string(&1 * 3)]},
          {"HSET", "hash", &[Measure.member(&1), Integer.to_string(&1)]},
          {"ZADD", "zset", &[Integer.to_string(&1), Measure.member(&1)]},
          {"GEOADD", "geo", &[to_string(rem(&1, 360) - 179.5), to_string(rem(&1, 160) - 79.5), Measure.member(&1)]}
        ],
        do: Measure.fill_one(redis, command, key, words)

    0..(@million - 1)
    |> Stream.chunk_every(2_000)
    |> Enum.each(fn ids ->
      Redix.pipeline!(redis, for(n <- ids, do: ["XADD", "stream", "#{n + 1}-0", "field", Measure.value(n)]))
    end)

    Redix.command!(redis, ["XGROUP", "CREATE", "stream", "group", "0"])
    Redix.command!(redis, ["XREADGROUP", "GROUP", "group", "consumer", "COUNT", "50000", "STREAMS", "stream", ">"])
    for {key, mb} <- [{"text", 12.5}, {"bits32", 32}, {"bits64", 64}], do: string(redis, key, trunc(mb * @mb))
    Redix.command!(redis, ["PFADD", "hll" | for(n <- 1..20_000, do: Integer.to_string(n))])
  end

  # Full of bytes, not of zeros.
  defp string(redis, key, bytes),
    do: Redix.command!(redis, ["SET", key, :binary.copy("0123456789abcdef", div(bytes, 16))])

  # ---- the kinds: a name, and the commands

  defp kinds do
    :rand.seed(:exsss, 42)
    strings() ++ lists() ++ sets() ++ hashes() ++ sorted_sets() ++ streams() ++ keys()
  end

  defp each(name, command, count \\ @burst), do: {name, for(n <- 1..count, do: Enum.map(command.(n), &to_string/1))}

  defp any, do: :rand.uniform(@million) - 1
  defp any_member(_n \\ nil), do: Measure.member(any())
  defp new(n), do: "new:#{n}:#{:rand.uniform(@million)}"

  defp strings do
    bits = fn mb -> :rand.uniform(mb * @mb * 8) - 1 end

    [
      each("APPEND to 12.5 MB", fn _ -> ["APPEND", "text", String.duplicate("x", 30)] end),
      each("SETRANGE in 12.5 MB", fn _ -> ["SETRANGE", "text", :rand.uniform(12 * @mb), "some bytes"] end),
      each("SETBIT in 32 MB", fn _ -> ["SETBIT", "bits32", bits.(32), :rand.uniform(2) - 1] end),
      each("2,000 SETBITs in 64 MB", fn _ -> ["SETBIT", "bits64", bits.(64), :rand.uniform(2) - 1] end, 2 * @burst),
      each("SETBIT behind the end of 32 MB", fn n -> ["SETBIT", "bits32", 33 * @mb * 8 + n * 8, 1] end),
      each("BITFIELD in 32 MB", fn _ -> ["BITFIELD", "bits32", "INCRBY", "u16", bits.(31), 1] end),
      each("SETRANGE in 64 MB", fn _ -> ["SETRANGE", "bits64", :rand.uniform(60 * @mb), "some bytes"] end),
      each("PFADD", fn n -> ["PFADD", "hll", new(n)] end)
    ]
  end

  defp lists do
    [
      each("LPUSH", fn n -> ["LPUSH", "list", new(n)] end),
      each("RPUSH", fn n -> ["RPUSH", "list", new(n)] end),
      each("LPOP", fn _ -> ["LPOP", "list"] end),
      each("RPOP", fn _ -> ["RPOP", "list"] end),
      each("LSET", fn n -> ["LSET", "list", any() - 5_000, new(n)] end),
      each("LINSERT near an end", fn n -> ["LINSERT", "list", "BEFORE", Measure.member(2_000 + n), new(n)] end),
      each("LREM near an end", fn n -> ["LREM", "list", 1, Measure.member(4_000 + n)] end),
      each("LTRIM", fn _ -> ["LTRIM", "list", 1, -2] end),
      each("LMOVE", fn _ -> ["LMOVE", "list", "list", "LEFT", "RIGHT"] end)
    ]
  end

  defp sets do
    [
      each("SADD", fn n -> ["SADD", "set", new(n)] end),
      each("SADD of integers", fn n -> ["SADD", "ints", n * 3 + 1] end),
      each("SREM", fn _ -> ["SREM", "set", any_member()] end),
      each("SPOP", fn _ -> ["SPOP", "set"] end),
      each("SMOVE", fn _ -> ["SMOVE", "set", "ints", any_member()] end),
      each("SUNIONSTORE", fn _ -> ["SUNIONSTORE", "union", "set", "ints"] end, 1)
    ]
  end

  defp hashes do
    [
      each("HSET of a new field", fn n -> ["HSET", "hash", new(n), n] end),
      each("HSET of a field", fn n -> ["HSET", "hash", any_member(), n] end),
      each("HINCRBY", fn _ -> ["HINCRBY", "hash", any_member(), 1] end),
      each("HDEL", fn _ -> ["HDEL", "hash", any_member()] end),
      each("HPEXPIRE", fn _ -> ["HPEXPIRE", "hash", 10_000_000, "FIELDS", 1, any_member()] end),
      each("HSETNX", fn n -> ["HSETNX", "hash", new(n), n] end)
    ]
  end

  defp sorted_sets do
    [
      each("ZADD of a new member", fn n -> ["ZADD", "zset", any(), new(n)] end),
      each("ZADD of a member", fn _ -> ["ZADD", "zset", any(), any_member()] end),
      each("ZINCRBY", fn _ -> ["ZINCRBY", "zset", 1000, any_member()] end),
      each("ZREM", fn _ -> ["ZREM", "zset", any_member()] end),
      each("ZPOPMIN", fn _ -> ["ZPOPMIN", "zset"] end),
      each("ZPOPMAX", fn _ -> ["ZPOPMAX", "zset"] end),
      each("ZREMRANGEBYRANK", fn _ -> ["ZREMRANGEBYRANK", "zset", 5, 9] end),
      each("ZREMRANGEBYSCORE", fn n -> ["ZREMRANGEBYSCORE", "zset", n * 100, n * 100 + 5] end),
      each("ZRANGESTORE", fn _ -> ["ZRANGESTORE", "range", "zset", 0, -1] end, 1),
      each("GEOADD", fn n -> ["GEOADD", "geo", 10.5, 20.5, new(n)] end)
    ]
  end

  defp streams do
    [
      each("XADD", fn n -> ["XADD", "stream", "*", "field", n] end),
      each("XADD with MAXLEN", fn n -> ["XADD", "stream", "MAXLEN", "~", @million - 200 * n, "*", "field", n] end),
      each("XDEL", fn n -> ["XDEL", "stream", "#{500_000 + n * 10}-0"] end),
      each("XTRIM", fn n -> ["XTRIM", "stream", "MAXLEN", 790_000 - n * 20] end),
      each("XREADGROUP", fn _ -> ~w(XREADGROUP GROUP group consumer COUNT 10 STREAMS stream >) end),
      each("XACK", fn n -> ["XACK", "stream", "group", "#{n}-0"] end),
      each("XCLAIM", fn n -> ["XCLAIM", "stream", "group", "other", 0, "#{10_000 + n}-0"] end)
    ]
  end

  defp keys do
    [
      each("PEXPIRE", fn n -> ["PEXPIRE", "zset", 100_000_000 + n] end),
      {"RENAME", for(n <- 1..@burst, do: if(rem(n, 2) == 1, do: ~w(RENAME hash other), else: ~w(RENAME other hash)))},
      each("COPY", fn n -> ["COPY", "set", "copy:#{n}"] end, 2),
      each("DEL", fn n -> ["DEL", "copy:#{n}"] end, 2)
    ]
  end
end
