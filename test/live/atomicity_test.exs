defmodule Vdr.Live.AtomicityTest do
  # Money moves between accounts at full speed, and readers check that the total never changes: in
  # MULTI and in EVAL without any convention, and with the guard key for writes that no MULTI holds
  # together.
  use Vdr.Test.LiveCase, async: false

  @checking_ms 2_500
  @pairs 16
  @total 1000
  @batch 20

  @script """
  local wrong = 0
  for i = 1, #KEYS, 2 do
    if tonumber(ts.get(KEYS[i])) + tonumber(ts.get(KEYS[i + 1])) ~= tonumber(ARGV[1]) then wrong = wrong + 1 end
  end
  return wrong
  """

  live_test "no reader ever sees half a transfer", %{server: server, redis: redis, id: id} do
    for n <- 1..@pairs, do: Redix.command!(redis, ["MSET", from(n), @total, to(n), 0])
    Redix.command!(redis, ["MSET", "guarded:from", @total, "guarded:to", 0])
    Mirror.settle(id, redis)

    {:ok, script} = Veidrodelis.lua_load(id, @script)
    writers = [writer(server, &multi/1), writer(server, &eval/1), writer(server, &guarded/1)]
    until = System.monotonic_time(:millisecond) + @checking_ms
    reads = [list: &list(id, &1), lua: &lua(id, script, &1), snapshot: &snapshot(id, &1)]
    readers = for {name, read} <- reads, do: {name, Task.async(fn -> check(read, until, 0) end)}
    checks = for {name, reader} <- readers, do: {name, Task.await(reader, :infinity)}
    moved = Veidrodelis.get(id, 0, to(1))
    for writer <- writers, do: Task.shutdown(writer, :brutal_kill)

    for {name, count} <- checks, do: assert(count > 1_000, "only #{count} checks by #{name}")
    assert moved != {:ok, "0"}, "the writers moved nothing while we read"
    told = Enum.map_join(checks, ", ", fn {name, count} -> "#{count} by #{name}" end)
    sum = checks |> Enum.map(&elem(&1, 1)) |> Enum.sum()
    IO.puts("\n  sums checked against #{Server.info(server).binary.name}: #{sum} (#{told})")
  end

  defp from(n), do: "from:#{n}"
  defp to(n), do: "to:#{n}"

  # ---- writers

  defp writer(server, commands) do
    Task.async(fn ->
      redis = Server.connect!(server)

      1
      |> Stream.iterate(&(&1 + 1))
      |> Enum.each(fn turn ->
        replies = Redix.pipeline!(redis, Enum.flat_map(1..@batch, fn n -> commands.(turn * @batch + n) end))
        refute Enum.any?(replies, &match?(%Redix.Error{}, &1))
      end)
    end)
  end

  defp multi(n) do
    {pair, amount} = {rem(n, @pairs) + 1, rem(n, 7)}
    [["MULTI"], ["DECRBY", from(pair), amount], ["INCRBY", to(pair), amount], ["EXEC"]]
  end

  defp eval(n) do
    move = "redis.call('INCRBY', KEYS[1], ARGV[1]) redis.call('DECRBY', KEYS[2], ARGV[1])"
    pair = rem(n * 5, @pairs) + 1
    [["EVAL", move, 2, from(pair), to(pair), rem(n, 5)]]
  end

  # Commands of other writers arrive in between; they are held back as well.
  defp guarded(n) do
    [
      ["SETEX", "__vdr_tx", "5", "in_progress"],
      ["SET", "guarded:from", @total - n],
      ["SET", "guarded:to", n],
      ["DEL", "__vdr_tx"]
    ]
  end

  # ---- readers

  defp check(read, until, count) do
    seen = Enum.reduce(1..100, 0, fn n, seen -> seen + read.(n) end)
    if System.monotonic_time(:millisecond) < until, do: check(read, until, count + seen), else: count + seen
  end

  defp list(id, n) do
    {a, b} = pair(n)
    {:ok, [{:ok, x}, {:ok, y}]} = Veidrodelis.read_tx(id, 0, [{:get, a}, {:get, b}])
    assert String.to_integer(x) + String.to_integer(y) == @total, "#{a} #{x}, #{b} #{y}"
    1
  end

  # One script checks several pairs.
  defp lua(id, script, n) do
    pairs = for k <- n..(n + 4), do: pair(k)
    keys = Enum.flat_map(pairs, fn {a, b} -> [a, b] end)
    assert {:ok, 0} = Veidrodelis.read_tx(id, 0, script, keys: keys, args: [@total])
    length(pairs)
  end

  defp snapshot(id, n) do
    {:ok, snapshot} = Veidrodelis.snapshot(id)
    {a, b} = pair(n)
    {:ok, x} = Veidrodelis.get(snapshot, 0, a)
    {:ok, y} = Veidrodelis.get(snapshot, 0, b)
    assert String.to_integer(x) + String.to_integer(y) == @total, "#{a} #{x}, #{b} #{y}"
    1
  end

  defp pair(n) when rem(n, @pairs + 1) == 0, do: {"guarded:from", "guarded:to"}
  defp pair(n), do: {from(rem(n, @pairs + 1)), to(rem(n, @pairs + 1))}
end
