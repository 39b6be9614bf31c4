# `:telemetry` is optional and no Hex package is needed to test: this module stands in for it, and tells the processes that
# asked.
defmodule :telemetry do
  @moduledoc false
  def execute(event, measurements, metadata), do: Vdr.Test.Telemetry.told(event, measurements, metadata)
end

defmodule Vdr.Test.Telemetry do
  @moduledoc "Who wants to see telemetry's events."

  def attach(pid), do: :persistent_term.put(__MODULE__, [pid | :persistent_term.get(__MODULE__, [])])

  def told(event, measurements, metadata) do
    for pid <- :persistent_term.get(__MODULE__, []), do: send(pid, {:telemetry, event, measurements, metadata})
    :ok
  end
end
