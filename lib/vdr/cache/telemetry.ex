defmodule Vdr.Cache.Telemetry do
  @moduledoc false
  # The events of a cache for `:telemetry`, if the application has it. The cache checks that once,
  # at its start.

  # Every event: its name after the prefix, its measurements, its metadata beside the cache, and a
  # note for the documentation.
  @page [
    {[:get, :stop], [:duration], [:key, :result], "`result`: `:hit`, `:miss` or `:error`"},
    {[:put, :stop], [:duration], [:key, :ttl], ""},
    {[:delete, :stop], [:duration], [:key], ""},
    {[:fetch, :start], [:system_time], [:key], "the key has no valid entry, so a fetch is needed"},
    {[:fetch, :stop], [:duration], [:key, :result], "`result`: `:hit`, `:fetched`, `:waited`, `:stale` or `:error`"},
    {[:fetch, :exception], [:duration], [:key, :kind, :reason, :stacktrace], "the function of `get_or_fetch` raised"},
    {[:invalidate_tag, :stop], [:count], [:tag], ""},
    {[:ttl_sweep, :stop], [:evicted], [], "after every sweep"},
    {[:eviction, :stop], [:count], [:policy], "once for each put that evicts"},
    {[:stats, :summary], :counters, [], "all counters of `stats/1`, at every `:stats_interval`"},
    {[:decode, :error], [:count], [:key], "bytes on the server are not a value of a cache"},
    {[:cluster, :change], [:members], [:joined, :left], "nodes joined or left"},
    {[:rebalance, :stop], [:dropped, :duration], [], "a node has removed the entries that it no longer owns"},
    {[:heal, :clear], [:count], [], "a network split has healed, and this node has removed its entries"}
  ]

  @enforce_keys [:cache, :prefix, :events, :keys]
  defstruct [:cache, :prefix, :events, :keys]

  @type t :: %__MODULE__{} | nil

  @doc """
  Returns the events with their measurements and metadata, for the test that compares them with the
  executed events.
  """
  @spec page() :: [{[atom], [atom] | :counters, [atom], String.t()}]
  def page, do: @page

  @doc "Returns the table of events for the documentation."
  @spec docs() :: String.t()
  def docs do
    rows =
      for {name, measurements, metadata, doc} <- @page do
        "| `#{inspect(name)}` | #{names(measurements)} | #{names(metadata)} | #{doc} |"
      end

    Enum.join(["| event | measurements | metadata | |", "|---|---|---|---|" | rows], "\n  ")
  end

  defp names(:counters), do: "all"
  defp names(names), do: Enum.map_join(names, ", ", &"`#{&1}`")

  @spec new(map) :: t
  def new(%{telemetry: false}), do: nil
  def new(%{telemetry: []}), do: nil

  def new(options) do
    if Code.ensure_loaded?(:telemetry) do
      events = if options.telemetry == true, do: Vdr.Cache.Options.events(), else: options.telemetry

      %__MODULE__{
        cache: options.name,
        prefix: options.telemetry_prefix,
        events: Map.new(events, &{&1, true}),
        keys: options.telemetry_keys
      }
    end
  end

  @doc "Returns whether the event is enabled."
  @spec tells?(t, atom) :: boolean
  def tells?(nil, _event), do: false
  def tells?(%{events: events}, event), do: is_map_key(events, event)

  @doc "Returns the time at the start of a measurement, or `nil` if the event is disabled."
  @spec started(t, atom) :: integer | nil
  def started(telemetry, event), do: if(tells?(telemetry, event), do: :erlang.monotonic_time())

  @doc "Sends the event that ends a measurement, unless the event is disabled."
  @spec stop(t, atom, integer | nil, map) :: :ok
  def stop(_telemetry, _event, nil, _metadata), do: :ok

  def stop(telemetry, event, started, metadata),
    do: execute(telemetry, [event, :stop], %{duration: :erlang.monotonic_time() - started}, metadata)

  @doc "Sends an event, and adds the cache to its metadata."
  @spec execute(t, [atom, ...], map, map) :: :ok
  def execute(telemetry, [event | _] = name, measurements, metadata) do
    if tells?(telemetry, event) do
      metadata = metadata |> Map.put(:cache, telemetry.cache) |> hide_key(telemetry.keys)
      apply(:telemetry, :execute, [telemetry.prefix ++ name, measurements, metadata])
    end

    :ok
  end

  defp hide_key(metadata, true), do: metadata
  defp hide_key(metadata, false), do: Map.delete(metadata, :key)
end
