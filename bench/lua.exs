defmodule Vdr.Bench.Lua do
  @moduledoc false
  # What a script and a list of reads cost, compared with EVAL on the server over loopback; and what
  # scripts that run at full speed on another processor cost the writer.
  alias Vdr.Bench.{Measure, Primary}
  alias Vdr.{Paint, Test.Server}

  @members 10_000
  @calls 20_000
  @turns 3

  @leaderboard File.read!("test/fixtures/leaderboard.lua")

  # The same walk with the server's commands.
  @leaderboard_eval """
  local timeline = {}
  local at = 0
  repeat
    local batch = redis.call('ZRANGE', 'leaderboard', at, at + 9, 'WITHSCORES')
    for i = 1, #batch, 2 do table.insert(timeline, {batch[i], batch[i + 1]}) end
    at = at + 10
  until #batch == 0
  return timeline
  """

  def calls do
    {server, redis} = filled()
    Measure.mirror(server, :bench)
    {:ok, one} = Veidrodelis.lua_load(:bench, "return ts.get('one')")
    {:ok, leaderboard} = Veidrodelis.lua_load(:bench, @leaderboard)

    five = [
      {:get, "one"},
      {:hget, "h", "f"},
      {:zscore, "leaderboard", "member:77"},
      {:llen, "l"},
      {:sismember, "s", "m"}
    ]

    five_eval =
      "return {redis.call('GET', 'one'), redis.call('HGET', 'h', 'f'), redis.call('ZSCORE', 'leaderboard', 'member:77'), " <>
        "redis.call('LLEN', 'l'), redis.call('SISMEMBER', 's', 'm')}"

    {:ok, five_lua} =
      Veidrodelis.lua_load(:bench, String.replace(five_eval, ~r/redis.call\('(\w+)', /, "ts.\\1(") |> lower())

    eval = fn source -> fn -> Redix.command!(redis, ["EVAL", source, 0]) end end

    figures = [
      told(
        "script of one read, loaded",
        fn -> {:ok, "1"} = Veidrodelis.read_tx(:bench, 0, one) end,
        eval.("return redis.call('GET', 'one')"),
        3_000
      ),
      told(
        "list of five reads",
        fn -> {:ok, [_, _, _, _, _]} = Veidrodelis.read_tx(:bench, 0, five) end,
        eval.(five_eval),
        1_500
      ),
      told(
        "script of the same five",
        fn -> {:ok, [_, _, _, _, _]} = Veidrodelis.read_tx(:bench, 0, five_lua) end,
        eval.(five_eval),
        nil
      ),
      told(
        "leaderboard script, 10,000 members",
        fn -> {:ok, [_ | _]} = Veidrodelis.read_tx(:bench, 0, leaderboard) end,
        eval.(@leaderboard_eval),
        nil,
        100
      )
    ]

    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    figures
  end

  defp lower(source), do: String.replace(source, ~r/ts\.\w+/, &String.downcase/1)

  defp filled do
    Paint.title("Scripts, and lists of reads, against EVAL over loopback")
    {:ok, server} = Server.start_link()
    redis = Server.connect!(server)
    zadd = for n <- 1..@members, do: ["ZADD", "leaderboard", n * 1.5, "member:#{n}"]
    others = [["SET", "one", "1"], ["HSET", "h", "f", "v"], ["RPUSH", "l", "a"], ["SADD", "s", "m"]]
    Redix.pipeline!(redis, zadd ++ others)
    {server, redis}
  end

  defp told(name, ours, theirs, aim_ns, calls \\ @calls) do
    for _ <- 1..min(calls, 1_000), do: ours.()
    # Medians, because on a busy machine a mean is a matter of luck.
    their_p50 = fn -> p50(theirs, min(calls, 2_000)) end
    {p50, their_p50} = Measure.in_turns(@turns, fn -> p50(ours, calls) end, their_p50)
    aim = if aim_ns, do: " (aim #{Paint.time(aim_ns)}: #{if p50 <= aim_ns, do: "met", else: "missed"})", else: ""
    text = "#{Paint.time(p50)}#{aim}, EVAL #{Paint.time(their_p50)}: #{Float.round(their_p50 / p50, 1)} times as fast"
    Measure.figure(name <> ", p50", p50, their_p50, "ns", p50 / their_p50, if(calls == @calls, do: 0.05), text)
  end

  # Includes reading the clock, about 50 ns.
  defp p50(fun, calls) do
    :erlang.garbage_collect()

    times =
      for _ <- 1..calls do
        started = System.monotonic_time(:nanosecond)
        fun.()
        System.monotonic_time(:nanosecond) - started
      end

    Measure.median(times)
  end

  # ---- the writer beside readers

  @writes 600_000
  @keys 100_000

  # A primary that sends ready-made bytes takes next to no CPU time, so one processor is left for
  # the writer and one for the readers.
  def writer do
    Paint.title("Writes applied beside scripts and reads at full speed")

    stream =
      IO.iodata_to_binary(
        for n <- 1..@writes, do: Redix.pack(["SET", Measure.key(rem(n * 7919, @keys)), Measure.value(n)])
      )

    {beside, alone} = Measure.in_turns(@turns, fn -> apply_ns(stream, true) end, fn -> apply_ns(stream, false) end)
    [beside_rate, alone_rate] = for ns <- [beside, alone], do: @writes / ns * 1.0e9
    text = "#{Paint.number(round(beside_rate))} a second, alone #{Paint.number(round(alone_rate))}"
    Measure.figure("writes beside readers", beside_rate, alone_rate, "writes/s", beside / alone, 1.1, text)
  end

  defp apply_ns(stream, readers?) do
    {listener, port} = Primary.listen()
    {:ok, _pid} = Veidrodelis.start_link(id: :bench, host: "127.0.0.1", port: port)
    socket = Primary.accept(listener)
    :ok = Veidrodelis.await_ready(:bench, 10_000)
    reader = if readers?, do: Task.async(&read/0)
    started = System.monotonic_time(:nanosecond)
    sender = Task.async(fn -> :gen_tcp.send(socket, stream) end)
    Measure.until(fn -> Veidrodelis.info(:bench).commands_applied >= @writes end)
    took = System.monotonic_time(:nanosecond) - started
    :ok = Task.await(sender)
    if reader, do: Task.shutdown(reader, :brutal_kill)
    Veidrodelis.stop(:bench)
    :gen_tcp.close(socket)
    :gen_tcp.close(listener)
    took
  end

  defp read do
    {:ok, script} = Veidrodelis.lua_load(:bench, "return ts.get(KEYS[1])")
    keys = for n <- 1..1_000, do: Measure.key(n)

    Stream.cycle(keys)
    |> Enum.each(fn key ->
      {:ok, _} = Veidrodelis.read_tx(:bench, 0, script, keys: [key])
      {:ok, _} = Veidrodelis.get(:bench, 0, key)
    end)
  end
end
