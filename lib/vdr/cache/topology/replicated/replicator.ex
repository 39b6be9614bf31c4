defmodule Vdr.Cache.Topology.Replicated.Replicator do
  @moduledoc false
  # The process that writes the copy of one node in a replicated cache.

  use GenServer

  alias Vdr.Cache.Telemetry
  alias Vdr.Cache.Topology.Members
  alias Vdr.Cache.Topology.Replicated.Replica

  def start_link(h), do: GenServer.start_link(__MODULE__, h, name: h.replicator)

  @impl GenServer
  def init(h) do
    # The number is the version of the messages.
    group = Members.group(h.name, {:replicated, 2})
    {ref, pids} = Members.follow(group)
    writer = {node(), :os.system_time(:nanosecond)}
    replica = Replica.new(h, self(), writer, &send_to/2, fn -> :erlang.monotonic_time(:millisecond) end)
    Process.send_after(self(), :beat, h.heartbeat)
    {:ok, %{group: group, ref: ref, replica: meet(replica, pids)}}
  end

  # The process does not wait for a busy connection. The other node notices the missing message.
  defp send_to(pid, message), do: :erlang.send(pid, message, [:nosuspend, :noconnect])

  @impl GenServer
  def handle_call(:join, _from, state) do
    :ok = Members.join(state.group, self())
    {:reply, :ok, %{state | replica: Replica.join(state.replica)}}
  end

  def handle_call(:leave, _from, state) do
    Members.leave(state.group, self())
    {:reply, :ok, %{state | replica: Replica.leave(state.replica)}}
  end

  def handle_call({:write, function, arguments, keys}, _from, state) do
    {answer, replica} = Replica.write(state.replica, function, arguments, keys)
    {:reply, answer, %{state | replica: replica}}
  end

  def handle_call({:floor, what}, _from, state) do
    {count, replica} = Replica.floor(state.replica, what)
    {:reply, {:ok, count}, %{state | replica: replica}}
  end

  def handle_call(:info, _from, %{replica: replica} = state) do
    members = Enum.sort([node() | replica.peers |> Map.keys() |> Enum.map(&node/1)])
    {:reply, %{members: members, joining: replica.pull != nil}, state}
  end

  @impl GenServer
  def handle_info({ref, :join, _group, pids}, %{ref: ref} = state),
    do: {:noreply, %{state | replica: meet(state.replica, pids)}}

  def handle_info({ref, :leave, _group, pids}, %{ref: ref} = state) do
    left = Enum.filter(pids, &is_map_key(state.replica.peers, &1))
    {:noreply, %{state | replica: state.replica |> Replica.part(left) |> told([], left)}}
  end

  def handle_info(:beat, state) do
    Process.send_after(self(), :beat, state.replica.h.heartbeat)
    {:noreply, %{state | replica: Replica.beat(state.replica)}}
  end

  def handle_info(message, state) when is_tuple(message),
    do: {:noreply, %{state | replica: Replica.handle(state.replica, message)}}

  def handle_info(_message, state), do: {:noreply, state}

  defp meet(replica, pids) do
    joined = Enum.reject(pids, &(&1 == self() or is_map_key(replica.peers, &1)))
    replica |> Replica.meet(joined) |> told(joined, [])
  end

  defp told(replica, [], []), do: replica

  defp told(replica, joined, left) do
    metadata = %{joined: Enum.map(joined, &node/1), left: Enum.map(left, &node/1)}
    Telemetry.execute(replica.h.telemetry, [:cluster, :change], %{members: map_size(replica.peers) + 1}, metadata)
    replica
  end
end
