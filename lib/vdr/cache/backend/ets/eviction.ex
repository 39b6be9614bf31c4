defmodule Vdr.Cache.Backend.ETS.Eviction do
  @moduledoc false
  # The bounds of a cache, and eviction, in the calling process. Room is reserved before a row is
  # written, so the table never holds more than its bound and one row for each process that writes.
  #
  # Each policy chooses what makes room:
  #
  #   * `:ttl_only` - only expired entries are removed
  #   * `:fifo` - the entry that was put first is evicted
  #   * `:lru` - of 16 entries taken at random, the one that was read longest ago is evicted. The
  #     entries are ordered by random numbers, so 16 neighbours are a random choice
  #   * `:lfu` - S3-FIFO: new entries enter a small queue, a tenth of the cache. An entry that was
  #     used twice there moves to the main queue. The other entries are evicted, and each leaves a
  #     ghost, which is the hash of its key. A key with a ghost enters the main queue directly

  alias Vdr.Cache.Backend.ETS.Rows

  @sample 16
  @small 0
  @main 1

  @doc """
  Reserves room for `rows` more rows and `bytes` more bytes, and evicts entries if needed. `whole`
  is the size of the entry.
  """
  @spec reserve(map, 0 | 1, integer, non_neg_integer) :: :ok | {:error, :full}
  def reserve(h, rows, bytes, whole) do
    # In the order of terms, numbers are smaller than the atom `:infinity`.
    if whole > h.max_bytes do
      {:error, :full}
    else
      count = :atomics.add_get(h.counts, 2, rows)
      total = :atomics.add_get(h.counts, 3, bytes)
      if make_room(h, count, total, 0), do: :ok, else: give_back(h, rows, bytes)
    end
  end

  @doc "Evicts the entries that concurrent puts have stored beyond the bound."
  @spec trim(map) :: :ok
  def trim(h) do
    make_room(h, :atomics.get(h.counts, 2), :atomics.get(h.counts, 3), 0)
    :ok
  end

  @spec give_back(map, 0 | 1, integer) :: {:error, :full}
  def give_back(h, rows, bytes) do
    :atomics.sub(h.counts, 2, rows)
    :atomics.sub(h.counts, 3, bytes)
    {:error, :full}
  end

  defp make_room(h, count, bytes, evicted) do
    if count <= h.max_size and bytes <= h.max_bytes do
      if evicted > 0, do: h.report.(:evictions, evicted)
      true
    else
      case evict(h) do
        :full -> false
        # Other processes have reserved room and have not written yet. They trim after their writes.
        :empty -> true
        n -> make_room(h, :atomics.get(h.counts, 2), :atomics.get(h.counts, 3), evicted + n)
      end
    end
  end

  # Makes room. Returns the number of evicted entries; an expired entry does not count.
  defp evict(h) do
    case expire_one(h) do
      true -> 0
      false -> evict(h, h.policy)
    end
  end

  defp expire_one(h) do
    case :ets.first(h.due) do
      {due, _id} = first -> if due <= Rows.now(h), do: expire(h, first), else: false
      :"$end_of_table" -> false
    end
  end

  @doc "Removes the entry of an index entry that is due. Returns `false` if there was no entry."
  def expire(h, {due, id} = index) do
    with [{_index, key}] <- :ets.lookup(h.due, index),
         [row] <- :ets.lookup(h.data, key),
         true <- elem(row, 5) == id and Rows.due(row) == due and Rows.remove(h, row) do
      h.report.(:expirations, 1)
      true
    else
      _gone ->
        :ets.delete(h.due, index)
        false
    end
  end

  defp evict(_h, :ttl_only), do: :full

  defp evict(h, :fifo) do
    case :ets.first(h.order) do
      :"$end_of_table" -> :empty
      place -> evict_at(h, place)
    end
  end

  defp evict(h, :lru) do
    case sample(h, :ets.next(h.order, {:rand.uniform(0x3FFFFFF), 0}), @sample, nil) do
      nil -> :empty
      {_mark, place} -> evict_at(h, place)
    end
  end

  defp evict(h, :lfu) do
    small = :atomics.get(h.counts, 4 + @small)
    main = :atomics.get(h.counts, 4 + @main)
    if small * 10 >= small + main, do: evict_small(h), else: evict_main(h)
  end

  # Removes the entry at a place, in any version. The process that removed the place from the order
  # removes the entry.
  defp evict_at(h, place) do
    with {:ok, key} <- Rows.leave(h, place), [row] <- :ets.take(h.data, key) do
      if Rows.place(row) == place do
        Rows.forget_evicted(h, row)
        1
      else
        put_back(h, row)
      end
    else
      _gone -> 0
    end
  end

  # The key was deleted and put again meanwhile, and has another place now.
  defp put_back(h, row) do
    unless :ets.insert_new(h.data, row), do: Rows.forget(h, row)
    0
  end

  # Returns the key at a place, and its mark.
  defp mark_at(h, place) do
    case :ets.lookup(h.order, place) do
      [{_place, key}] -> {key, :ets.lookup_element(h.data, key, 5)}
      [] -> nil
    end
  rescue
    # The entry was removed meanwhile.
    ArgumentError ->
      Rows.leave(h, place)
      nil
  end

  defp row_at(h, place) do
    with [{_place, key}] <- :ets.lookup(h.order, place),
         [row] <- :ets.lookup(h.data, key),
         ^place <- Rows.place(row) do
      row
    else
      _gone ->
        Rows.leave(h, place)
        nil
    end
  end

  # ---- :lru

  defp sample(_h, _place, 0, oldest), do: oldest

  defp sample(h, :"$end_of_table", left, oldest) do
    case :ets.first(h.order) do
      :"$end_of_table" -> oldest
      # At the end of the table, the sample continues at its beginning.
      place -> sample(h, place, left, oldest)
    end
  end

  defp sample(h, place, left, oldest) do
    next = :ets.next(h.order, place)

    case mark_at(h, place) do
      nil -> sample(h, next, left - 1, oldest)
      {_key, mark} -> sample(h, next, left - 1, older(oldest, {mark, place}))
    end
  end

  defp older(nil, other), do: other
  defp older({mark, _place} = one, {other, _other_place}) when mark <= other, do: one
  defp older(_one, other), do: other

  # ---- :lfu

  defp evict_small(h) do
    case :ets.next(h.order, {@small, 0}) do
      {@small, _seq} = place -> leave_small(h, place)
      _main_or_end -> evict_main(h)
    end
  end

  defp leave_small(h, place) do
    case mark_at(h, place) do
      nil ->
        0

      {_key, mark} when mark > 1 ->
        promote(h, place, 0)

      {key, _mark} ->
        evicted = evict_at(h, place)
        if evicted == 1, do: leave_ghost(h, key)
        evicted
    end
  end

  defp evict_main(h) do
    case :ets.next(h.order, {@main, 0}) do
      {@main, _seq} = place ->
        case mark_at(h, place) do
          nil -> 0
          {_key, mark} when mark > 0 -> promote(h, place, mark - 1)
          {_key, _mark} -> evict_at(h, place)
        end

      :"$end_of_table" ->
        case :ets.first(h.order) do
          :"$end_of_table" -> :empty
          place -> leave_small(h, place)
        end
    end
  end

  # Moves an entry to the end of the main queue.
  defp promote(h, place, mark) do
    with row when row != nil <- row_at(h, place) do
      to = {@main, Rows.next_seq(h)}
      {keep, soft, kind, bytes, _place} = elem(row, 7)
      moved = row |> put_elem(3, Rows.next_seq(h)) |> put_elem(4, mark) |> put_elem(7, {keep, soft, kind, bytes, to})

      if Rows.replace(h, row, moved) do
        Rows.enter(h, to, elem(row, 0))
        Rows.leave(h, place)
      end
    end

    0
  end

  # ---- places of new entries

  @doc "Returns the place of a new entry in the order of eviction."
  @spec place(map, key :: term, pos_integer) :: nil | {non_neg_integer, pos_integer}
  def place(%{policy: :ttl_only}, _key, _seq), do: nil
  def place(%{policy: :fifo}, _key, seq), do: {0, seq}
  def place(%{policy: :lru}, _key, seq), do: {:rand.uniform(0x3FFFFFF), seq}
  def place(%{policy: :lfu} = h, key, seq), do: {if(ghost?(h, key), do: @main, else: @small), seq}

  # A ghost is found by the hash of its key. If there are more ghosts than entries, the oldest ghost
  # is removed.
  defp leave_ghost(h, key) do
    hash = :erlang.phash2(key, 0xFFFFFFFF)
    seq = Rows.next_seq(h)

    case :ets.lookup(h.ghosts, hash) do
      [{_hash, old}] -> :ets.delete(h.ghost_order, old)
      [] -> :ok
    end

    :ets.insert(h.ghosts, {hash, seq})
    :ets.insert(h.ghost_order, {seq, hash})
    trim_ghosts(h)
    true
  end

  defp trim_ghosts(h) do
    if :ets.info(h.ghost_order, :size) > max(:atomics.get(h.counts, 2), 16) do
      with seq when is_integer(seq) <- :ets.first(h.ghost_order),
           [{_seq, hash}] <- :ets.take(h.ghost_order, seq),
           do: :ets.delete_object(h.ghosts, {hash, seq})
    end
  end

  defp ghost?(h, key) do
    case :ets.take(h.ghosts, :erlang.phash2(key, 0xFFFFFFFF)) do
      [{_hash, seq}] ->
        :ets.delete(h.ghost_order, seq)
        true

      [] ->
        false
    end
  end
end
