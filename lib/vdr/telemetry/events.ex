defmodule Vdr.Telemetry.Events do
  @moduledoc false
  # Every event that the library executes, as data: the page of `Veidrodelis.Telemetry`, its metrics
  # and its logger are made from it, and a test compares it with what is executed.

  @enforce_keys [:name, :doc, :measurements, :metadata]
  defstruct @enforce_keys

  @typedoc "Measurements and metadata are `{key, doc}`. `name` has no `:veidrodelis` in front."
  @type t :: %__MODULE__{
          name: [atom],
          doc: String.t(),
          measurements: keyword(String.t()),
          metadata: keyword(String.t())
        }

  @time [
    system_time: "the system's time, in native units",
    monotonic_time: "the monotonic time, in native units"
  ]
  @duration [duration: "in native units", monotonic_time: "the monotonic time, in native units"]
  @id [id: "the id of the instance; `{Vdr.RedisStream.Replica, name}` for a handler"]
  @primary [primary: "`{host, port}`, `{path, 0}`, or `nil` when no Sentinel named one"]
  @end_of_link [
    reason: "the code, an atom",
    detail: "more of it, a string",
    refused: "whether only a person can change it",
    retry_in_ms: "when the next attempt comes, or `nil` when there will be none"
  ]
  @loaded [
    bytes: "the bytes of the file that arrived; 0 for a handler",
    keys: "the keys that were loaded; 0 for a handler"
  ]

  @doc "All events, in the order of the page. Those of links are `Veidrodelis.subscribe/1`'s and come last."
  @spec all() :: [t]
  def all, do: connections() ++ syncs() ++ stream() ++ scripts() ++ commands() ++ handlers() ++ instances() ++ links()

  defp connections do
    [
      event([:connection], "A link streams: the attempt to connect was successful.",
        measurements: [duration: "from the attempt's beginning, in native units"],
        metadata: @id ++ @primary ++ [sync: "`:full` or `:partial`"]
      ),
      event([:disconnection], "A link that streamed has ended. One follows each `connection`.",
        measurements: [duration: "how long the link streamed, in native units"],
        metadata: @id ++ @primary ++ @end_of_link
      ),
      event([:failed_connection], "An attempt to connect ended before the link streamed.",
        measurements: [duration: "from the attempt's beginning, in native units"],
        metadata: @id ++ @primary ++ @end_of_link
      )
    ]
  end

  defp syncs do
    [
      event([:full_sync, :start], "A full sync began: the server sends a snapshot file.",
        measurements: @time,
        metadata: @id ++ @primary
      ),
      event([:full_sync, :stop], "The data of the full sync is complete and visible.",
        measurements: @duration ++ @loaded,
        metadata: @id ++ @primary
      ),
      event([:full_sync, :exception], "The link ended during the full sync. Reads answer as before it.",
        measurements: @duration ++ @loaded,
        metadata: @id ++ @primary ++ [kind: "`:error`", reason: "the code, an atom", detail: "more of it, a string"]
      ),
      event([:partial_sync], "The server resumed the stream where the link before had left it.",
        measurements: [duration: "from the attempt's beginning, in native units"],
        metadata: @id ++ @primary
      )
    ]
  end

  defp stream do
    [
      event(
        [:guard_window, :given_up],
        "The guard key was set for too long or held back too much: what it held back is visible.",
        measurements: [count: "1"],
        metadata: @id ++ [guard_key: "the key"]
      ),
      event(
        [:guard_window, :closed],
        "Guard windows that held writes back are closed, and the writes are visible. Windows that close while " <>
          "the instance is busy with the event before are counted together.",
        measurements: [
          count: "how many windows",
          duration: "how long the longest of them was open, in native units",
          total_duration: "how long all of them were, in native units"
        ],
        metadata: @id ++ [guard_key: "the key"]
      ),
      event(
        [:watch, :missed],
        "Processes that do not drain their mailbox were told so, by `Vdr.WatchEvent.Missed`. What comes while the " <>
          "instance is busy with the event before is counted together.",
        measurements: [count: "the events that were not sent", watches: "how many `Missed` were sent"],
        metadata: @id
      ),
      event([:unknown_command], "The stream has a command that the library does not know. Once for each name and link.",
        measurements: [count: "1"],
        metadata: @id ++ [name: "the command's name"]
      )
    ]
  end

  defp scripts do
    [
      event([:script, :limit], "A script reached a limit. Executed in the process that called `read_tx/4`.",
        measurements: [count: "1", limit: "the limit, in ms or bytes"],
        metadata: [kind: "`:timeout` or `:memory`", source: "the instance as the caller named it, or `:snapshot`"]
      )
    ]
  end

  defp commands do
    metadata = @id ++ [call: "`:command`, `:pipeline` or `:transaction`", db: "the number of the database"]

    commands = [commands: "how many commands the call has"]

    [
      event(
        [:command, :start],
        "A call of `command/3`, `pipeline/3` or `transaction/3`. These events are executed in the process that calls.",
        measurements: @time ++ commands,
        metadata: metadata
      ),
      event([:command, :stop], "The call returns.",
        measurements: @duration ++ commands,
        metadata:
          metadata ++
            [
              result: "`:ok` or `:error`; errors that stand among replies are `:ok`",
              reason: "the reason, the code of the server's error as a string, or `nil`"
            ]
      ),
      event([:command, :exception], "The call raised.",
        measurements: @duration ++ commands,
        metadata: metadata ++ [kind: "`:error`, `:exit` or `:throw`"]
      )
    ]
  end

  defp handlers do
    metadata = @id ++ [pid: "the handler's process"]
    commands = [commands: "how many commands the batch has"]

    [
      event([:handler_batch, :start], "A handler's `handle_commands/2` gets a batch.",
        measurements: @time ++ commands,
        metadata: metadata
      ),
      event([:handler_batch, :stop], "`handle_commands/2` returned.",
        measurements: @duration ++ commands,
        metadata: metadata ++ [result: "`:ok`, or `:stop` when it answered an error"]
      ),
      event([:handler_batch, :exception], "`handle_commands/2` raised, exited or threw, and the handler ends by it.",
        measurements: @duration ++ commands,
        metadata: metadata ++ [kind: "`:error`, `:exit` or `:throw`"]
      )
    ]
  end

  defp instances do
    [
      event([:instance], "The state of an instance, whenever `Veidrodelis.Telemetry.measurements/1` runs.",
        measurements: for({name, gauge} <- Vdr.Telemetry.Gauges.all(), do: {name, gauge.doc}),
        metadata: @id ++ @primary ++ [state: "as `Veidrodelis.replication_state/1`"]
      )
    ]
  end

  defp links do
    time = [system_time: "the system's time, in native units"]
    metadata = @id ++ [pid: "the handler's process, only for a handler"]

    for {name, doc, details} <- [
          {:connecting, "An attempt to connect begins.", @primary ++ [attempt: "its number"]},
          {:syncing, "A full sync began.", @primary},
          {:ready, "The instance can be read.", @primary},
          {:streaming, "The link follows the stream.", @primary ++ [sync: "`:full` or `:partial`"]},
          {:disconnected, "The link or the attempt ended. One follows each `connecting`.",
           @primary ++ @end_of_link ++ [contradictions: "how many have come in a row"]},
          {:emptied, "The primary came back with far fewer keys; see the option `:on_empty_primary`.",
           @primary ++
             [keys: "its keys", before: "the keys of the mirror", decision: "`:keep` or `:accept`"]},
          {:switched, "Sentinel names another primary.", @primary ++ [from: "the primary before, or `nil`"]},
          {:stopped, "The instance or the handler has ended.", []}
        ] do
      event([:link, name], doc, measurements: time, metadata: metadata ++ details)
    end
  end

  defp event(name, doc, fields), do: struct!(__MODULE__, [name: name, doc: doc] ++ fields)

  @doc "The page, as Markdown."
  @spec page() :: String.t()
  def page do
    Enum.map_join(all(), "\n", fn event ->
      """
      ### `#{inspect([:veidrodelis | event.name])}`

      #{event.doc}

        * Measurements: #{fields(event.measurements)}
        * Metadata: #{fields(event.metadata)}
      """
    end)
  end

  defp fields(fields), do: Enum.map_join(fields, "; ", fn {name, doc} -> "`#{name}`, #{doc}" end)
end
