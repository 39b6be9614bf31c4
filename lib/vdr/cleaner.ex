defmodule Vdr.Cleaner do
  @moduledoc false
  # Deletes what processes leave in the public tables when they end: subscriptions, and the reports
  # of handlers. It monitors them, and is linked to none. A new cleaner finds all of them in the
  # tables, so a crash loses nothing.

  use GenServer

  alias Vdr.{Reports, Subscriptions}

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_argument), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Cleans up after this process. Its rows must be in the tables already."
  @spec watch(pid) :: :ok
  def watch(pid), do: GenServer.cast(__MODULE__, {:watch, pid})

  @impl GenServer
  def init(nil), do: {:ok, Enum.reduce(Subscriptions.subscribers() ++ Reports.handlers(), MapSet.new(), &monitor/2)}

  @impl GenServer
  def handle_cast({:watch, pid}, monitored) when is_pid(pid), do: {:noreply, monitor(pid, monitored)}
  def handle_cast(_other, monitored), do: {:noreply, monitored}

  @impl GenServer
  def handle_call(_other, _from, monitored), do: {:reply, {:error, :unknown_call}, monitored}

  @impl GenServer
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, monitored) do
    Subscriptions.forget(pid)
    Reports.delete({:handler, pid})
    {:noreply, MapSet.delete(monitored, pid)}
  end

  def handle_info(_other, monitored), do: {:noreply, monitored}

  defp monitor(pid, monitored) do
    unless pid in monitored, do: Process.monitor(pid)
    MapSet.put(monitored, pid)
  end
end
