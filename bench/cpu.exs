defmodule Vdr.Bench.Cpu do
  @moduledoc false
  # The CPU time that applying a command costs: the threads of the native library and its allocator,
  # against the whole process of a real replica. Both follow the same primary at the same time, and
  # `redis-benchmark` writes in a process of its own. It cannot write a mix of commands. The mix
  # comes ready-made from this VM, whose own threads do not count.
  alias Vdr.Bench.{CpuTime, Measure}
  alias Vdr.{Paint, Test.Server}

  @commands 1_000_000
  @mixed 700_000
  @batch 1_000
  @turns 3

  def run do
    Paint.title("CPU per applied command, against a real replica of the same primary")
    {server, redis} = Measure.filled_server()
    # Creates every key that `redis-benchmark` may draw. Creating new keys is a figure of its own.
    Measure.fill(redis, Measure.count(), fn _ -> Measure.value(1) end, &"user:#{padded(&1)}")

    {replica, their_redis} = Measure.replica_of(server)
    Measure.mirror(server, :bench)
    pid = Server.info(replica).pid

    figures =
      for {name, write} <- writes(server) do
        # The first run creates the keys that are drawn.
        write.()
        Measure.caught_up(redis, their_redis)
        told(name, for(_ <- 1..@turns, do: turn(write, pid, fn -> Measure.caught_up(redis, their_redis) end)))
      end

    Veidrodelis.stop(:bench)
    GenServer.stop(replica)
    GenServer.stop(server)
    figures
  end

  defp turn(write, pid, caught_up) do
    {ours, theirs} = {CpuTime.library(), CpuTime.process(pid)}
    count = write.()
    caught_up.()
    {CpuTime.library(ours) / count, CpuTime.process(pid, theirs) / count}
  end

  defp told(name, turns) do
    {ours, theirs} = Measure.medians(turns)
    text = "#{round(ours)} ns, a replica #{round(theirs)} ns: #{Float.round(ours / theirs, 2)} of it"
    Measure.figure("CPU per command: #{name}", ours, theirs, "ns", ours / theirs, 1.0, text)
  end

  # The loads to measure: a name, and a function that writes the commands and returns their number.
  defp writes(server) do
    batches = for _ <- 1..div(@mixed, @batch), do: IO.iodata_to_binary(for _ <- 1..@batch, do: Redix.pack(mixed()))

    mix = fn ->
      Measure.send_all(server, batches)
      @mixed
    end

    case System.find_executable("redis-benchmark") do
      nil ->
        Paint.note("no redis-benchmark on this machine: CPU per command is measured for a mix only")
        [{"a mix", mix}]

      tool ->
        by_tool = fn {name, range, commands} -> {name, fn -> write(tool, server, range, commands) end} end
        # The last load creates millions of keys.
        Enum.map(one_by_one(), by_tool) ++ [{"a mix", mix}, by_tool.(new_keys())]
    end
  end

  defp one_by_one do
    [
      {"SET on 1M keys", 1_000_000, [["SET", "user:__rand_int__", Measure.value(1)]]},
      {"HSET on 100k hashes", 100_000, [["HSET", "hash:__rand_int__", "field", "value"]]},
      {"ZADD on 1M members", 1_000_000, [["ZADD", "zset", "__rand_int__", "member:__rand_int__"]]},
      {"SADD on 100k sets", 100_000, [["SADD", "set:__rand_int__", "member:__rand_int__"]]},
      {"INCR on 100k keys", 100_000, [["INCR", "count:__rand_int__"]]},
      # A queue: both ends of each list change.
      {"LPUSH and RPOP", 1_000, [["LPUSH", "list:__rand_int__", "element"], ["RPOP", "list:__rand_int__"]]}
    ]
  end

  defp new_keys, do: {"SET of new keys", 1_000_000_000, [["SET", "new:__rand_int__", Measure.value(1)]]}

  # In equal parts, on the keys of the other loads.
  defp mixed do
    case :rand.uniform(7) do
      1 -> ["SET", Measure.key(:rand.uniform(1_000_000) - 1), Measure.value(1)]
      2 -> ["HSET", "hash:#{drawn(100_000)}", "field", "value"]
      3 -> ["ZADD", "zset", drawn(1_000_000), "member:#{drawn(1_000_000)}"]
      4 -> ["SADD", "set:#{drawn(100_000)}", "member:#{drawn(100_000)}"]
      5 -> ["INCR", "count:#{drawn(100_000)}"]
      6 -> ["LPUSH", "list:#{drawn(1_000)}", "element"]
      7 -> ["RPOP", "list:#{drawn(1_000)}"]
    end
  end

  # In redis-benchmark's format.
  defp drawn(range), do: padded(:rand.uniform(range) - 1)
  defp padded(number), do: String.pad_leading(Integer.to_string(number), 12, "0")

  defp write(tool, server, range, commands) do
    each = div(@commands, length(commands))

    for command <- commands do
      arguments = ~w(-h 127.0.0.1 -p #{Server.port(server)} -n #{each} -r #{range} -P 64 -c 8 -q) ++ command
      {_text, 0} = System.cmd(tool, arguments, stderr_to_stdout: true)
    end

    each * length(commands)
  end
end
