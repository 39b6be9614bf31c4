defmodule Vdr.Telemetry.DefaultLogger do
  @moduledoc false
  # Log lines for events that have none of their own. What links do is logged without telemetry, see
  # `Vdr.Log`.

  require Logger

  @id "veidrodelis-default-logger"
  @events [
    [:full_sync, :stop],
    [:full_sync, :exception],
    [:partial_sync],
    [:script, :limit],
    [:watch, :missed],
    [:handler_batch, :stop],
    [:handler_batch, :exception]
  ]

  @spec attach(Logger.level()) :: :ok | {:error, :already_exists | :no_telemetry}
  def attach(level) do
    if Code.ensure_loaded?(:telemetry) do
      events = Enum.map(@events, &[:veidrodelis | &1])
      apply(:telemetry, :attach_many, [@id, events, &__MODULE__.handle/4, %{level: level}])
    else
      {:error, :no_telemetry}
    end
  end

  @spec detach() :: :ok | {:error, :not_found | :no_telemetry}
  def detach do
    if Code.ensure_loaded?(:telemetry), do: apply(:telemetry, :detach, [@id]), else: {:error, :no_telemetry}
  end

  @doc false
  @spec handle([atom], map, map, %{level: Logger.level()}) :: :ok
  def handle([:veidrodelis | event], measurements, metadata, %{level: level}) do
    Logger.log(level(event, level), fn -> "Veidrodelis #{name(metadata)}: #{text(event, measurements, metadata)}" end)
  end

  # Batches come by the thousand.
  defp level([:handler_batch, :stop], _level), do: :debug
  defp level([_what, :exception], _level), do: :warning
  defp level([_what, event], _level) when event in [:limit, :missed], do: :warning
  defp level(_event, level), do: level

  defp text([:full_sync, :stop], %{bytes: bytes, keys: keys} = measurements, _metadata),
    do: "full sync of #{keys} keys and #{bytes} bytes in #{ms(measurements)} ms"

  defp text([:full_sync, :exception], %{bytes: bytes} = measurements, %{reason: reason}),
    do: "full sync failed after #{bytes} bytes and #{ms(measurements)} ms: #{reason}"

  defp text([:partial_sync], measurements, _metadata), do: "partial sync in #{ms(measurements)} ms"
  defp text([:script, :limit], %{limit: limit}, %{kind: :timeout}), do: "a script ran for longer than #{limit} ms"
  defp text([:script, :limit], %{limit: limit}, %{kind: :memory}), do: "a script wanted more than #{limit} bytes"

  defp text([:watch, :missed], %{count: count, watches: watches}, _metadata),
    do: "#{count} events of #{watches} watches were not sent, because processes did not drain their mailboxes"

  defp text([:handler_batch, :stop], %{commands: commands} = measurements, _metadata),
    do: "#{commands} commands handled in #{ms(measurements)} ms"

  defp text([:handler_batch, :exception], %{commands: commands} = measurements, %{kind: kind}),
    do: "handle_commands of #{commands} commands ended by #{kind} after #{ms(measurements)} ms"

  defp ms(%{duration: duration}), do: System.convert_time_unit(duration, :native, :millisecond)

  defp name(%{id: id}), do: inspect(id, limit: 5, printable_limit: 100)
  defp name(%{source: source}), do: inspect(source, limit: 5, printable_limit: 100)
end
