defmodule Vdr.Bench.Publishing do
  @moduledoc false
  # The cost of publishing: writes per second when each write is published alone, and with snapshots
  # held, against a thousand writes at a time. The thousand arrive at once, and are published in
  # portions, as in the library. `native/vdr_bench` measures this on the core alone, because no
  # client decides how much a read of the socket returns.
  alias Vdr.Bench.Measure
  alias Vdr.Paint

  def run do
    Paint.title("Writes published one by one, against a thousand at a time")
    median = Measure.native("publishing")
    [batches, alone, batches_held, alone_held] = for name <- ~w(batches alone batches-held alone-held), do: median[name]

    [
      figure("writes published one by one", alone, batches),
      figure("writes published by 1,000 with snapshots held", batches_held, batches),
      figure("writes published one by one with snapshots held", alone_held, batches)
    ]
  end

  defp figure(name, ours, theirs) do
    text = "#{Paint.number(round(ours))} a second, by 1,000 #{Paint.number(round(theirs))}"
    Measure.figure(name, ours, theirs, "writes/s", theirs / ours, 2.0, text)
  end
end
