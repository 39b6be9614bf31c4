defmodule Vdr.Bench.Reads do
  @moduledoc false
  # Is a read of the mirror as cheap as one of ETS, and how much cheaper than asking the server?
  alias Vdr.Bench.Measure
  alias Vdr.Paint

  @asked 300_000

  def get_ets do
    with_mirror_and_table(fn keys, ours, theirs ->
      {ours_ns, theirs_ns} = Measure.side_by_side(keys, ours, theirs)
      told("get, 1M keys, against :ets.lookup", ours_ns, theirs_ns, 1.0)
    end)
  end

  def get_ets_two_readers do
    with_mirror_and_table(fn keys, ours, theirs ->
      pairs = for _ <- 1..5, do: {Measure.per_call_in(2, keys, ours), Measure.per_call_in(2, keys, theirs)}
      ours_ns = pairs |> Enum.map(&elem(&1, 0)) |> Enum.min()
      theirs_ns = pairs |> Enum.map(&elem(&1, 1)) |> Enum.min()
      told("the same, two readers at once", ours_ns, theirs_ns, 1.0)
    end)
  end

  def get_network do
    Paint.title("get against GET over loopback")
    {server, redis} = Measure.filled_server()
    Measure.mirror(server, :bench)
    keys = Measure.random_keys(10_000)
    ours = &Veidrodelis.get(:bench, 0, &1)
    theirs = &Redix.command!(redis, ["GET", &1])
    {ours_ns, theirs_ns} = Measure.side_by_side(keys, ours, theirs, 4)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    told("get, 1M keys, against GET over loopback", ours_ns, theirs_ns, 0.02)
  end

  defp with_mirror_and_table(measure) do
    Paint.title("get against :ets.lookup, 1M keys, values of 32 bytes")
    {server, _redis} = Measure.filled_server()
    Measure.mirror(server, :bench)
    table = :ets.new(:bench, [:set, :public, read_concurrency: true])
    for n <- 0..(Measure.count() - 1), do: :ets.insert(table, {Measure.key(n), Measure.value(n)})

    keys = Measure.random_keys(@asked)
    # Both answer the value or that there is none.
    figure = measure.(keys, &Veidrodelis.get(:bench, 0, &1), &:ets.lookup(table, &1))
    :ets.delete(table)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    figure
  end

  defp told(name, ours, theirs, aim) do
    text = "#{Paint.time(ours)}, theirs #{Paint.time(theirs)}: #{Float.round(ours / theirs, 3)} of it"
    Measure.figure(name, ours, theirs, "ns", ours / theirs, aim, text)
  end
end
