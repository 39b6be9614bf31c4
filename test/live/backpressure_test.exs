defmodule Vdr.Live.BackpressureTest do
  # Ten million commands go through a handler that is slower than the server. It runs alone, because
  # it measures the node's memory.
  use ExUnit.Case, async: false

  alias Vdr.RedisStream.Replica
  alias Vdr.Test.{Mirror, Server}

  @moduletag capture_log: true
  @moduletag timeout: 900_000

  @commands 10_000_000
  @at_once 10_000
  # Two batches of 4096 commands of some kB as terms, doubled while a process collects its garbage.
  @most_bytes 100_000_000

  defmodule Sleeper do
    @behaviour Vdr.RedisStream.Callback

    @impl true
    def init(counter), do: {:ok, counter}

    @impl true
    def handle_commands(counter, commands) do
      :counters.add(counter, 1, length(commands))
      Process.sleep(3)
      {:ok, counter}
    end
  end

  test "memory stays flat while ten million commands pass a callback that sleeps" do
    # The server buffers everything that the handler cannot take yet.
    server = Server.start!(config: [{"client-output-buffer-limit", "replica 0 0 0"}])
    counter = :counters.new(1, [])
    options = [host: "127.0.0.1", port: Server.port(server), callback_module: Sleeper, callback_opts: counter]
    replica = start_supervised!({Replica, options})
    Mirror.eventually("it streams", fn -> Replica.get_replication_state(replica) == :streaming end)
    before = memory()

    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, Server.port(server), [:binary, active: false])
    drain = Task.async(fn -> Server.drain(socket, @commands * byte_size("+OK\r\n"), 120_000) end)
    batch = ["SET", "key", "0123456789"] |> Redix.pack() |> IO.iodata_to_binary() |> String.duplicate(@at_once)
    feed = Task.async(fn -> for _ <- 1..div(@commands, @at_once), do: :ok = :gen_tcp.send(socket, batch) end)

    assert most_memory(replica, counter, 0) - before < @most_bytes
    Task.await_many([drain, feed], 60_000)
    assert :counters.get(counter, 1) == @commands

    # It was one link all the time, and everything is acknowledged.
    redis = Server.connect!(server)
    Mirror.eventually("all is acknowledged", fn -> Redix.command!(redis, ["WAIT", 1, 100]) == 1 end)
    assert Redix.command!(redis, ["INFO", "stats"]) =~ "sync_full:1\r\nsync_partial_ok:0\r\nsync_partial_err:0"
  end

  # The memory of the VM's whole process, the native library included.
  defp memory do
    [_, kilobytes] = Regex.run(~r/VmRSS:\s+(\d+)/, File.read!("/proc/self/status"))
    String.to_integer(kilobytes) * 1024
  end

  defp most_memory(replica, counter, most) do
    assert Replica.get_replication_state(replica) == :streaming
    Process.sleep(20)
    most = max(most, memory())
    if :counters.get(counter, 1) < @commands, do: most_memory(replica, counter, most), else: most
  end
end
