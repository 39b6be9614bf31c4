defmodule Vdr.Bench.Memory do
  @moduledoc false
  # What a mirror adds to the memory that the node has resident, against what the data adds to the server's `used_memory`.
  alias Vdr.Bench.Measure
  alias Vdr.{Paint, Test.Server}

  @settle_ms 5_000

  def run do
    Paint.title("Memory of the same data, against the server's")

    Enum.map(
      [
        {"1M strings of 32 B", 1_000_000, &Measure.fill/1},
        {"100k hashes of 20 fields", 100_000, &hashes/1},
        {"one sorted set of 1M", 1_000_000, &one(&1, "ZADD", fn n -> [Integer.to_string(n), member(n)] end)},
        {"one list of 1M", 1_000_000, &one(&1, "RPUSH", fn n -> [member(n)] end)}
      ],
      fn {what, count, fill} -> measure(what, count, fill) end
    )
  end

  defp measure(what, count, fill) do
    {:ok, server} = Server.start_link(config: [{"client-output-buffer-limit", "replica 0 0 0"}])
    redis = Server.connect!(server)
    empty = used(redis)
    fill.(redis)
    theirs = (used(redis) - empty) / count
    before = resident()
    Measure.mirror(server, :bench)
    # What the full sync needed besides goes back.
    Process.sleep(@settle_ms)
    ours = (resident() - before) / count
    told = Veidrodelis.info(:bench).memory_bytes / count
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    Process.sleep(@settle_ms)
    text = "#{round(ours)} bytes each, the server #{round(theirs)}; info/1 tells #{round(told)}"
    Measure.figure("memory: #{what}", ours, theirs, "bytes", ours / theirs, 1.0, text)
  end

  defp used(redis) do
    [_, bytes] = Regex.run(~r/used_memory:(\d+)/, Redix.command!(redis, ["INFO", "memory"]))
    String.to_integer(bytes)
  end

  defp resident do
    :erlang.garbage_collect()
    [_, pages | _] = String.split(File.read!("/proc/self/statm"))
    String.to_integer(pages) * 4096
  end

  defp hashes(redis) do
    0..99_999
    |> Stream.chunk_every(500)
    |> Enum.each(fn numbers ->
      Redix.pipeline!(
        redis,
        for(n <- numbers, do: ["HSET", "hash:#{n}" | for(f <- 1..20, w <- ["field:#{f}", "value:#{n}"], do: w)])
      )
    end)
  end

  defp one(redis, command, words) do
    0..999_999
    |> Stream.chunk_every(1_000)
    |> Enum.each(fn numbers -> Redix.command!(redis, [command, "one" | Enum.flat_map(numbers, words)]) end)
  end

  defp member(n), do: "member:" <> String.pad_leading(Integer.to_string(n), 8, "0")
end
