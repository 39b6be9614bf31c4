defmodule Vdr.Cache.Topology.Partitioned.Member do
  @moduledoc false
  # One node's part of a partitioned cache. This process follows the members, publishes the view
  # (the list of nodes), removes the entries that the node no longer owns, and removes all entries
  # when a network split has healed. It handles one change of the members at a time, so the entry of
  # a key that leaves the node and comes back is removed in between.

  use GenServer

  alias Vdr.Cache.Telemetry
  alias Vdr.Cache.Topology.{Members, Partitioned, Remote}

  @retry_ms 1_000
  # The number of pids that are remembered after they left. A cluster that restarts its nodes all
  # the time would collect more and more of them.
  @gone_max 10_000

  def start_link(h), do: GenServer.start_link(__MODULE__, h, name: h.member)

  @doc "Makes the node a member, once its cache can be called."
  def join(member), do: GenServer.call(member, :join, :infinity)

  @doc "Ends the membership, while the cache can still be called."
  def leave(member) do
    GenServer.call(member, :leave)
  catch
    :exit, _reason -> :ok
  end

  @doc "Repeats a call to another node until it succeeds, as long as the node is a member."
  def owe(member, node, call), do: GenServer.cast(member, {:owe, node, call})

  @impl GenServer
  def init(h) do
    group = Members.group(h.name, {:partitioned, 1, h.hash == nil})
    {ref, pids} = Members.follow(group)
    state = %{h: h, group: group, ref: ref, pids: MapSet.new(pids), gone: MapSet.new(), owed: %{}, joined: false}
    {:ok, state}
  end

  @impl GenServer
  def handle_call(:join, _from, state) do
    :ok = Members.join(state.group, self())
    {:reply, :ok, change(%{state | joined: true}, [self()], [])}
  end

  def handle_call(:leave, _from, state) do
    Members.leave(state.group, self())
    {:reply, :ok, %{state | joined: false}}
  end

  @impl GenServer
  def handle_cast({:owe, node, call}, state) do
    if map_size(state.owed) == 0, do: Process.send_after(self(), :pay, @retry_ms)
    {:noreply, %{state | owed: Map.update(state.owed, node, MapSet.new([call]), &MapSet.put(&1, call))}}
  end

  @impl GenServer
  def handle_info({ref, :join, _group, pids}, %{ref: ref} = state) do
    # If a member left and comes back as the same process, it was on the other side of a network
    # split.
    healed? = Enum.any?(pids, &MapSet.member?(state.gone, &1))
    state = change(%{state | gone: MapSet.difference(state.gone, MapSet.new(pids))}, pids, [])
    if healed?, do: heal(state.h)
    {:noreply, state}
  end

  def handle_info({ref, :leave, _group, pids}, %{ref: ref} = state) do
    others = pids |> List.delete(self()) |> MapSet.new()
    gone = MapSet.union(state.gone, others)
    gone = if MapSet.size(gone) > @gone_max, do: others, else: gone
    {:noreply, change(%{state | gone: gone}, [], pids)}
  end

  def handle_info(:pay, state) do
    members = Partitioned.nodes(state.h)

    owed =
      for {node, calls} <- state.owed,
          node in members,
          calls = pay(state.h, node, calls),
          calls != nil,
          into: %{},
          do: {node, calls}

    if owed != %{}, do: Process.send_after(self(), :pay, @retry_ms)
    {:noreply, %{state | owed: owed}}
  end

  def handle_info(_message, state), do: {:noreply, state}

  # Returns the calls that still fail, or `nil`.
  defp pay(h, node, calls) do
    left =
      Enum.reject(calls, fn {function, arguments} ->
        answer = Remote.call(node, Partitioned, :run_here_for_all, [h.name, function, arguments], h.timeout)
        not match?({:error, _reason}, answer)
      end)

    if left != [], do: MapSet.new(left)
  end

  # ---- views

  defp change(state, joined, left) do
    pids = state.pids |> MapSet.union(MapSet.new(joined)) |> MapSet.difference(MapSet.new(left))
    before = Partitioned.nodes(state.h)
    nodes = [node() | Enum.map(pids, &node/1)] |> Enum.uniq() |> Enum.sort()
    if nodes != before, do: publish(state.h, before, nodes)
    %{state | pids: pids}
  end

  defp publish(h, before, nodes) do
    number = :ets.lookup_element(h.views, :view, 2) + 1
    :ets.insert(h.views, {:view, number, nodes})
    metadata = %{joined: nodes -- before, left: before -- nodes}
    Telemetry.execute(h.telemetry, [:cluster, :change], %{members: length(nodes)}, metadata)
    # The new owner of a key does not know which nodes have copies of its value.
    h.forget.()
    rebalance(h)
  end

  defp rebalance(%{local: {backend, state}} = h) do
    started = :erlang.monotonic_time()

    dropped =
      state
      |> backend.stream(:keys)
      |> Stream.reject(&(Partitioned.owner_of(h, &1) == node()))
      |> Enum.count(&backend.delete(state, &1))

    measurements = %{dropped: dropped, duration: :erlang.monotonic_time() - started}
    Telemetry.execute(h.telemetry, [:rebalance, :stop], measurements, %{})
  end

  # Each side may have changed, deleted or invalidated entries that the other side still has.
  defp heal(%{on_heal: :keep}), do: :ok

  defp heal(%{local: {backend, state}} = h) do
    backend.flush(state)
    h.forget.()
    Telemetry.execute(h.telemetry, [:heal, :clear], %{count: 1}, %{})
  end
end
