# `:telemetry` is optional, and the tests need no Hex package. This module stands in for it, and
# sends the events to the processes that asked for them.
defmodule :telemetry do
  @moduledoc false
  def execute(event, measurements, metadata), do: Vdr.Test.Telemetry.told(event, measurements, metadata)
end

defmodule Vdr.Test.Telemetry do
  @moduledoc "Handlers of telemetry's events: processes that receive them, and functions that are called with them."

  def attach(handler), do: :persistent_term.put(__MODULE__, [handler | :persistent_term.get(__MODULE__, [])])

  def told(event, measurements, metadata) do
    for handler <- :persistent_term.get(__MODULE__, []),
        do: handle(handler, {:telemetry, event, measurements, metadata})

    :ok
  end

  defp handle(pid, message) when is_pid(pid), do: send(pid, message)
  defp handle(fun, {:telemetry, event, _measurements, metadata}), do: fun.(event, metadata)
end
