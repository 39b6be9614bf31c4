defmodule Vdr.Log do
  @moduledoc false
  # Log lines about links. Each line names the library and the id of the instance or handler. Log
  # backends may be user code, so the calling process must belong to one instance or one handler.

  require Logger

  @levels [:debug, :info, :notice, :warning, :error, :critical, :alert, :emergency]

  @typedoc "The least level of log lines, or `false` for none."
  @type least :: Logger.level() | false

  @doc "The levels, the least important first."
  @spec levels() :: [Logger.level()]
  def levels, do: @levels

  @doc """
  Logs an event of a link, with the id as the metadata `vdr`. See `Veidrodelis.subscribe/1` for
  events and their details.
  """
  @spec write(id :: term, least, event :: atom, details :: map) :: :ok
  def write(_id, false, _event, _details), do: :ok

  def write(id, least, event, details) do
    level = level(event, details)

    if Logger.compare_levels(level, least) != :lt,
      do: Logger.log(level, fn -> "Veidrodelis #{name(id)}: #{text(event, details)}" end, vdr: id)

    :ok
  end

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
    do: "unsupported command #{name} in the replication stream; the keys that it writes are out of date"

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
