defmodule Vdr.Bench.Sync do
  @moduledoc false
  # How long does a full sync of a million keys take, from the wish to the first read, compared with a real server that becomes a
  # replica of the same primary? The primary's own part, forking and writing the file, is in both.
  alias Vdr.Bench.Measure
  alias Vdr.{Paint, Test.Server}

  @turns 4

  def run do
    Paint.title("Full sync of 1M keys")
    {server, _redis} = Measure.filled_server()
    {:ok, replica} = Server.start_link()
    pairs = for _ <- 1..@turns, do: {mirror(server), replica(replica, server)}
    GenServer.stop(replica)
    GenServer.stop(server)

    ours = pairs |> Enum.map(&elem(&1, 0)) |> Enum.min()
    theirs = pairs |> Enum.map(&elem(&1, 1)) |> Enum.min()
    text = "#{Paint.time(ours)}, a replica #{Paint.time(theirs)}: #{Float.round(ours / theirs, 2)} of it"
    Measure.figure("full sync of 1M keys", ours / 1.0e6, theirs / 1.0e6, "ms", ours / theirs, 3.0, text)
  end

  defp mirror(server) do
    started = System.monotonic_time(:nanosecond)
    Measure.mirror(server, :bench)
    took = System.monotonic_time(:nanosecond) - started
    last = Measure.count() - 1
    {:ok, <<_::binary-size(32)>>} = Veidrodelis.get(:bench, 0, Measure.key(last))
    Veidrodelis.stop(:bench)
    took
  end

  defp replica(replica, server) do
    redis = Server.connect!(replica)
    Redix.pipeline!(redis, [["REPLICAOF", "NO", "ONE"], ["FLUSHALL"]])
    started = System.monotonic_time(:nanosecond)
    Redix.command!(redis, ["REPLICAOF", "127.0.0.1", Server.port(server)])
    Measure.until(fn -> Redix.command!(redis, ["INFO", "replication"]) =~ "master_link_status:up" end)
    took = System.monotonic_time(:nanosecond) - started
    Measure.await_size(redis, Measure.count())
    Redix.command!(redis, ["REPLICAOF", "NO", "ONE"])
    Redix.stop(redis)
    took
  end
end
