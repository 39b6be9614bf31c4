defmodule Vdr.Web.Server do
  @moduledoc false
  # Takes the overviews that pages show: once a second for each instance that somebody looks at,
  # however many look at it. It forgets an instance that nobody looks at.

  use GenServer

  alias Vdr.Overview

  @fresh_ms 900
  @forget_ms 60_000
  @call_ms 10_000

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options \\ []), do: GenServer.start_link(__MODULE__, nil, options)

  @doc "The server of pages that a Plug serves, which nobody has started; it ends when nobody looks."
  @spec shared() :: pid
  def shared do
    case GenServer.start(__MODULE__, :shared, name: __MODULE__) do
      {:ok, pid} -> pid
      {:error, {:already_started, pid}} -> pid
    end
  end

  @doc "The overview of an instance, at most a second old."
  @spec overview(pid, term) :: {:ok, Overview.t()} | {:error, :no_instance | :timeout}
  def overview(server, id) do
    GenServer.call(server, {:overview, id}, @call_ms)
  catch
    # It forgot everything and ended in this moment, or it is busy.
    :exit, _gone -> {:error, :timeout}
  end

  @impl GenServer
  def init(shared), do: {:ok, {shared, %{}}, @forget_ms}

  @impl GenServer
  def handle_call({:overview, id}, _from, {shared, taken}) do
    now_ms = System.monotonic_time(:millisecond)
    taken = Map.filter(taken, fn {_id, %{asked_ms: asked_ms}} -> now_ms - asked_ms < @forget_ms end)

    case take(id, Map.get(taken, id), now_ms) do
      {:ok, entry} -> {:reply, {:ok, entry.overview}, {shared, Map.put(taken, id, entry)}, @forget_ms}
      {:error, _reason} = error -> {:reply, error, {shared, Map.delete(taken, id)}, @forget_ms}
    end
  end

  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_call}, state, @forget_ms}

  @impl GenServer
  def handle_info(:timeout, {:shared, _taken}), do: {:stop, :normal, nil}
  def handle_info(_other, {shared, _taken}), do: {:noreply, {shared, %{}}}

  defp take(_id, %{taken_ms: taken_ms} = entry, now_ms) when now_ms - taken_ms < @fresh_ms,
    do: {:ok, %{entry | asked_ms: now_ms}}

  defp take(id, entry, now_ms) do
    memo = if entry, do: entry.memo, else: Overview.memo()

    with {:ok, overview, memo} <- Overview.take(id, memo),
         do: {:ok, %{overview: overview, memo: memo, taken_ms: now_ms, asked_ms: now_ms}}
  end
end
