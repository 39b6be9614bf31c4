defmodule Vdr.Bench.Memory do
  @moduledoc false
  # What a mirror adds to the memory that the node has resident, against what the data adds to the server's `used_memory`.
  alias Vdr.Bench.Measure
  alias Vdr.Paint

  def run do
    Paint.title("Memory of the same data, against the server's")

    for {what, count, fill} <- Measure.data_sets(), do: measure(what, count, fill)
  end

  defp measure(what, count, fill) do
    {server, redis} = Measure.empty_server()
    empty = Measure.used_memory(redis)
    fill.(redis)
    theirs = (Measure.used_memory(redis) - empty) / count
    # A few MB more or less are the VM's and the allocator's.
    turns = for _ <- 1..3, do: Measure.resident_mirror(server)
    GenServer.stop(server)
    {resident, told} = Measure.medians(turns)
    ours = resident / count
    text = "#{round(ours)} bytes each, the server #{round(theirs)}; info/1 tells #{round(told / count)}"
    Measure.figure("memory: #{what}", ours, theirs, "bytes", ours / theirs, 1.0, text)
  end
end
