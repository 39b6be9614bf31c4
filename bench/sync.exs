defmodule Vdr.Bench.Sync do
  @moduledoc false
  # How long does a full sync take, from the request to the first read, compared with a real server
  # that becomes a replica of the same primary? In wall time, where both include the primary's own
  # part, forking and writing the file. And in CPU time: the threads of the native library and its
  # allocator, against the whole process of the replica.
  alias Vdr.Bench.{CpuTime, Measure}
  alias Vdr.{Paint, Test.Server}

  @turns 3

  def run do
    Paint.title("Full syncs, against a real replica")
    Enum.flat_map(Measure.data_sets(), fn {what, _count, fill} -> measure(what, fill) end)
  end

  defp measure(what, fill) do
    {server, redis} = Measure.empty_server()
    fill.(redis)
    # The replica loads into an empty database without a file in between, which is cheaper for it.
    {:ok, replica} = Server.start_link(config: [{"repl-diskless-load", "on-empty-db"}])
    keys = Redix.command!(redis, ["DBSIZE"])
    turns = for _ <- 1..@turns, do: {mirror(server, keys), replica(replica, server, keys)}
    GenServer.stop(replica)
    GenServer.stop(server)

    for {kind, at} <- [{"wall", 0}, {"CPU", 1}] do
      {ours, theirs} =
        turns |> Enum.map(fn {ours, theirs} -> {elem(ours, at), elem(theirs, at)} end) |> Measure.medians()

      text = "#{Paint.time(ours)}, a replica #{Paint.time(theirs)}: #{Float.round(ours / theirs, 2)} of it"
      Measure.figure("full sync of #{what}, #{kind}", ours / 1.0e6, theirs / 1.0e6, "ms", ours / theirs, 1.0, text)
    end
  end

  defp mirror(server, keys) do
    {started, since} = {System.monotonic_time(:nanosecond), CpuTime.library()}
    Measure.mirror(server, :bench)
    took = System.monotonic_time(:nanosecond) - started
    cpu = CpuTime.library(since)
    {:ok, ^keys} = Veidrodelis.dbsize(:bench, 0)
    Veidrodelis.stop(:bench)
    {took, cpu}
  end

  defp replica(replica, server, keys) do
    {redis, pid} = {Server.connect!(replica), Server.info(replica).pid}
    Redix.pipeline!(redis, [["REPLICAOF", "NO", "ONE"], ["FLUSHALL"]])
    {synced, started, since} = {syncs(replica), System.monotonic_time(:nanosecond), CpuTime.process(pid)}
    Redix.command!(redis, ["REPLICAOF", "127.0.0.1", Server.port(server)])
    Measure.until(fn -> syncs(replica) > synced end)
    took = System.monotonic_time(:nanosecond) - started
    cpu = CpuTime.process(pid, since)
    Measure.await_size(redis, keys)
    Redix.command!(redis, ["REPLICAOF", "NO", "ONE"])
    Redix.stop(redis)
    {took, cpu}
  end

  # Reads the log, because asking the replica would take some of its CPU time.
  defp syncs(replica), do: Enum.count(Server.log(replica), &(&1 =~ "sync: Finished with success"))
end
