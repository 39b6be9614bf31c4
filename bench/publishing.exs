defmodule Vdr.Bench.Publishing do
  @moduledoc false
  # What publishing costs: writes a second when each is published alone, and with snapshots held, against a thousand at a time.
  # Those come at once, and are shown as in the library: every so many of them.
  # `native/vdr_bench` measures it on the core alone, since no client decides how much comes out of a socket at once.
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
