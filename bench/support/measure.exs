defmodule Vdr.Bench.Measure do
  @moduledoc false
  # How the benches measure: the two sides take turns, so that whatever else the machine does hits both; the best turn of
  # each counts, since noise only ever adds.
  alias Vdr.Test.Server

  @turns 7

  @doc "Best nanoseconds per call of two functions of a key, over the same keys in the same order."
  def side_by_side(keys, ours, theirs, turns \\ @turns) do
    pairs = for _ <- 1..turns, do: {per_call(keys, ours), per_call(keys, theirs)}
    {pairs |> Enum.map(&elem(&1, 0)) |> Enum.min(), pairs |> Enum.map(&elem(&1, 1)) |> Enum.min()}
  end

  # The cost of walking the list and of calling a closure is in both sides alike.
  def per_call(keys, read) do
    :erlang.garbage_collect()
    started = System.monotonic_time(:nanosecond)
    walk(keys, read)
    (System.monotonic_time(:nanosecond) - started) / length(keys)
  end

  defp walk([key | keys], read) do
    read.(key)
    walk(keys, read)
  end

  defp walk([], _read), do: :ok

  @doc "The same in `n` processes at once; nanoseconds per call as one process sees it."
  def per_call_in(n, keys, read) do
    1..n
    |> Enum.map(fn _ -> Task.async(fn -> per_call(keys, read) end) end)
    |> Task.await_many(:infinity)
    |> Enum.max()
  end

  # ---- the data: 1M keys of a usual shape with values of 32 bytes

  @keys 1_000_000
  def count, do: @keys
  def key(n), do: "user:" <> String.pad_leading(Integer.to_string(n), 10, "0") <> ":name"
  def value(n), do: String.pad_leading(Integer.to_string(n), 32, "v")

  @doc "Keys in random order, the same in every run."
  def random_keys(count, among \\ @keys) do
    :rand.seed(:exsss, 42)
    for _ <- 1..count, do: key(:rand.uniform(among) - 1)
  end

  @doc "A server with the million keys, of whichever kind is at hand; Redis 7.0 where there is one, so that runs compare."
  def filled_server(config \\ []) do
    {:ok, server} = Server.start_link(config: [{"client-output-buffer-limit", "replica 0 0 0"} | config])
    redis = Server.connect!(server)
    fill(redis)
    {server, redis}
  end

  @doc "The million keys."
  def fill(redis), do: fill(redis, @keys, &value/1)

  @doc "So many of the keys, with other values."
  def fill(redis, count, value) do
    0..(count - 1)
    |> Stream.chunk_every(2_000)
    |> Enum.each(fn chunk -> Redix.pipeline!(redis, Enum.map(chunk, &["SET", key(&1), value.(&1)])) end)
  end

  def mirror(server, id) do
    {:ok, pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: Server.port(server))
    :ok = Veidrodelis.await_ready(id, 120_000)
    pid
  end

  @doc "A real server that follows this one, and a connection to it."
  def replica_of(server) do
    {:ok, replica} = Server.start_link(config: [{"replicaof", "127.0.0.1 #{Server.port(server)}"}])
    redis = Server.connect!(replica)
    until(fn -> Redix.command!(redis, ["INFO", "replication"]) =~ "master_link_status:up" end)
    {replica, redis}
  end

  @doc "A replica that says it is up has what its primary has; anything else is no sync to measure."
  def await_size(redis, at_least) do
    size = Redix.command!(redis, ["DBSIZE"])
    if size < at_least, do: raise("the replica has #{size} keys of #{at_least}")
    :ok
  end

  @doc "Waits, without a pause longer than a millisecond, until the condition holds."
  def until(condition) do
    unless condition.() do
      receive do
      after
        1 -> until(condition)
      end
    end
  end

  def figure(name, ours, theirs, unit, ratio, aim, text) do
    Vdr.Paint.line(name, text)
    %{figure: name, ours: round3(ours), theirs: round3(theirs), unit: unit, ratio: round3(ratio), aim: aim}
  end

  defp round3(number), do: Float.round(number * 1.0, 3)
end
