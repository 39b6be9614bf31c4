defmodule Vdr.Telemetry do
  @moduledoc false
  # Events for `:telemetry`, where the host has it. Handlers are user code and run in the calling process, which must
  # belong to one instance or one handler.

  @doc "Executes `[:veidrodelis, :link, event]` with the id among the metadata."
  @spec execute(id :: term, event :: atom, details :: map) :: :ok
  def execute(id, event, details) do
    if Code.ensure_loaded?(:telemetry) do
      measurements = %{system_time: System.system_time()}
      apply(:telemetry, :execute, [[:veidrodelis, :link, event], measurements, Map.put(details, :id, id)])
    end

    :ok
  end
end
