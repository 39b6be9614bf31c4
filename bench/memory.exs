defmodule Vdr.Bench.Memory do
  @moduledoc false
  # How much a mirror adds to the resident memory of the node, against how much the data adds to the
  # server's `used_memory`.
  alias Vdr.Bench.Measure
  alias Vdr.Paint

  def run do
    Paint.title("Memory of the same data, against the server's")

    Enum.flat_map(Measure.data_sets(), fn {what, count, fill} -> measure(what, count, fill) end)
  end

  defp measure(what, count, fill) do
    {server, redis} = Measure.empty_server()
    empty = Measure.used_memory(redis)
    fill.(redis)
    theirs = (Measure.used_memory(redis) - empty) / count
    # A few MB more or less come from the VM and the allocator.
    turns = for _ <- 1..3, do: Measure.resident_mirror(server)
    GenServer.stop(server)
    {resident, told} = Measure.medians(turns)
    [resident, told] = [resident / count, told / count]
    text = "#{round(resident)} bytes each, the server #{round(theirs)}"
    told_text = "#{round(told)} bytes each, of #{round(resident)}"

    [
      Measure.figure("memory: #{what}", resident, theirs, "bytes", resident / theirs, 1.0, text),
      Measure.figure(
        "memory_bytes of #{what}, against resident",
        told,
        resident,
        "bytes",
        told / resident,
        nil,
        told_text
      )
    ]
  end
end
