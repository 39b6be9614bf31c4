defmodule Vdr.Bench.Aggregates do
  @moduledoc false
  # Reads of one element of a large aggregate, against the same structure in ETS: a set table keyed
  # by element, and an ordered set for reads that depend on the order.
  alias Vdr.Bench.Measure
  alias Vdr.Paint

  import Vdr.Bench.Measure, only: [member: 1]

  @count Measure.count()
  @asked 100_000

  def run do
    Paint.title("Reads in aggregates of 1M elements, against ETS")
    {server, redis} = Measure.empty_server()
    Measure.fill_one(redis, "HSET", "h", &[member(&1), value(&1)])
    Measure.fill_one(redis, "ZADD", "z", &[Integer.to_string(&1), member(&1)])
    Measure.fill_one(redis, "SADD", "s", &[member(&1)])
    Measure.fill_one(redis, "RPUSH", "l", &[member(&1)])
    Measure.mirror(server, :bench)
    by_member = table(:set, &{member(&1), value(&1)})
    by_index = table(:set, &{&1, member(&1)})
    by_score = table(:ordered_set, &{{&1 * 1.0, member(&1)}})

    :rand.seed(:exsss, 42)
    numbers = for _ <- 1..@asked, do: :rand.uniform(@count - 10) - 1
    members = Enum.map(numbers, &member/1)

    figures = [
      told("hget of 1M fields", members, &Veidrodelis.hget(:bench, 0, "h", &1), &:ets.lookup(by_member, &1)),
      told("zscore of 1M members", members, &Veidrodelis.zscore(:bench, 0, "z", &1), &:ets.lookup(by_member, &1)),
      told("sismember of 1M members", members, &Veidrodelis.sismember(:bench, 0, "s", &1), &:ets.member(by_member, &1)),
      told("lindex of 1M elements", numbers, &Veidrodelis.lindex(:bench, 0, "l", &1), &:ets.lookup(by_index, &1)),
      told("zrange of 10 of 1M", numbers, &Veidrodelis.zrange(:bench, 0, "z", &1, &1 + 9), &ten(by_score, &1))
    ]

    Enum.each([by_member, by_index, by_score], &:ets.delete/1)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    figures
  end

  defp told(name, keys, ours, theirs) do
    {ours, theirs} = Measure.side_by_side(keys, ours, theirs)
    text = "#{Paint.time(ours)}, ETS #{Paint.time(theirs)}: #{Float.round(ours / theirs, 3)} of it"
    Measure.figure(name, ours, theirs, "ns", ours / theirs, 1.0, text)
  end

  # ETS has no access by rank, so the walk starts at the known score.
  defp ten(table, n), do: ten(table, :ets.next(table, {n * 1.0, ""}), 10, [])
  defp ten(_table, _key, 0, found), do: found

  defp ten(table, {_score, member} = key, left, found),
    do: ten(table, :ets.next(table, key), left - 1, [member | found])

  defp table(type, row) do
    table = :ets.new(:bench, [type, :public, read_concurrency: true])
    0..(@count - 1) |> Stream.map(row) |> Stream.chunk_every(10_000) |> Enum.each(&:ets.insert(table, &1))
    table
  end

  defp value(n), do: "value:" <> Integer.to_string(n)
end
