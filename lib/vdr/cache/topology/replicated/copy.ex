defmodule Vdr.Cache.Topology.Replicated.Copy do
  @moduledoc false
  # The entries of one node, and the version of each.
  #
  # A *change* is `{key, version, {:put, value, write} | :delete}`. It counts where its version is
  # larger than that of the key. Or it is a *floor*, `{:floor, what, version}`: what is older is
  # absent, be it all entries, those with a tag, or those that a writer began with. A floor leaves
  # the version of a key as it is, because a change between the two, which comes later and has
  # another tag, must still count. So an entry is there where its change is the newest one of its
  # key, and is above the floors of its tags. Both only grow: changes may come in any order and more
  # than once, and all nodes agree in the end.
  #
  # `{key, version, :live | removed_at}`: versions are in an ordered table, under the external term
  # format of the keys, because such a table holds `1` and `1.0` for equal. Deletes stay in it for
  # some time. What was `forgotten` of each writer is the largest version of these, so that it is
  # found out when it has forgotten what another node has never heard of.

  alias Vdr.Cache.Write

  @portion 1_000
  @portion_bytes 1_000_000
  # How many deletes are forgotten at once.
  @sweep 10_000
  @writers 1_000

  defstruct [:backend, :store, :writer, :portion, :versions, :graves, clock: {0, 0}, floors: %{}, forgotten: %{}]

  # Entries that are there already: of a file, or of before a crash of the process. Any other
  # version is newer.
  @spec new(map, {node, integer}) :: {%__MODULE__{}, adopted? :: boolean}
  def new(%{local: {backend, store}} = h, writer) do
    copy = %__MODULE__{
      backend: backend,
      store: store,
      writer: writer,
      # Fewer in tests.
      portion: Map.get(h, :portion, @portion),
      versions: :ets.new(__MODULE__, [:ordered_set, :private]),
      graves: :ets.new(__MODULE__, [:ordered_set, :private])
    }

    for key <- backend.stream(store, :keys), do: :ets.insert(copy.versions, {pack(key), {0, 0, writer}, :live})
    {copy, :ets.info(copy.versions, :size) > 0}
  end

  @doc "The next version: larger than all that were seen."
  def tick(%{clock: {ms, count}} = copy, wall) do
    {ms, count} = clock = if wall > ms, do: {wall, 0}, else: {ms, count + 1}
    {{ms, count, copy.writer}, %{copy | clock: clock}}
  end

  defp witness(copy, {ms, count, _writer}), do: %{copy | clock: max(copy.clock, {ms, count})}

  # ---- changes of this node

  @doc "Some keys were written. Others get them as they are now."
  def written(copy, keys, wall, now) do
    Enum.map_reduce(keys, copy, fn key, copy ->
      {version, copy} = tick(copy, wall)
      what = read(copy, key)
      remember(copy, pack(key), version, if(what == :delete, do: now, else: :live))
      {{key, version, what}, copy}
    end)
  end

  @doc "The keys whose last change was made here, up to a clock."
  def written_here(copy, last) do
    rows = :ets.match(copy.versions, {:"$1", {:"$2", :"$3", copy.writer}, :_})
    for [packed, ms, count] <- rows, ms > 0 and {ms, count} <= last, do: unpack(packed)
  end

  @doc "Makes what is there absent; answers how many entries that were, and the change."
  def floor(copy, what, wall, now) do
    {version, copy} = tick(copy, wall)
    {count, copy} = apply_floor(copy, what, version, now)
    {count, {:floor, what, version}, copy}
  end

  defp read(%{backend: backend, store: store}, key) do
    case backend.dump(store, key) do
      {value, %Write{} = write} -> {:put, value, write}
      nil -> :delete
    end
  end

  # ---- changes of others

  def apply_all(copy, changes, now), do: Enum.reduce(changes, copy, &apply_change(&2, &1, now))

  defp apply_change(copy, {:floor, what, version}, now) do
    copy = witness(copy, version)

    case copy.floors do
      %{^what => {known, _at}} when known >= version -> copy
      _older -> copy |> apply_floor(what, version, now) |> elem(1)
    end
  end

  defp apply_change(copy, {key, version, what}, now) do
    packed = pack(key)

    case :ets.lookup(copy.versions, packed) do
      [{_packed, known, _state}] when known >= version -> :ok
      _older -> remember(copy, packed, version, if(store(copy, key, version, what), do: :live, else: now))
    end

    witness(copy, version)
  end

  # Whether the entry is there. What does not fit, or cannot be stored, takes the older one along.
  defp store(%{backend: backend, store: store} = copy, key, version, {:put, value, write}) do
    if below_floor?(copy, version, write.tags) or not put(copy, key, value, write) do
      backend.delete(store, key)
      false
    else
      true
    end
  end

  defp store(%{backend: backend, store: store}, key, _version, :delete) do
    backend.delete(store, key)
    false
  end

  # A function of the options may raise.
  defp put(%{backend: backend, store: store}, key, value, write) do
    backend.put(store, key, value, write) == {:ok, true}
  rescue
    _error -> false
  end

  defp below_floor?(copy, {_ms, _count, writer} = version, tags) do
    adopted? = version == {0, 0, writer} and is_map_key(copy.floors, {:adopted, writer})
    adopted? or Enum.any?([:all | Enum.map(tags, &{:tag, &1})], &below?(copy, &1, version))
  end

  defp below?(copy, what, version) do
    case copy.floors do
      %{^what => {floor, _at}} -> version <= floor
      _none -> false
    end
  end

  defp apply_floor(%{backend: backend, store: store} = copy, {:adopted, writer} = what, version, now) do
    adopted = {0, 0, writer}
    rows = :ets.match(copy.versions, {:"$1", adopted, :live})

    for [packed] <- rows do
      backend.delete(store, unpack(packed))
      remember(copy, packed, adopted, now)
    end

    {length(rows), %{copy | floors: Map.put(copy.floors, what, {version, now})}}
  end

  defp apply_floor(%{backend: backend, store: store} = copy, what, version, now) do
    keys = if what == :all, do: backend.stream(store, :keys), else: backend.tagged(store, elem(what, 1))
    {older, newer} = keys |> Enum.map(&{&1, version_of(copy, &1)}) |> Enum.split_with(fn {_key, v} -> v <= version end)
    # What is newer is written once more behind the mark, before all others go, so no reader misses
    # it. The backend does the rest as a whole, which ends the fetches under way, too.
    mark = backend.mark(store)
    for {key, _version} <- newer, {value, write} <- [backend.dump(store, key)], do: put(copy, key, value, write)
    count = remove(copy, what, mark, length(older))
    for {key, known} <- older, do: remember(copy, pack(key), known, now)
    {count, forget_below(%{copy | floors: Map.put(copy.floors, what, {version, now})}, what, version)}
  end

  # An entry of which nothing is known is older than everything.
  defp version_of(copy, key) do
    case :ets.lookup(copy.versions, pack(key)) do
      [{_packed, version, _state}] -> version
      [] -> {0, 0, copy.writer}
    end
  end

  # A backend that could not tell its file has done it in memory.
  defp remove(%{backend: backend, store: store}, {:tag, tag}, mark, count) do
    case backend.invalidate_tag(store, tag, mark) do
      {:ok, count} -> count
      {:error, _reason} -> count
    end
  end

  defp remove(%{backend: backend, store: store}, :all, mark, count) do
    backend.flush(store, mark)
    count
  end

  # A floor under everything stays for good, so what was deleted before cannot come back.
  defp forget_below(copy, :all, {ms, count, _writer}) do
    %{copy | forgotten: for({_w, clock} = one <- copy.forgotten, clock > {ms, count}, into: %{}, do: one)}
  end

  defp forget_below(copy, _tag, _version), do: copy

  # ---- for a node that fetches all

  def floors(copy), do: for({what, {version, _at}} <- copy.floors, do: {:floor, what, version})

  @doc "The changes behind a key, and the key to go on with, or `:last`."
  def portion(copy, cursor) do
    first = if cursor == :first, do: :ets.first(copy.versions), else: :ets.next(copy.versions, cursor)
    collect(copy, first, copy.portion, @portion_bytes, cursor, [])
  end

  defp collect(_copy, :"$end_of_table", _left, _bytes, _last, changes), do: {changes, :last}
  defp collect(_copy, _packed, left, bytes, last, changes) when left == 0 or bytes <= 0, do: {changes, last}

  defp collect(copy, packed, left, bytes, _last, changes) do
    [{_packed, version, _state}] = :ets.lookup(copy.versions, packed)
    key = unpack(packed)
    change = {key, version, read(copy, key)}
    next = :ets.next(copy.versions, packed)
    collect(copy, next, left - 1, bytes - :erlang.external_size(change), packed, [change | changes])
  end

  # ---- forgetting

  @doc "All of another node is here, and so is what it has forgotten."
  def forgotten(copy, forgotten) do
    copy = see(copy, Map.values(forgotten))
    %{copy | forgotten: latest(copy.forgotten, forgotten)}
  end

  @doc "The next version is larger than these."
  def see(copy, clocks), do: %{copy | clock: Enum.reduce(clocks, copy.clock, &max/2)}

  @doc "The largest version that was forgotten."
  def horizon(copy), do: copy.forgotten |> Map.values() |> Enum.max(fn -> {-1, 0} end)

  @doc "The larger clock of each writer. There are lives of nodes over years; the oldest are left out."
  def latest(clocks, others) do
    clocks = Map.merge(clocks, others, fn _writer, one, other -> max(one, other) end)
    more = map_size(clocks) - @writers
    if more > 0, do: clocks |> Enum.sort_by(&elem(&1, 1)) |> Enum.drop(more) |> Map.new(), else: clocks
  end

  @doc "Forgets the deletes and floors that are older than `ttl`."
  def forget(copy, now, ttl) do
    bury_dead(copy, now)
    copy |> sweep(:ets.first(copy.graves), now - ttl, @sweep) |> sweep_floors(now - ttl)
  end

  defp sweep(copy, {at, packed}, limit, left) when at < limit and left > 0 do
    [{_packed, version, _at}] = :ets.lookup(copy.versions, packed)
    delete_row(copy, packed)
    copy |> forgot(version) |> sweep(:ets.first(copy.graves), limit, left - 1)
  end

  defp sweep(copy, _later_or_end, _limit, _left), do: copy

  defp forgot(copy, {ms, count, writer}), do: forgotten(copy, %{writer => {ms, count}})

  defp sweep_floors(copy, limit) do
    {kept, old} = Enum.split_with(copy.floors, fn {what, {_version, at}} -> what == :all or at >= limit end)
    Enum.reduce(old, %{copy | floors: Map.new(kept)}, fn {_what, {version, _at}}, copy -> forgot(copy, version) end)
  end

  # Entries that have gone by their time or by the policy are like deletes, once there are many.
  defp bury_dead(%{backend: backend, store: store} = copy, now) do
    live = :ets.info(copy.versions, :size) - :ets.info(copy.graves, :size)

    if live > 2 * backend.size(store) + copy.portion do
      for [packed, version] <- :ets.match(copy.versions, {:"$1", :"$2", :live}),
          backend.dump(store, unpack(packed)) == nil,
          do: remember(copy, packed, version, now)
    end
  end

  # ---- the tables

  defp remember(copy, packed, version, state) do
    dig_up(copy, packed)
    :ets.insert(copy.versions, {packed, version, state})
    if is_integer(state), do: :ets.insert(copy.graves, {{state, packed}})
  end

  defp delete_row(copy, packed) do
    dig_up(copy, packed)
    :ets.delete(copy.versions, packed)
  end

  defp dig_up(copy, packed) do
    with [{_packed, _version, at}] when is_integer(at) <- :ets.lookup(copy.versions, packed),
         do: :ets.delete(copy.graves, {at, packed})
  end

  defp pack(key), do: :erlang.term_to_binary(key, [:deterministic])
  defp unpack(packed), do: :erlang.binary_to_term(packed)
end
