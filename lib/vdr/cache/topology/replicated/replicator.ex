defmodule Vdr.Cache.Topology.Replicated.Replicator do
  @moduledoc false
  # The process that writes one node's copy of a replicated cache, and keeps it equal to the others.
  #
  # A *change* is `{key, version, {:put, value, write} | :delete}`, or `{:floor, what, version}`:
  # what is older than a floor is gone, be it all entries or those with a tag. A change is applied
  # where its version is larger than that of the key. So changes may come in any order and more
  # than once, and all nodes agree in the end.
  #
  # Versions are kept here for every key, also for some time after its delete, in an ordered table.
  # Keys are in it as their external term format: the table holds `1` and `1.0` for equal. `{key,
  # version, :live | removed_at}`.

  use GenServer

  alias Vdr.Cache.{Telemetry, Write}
  alias Vdr.Cache.Topology.Members

  @portion 1_000

  def start_link(h), do: GenServer.start_link(__MODULE__, h, name: h.replicator)

  @impl GenServer
  def init(h) do
    group = Members.group(h.name, {:replicated, 1})
    {ref, pids} = Members.follow(group)

    state = %{
      h: h,
      group: group,
      ref: ref,
      clock: {0, 0},
      versions: :ets.new(__MODULE__, [:ordered_set, :private]),
      # {what, version, at}
      floors: %{},
      # pid => %{sent: how many messages it was sent, heard: the number of its last message, or nil}
      peers: %{},
      gone: %{},
      pull: nil,
      joined: false
    }

    adopt(state)
    state = Enum.reduce(pids, state, &meet(&2, &1))
    Process.send_after(self(), :heartbeat, h.heartbeat)
    {:ok, state}
  end

  # Entries that are there already: of a file, or of before a crash of this process. Any other
  # version is newer.
  defp adopt(%{h: %{local: {backend, store}}} = state) do
    for key <- backend.stream(store, :keys), do: :ets.insert(state.versions, {pack(key), {0, 0, node()}, :live})
  end

  # ---- calls

  @impl GenServer
  def handle_call(:join, _from, state) do
    :ok = Members.join(state.group, self())
    {:reply, :ok, start_pull(%{state | joined: true})}
  end

  def handle_call(:leave, _from, state) do
    Members.leave(state.group, self())
    {:reply, :ok, %{state | joined: false}}
  end

  def handle_call({:write, function, arguments, keys}, _from, %{h: %{local: {backend, store}}} = state) do
    answer = apply(backend, function, [store | arguments])
    if changed?(answer), do: {:reply, answer, publish(state, keys)}, else: {:reply, answer, state}
  rescue
    # A mistake of the caller, or in a function of the options, must not end the process of all.
    error -> {:reply, {:error, {:remote, Exception.message(error)}}, state}
  end

  def handle_call({:floor, what}, _from, state) do
    {version, state} = tick(state)
    {count, state} = apply_floor(state, what, version)
    {:reply, {:ok, count}, broadcast(state, [{:floor, what, version}])}
  end

  def handle_call(:info, _from, state) do
    peers = Map.keys(state.peers)
    {:reply, %{members: Enum.sort([node() | Enum.map(peers, &node/1)]), joining: state.pull != nil}, state}
  end

  defp changed?({:ok, false}), do: false
  defp changed?({:ok, 0}), do: false
  defp changed?({:ok, :lost}), do: false
  defp changed?({:error, _reason}), do: false
  defp changed?(_done), do: true

  # The keys as they are now are what the others get.
  defp publish(state, keys) do
    {changes, state} =
      Enum.map_reduce(keys, state, fn key, state ->
        {version, state} = tick(state)
        what = read(state, key)
        remember(state, key, version, what)
        {{key, version, what}, state}
      end)

    broadcast(state, changes)
  end

  defp read(%{h: %{local: {backend, store}}}, key) do
    case backend.dump(store, key) do
      {value, %Write{} = write} -> {:put, value, write}
      nil -> :delete
    end
  end

  defp remember(state, key, version, :delete), do: :ets.insert(state.versions, {pack(key), version, now()})

  defp remember(state, key, version, {:put, _value, _write}),
    do: :ets.insert(state.versions, {pack(key), version, :live})

  # ---- the clock: never behind any version that was seen

  defp tick(%{clock: {ms, count}} = state) do
    wall = state.h.clock.()
    clock = if wall > ms, do: {wall, 0}, else: {ms, count + 1}
    {{elem(clock, 0), elem(clock, 1), node()}, %{state | clock: clock}}
  end

  defp witness(state, {ms, count, _node}), do: %{state | clock: max(state.clock, {ms, count})}

  # ---- messages

  @impl GenServer
  def handle_info({ref, :join, _group, pids}, %{ref: ref} = state) do
    split = Enum.any?(pids, &long_gone?(state, &1))
    state = Enum.reduce(pids, state, &meet(&2, &1))
    state = if split, do: start_over(state), else: state
    {:noreply, start_pull(state)}
  end

  def handle_info({ref, :leave, _group, pids}, %{ref: ref} = state) do
    pids = List.delete(pids, self())
    gone = Enum.reduce(pids, state.gone, &Map.put(&2, &1, now()))
    state = told(%{state | peers: Map.drop(state.peers, pids), gone: gone}, [], pids)
    # What was being fetched from it is fetched from another.
    {:noreply, if(state.pull != nil and elem(state.pull, 0) in pids, do: start_pull(%{state | pull: nil}), else: state)}
  end

  def handle_info({:changes, from, number, changes}, state) do
    {:noreply, state |> heard(from, number) |> apply_all(changes)}
  end

  def handle_info({:heartbeat, from, number}, state) do
    {:noreply, heard(state, from, number + 1, number)}
  end

  def handle_info({:pull, from, ref, cursor}, state) do
    {changes, next} = portion(state, cursor)
    floors = if cursor == :first, do: for({what, {version, _at}} <- state.floors, do: {:floor, what, version}), else: []
    # The messages up to this number are in what is fetched from now on.
    sent = if cursor == :first, do: with(%{sent: sent} <- state.peers[from], do: sent)
    send_to(from, {:portion, self(), ref, floors ++ changes, next, sent})
    {:noreply, state}
  end

  def handle_info({:portion, from, ref, changes, next, sent}, %{pull: {from, ref, _since}} = state) do
    state = apply_all(state, changes)
    state = if sent != nil and is_map_key(state.peers, from), do: put_in(state.peers[from].heard, sent), else: state

    if next == :last do
      :atomics.put(state.h.ready, 1, 1)
      {:noreply, start_pull(%{state | pull: nil})}
    else
      send_to(from, {:pull, self(), ref, next})
      {:noreply, %{state | pull: {from, ref, now()}}}
    end
  end

  def handle_info(:heartbeat, state) do
    for {pid, peer} <- state.peers, do: send_to(pid, {:heartbeat, self(), peer.sent})
    Process.send_after(self(), :heartbeat, state.h.heartbeat)
    {:noreply, state |> retry_pull() |> forget()}
  end

  def handle_info(_message, state), do: {:noreply, state}

  # Nobody waits for a node whose connection is busy: the number of the next message tells it what
  # it has missed.
  defp send_to(pid, message), do: :erlang.send(pid, message, [:nosuspend, :noconnect])

  defp broadcast(state, changes) do
    peers =
      Map.new(state.peers, fn {pid, peer} ->
        send_to(pid, {:changes, self(), peer.sent + 1, changes})
        {pid, %{peer | sent: peer.sent + 1}}
      end)

    %{state | peers: peers}
  end

  # ---- peers

  defp meet(state, pid) when pid == self() or is_map_key(state.peers, pid), do: state

  defp meet(state, pid) do
    state = told(%{state | peers: Map.put(state.peers, pid, %{sent: 0, heard: nil, behind: true})}, [pid], [])
    %{state | gone: Map.delete(state.gone, pid)}
  end

  defp told(state, joined, left) do
    metadata = %{joined: Enum.map(joined, &node/1), left: Enum.map(left, &node/1)}
    Telemetry.execute(state.h.telemetry, [:cluster, :change], %{members: map_size(state.peers) + 1}, metadata)
    state
  end

  # A message that is not the next one, or a heartbeat after one that did not come: something is
  # missing.
  defp heard(state, from, expected, number \\ nil)

  defp heard(%{peers: peers} = state, from, next, number) when is_map_key(peers, from) do
    peer = peers[from]
    number = number || next

    cond do
      peer.heard == nil or peer.heard == next - 1 -> put_in(state.peers[from].heard, number)
      true -> start_pull(put_in(state.peers[from], %{peer | heard: number, behind: true}))
    end
  end

  # It has left the group, or has not been met yet; then all its entries are fetched anyway.
  defp heard(state, _from, _next, _number), do: state

  # ---- fetching what is missing

  # One at a time, from a peer of which something is missing.
  defp start_pull(%{pull: nil, joined: true} = state) do
    case Enum.find(state.peers, fn {_pid, peer} -> peer.behind end) do
      nil ->
        if state.peers == %{}, do: :atomics.put(state.h.ready, 1, 1)
        state

      {pid, _peer} ->
        ref = make_ref()
        send_to(pid, {:pull, self(), ref, :first})
        put_in(%{state | pull: {pid, ref, now()}}.peers[pid].behind, false)
    end
  end

  defp start_pull(state), do: state

  # A portion may be lost as any message.
  defp retry_pull(%{pull: {pid, _ref, since}} = state) do
    if now() - since > 3 * state.h.heartbeat do
      state = if is_map_key(state.peers, pid), do: put_in(state.peers[pid].behind, true), else: state
      start_pull(%{state | pull: nil})
    else
      state
    end
  end

  defp retry_pull(state), do: start_pull(state)

  defp portion(state, cursor) do
    first = if cursor == :first, do: :ets.first(state.versions), else: :ets.next(state.versions, cursor)
    take(state, first, @portion, [])
  end

  defp take(_state, :"$end_of_table", _left, changes), do: {changes, :last}
  defp take(state, packed, 0, changes), do: {changes, :ets.prev(state.versions, packed)}

  defp take(state, packed, left, changes) do
    [{_packed, version, _state}] = :ets.lookup(state.versions, packed)
    key = unpack(packed)
    take(state, :ets.next(state.versions, packed), left - 1, [{key, version, read(state, key)} | changes])
  end

  # ---- applying

  defp apply_all(state, changes), do: Enum.reduce(changes, state, &apply_change(&2, &1))

  defp apply_change(state, {:floor, what, version}) do
    state = witness(state, version)

    case state.floors do
      %{^what => {known, _at}} when known >= version -> state
      _older -> state |> apply_floor(what, version) |> elem(1)
    end
  end

  defp apply_change(state, {key, version, what}) do
    state = witness(state, version)

    case :ets.lookup(state.versions, pack(key)) do
      [{_key, known, _state}] when known >= version -> state
      _older -> apply_newer(state, key, version, what)
    end
  end

  defp apply_newer(%{h: %{local: {backend, store}}} = state, key, version, what) do
    what = if below_floor?(state, version, what), do: :delete, else: what

    case what do
      :delete -> backend.delete(store, key)
      {:put, value, write} -> backend.put(store, key, value, write)
    end

    remember(state, key, version, what)
    state
  end

  defp below_floor?(state, version, what) do
    tags = with {:put, _value, write} <- what, do: write.tags, else: (_ -> [])

    Enum.any?([:all | Enum.map(tags, &{:tag, &1})], fn floor ->
      case state.floors do
        %{^floor => {limit, _at}} -> version <= limit
        _none -> false
      end
    end)
  end

  # What is older is gone, and stays so when it arrives later.
  defp apply_floor(%{h: %{local: {backend, store}}} = state, what, version) do
    keys = if what == :all, do: backend.stream(store, :keys), else: backend.tagged(store, elem(what, 1))

    {older, newer} =
      Enum.split_with(keys, fn key ->
        case :ets.lookup(state.versions, pack(key)) do
          [{_key, known, _state}] -> known <= version
          [] -> true
        end
      end)

    count = remove(backend, store, what, older, newer)
    for key <- older, do: remember(state, key, version, :delete)
    {count, %{state | floors: Map.put(state.floors, what, {version, now()})}}
  end

  # Usually nothing is newer, and the backend does it as a whole, which voids the fetches under way.
  defp remove(backend, store, {:tag, tag}, _older, []) do
    {:ok, count} = backend.invalidate_tag(store, tag)
    count
  end

  defp remove(backend, store, :all, older, []) do
    backend.flush(store)
    length(older)
  end

  defp remove(backend, store, _what, older, _newer) do
    {:ok, count} = backend.delete_many(store, older)
    count
  end

  # ---- after a long split

  defp long_gone?(state, pid) do
    case state.gone do
      %{^pid => since} -> now() - since > state.h.tombstone_ttl
      _never -> false
    end
  end

  # Nobody knows any more what was deleted meanwhile.
  defp start_over(state) do
    {version, state} = tick(state)
    {count, state} = apply_floor(state, :all, version)
    Telemetry.execute(state.h.telemetry, [:heal, :clear], %{count: count}, %{})
    broadcast(state, [{:floor, :all, version}])
  end

  # ---- forgetting

  # Deletes and floors that every node has heard of by now, and versions of entries that have gone
  # by their time or by the policy.
  defp forget(%{h: %{local: {backend, store}, tombstone_ttl: ttl}} = state) do
    limit = now() - ttl
    :ets.select_delete(state.versions, [{{:_, :_, :"$1"}, [{:is_integer, :"$1"}, {:<, :"$1", limit}], [true]}])
    live = :ets.select_count(state.versions, [{{:_, :_, :live}, [], [true]}])

    if live > 2 * backend.size(store) + @portion do
      for [packed] <- :ets.match(state.versions, {:"$1", :_, :live}), backend.dump(store, unpack(packed)) == nil do
        :ets.delete(state.versions, packed)
      end
    end

    floors = for {what, {_version, at}} = floor <- state.floors, at > limit or what == :all, into: %{}, do: floor
    gone = if map_size(state.gone) > @portion, do: %{}, else: state.gone
    %{state | floors: floors, gone: gone}
  end

  defp pack(key), do: :erlang.term_to_binary(key, [:deterministic])
  defp unpack(packed), do: :erlang.binary_to_term(packed)
  defp now, do: :erlang.monotonic_time(:millisecond)
end
