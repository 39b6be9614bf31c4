defmodule Veidrodelis.Telemetry do
  @moduledoc """
  The events that the library executes for [`:telemetry`](https://hexdocs.pm/telemetry), and the
  numbers of instances for monitoring systems.

  The library does not depend on `:telemetry`: it executes events where the application has it.

      :telemetry.attach("lost", [:veidrodelis, :disconnection], &MyApp.lost/4, nil)

  A handler runs in the process that executes the event, which belongs to one instance, to one
  handler, or to the caller of a script or of commands. A handler that is slow delays that process,
  and nothing else: no read, no other instance. `Veidrodelis.subscribe/1` delivers what happens to
  links as messages instead.

  ## Numbers of instances

  Their state can be asked at any time. With `telemetry_poller`, every ten seconds:

      {:telemetry_poller,
       measurements: [{Veidrodelis.Telemetry, :measurements, [[]]}], period: 10_000}

  `metrics/0` has definitions for the reporters of `Telemetry.Metrics`. `prometheus/0` is the page
  that Prometheus reads, and needs neither of the two:

      get "/metrics" do
        conn |> put_resp_content_type("text/plain") |> send_resp(200, Veidrodelis.Telemetry.prometheus())
      end

  ## Log lines

  The library logs what happens to links without `:telemetry`; the option `log:` of
  `Veidrodelis.start_link/1` sets the least level, or turns it off, and `Veidrodelis.log_level/2`
  changes it for one instance that runs. `attach_default_logger/1` adds lines about full and partial
  syncs, limits of scripts, watches that missed events, and batches of handlers.

  ## Events

  An attempt to connect executes `failed_connection`, or `connection` and later `disconnection`.
  `full_sync` begins with `start`, and ends with `stop` or `exception`. The events under `:link` are
  the messages of `Veidrodelis.subscribe/1`. No event has values of keys or secrets.

  #{Vdr.Telemetry.Events.page()}
  """

  alias Vdr.Schema
  alias Vdr.Telemetry.{DefaultLogger, Events, Gauges, Metrics, Prometheus}

  @measurements [
    ids: [type: {:list, :any}, doc: "the instances, all of them without it"],
    memory: [
      type: :boolean,
      default: true,
      doc: "whether to estimate the memory, which takes some milliseconds of a dirty scheduler for each instance"
    ]
  ]

  @type option :: unquote(Schema.type(@measurements))

  @doc """
  Executes `[:veidrodelis, :instance]` for each instance. For `telemetry_poller`. Calls no process;
  O(keys of the sample of the memory estimate).

  ## Options

  #{Schema.docs(@measurements)}
  """
  @spec measurements([option]) :: :ok
  def measurements(options \\ []) do
    options = Schema.validate!(options, @measurements, "Veidrodelis.Telemetry.measurements")

    for id <- options[:ids] || Veidrodelis.list(), {:ok, numbers, info} <- [Gauges.read(id, options[:memory])] do
      Vdr.Telemetry.execute([:instance], numbers, %{id: id, primary: info.primary, state: info.state})
    end

    :ok
  end

  @doc """
  The events as data: `{name, measurements, metadata}`, each of the last two a list of keys.

      iex> {_name, measurements, _metadata} =
      ...>   List.keyfind(Veidrodelis.Telemetry.events(), [:veidrodelis, :connection], 0)
      iex> measurements
      [:duration]
  """
  @spec events() :: [{[atom], measurements :: [atom], metadata :: [atom]}]
  def events do
    for event <- Events.all(),
        do: {[:veidrodelis | event.name], Keyword.keys(event.measurements), Keyword.keys(event.metadata)}
  end

  @doc """
  Definitions for a reporter of `Telemetry.Metrics`: its structs where it is loaded, and otherwise
  maps `%{type: type, name: name, unit: unit, tags: tags, description: text}`.

      {Telemetry.Metrics.ConsoleReporter, metrics: Veidrodelis.Telemetry.metrics()}
  """
  @spec metrics() :: [map]
  def metrics, do: Metrics.all()

  @doc """
  The numbers of all instances in the text format of Prometheus (0.0.4), each with the label `id`.
  Takes the option `memory:` of `measurements/1`.

      # HELP veidrodelis_lag_bytes bytes of the stream that have arrived and are not applied
      # TYPE veidrodelis_lag_bytes gauge
      veidrodelis_lag_bytes{id=":mirror"} 0
  """
  @spec prometheus([option]) :: String.t()
  def prometheus(options \\ []) do
    options = Schema.validate!(options, @measurements, "Veidrodelis.Telemetry.prometheus")
    Prometheus.text(options[:ids] || Veidrodelis.list(), options[:memory])
  end

  @doc """
  Attaches a handler that logs full syncs, partial syncs, limits of scripts, watches that missed
  events, and batches of handlers, at `level`: failures at `:warning`, and batches at `:debug`. Each
  line names the library and the instance.

  `{:error, :already_exists}` means that it is attached, `{:error, :no_telemetry}` that `:telemetry`
  is not there.
  """
  @spec attach_default_logger() :: :ok | {:error, :already_exists | :no_telemetry}
  @spec attach_default_logger(Logger.level()) :: :ok | {:error, :already_exists | :no_telemetry}
  def attach_default_logger(level \\ :info) do
    unless level in Vdr.Log.levels(),
      do: Schema.refuse!("Veidrodelis.Telemetry.attach_default_logger", "a level of Logger", inspect(level))

    DefaultLogger.attach(level)
  end

  @doc "Detaches the handler of `attach_default_logger/1`."
  @spec detach_default_logger() :: :ok | {:error, :not_found | :no_telemetry}
  def detach_default_logger, do: DefaultLogger.detach()
end
