defmodule Vdr.Events do
  @moduledoc false
  # What happens to the links: told to subscribers, to telemetry when the host has it, and to the log. Who subscribes does so
  # to an id, whether there is an instance or not, and so over restarts of the instance; it ends with the process.

  require Logger

  @spec child_spec(term) :: Supervisor.child_spec()
  def child_spec(_argument), do: Vdr.Names.child_spec(keys: :duplicate, name: __MODULE__)

  @spec subscribe(term) :: :ok
  def subscribe(id) do
    unless subscribed?(id), do: {:ok, _registry} = Registry.register(__MODULE__, id, nil)
    :ok
  end

  @spec unsubscribe(term) :: :ok
  def unsubscribe(id), do: Registry.unregister(__MODULE__, id)

  defp subscribed?(id), do: Enum.any?(Registry.lookup(__MODULE__, id), fn {pid, nil} -> pid == self() end)

  @doc "Tells everybody. What goes wrong in doing so is nobody's end."
  @spec emit(term, atom, map) :: :ok
  def emit(id, event, details) do
    for {pid, nil} <- subscribers(id), do: send(pid, {:veidrodelis, id, event, details})

    if Code.ensure_loaded?(:telemetry) do
      measurements = %{system_time: System.system_time()}
      apply(:telemetry, :execute, [[:veidrodelis, :link, event], measurements, Map.put(details, :id, id)])
    end

    log(event, details)
  end

  defp subscribers(id) do
    Registry.lookup(__MODULE__, id)
  rescue
    # The registry is being restarted.
    ArgumentError -> []
  end

  defp log(:connecting, details), do: Logger.debug("connecting to #{address(details)}, attempt #{details.attempt}")
  defp log(:syncing, details), do: Logger.info("full sync from #{address(details)}")
  defp log(:ready, details), do: Logger.info("the data of #{address(details)} can be read")

  defp log(:streaming, details),
    do: Logger.info("following #{address(details)} after a #{details.sync} sync")

  defp log(:switched, details),
    do: Logger.info("Sentinel names #{address(details)} the primary, leaving #{address(%{primary: details.from})}")

  defp log(:disconnected, %{retry_in_ms: nil} = details),
    do: Logger.error("link to #{address(details)} ended: #{because(details)}; there will be no other")

  defp log(:disconnected, %{refused: true} = details),
    do: Logger.error("link to #{address(details)} refused: #{because(details)}; next attempt #{next(details)}")

  defp log(:disconnected, details),
    do: Logger.warning("link to #{address(details)} ended: #{because(details)}; next attempt #{next(details)}")

  defp log(:stopped, _details), do: Logger.debug("ended")

  defp address(%{primary: nil}), do: "no server yet"
  defp address(%{primary: {path, 0}}), do: path
  defp address(%{primary: {host, port}}), do: "#{host}:#{port}"

  defp next(%{retry_in_ms: delay_ms}), do: "in #{delay_ms} ms"

  defp because(%{reason: code, detail: ""}), do: to_string(code)
  defp because(%{reason: code, detail: detail}), do: "#{code} (#{detail})"
end
