defmodule Vdr.Cache.Topology.Replicated.Replica do
  @moduledoc false
  # The protocol that gives all nodes the same entries: everything of the replicator but its
  # process. It sends messages with the function `send`. Any message may be lost.
  #
  # Each node sends its own changes to all peers, once. The clocks in the messages show a receiver
  # that it has missed a message. Heartbeats report which writes of which writer each node has. A
  # node that has missed writes fetches all entries, in portions, from a peer that has them. Then it
  # has everything that this peer had, of every writer. So the changes of a node that has left reach
  # all nodes, too, if one of them has received them.
  #
  # A node may have some writes of which no node has all: of a writer that has left, or of a fetch
  # that was interrupted. Then it advances its own clock without a message, so all other nodes fetch
  # from it.
  #
  # Deletes are forgotten after a while. A node that has missed forgotten deletes can no longer
  # learn which entries to remove, so all nodes empty their caches.

  alias Vdr.Cache.Telemetry
  alias Vdr.Cache.Topology.Replicated.{Copy, Heard}

  # How often a portion is requested, and how many keys a message has at most.
  @tries 5
  @keys 1_000

  @enforce_keys [:h, :me, :writer, :copy, :heard, :send, :now, :born]
  defstruct @enforce_keys ++
              [
                peers: %{},
                gone: %{},
                past: %{},
                pull: nil,
                joined: false,
                ready: false,
                fetched: false,
                adopted: false,
                first: nil
              ]

  # A peer:
  #   * `writer` - its writer, known from its first message
  #   * `has` - which writes it has reported to have; `nil` before the first report
  #   * `known` - `:no` until everything that it had when it was met is here; then `:yes`. `:late`
  #     if it did not respond
  #   * `at` - when its last message arrived
  #   * `tried` - how often it did not respond
  #   * `fetched` - when all entries were last fetched from it
  #   * `ready` - whether the peer itself has all entries
  defp peer, do: %{writer: nil, has: nil, known: :no, at: nil, tried: 0, fetched: nil, ready: false}

  @doc "Returns a new replica. The other nodes send their messages to `me`."
  def new(h, me, writer, send, now) do
    {copy, adopted?} = Copy.new(h, writer)
    own = if adopted?, do: {0, 0}, else: Heard.none()
    heard = Heard.note(%{}, writer, Heard.none(), own, :infinity)
    state = %__MODULE__{h: h, me: me, writer: writer, copy: copy, heard: heard, send: send, now: now, born: now.()}
    %{state | adopted: adopted?}
  end

  # ---- members

  @doc "Notes that the other nodes know this node from now on."
  def join(state), do: %{state | joined: true} |> settle() |> pull()

  def leave(state), do: %{state | joined: false}

  @doc "Adds peers."
  def meet(state, pids) do
    state = Enum.reduce(pids, state, &meet_one(&2, &1))
    for pid <- pids, pid != state.me, do: send_heartbeat(state, pid)
    pull(state)
  end

  defp meet_one(%{me: me} = state, me), do: state
  defp meet_one(state, pid) when is_map_key(state.peers, pid), do: state

  defp meet_one(state, pid) do
    {gone, others} = Map.pop(state.gone, pid)

    peer =
      case gone do
        {writer, at} -> if state.now.() - at <= state.h.tombstone_ttl, do: %{peer() | writer: writer, known: :yes}
        nil -> nil
      end

    heard = if peer, do: Heard.met(state.heard, peer.writer), else: state.heard
    %{state | gone: others, heard: heard, peers: Map.put(state.peers, pid, peer || peer())}
  end

  @doc "Removes peers that have left."
  def part(state, pids), do: pids |> Enum.reduce(state, &part_one(&2, &1)) |> settle() |> pull()

  defp part_one(state, pid) do
    case Map.pop(state.peers, pid) do
      {nil, _peers} ->
        state

      {%{writer: nil}, peers} ->
        break_off(%{state | peers: peers}, pid)

      {peer, peers} ->
        # The writes of the peer are reported for as long as a split does not empty the cache. They
        # are remembered for longer than that, so that they are not fetched again.
        at = peer.at || state.now.()
        heard = Heard.gone(state.heard, peer.writer, at + remembered(state))
        break_off(%{state | peers: peers, heard: heard, gone: Map.put(state.gone, pid, {peer.writer, at})}, pid)
    end
  end

  defp remembered(%{h: h}), do: 2 * h.tombstone_ttl + 20 * h.heartbeat

  # ---- changes of this node

  @doc "Calls a function of the backend that changes keys, and sends the changes to the peers."
  def write(%{h: %{local: {backend, store}}} = state, function, arguments, keys) do
    answer = apply(backend, function, [store | arguments])
    if unchanged?(function, answer), do: {answer, state}, else: {answer, tell_keys(state, keys)}
  rescue
    # A wrong argument, or a user function that raises, must not end the process that all writers
    # share.
    error -> {{:error, {:remote, Exception.message(error)}}, tell_keys(state, keys)}
  end

  # Returns whether a call has changed nothing. A delete always counts as a change: the entry may
  # have been evicted on this node only.
  defp unchanged?(function, {:ok, false}), do: function in [:put, :expire]
  defp unchanged?(:commit, {:ok, :lost}), do: true
  defp unchanged?(function, {:error, :full}), do: function != :put_many
  defp unchanged?(_function, {:error, :not_an_integer}), do: true
  defp unchanged?(_function, {:error, {:not_storable, _term}}), do: true
  defp unchanged?(_function, _answer), do: false

  # The peers get the entries of the keys as they are now.
  defp tell_keys(state, []), do: state

  defp tell_keys(state, keys) do
    {changes, copy} = Copy.written(state.copy, keys, state.h.clock.(), state.now.())
    tell(%{state | copy: copy}, changes)
  end

  @doc "Removes all entries, or those with a tag. Returns how many there were."
  def floor(state, what) do
    {count, change, copy} = Copy.floor(state.copy, what, state.h.clock.(), state.now.())
    {count, tell(%{state | copy: copy}, [change])}
  end

  # To be called after a tick, because the clock must be that of the last change.
  defp tell(state, changes) do
    previous = Heard.whole(state.heard, state.writer)
    last = state.copy.clock
    for pid <- Map.keys(state.peers), do: state.send.(pid, {:changes, state.me, state.writer, previous, last, changes})
    heard = Heard.note(state.heard, state.writer, previous, last, :infinity)
    # `first` is the smallest version of this writer.
    %{state | heard: heard, first: state.first || first_of(changes)}
  end

  defp first_of([{:floor, _what, {ms, count, _writer}} | _more]), do: {ms, count}
  defp first_of([{_key, {ms, count, _writer}, _what} | _more]), do: {ms, count}

  # Advances the clock without a message. The peers notice the gap, and fetch all entries from here.
  defp be_fetched(state) do
    {_version, copy} = Copy.tick(state.copy, state.h.clock.())
    previous = Heard.whole(state.heard, state.writer)
    %{state | copy: copy, heard: Heard.note(state.heard, state.writer, previous, copy.clock, :infinity)}
  end

  # ---- messages

  @doc "Handles a message of another node."
  def handle(state, {:changes, from, writer, previous, last, changes}) do
    copy = Copy.apply_all(state.copy, changes, state.now.())
    heard = Heard.note(state.heard, writer, previous, last, state.now.() + remembered(state))
    state = heard_of(%{state | copy: copy, heard: heard}, from, writer, &has(&1, writer, last))
    if Heard.whole(state.heard, writer) < last, do: pull(state), else: state
  end

  def handle(state, {:heartbeat, from, stand}),
    do: state |> write_again(stand) |> heard_of(from, stand.writer, &told(&1, stand)) |> pull()

  def handle(state, {:pull, from, ref, cursor, stand}) do
    # Entries that the other node may bring back must be below a floor before it gets an answer.
    state = if stand, do: state |> write_again(stand) |> settle_forgotten(stand), else: state
    {changes, next} = Copy.portion(state.copy, cursor)
    floors = if cursor == :first, do: Copy.floors(state.copy), else: []
    own = if cursor == :first or next == :last, do: full_stand(state)
    state.send.(from, {:portion, state.me, ref, cursor, floors, changes, next, own})
    state
  end

  def handle(%{pull: %{ref: ref, cursor: cursor}} = state, {:portion, from, ref, cursor, floors, changes, next, stand}) do
    state = if stand, do: write_again(state, stand), else: state
    state = %{state | copy: Copy.apply_all(state.copy, floors, state.now.())}
    state = if cursor == :first, do: begin_fetch(state, from, stand), else: state
    state = %{state | copy: Copy.apply_all(state.copy, changes, state.now.())}

    # Deletes that the peer has forgotten between two portions are in none of them.
    if next == :last,
      do: state |> settle_forgotten(stand) |> end_fetch(from, stand.forgotten),
      else: ask(%{state | pull: %{state.pull | cursor: next, since: state.now.(), tries: 0, applied: true}})
  end

  # A portion that was requested twice, or that is no longer needed.
  def handle(state, _message), do: state

  # The writes of a new node have versions of its own clock, which may be slow. Other nodes may have
  # forgotten deletes with larger versions. In that case the keys are written again.
  defp write_again(%{first: first} = state, %{horizon: horizon}) when first != nil and first <= horizon do
    if new?(state) do
      state = %{state | first: nil, copy: Copy.see(state.copy, [horizon])}
      state.copy |> Copy.written_here(horizon) |> Enum.chunk_every(@keys) |> Enum.reduce(state, &tell_keys(&2, &1))
    else
      state
    end
  end

  defp write_again(state, _stand), do: state

  # A peer that was silent for a long time may have missed deletes that are forgotten by now.
  defp heard_of(state, from, writer, change) do
    case state.peers do
      %{^from => peer} ->
        now = state.now.()
        silent? = peer.at != nil and now - peer.at > state.h.tombstone_ttl
        peer = if silent?, do: %{peer | known: :no, has: nil}, else: peer
        state = if peer.writer == nil, do: %{state | heard: Heard.met(state.heard, writer)}, else: state
        peer = change.(%{peer | writer: writer, at: now})
        %{state | peers: Map.put(state.peers, from, peer)}

      _not_met_yet ->
        state
    end
  end

  defp has(peer, writer, last), do: %{peer | has: Map.put(peer.has || %{}, writer, {last, :infinity})}

  # A new node has no other entries than those that it writes and receives.
  defp told(peer, stand) do
    known = if stand.new and peer.known == :no, do: :yes, else: peer.known
    %{peer | has: stand.has, ready: stand.ready, known: known}
  end

  # ---- heartbeats

  @doc "Sends heartbeats, and forgets old records. To be called at every heartbeat."
  def beat(state) do
    now = state.now.()
    {old, heard} = Heard.prune(state.heard, now)
    {gaps?, heard} = Heard.give_up(heard)
    gone = few(state.gone, now - state.h.tombstone_ttl)
    state = %{state | heard: heard, gone: gone, past: Copy.latest(state.past, old)}
    state = if gaps?, do: be_fetched(state), else: state
    state = %{state | copy: Copy.forget(state.copy, now, state.h.tombstone_ttl)}
    for pid <- Map.keys(state.peers), do: send_heartbeat(state, pid)
    state |> ask_again() |> pull()
  end

  defp few(gone, limit), do: for({_pid, {_writer, at}} = one <- gone, at >= limit, into: %{}, do: one)

  defp send_heartbeat(state, pid) do
    has = Heard.vector(state.heard, state.h.tombstone_ttl, state.now.())
    horizon = Copy.horizon(state.copy)
    stand = %{writer: state.writer, has: has, horizon: horizon, new: new?(state), ready: state.ready}
    state.send.(pid, {:heartbeat, state.me, stand})
  end

  # `horizon` is the largest version that this node has forgotten. `known` has a clock for each
  # writer: of the writes that are here, of the deletes that were forgotten, and of writers that
  # were forgotten.
  defp full_stand(state) do
    has = Heard.vector(state.heard, 0, state.now.())
    forgotten = state.copy.forgotten
    wholes = Map.new(has, fn {writer, {clock, _left}} -> {writer, clock} end)
    known = state.past |> Copy.latest(forgotten) |> Copy.latest(wholes)
    horizon = Copy.horizon(state.copy)
    stand = %{writer: state.writer, has: has, known: known, forgotten: forgotten, horizon: horizon}
    Map.merge(stand, %{ready: state.ready, new: new?(state), adopted: state.adopted})
  end

  # A node is new if all of its entries were there at its start, or were written or received since
  # then, and if its start was so short ago that no delete of them can be forgotten yet.
  defp new?(state), do: not state.fetched and state.now.() - state.born <= state.h.tombstone_ttl

  # ---- fetching what is missing

  # A node fetches from one peer at a time. It prefers a peer that is ready.
  defp pull(%{pull: nil, joined: true} = state) do
    case for {pid, peer} <- state.peers, wanted?(state, peer), do: {not peer.ready, peer.tried, pid} do
      [] ->
        settle(state)

      wanted ->
        {_ready, _tried, pid} = Enum.min(wanted)
        pull = %{from: pid, ref: make_ref(), cursor: :first, since: state.now.(), tries: 0}
        ask(%{state | pull: Map.merge(pull, %{applied: false, stand: nil})})
    end
  end

  defp pull(state), do: state

  defp wanted?(state, %{has: nil}), do: not state.ready
  defp wanted?(_state, %{known: :no}), do: true

  defp wanted?(state, peer), do: rested?(state, peer) and misses?(state, peer)

  # A node that misses messages because there are too many must not cause more of them, so it waits
  # between two fetches.
  defp rested?(_state, %{fetched: nil}), do: true
  defp rested?(state, %{fetched: at}), do: state.now.() - at >= div(state.h.heartbeat, 2)

  defp misses?(state, peer) do
    Enum.any?(peer.has, fn {writer, {clock, _left}} ->
      # A peer sends its own writes itself.
      clock > Heard.whole(state.heard, writer) and (writer == peer.writer or not Heard.peer?(state.heard, writer))
    end)
  end

  defp ask(%{pull: pull} = state) do
    stand = if pull.cursor == :first, do: full_stand(state)
    state.send.(pull.from, {:pull, state.me, pull.ref, pull.cursor, stand})
    state
  end

  # Like any message, a portion may be lost.
  defp ask_again(%{pull: %{from: from} = pull} = state) do
    cond do
      state.now.() - pull.since <= 3 * state.h.heartbeat ->
        state

      pull.tries < @tries ->
        ask(%{state | pull: %{pull | since: state.now.(), tries: pull.tries + 1}})

      true ->
        late = fn peer -> %{peer | tried: peer.tried + 1, known: if(peer.known == :no, do: :late, else: peer.known)} end
        state |> break_off(from) |> Map.update!(:peers, &Map.replace_lazy(&1, from, late)) |> settle()
    end
  end

  defp ask_again(state), do: state

  # Some entries have arrived, but no record says which, so the other nodes must fetch from here.
  defp break_off(%{pull: %{from: from, applied: applied?}} = state, from) do
    state = %{state | pull: nil}
    if applied?, do: be_fetched(state), else: state
  end

  defp break_off(state, _from), do: state

  defp begin_fetch(state, from, stand) do
    state = heard_of(state, from, stand.writer, &%{&1 | has: stand.has, ready: stand.ready})
    state = settle_forgotten(state, stand)
    %{state | pull: %{state.pull | stand: stand}}
  end

  defp end_fetch(%{pull: %{stand: stand}} = state, from, forgotten) do
    now = state.now.()
    heard = Heard.merge(state.heard, stand.has, now + remembered(state), now)
    past = Copy.latest(state.past, stand.known)
    copy = Copy.forgotten(state.copy, forgotten)
    state = %{state | pull: nil, fetched: true, heard: heard, past: past, copy: copy}
    state = %{state | peers: Map.replace_lazy(state.peers, from, &%{&1 | known: :yes, tried: 0, fetched: now})}
    pull(if stand.ready, do: now_ready(state), else: settle(state))
  end

  # ---- readiness

  # The node is ready if it is alone, or if every peer is known. `:late` peers count only if another
  # one is known.
  defp settle(%{ready: false, joined: true} = state) do
    known = for {_pid, peer} <- state.peers, do: peer.known
    if :no not in known and (known == [] or :yes in known), do: now_ready(state), else: state
  end

  defp settle(state), do: state

  defp now_ready(state) do
    :atomics.put(state.h.ready, 1, 1)
    %{state | ready: true}
  end

  # ---- forgotten deletes

  # One of the two nodes may have entries whose deletes the other one has forgotten. On a new node,
  # these can only be entries that it started with.
  defp settle_forgotten(state, stand) do
    own = full_stand(state)
    state = %{state | copy: Copy.see(state.copy, Map.values(stand.forgotten))}
    state = if lacks?(own, stand.forgotten), do: clear(state, own), else: state
    if lacks?(stand, state.copy.forgotten), do: clear(state, stand), else: state
  end

  defp lacks?(%{known: known}, forgotten),
    do: Enum.any?(forgotten, fn {writer, clock} -> clock > Map.get(known, writer, Heard.none()) end)

  defp clear(state, %{new: false}), do: start_over(state)
  defp clear(state, %{adopted: false}), do: state

  defp clear(%{copy: %{floors: floors}} = state, %{writer: writer}) when is_map_key(floors, {:adopted, writer}),
    do: state

  defp clear(state, %{writer: writer}), do: state |> floor({:adopted, writer}) |> elem(1)

  # It is no longer known which entries were deleted. The floor is kept for ever.
  defp start_over(state) do
    {count, state} = floor(state, :all)
    Telemetry.execute(state.h.telemetry, [:heal, :clear], %{count: count}, %{})
    state
  end
end
