defmodule Vdr.Telemetry.Gauges do
  @moduledoc false
  # The numbers of an instance that dashboards show, each with its meaning: `Veidrodelis.Telemetry`
  # makes measurements, metrics and Prometheus text from them.

  @enforce_keys [:type, :unit, :doc]
  defstruct @enforce_keys

  @type t :: %__MODULE__{type: :gauge | :counter, unit: atom, doc: String.t()}

  @doc "The numbers in the order of the page. A counter only grows while the instance lives."
  @spec all() :: [{atom, t}]
  def all do
    [
      ready: gauge(:unit, "1 when the instance can be read, else 0"),
      connected: gauge(:unit, "1 when a server is connected, else 0"),
      stale: gauge(:unit, "1 when reads may be behind, because no link streams, else 0"),
      stale_ms: gauge(:millisecond, "for how long they may be"),
      lag_bytes: gauge(:byte, "bytes of the stream that have arrived and are not applied"),
      last_message_ms_ago: gauge(:millisecond, "the time since the server's last message; 0 before the first"),
      offset: counter(:byte, "the replication offset that is applied; another server may count anew"),
      commands_applied: counter(:unit, "commands of the stream that were applied"),
      keys: gauge(:unit, "keys of all databases"),
      memory_bytes: gauge(:byte, "an estimate of the data's memory; 0 with `memory: false`"),
      unknown_values: gauge(:unit, "keys that an unknown command may have changed"),
      unknown_commands: counter(:unit, "unknown commands of the stream"),
      divergences: counter(:unit, "commands that contradicted the data"),
      full_syncs: counter(:unit, "full syncs"),
      partial_syncs: counter(:unit, "partial syncs"),
      attempts: counter(:unit, "attempts to connect"),
      reconnects: counter(:unit, "links that streamed after the first one"),
      guard_window_ms: gauge(:millisecond, "for how long the guard key has been holding writes back"),
      guard_windows_given_up: counter(:unit, "guard windows that lasted too long"),
      watches: gauge(:unit, "watches"),
      snapshots_held: gauge(:unit, "snapshots that processes hold"),
      snapshots_oldest_ms: gauge(:millisecond, "the age of the oldest of them")
    ]
  end

  defp gauge(unit, doc), do: %__MODULE__{type: :gauge, unit: unit, doc: doc}
  defp counter(unit, doc), do: %__MODULE__{type: :counter, unit: unit, doc: doc}

  @doc """
  The numbers of an instance and what else `Veidrodelis.info/1` says of it. The estimate of memory
  takes some milliseconds of a dirty scheduler, everything else some microseconds.
  """
  @spec read(term, memory :: boolean) :: {:ok, %{atom => number}, Veidrodelis.info()} | {:error, :no_instance}
  def read(instance, memory?) do
    with %{} = info <- Veidrodelis.info(instance), memory when is_integer(memory) <- memory(instance, memory?) do
      {:ok, Map.new(all(), fn {name, _gauge} -> {name, number(name, info, memory)} end), info}
    end
  end

  defp memory(_instance, false), do: 0
  defp memory(instance, true), do: Veidrodelis.info(instance, :memory_bytes)

  defp number(:memory_bytes, _info, memory), do: memory
  defp number(:keys, info, _memory), do: info.keys |> Map.values() |> Enum.sum()
  defp number(:unknown_commands, info, _memory), do: info.unknown_commands |> Map.values() |> Enum.sum()
  defp number(name, info, _memory), do: plain(Map.fetch!(info, name))

  defp plain(nil), do: 0
  defp plain(true), do: 1
  defp plain(false), do: 0
  defp plain(number), do: number
end
