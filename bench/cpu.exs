defmodule Vdr.Bench.Cpu do
  @moduledoc false
  # What applying a command costs in time of a processor: the threads of the native library against the whole process of a real
  # replica. Both follow the same primary at the same time, and `redis-benchmark` writes in a process of its own.
  alias Vdr.Bench.Measure
  alias Vdr.{Paint, Test.Server}

  @commands 1_000_000

  def run do
    case System.find_executable("redis-benchmark") do
      nil ->
        Paint.note("no redis-benchmark on this machine: CPU per command is not measured")
        []

      tool ->
        measure(tool)
    end
  end

  defp measure(tool) do
    Paint.title("CPU per applied command, against a real replica of the same primary")
    {server, redis} = Measure.filled_server([{"save", ""}])
    {:ok, replica} = Server.start_link(config: [{"replicaof", "127.0.0.1 #{Server.port(server)}"}])
    their_redis = Server.connect!(replica)
    Measure.until(fn -> Redix.command!(their_redis, ["INFO", "replication"]) =~ "master_link_status:up" end)
    Measure.mirror(server, :bench)

    figures =
      for {name, range, commands} <- [
            {"SET on 1M keys", 1_000_000, [["SET", "user:__rand_int__", Measure.value(1)]]},
            {"HSET on 100k hashes", 100_000, [["HSET", "hash:__rand_int__", "field", "value"]]},
            {"ZADD on 1M members", 1_000_000, [["ZADD", "zset", "__rand_int__", "member:__rand_int__"]]},
            {"SADD on 100k sets", 100_000, [["SADD", "set:__rand_int__", "member:__rand_int__"]]},
            {"INCR on 100k keys", 100_000, [["INCR", "count:__rand_int__"]]},
            {"LPUSH and RPOP", 1_000, [["LPUSH", "list:__rand_int__", "element"], ["RPOP", "list:__rand_int__"]]}
          ] do
        # Once to make the keys, once to be measured.
        write(tool, server, range, commands)
        caught_up(redis, their_redis)
        before = {ours(), theirs(replica)}
        count = write(tool, server, range, commands)
        caught_up(redis, their_redis)
        told(name, count, before, {ours(), theirs(replica)})
      end

    Veidrodelis.stop(:bench)
    GenServer.stop(replica)
    GenServer.stop(server)
    figures
  end

  defp told(name, count, {ours_before, theirs_before}, {ours, theirs}) do
    {ours, theirs} = {(ours - ours_before) / count, (theirs - theirs_before) / count}
    text = "#{round(ours)} ns, a replica #{round(theirs)} ns: #{Float.round(ours / theirs, 2)} of it"
    Measure.figure("CPU per command: #{name}", ours, theirs, "ns", ours / theirs, 1.0, text)
  end

  defp write(tool, server, range, commands) do
    each = div(@commands, length(commands))

    for command <- commands do
      arguments = ~w(-h 127.0.0.1 -p #{Server.port(server)} -n #{each} -r #{range} -P 64 -c 8 -q) ++ command
      {_text, 0} = System.cmd(tool, arguments, stderr_to_stdout: true)
    end

    each * length(commands)
  end

  defp caught_up(redis, their_redis) do
    Measure.until(fn ->
      offset = offset(redis, "master_repl_offset")
      Veidrodelis.info(:bench).offset >= offset and offset(their_redis, "slave_repl_offset") >= offset
    end)
  end

  defp offset(redis, field) do
    [_, offset] = Regex.run(~r/#{field}:(\d+)/, Redix.command!(redis, ["INFO", "replication"]))
    String.to_integer(offset)
  end

  defp ours,
    do: "/proc/self/task/*" |> Path.wildcard() |> Enum.filter(&of_the_library?/1) |> Enum.map(&ran/1) |> Enum.sum()

  defp theirs(replica),
    do: "/proc/#{Server.info(replica).pid}/task/*" |> Path.wildcard() |> Enum.map(&ran/1) |> Enum.sum()

  defp of_the_library?(task), do: match?({:ok, "vdr" <> _}, File.read(Path.join(task, "comm")))

  # Nanoseconds on a processor.
  defp ran(task) do
    case File.read(Path.join(task, "schedstat")) do
      {:ok, text} -> text |> String.split() |> hd() |> String.to_integer()
      {:error, _gone} -> 0
    end
  end
end
