defmodule Vdr.Log do
  @moduledoc false
  # Log lines about an instance or a handler: events of its link, and what the native library says.
  # Each line names the library and the id, and has the id as the metadata `vdr`. Log backends may
  # be user code, so the calling process must belong to one instance or one handler.
  #
  # The least level belongs to the native store or handler, so that it is one for both kinds of
  # lines, and can be changed without a call of any process.

  alias Vdr.Native

  require Logger

  # The place of a level is the number by which the native library knows it.
  @levels [false, :emergency, :alert, :critical, :error, :warning, :notice, :info, :debug, :trace]
  @numbers @levels |> Enum.with_index() |> Map.new()

  @typedoc "The least level of log lines, or `false` for none."
  @type least :: :trace | Logger.level() | false

  @doc "The levels, the least important first, and `false`."
  @spec levels() :: [least]
  def levels, do: Enum.reverse(@levels)

  @doc "Sets the least level of lines about the instance or the handler of a native resource."
  @spec set_level(reference, least) :: :ok
  def set_level(native, least) when is_map_key(@numbers, least),
    do: Native.log_set_level(native, Map.fetch!(@numbers, least))

  @doc "The least level of lines about the instance or the handler of a native resource."
  @spec level(reference) :: least
  def level(native), do: Enum.at(@levels, Native.log_level(native))

  @doc "Refuses what is no level, for `function` of the facade."
  @spec check_level!(term, String.t()) :: :ok
  def check_level!(least, _function) when is_map_key(@numbers, least), do: :ok

  def check_level!(least, function) do
    raise ArgumentError,
          "#{function} takes a level, #{Enum.map_join(levels(), ", ", &inspect/1)}; got: #{inspect(least)}"
  end

  @doc """
  Logs an event of a link. See `Veidrodelis.subscribe/1` for events and their details.
  """
  @spec write(id :: term, least, event :: atom, details :: map) :: :ok
  def write(id, least, event, details) do
    level = level(event, details)
    if @numbers[level] <= @numbers[least], do: log(level, id, fn -> text(event, details) end, [])
    :ok
  end

  @doc "Logs what the native library said, as `Vdr.Native.log_take/1` answers it."
  @spec pass_on(id :: term, {Logger.level(), time_us :: non_neg_integer, String.t()} | {:dropped, pos_integer}) :: :ok
  def pass_on(id, {:dropped, count}),
    do: log(:warning, id, fn -> "#{count} log lines were dropped, since the Logger is slower than they came" end, [])

  def pass_on(id, {level, time_us, text}), do: log(level, id, fn -> text end, time: time_us)

  defp log(level, id, text, metadata),
    do: Logger.log(level, fn -> "Veidrodelis #{name(id)}: #{text.()}" end, [vdr: id] ++ metadata)

  defp level(:disconnected, %{reason: reason}) when reason in [:stopped, :switched], do: :debug
  defp level(:disconnected, %{retry_in_ms: nil}), do: :error
  defp level(:disconnected, %{refused: true}), do: :error
  defp level(:disconnected, _details), do: :warning
  defp level(event, _details) when event in [:guard_given_up, :unknown_command, :emptied, :no_offset], do: :warning
  defp level(event, _details) when event in [:connecting, :stopped], do: :debug
  defp level(_event, _details), do: :info

  defp text(:connecting, details), do: "connecting to #{address(details)}, attempt #{details.attempt}"
  defp text(:syncing, details), do: "full sync from #{address(details)}"
  defp text(:ready, details), do: "the data of #{address(details)} can be read"
  defp text(:streaming, details), do: "following #{address(details)} after a #{details.sync} sync"

  defp text(:switched, details),
    do: "Sentinel names #{address(details)}, leaving #{address(%{primary: details.from})}"

  defp text(:disconnected, %{refused: true} = details),
    do: "#{address(details)} refused the link: #{cause(details)}; #{outlook(details)}"

  defp text(:disconnected, details), do: "the link to #{address(details)} ended: #{cause(details)}; #{outlook(details)}"

  defp text(:emptied, %{decision: decision} = details) do
    "#{address(details)} came back with #{details.keys} keys instead of #{details.before}: " <>
      if(decision == :accept, do: "accepted, by :on_empty_primary", else: "the data is kept, by :on_empty_primary")
  end

  defp text(:stopped, _details), do: "stopped"

  defp text(:guard_given_up, %{guard_key: key}) do
    "the guard key #{inspect(key, printable_limit: 100)} was set for too long, or held back too much: " <>
      "what it held back is visible now"
  end

  defp text(:no_offset, _details) do
    "the server does not tell its role, for which the user needs the permission +role: " <>
      "commands take sync: false only"
  end

  defp text(:unknown_command, %{name: name}),
    do: "unsupported command #{name} in the replication stream; reads of the keys that it names return :unknown_value"

  defp name(id), do: inspect(id, limit: 5, printable_limit: 100)

  defp address(%{primary: nil}), do: "a server that is not known yet"
  defp address(%{primary: {path, 0}}), do: path
  defp address(%{primary: {host, port}}), do: "#{host}:#{port}"

  defp cause(%{reason: code, detail: ""}), do: "#{code}, #{sentence(code)}"
  defp cause(%{reason: code, detail: detail}), do: "#{code}, #{sentence({code, detail})}"
  defp sentence(reason), do: Exception.message(Veidrodelis.Error.exception(reason))

  defp outlook(%{retry_in_ms: nil}), do: "there will be no other attempt"

  defp outlook(%{reason: :diverged, contradictions: count, retry_in_ms: delay_ms}) when count > 1 do
    "this is contradiction #{count} in a row, each costs the primary a full sync, and the pause doubles each time; " <>
      "next attempt in #{delay_ms} ms"
  end

  defp outlook(%{retry_in_ms: delay_ms}), do: "next attempt in #{delay_ms} ms"
end
