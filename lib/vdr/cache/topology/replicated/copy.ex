defmodule Vdr.Cache.Topology.Replicated.Copy do
  @moduledoc false
  # The entries of one node, and the version of each.
  #
  # A *change* is one of these:
  #
  #   * `{key, version, {:put, value, write} | :delete}`. It is applied if its version is larger
  #     than that of the key.
  #   * a *floor*, `{:floor, what, version}`. It makes older entries absent: all entries, those with
  #     a tag, or those that a writer started with. A floor does not change the version of a key.
  #     The reason: a put with another tag and a version between the two may arrive after the floor,
  #     and must still be applied.
  #
  # So an entry exists if its change is the newest one of its key, and is above the floors of its
  # tags. Versions and floors only grow. So changes may arrive in any order and more than once, and
  # all nodes agree in the end.
  #
  # The table of versions has rows `{key, version, :live | removed_at}`. It is ordered, and such a
  # table treats `1` and `1.0` as equal, so keys are in the external term format. Deletes stay in
  # the table for some time. `forgotten` has, for each writer, the largest version of the deletes
  # that were removed from the table. It shows when this node has forgotten a delete that another
  # node has never received.

  alias Vdr.Cache.Write

  @portion 1_000
  @portion_bytes 1_000_000
  # How many deletes one sweep forgets.
  @sweep 10_000
  @writers 1_000

  defstruct [:backend, :store, :writer, :portion, :versions, :graves, clock: {0, 0}, floors: %{}, forgotten: %{}]

  # The store may have entries already: from a file, or from before a crash of the process. They get
  # a version that is older than any other one.
  @spec new(map, {node, integer}) :: {%__MODULE__{}, adopted? :: boolean}
  def new(%{local: {backend, store}} = h, writer) do
    copy = %__MODULE__{
      backend: backend,
      store: store,
      writer: writer,
      # Tests use a smaller number.
      portion: Map.get(h, :portion, @portion),
      versions: :ets.new(__MODULE__, [:ordered_set, :private]),
      graves: :ets.new(__MODULE__, [:ordered_set, :private])
    }

    for key <- backend.stream(store, :keys), do: :ets.insert(copy.versions, {pack(key), {0, 0, writer}, :live})
    {copy, :ets.info(copy.versions, :size) > 0}
  end

  @doc "Returns the next version, which is larger than all versions that were seen."
  def tick(%{clock: {ms, count}} = copy, wall) do
    {ms, count} = clock = if wall > ms, do: {wall, 0}, else: {ms, count + 1}
    {{ms, count, copy.writer}, %{copy | clock: clock}}
  end

  defp witness(copy, {ms, count, _writer}), do: %{copy | clock: max(copy.clock, {ms, count})}

  # ---- changes of this node

  @doc "Returns the changes of keys that were written: the entries as they are now."
  def written(copy, keys, wall, now) do
    Enum.map_reduce(keys, copy, fn key, copy ->
      {version, copy} = tick(copy, wall)
      what = read(copy, key)
      remember(copy, pack(key), version, if(what == :delete, do: now, else: :live))
      {{key, version, what}, copy}
    end)
  end

  @doc "Returns the keys whose last change was made on this node, up to a clock."
  def written_here(copy, last) do
    rows = :ets.match(copy.versions, {:"$1", {:"$2", :"$3", copy.writer}, :_})
    for [packed, ms, count] <- rows, ms > 0 and {ms, count} <= last, do: unpack(packed)
  end

  @doc "Sets a floor at the next version. Returns the number of removed entries, and the change."
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

  # ---- changes of other nodes

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

  # Returns whether the entry exists afterwards. If a value is below a floor, or cannot be stored,
  # the older entry of its key is removed, too.
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

  # A user function of the options, such as `:size_of`, may raise.
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
    # The newer entries are put again, so that they are behind the mark, before the backend removes
    # the older ones. So no reader misses them. The removal by the backend also voids running
    # fetches.
    mark = backend.mark(store)
    for {key, _version} <- newer, {value, write} <- [backend.dump(store, key)], do: put(copy, key, value, write)
    count = remove(copy, what, mark, length(older))
    for {key, known} <- older, do: remember(copy, pack(key), known, now)
    {count, forget_below(%{copy | floors: Map.put(copy.floors, what, {version, now})}, what, version)}
  end

  # An entry without a version is older than every other one.
  defp version_of(copy, key) do
    case :ets.lookup(copy.versions, pack(key)) do
      [{_packed, version, _state}] -> version
      [] -> {0, 0, copy.writer}
    end
  end

  # If the backend could not write to its file, it has removed the entries from memory.
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

  # A floor for all entries is kept for ever, so no entry that was deleted before it can come back.
  defp forget_below(copy, :all, {ms, count, _writer}) do
    %{copy | forgotten: for({_w, clock} = one <- copy.forgotten, clock > {ms, count}, into: %{}, do: one)}
  end

  defp forget_below(copy, _tag, _version), do: copy

  # ---- for a node that fetches all entries

  def floors(copy), do: for({what, {version, _at}} <- copy.floors, do: {:floor, what, version})

  @doc "Returns the changes after a cursor, and the next cursor or `:last`."
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

  @doc "Adds the clocks of what another node has forgotten, once all of its entries are here."
  def forgotten(copy, forgotten) do
    copy = see(copy, Map.values(forgotten))
    %{copy | forgotten: latest(copy.forgotten, forgotten)}
  end

  @doc "Makes the next version larger than these clocks."
  def see(copy, clocks), do: %{copy | clock: Enum.reduce(clocks, copy.clock, &max/2)}

  @doc "Returns the largest version that was forgotten."
  def horizon(copy), do: copy.forgotten |> Map.values() |> Enum.max(fn -> {-1, 0} end)

  @doc """
  Returns the larger clock of each writer. Every restart of a node is a new writer; the oldest
  writers are left out.
  """
  def latest(clocks, others) do
    clocks = Map.merge(clocks, others, fn _writer, one, other -> max(one, other) end)
    more = map_size(clocks) - @writers
    if more > 0, do: clocks |> Enum.sort_by(&elem(&1, 1)) |> Enum.drop(more) |> Map.new(), else: clocks
  end

  @doc "Forgets deletes and floors that are older than `ttl` ms."
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

  # Entries that expired or were evicted become deletes, once there are many of them.
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
