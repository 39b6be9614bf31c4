defmodule Vdr.Link.Spans do
  @moduledoc false
  # Turns the events of a link into telemetry spans of connections and syncs. The begun spans are a
  # value in the state of `Vdr.Link` and in its report. So if the process crashes, its successor
  # ends them.

  alias Vdr.Telemetry

  @typedoc "When the current attempt, its full sync and its stream began, in native monotonic time."
  @type t :: %{optional(:connecting | :syncing | :streaming) => integer}

  @spec new() :: t
  def new, do: %{}

  @doc """
  Executes the telemetry events of the spans that an event of the link begins or ends. `loaded`
  returns the bytes and keys of a full sync.
  """
  @spec follow(t, id :: term, event :: atom, details :: map, loaded :: (... -> map)) :: t
  def follow(_spans, _id, :connecting, _details, _loaded), do: %{connecting: now()}

  def follow(spans, id, :syncing, details, _loaded) do
    now = now()
    Telemetry.execute([:full_sync, :start], Telemetry.started(now), about(id, details))
    Map.put(spans, :syncing, now)
  end

  def follow(%{connecting: since} = spans, id, :streaming, details, loaded) do
    about = about(id, details)

    case spans do
      %{syncing: begun} -> Telemetry.execute([:full_sync, :stop], Telemetry.ended(loaded.(), begun), about)
      _partial -> Telemetry.execute([:partial_sync], %{duration: now() - since}, about)
    end

    Telemetry.execute([:connection], %{duration: now() - since}, Map.put(about, :sync, details.sync))
    %{streaming: now()}
  end

  def follow(spans, id, :disconnected, details, loaded) do
    about = Map.merge(about(id, details), Map.take(details, [:reason, :detail, :refused, :retry_in_ms]))
    with %{syncing: begun} <- spans, do: fail(begun, about, loaded)

    case spans do
      %{streaming: since} -> Telemetry.execute([:disconnection], %{duration: now() - since}, about)
      %{connecting: since} -> Telemetry.execute([:failed_connection], %{duration: now() - since}, about)
      _not_begun -> :ok
    end

    new()
  end

  def follow(spans, _id, _event, _details, _loaded), do: spans

  defp fail(begun, about, loaded) do
    about = about |> Map.take([:id, :primary, :reason, :detail]) |> Map.put(:kind, :error)
    Telemetry.execute([:full_sync, :exception], Telemetry.ended(loaded.(), begun), about)
  end

  defp about(id, %{primary: primary}), do: %{id: id, primary: primary}
  defp now, do: System.monotonic_time()
end
