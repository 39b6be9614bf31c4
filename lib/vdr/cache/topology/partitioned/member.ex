defmodule Vdr.Cache.Topology.Partitioned.Member do
  @moduledoc false
  # One node's part of a partitioned cache: follows the members, publishes the view, removes what
  # the node does not own any more, and clears the part when a split has healed. It handles one
  # change after the other, so a key that leaves the node and comes back is removed in between.

  use GenServer

  alias Vdr.Cache.Telemetry
  alias Vdr.Cache.Topology.{Members, Partitioned, Remote}

  @retry_ms 1_000
  # A pid that left longer ago than this, in a cluster that restarts its nodes all the time, is
  # forgotten.
  @gone_max 10_000

  def start_link(h), do: GenServer.start_link(__MODULE__, h, name: h.member)

  @doc "Makes the node a member, once its cache can be asked."
  def join(member), do: GenServer.call(member, :join, :infinity)

  @doc "Ends the membership, while the cache can still be asked."
  def leave(member) do
    GenServer.call(member, :leave)
  catch
    :exit, _reason -> :ok
  end

  @doc "Another member gets the call later, as long as it is one."
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
    # A member that was gone and comes back as the same process was on the other side of a split.
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

  # What is still owed after a try, `nil` for nothing.
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
    # Nobody tells this node of changes of what another node owned before.
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

  # Either side may have changed, deleted or invalidated what the other still has.
  defp heal(%{on_heal: :keep}), do: :ok

  defp heal(%{local: {backend, state}} = h) do
    backend.flush(state)
    h.forget.()
    Telemetry.execute(h.telemetry, [:heal, :clear], %{count: 1}, %{})
  end
end
