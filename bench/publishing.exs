defmodule Vdr.Bench.Publishing do
  @moduledoc false
  # What publishing costs: writes a second when each is published alone, and with snapshots held, against a thousand at a time.
  # `native/vdr_bench` measures it on the core alone, since no client decides how much comes out of a socket at once.
  alias Vdr.Bench.Measure
  alias Vdr.Paint

  def run do
    Paint.title("Writes published one by one, against a thousand at a time")
    {text, 0} = System.cmd("cargo", ~w(run --release --quiet --locked -p vdr_bench))
    rates = text |> String.split("\n", trim: true) |> Enum.map(&String.split/1) |> Enum.group_by(&hd/1, &rate/1)

    [batches, alone, batches_held, alone_held] =
      for name <- ~w(batches alone batches-held alone-held), do: Measure.median(rates[name])

    [
      figure("writes published one by one", alone, batches),
      figure("writes published by 1,000 with snapshots held", batches_held, batches),
      figure("writes published one by one with snapshots held", alone_held, batches)
    ]
  end

  defp rate([_name, rate]), do: String.to_integer(rate)

  defp figure(name, ours, theirs) do
    text = "#{Paint.number(ours)} a second, by 1,000 #{Paint.number(theirs)}"
    Measure.figure(name, ours, theirs, "writes/s", theirs / ours, 2.0, text)
  end
end
