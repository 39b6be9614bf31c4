defmodule Vdr.Link.Events do
  @moduledoc false
  # Announces the events of a link to subscribers, to `:telemetry` and to the log. Telemetry
  # handlers and log backends are user code, which runs in the calling process. So the caller must
  # be a process of the instance or the handler, never a shared one.

  alias Vdr.{Log, Recent, Reports, Subscriptions, Telemetry}

  @doc """
  Announces an event. `name` is the id among the options: a handler's name or its callback module.
  `level` is the least level of log lines, or `false` for none.
  """
  @spec emit(Reports.key(), name :: term, level :: Log.least(), event :: atom, details :: map) :: :ok
  def emit(key, name, level, event, details) do
    {id, details} = {id(key, name), about(key, details)}
    Subscriptions.notify(id, event, details)
    Recent.note(:event, id, {event, details})
    Telemetry.execute([:link, event], %{system_time: System.system_time()}, Map.put(details, :id, id))
    Log.write(id, level, event, details)
  end

  @doc "Announces an event of the stream, to telemetry and to the log."
  @spec note(term, Log.least(), event :: :guard_given_up | :unknown_command, details :: map) :: :ok
  def note(id, level, event, details) do
    Telemetry.execute(path(event), %{count: 1}, Map.put(details, :id, id))
    Log.write(id, level, event, details)
  end

  @doc "Executes the telemetry events for the native library's counts since the last call."
  @spec count(counts, term, Vdr.Options.t()) :: :ok
        when counts:
               {{events :: non_neg_integer, watches :: non_neg_integer},
                {windows :: non_neg_integer, total_ns :: non_neg_integer, longest_ns :: non_neg_integer}}
  def count({{events, watches}, {windows, total_ns, longest_ns}}, id, options) do
    if events > 0, do: Telemetry.execute([:watch, :missed], %{count: events, watches: watches}, %{id: id})

    if windows > 0 do
      Telemetry.execute(
        [:guard_window, :closed],
        %{count: windows, duration: native(longest_ns), total_duration: native(total_ns)},
        %{id: id, guard_key: options.guard_key}
      )
    end

    :ok
  end

  defp native(ns), do: System.convert_time_unit(ns, :nanosecond, :native)

  defp path(:guard_given_up), do: [:guard_window, :given_up]
  defp path(:unknown_command), do: [:unknown_command]

  @doc """
  Returns the id of events. The id of a handler differs from the id of every instance, so a
  subscriber of an instance gets the events of that instance only.
  """
  @spec id(Reports.key(), name :: term) :: term
  def id({:mirror, id}, _name), do: id
  def id({:handler, _pid}, name), do: {Vdr.RedisStream.Replica, name}

  defp about({:mirror, _id}, details), do: details
  defp about({:handler, pid}, details), do: Map.put(details, :pid, pid)
end
