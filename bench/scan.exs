defmodule Vdr.Bench.Scan do
  @moduledoc false
  # Does a call of scan cost what it returns, however many keys there are? A call with COUNT 1000 of
  # a million keys, beside the same of the server over loopback, and a whole scan of each.
  alias Vdr.Bench.Measure
  alias Vdr.Paint

  @count 1_000
  # A call looks at about COUNT keys, in milliseconds.
  @aim_ms 1.0

  def run do
    Paint.title("scan of 1M keys, COUNT #{@count}")
    {server, redis} = Measure.filled_server()
    Measure.mirror(server, :bench)

    ours = fn cursor -> Veidrodelis.scan!(:bench, 0, cursor, count: @count) end

    theirs = fn cursor ->
      [next, keys] = Redix.command!(redis, ["SCAN", Integer.to_string(cursor), "COUNT", Integer.to_string(@count)])
      {String.to_integer(next), keys}
    end

    {{our_ms, our_calls}, {their_ms, their_calls}} = {whole(ours), whole(theirs)}

    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    {a, b} = {our_ms / our_calls, their_ms / their_calls}
    text = "#{Paint.time(a * 1_000_000)}, the server over loopback #{Paint.time(b * 1_000_000)}"
    whole = "#{Paint.time(our_ms * 1_000_000)} in #{our_calls} calls, the server #{Paint.time(their_ms * 1_000_000)}"

    [
      Measure.figure("scan of 1M keys, a call of COUNT 1000", a, b, "ms", a / b, nil, text),
      Measure.figure("scan of 1M keys, a call of COUNT 1000, of 1 ms", a, @aim_ms, "ms", a / @aim_ms, 1.0, text),
      Measure.figure("scan of 1M keys, whole", our_ms, their_ms, "ms", our_ms / their_ms, nil, whole)
    ]
  end

  # The milliseconds and calls of a whole scan. It must return every key.
  defp whole(scan) do
    started = System.monotonic_time(:microsecond)
    {calls, keys} = walk(scan, 0, 0, 0)
    took = (System.monotonic_time(:microsecond) - started) / 1000
    # The server may return a key twice.
    if keys < Measure.count(), do: raise("the scan returned #{keys} keys of #{Measure.count()}")
    {took, calls}
  end

  defp walk(scan, cursor, calls, keys) do
    {next, found} = scan.(cursor)
    counts = {calls + 1, keys + length(found)}
    if next == 0, do: counts, else: walk(scan, next, elem(counts, 0), elem(counts, 1))
  end
end
