defmodule Vdr.Cache.Backend.ETS.Rows do
  @moduledoc false
  # The rows of the table, their indexes, and the atomic changes of a row.
  #
  #     {key, value, fresh_until, version, mark, id, tags, meta}
  #     meta: nil or {keep_until, soft_at, kind, bytes, place}
  #
  #   * `fresh_until`, `keep_until`, `soft_at` - times of the cache's clock, or `:infinity`
  #   * `version` - a number that is new with every change
  #   * `mark` - for the policy: how often the entry was read, or when
  #   * `id` - the number of the put that stored the entry. Generations of tags are compared with it
  #   * `place` - the key of the entry in the table `order`
  #
  # The row is authoritative. An index entry that fits no row is ignored, and removed when it is
  # found.

  @type row :: tuple
  @never -0x7FFF_FFFF_FFFF

  @doc "Returns a time that is always in the past."
  def never, do: @never

  @spec now(map) :: integer
  def now(%{clock: nil}), do: :erlang.monotonic_time(:millisecond)
  def now(%{clock: clock}), do: clock.()

  @spec next_seq(map) :: pos_integer
  def next_seq(%{counts: counts}), do: :atomics.add_get(counts, 1, 1)

  @doc "Adds a duration in ms to a time. Either may be `:infinity`."
  @spec later(integer | :infinity, integer | :infinity) :: integer | :infinity
  def later(:infinity, _ms), do: :infinity
  def later(_time, :infinity), do: :infinity
  def later(time, ms) when is_integer(time) and is_integer(ms), do: time + ms

  @doc "Returns the time until which the row must be kept."
  @spec due(row) :: integer | :infinity
  def due({_key, _value, fresh_until, _version, _mark, _id, _tags, nil}), do: fresh_until
  def due({_key, _value, fresh_until, _version, _mark, _id, _tags, meta}), do: latest(fresh_until, elem(meta, 0))

  # In the order of terms, numbers are smaller than atoms.
  defp latest(one, other), do: max(one, other)

  @doc "Returns whether the row must be kept: its time is not over, and none of its tags is invalid."
  @spec kept?(map, row, integer) :: boolean
  def kept?(h, row, now), do: now < due(row) and tags_valid?(h, row)

  @doc "Returns whether `get` returns the row's value."
  @spec fresh?(map, row, integer) :: boolean
  def fresh?(h, row, now), do: now < elem(row, 2) and tags_valid?(h, row)

  @spec tags_valid?(map, row) :: boolean
  def tags_valid?(_h, {_key, _value, _fresh, _version, _mark, _id, [], _meta}), do: true
  def tags_valid?(h, {_key, _value, _fresh, _version, _mark, id, tags, _meta}), do: not invalidated?(h, tags, id)

  @doc "Returns the row of a key and the current time, if the row is fresh."
  @spec fresh_row(map, key :: term) :: {row, now :: integer} | nil
  def fresh_row(h, key) do
    now = now(h)

    with [row] <- :ets.lookup(h.data, key), true <- fresh?(h, row, now) do
      {row, now}
    else
      _absent -> nil
    end
  end

  @doc "Returns whether one of the tags was invalidated after the number was taken."
  @spec invalidated?(map, [term], pos_integer) :: boolean
  def invalidated?(h, tags, id) do
    Enum.any?(tags, fn tag ->
      case :ets.lookup(h.generations, tag) do
        [] -> false
        [{_tag, generation, _drained}] -> id <= generation
      end
    end)
  end

  def bytes({_key, _value, _fresh, _version, _mark, _id, _tags, nil}), do: 0
  def bytes(row), do: row |> elem(7) |> elem(3)

  def place({_key, _value, _fresh, _version, _mark, _id, _tags, nil}), do: nil
  def place(row), do: row |> elem(7) |> elem(4)

  # ---- changes

  @doc "Replaces a row, unless its version has changed."
  @spec replace(map, row, row) :: boolean
  def replace(h, old, new) do
    head = {elem(old, 0), :_, :_, elem(old, 3), :_, :_, :_, :_}
    :ets.select_replace(h.data, [{head, [], [{:const, new}]}]) == 1
  end

  @doc "Deletes the row of a key. Returns the row if it was fresh, and `nil` otherwise."
  @spec delete(map, key :: term) :: row | nil
  def delete(h, key) do
    now = now(h)

    case :ets.take(h.data, key) do
      [row] ->
        forget(h, row)
        if fresh?(h, row, now), do: row

      [] ->
        nil
    end
  end

  @doc "Deletes a row, unless its version has changed, with its index entries and its room."
  @spec remove(map, row) :: boolean
  def remove(h, row) do
    head = {elem(row, 0), :_, :_, elem(row, 3), :_, :_, :_, :_}
    removed? = :ets.select_delete(h.data, [{head, [], [true]}]) == 1
    if removed?, do: forget(h, row)
    removed?
  end

  @doc "Removes the index entries of a deleted row, and gives back its room."
  @spec forget(map, row) :: :ok
  def forget(h, row) do
    unindex(h, row)
    if h.bounded, do: release(h, row)
    h.changed.(elem(row, 0), :removed)
  end

  @doc "Does the same as `forget/2`, for a row that has left the order of eviction already."
  @spec forget_evicted(map, row) :: :ok
  def forget_evicted(h, row) do
    unindex(h, row)
    give_back(h, row)
    h.changed.(elem(row, 0), :removed)
  end

  @doc "Gives back the room of a deleted row."
  def release(h, row) do
    give_back(h, row)
    with place when place != nil <- place(row), do: leave(h, place)
    :ok
  end

  defp give_back(h, row) do
    :atomics.sub(h.counts, 2, 1)
    :atomics.sub(h.counts, 3, bytes(row))
  end

  @doc "Removes an entry from the order of eviction."
  @spec leave(map, term) :: {:ok, key :: term} | :gone
  def leave(h, place) do
    case :ets.take(h.order, place) do
      [] ->
        :gone

      [{_place, key}] ->
        if h.policy == :lfu, do: :atomics.sub(h.counts, queue_index(place), 1)
        {:ok, key}
    end
  end

  @doc "Adds an entry to the order of eviction."
  def enter(_h, nil, _key), do: :ok

  def enter(h, place, key) do
    if :ets.insert_new(h.order, {place, key}) and h.policy == :lfu, do: :atomics.add(h.counts, queue_index(place), 1)
    :ok
  end

  # The small queue and the main queue of `:lfu` have a counter each.
  defp queue_index({queue, _seq}), do: 4 + queue

  # ---- indexes

  @spec index(map, row) :: :ok
  def index(h, {key, _value, _fresh, _version, _mark, id, tags, _meta} = row) do
    index_due(h, due(row), id, key)
    Enum.each(tags, &:ets.insert(h.tags, {{&1, id}, key}))
  end

  def index_due(_h, :infinity, _id, _key), do: true
  def index_due(h, due, id, key), do: :ets.insert(h.due, {{due, id}, key})

  @spec unindex(map, row) :: :ok
  def unindex(h, {_key, _value, _fresh, _version, _mark, id, tags, _meta} = row) do
    unindex_due(h, due(row), id)
    Enum.each(tags, &:ets.delete(h.tags, {&1, id}))
  end

  def unindex_due(_h, :infinity, _id), do: true
  def unindex_due(h, due, id), do: :ets.delete(h.due, {due, id})
end
