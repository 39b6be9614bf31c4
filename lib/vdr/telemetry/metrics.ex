defmodule Vdr.Telemetry.Metrics do
  @moduledoc false
  # Definitions for Telemetry.Metrics, which reporters turn into numbers: structs where it is
  # loaded, and otherwise maps of the same content.

  alias Vdr.Telemetry.Gauges

  @type plain :: %{
          type: :counter | :sum | :last_value | :summary,
          name: String.t(),
          unit: atom | {atom, atom},
          tags: [atom],
          description: String.t()
        }

  @spec all() :: [plain | struct]
  def all, do: Enum.map(instances() ++ events(), &definition/1)

  defp instances do
    for {name, gauge} <- Gauges.all(), do: {:last_value, "instance.#{name}", gauge.unit, [:id], gauge.doc}
  end

  @ms {:native, :millisecond}

  defp events do
    [
      {:summary, "connection.duration", @ms, [:id, :sync], "how long connecting took"},
      {:counter, "connection.duration", :unit, [:id, :sync], "links that came to stream"},
      {:counter, "disconnection.duration", :unit, [:id, :reason], "links that ended"},
      {:counter, "failed_connection.duration", :unit, [:id, :reason], "attempts that failed"},
      {:summary, "full_sync.stop.duration", @ms, [:id], "how long full syncs took"},
      {:last_value, "full_sync.stop.bytes", :byte, [:id], "the size of the last full sync"},
      {:counter, "full_sync.exception.duration", :unit, [:id, :reason], "full syncs that failed"},
      {:counter, "partial_sync.duration", :unit, [:id], "partial syncs"},
      {:counter, "guard_window.given_up.count", :unit, [:id], "guard windows that lasted too long"},
      {:sum, "guard_window.closed.count", :unit, [:id], "guard windows that held writes back"},
      {:summary, "guard_window.closed.duration", @ms, [:id], "how long the longest of them was open"},
      {:sum, "watch.missed.count", :unit, [:id], "events of watches that were not sent"},
      {:counter, "unknown_command.count", :unit, [:id, :name], "links that met an unknown command"},
      {:counter, "script.limit.count", :unit, [:kind], "scripts that reached a limit"},
      {:summary, "command.stop.duration", @ms, [:id, :call], "how long calls of commands took"},
      {:counter, "command.stop.duration", :unit, [:id, :call, :result], "calls of commands"},
      {:summary, "handler_batch.stop.duration", @ms, [:id], "how long handlers took for a batch"},
      {:sum, "handler_batch.stop.commands", :unit, [:id], "commands that handlers handled"},
      {:counter, "handler_batch.exception.duration", :unit, [:id, :kind], "batches by which a handler ended"}
    ]
  end

  defp definition({type, name, unit, tags, description}) do
    name = "veidrodelis." <> name

    if Code.ensure_loaded?(Telemetry.Metrics) do
      options = [tags: tags, description: description]
      options = if type == :counter, do: options, else: [{:unit, unit} | options]
      apply(Telemetry.Metrics, type, [name, options])
    else
      %{type: type, name: name, unit: unit, tags: tags, description: description}
    end
  end
end
