defmodule Vdr.Cache.Backend.ETS.Put do
  @moduledoc false
  # Puts: a row and its index entries, in the calling process.
  #
  # The index entries are written before the row, so no row is ever missing from an index. A put
  # that depends on the old row, and every put of a cache with a bound, replaces that row only if it
  # has not changed since it was read; otherwise the put starts again. In a cache with a bound, room
  # is reserved before the row is written.

  alias Vdr.Cache.{Backend, Write}
  alias Vdr.Cache.Backend.ETS.{Eviction, Key, Leases, Rows, Tags}

  @spec put(map, key :: term, value :: term, Write.t()) :: {:ok, boolean} | {:error, :full}
  def put(h, key, value, %Write{} = write) do
    key = Key.wrap(key)
    Leases.void(h.leases, key)
    seq = Rows.next_seq(h)
    answer = put_wrapped(h, key, value, write, {seq, seq})
    # A fetch that began in between has seen the old entry, and must not replace the new one.
    Leases.void(h.leases, key)
    answer
  end

  @doc """
  Stores a value under a key as the table has it, and leaves leases alone.

  `id` is the number that the generations of the tags are compared with. For a fetched value, it was
  taken before the fetch. `seq` is the new version.
  """
  @spec put_wrapped(map, key :: term, value :: term, Write.t(), {id :: pos_integer, seq :: pos_integer}) ::
          {:ok, boolean} | {:error, :full}
  def put_wrapped(h, key, value, write, numbers)

  def put_wrapped(h, key, _value, %Write{ttl: 0, keep: 0, mode: :always}, _numbers) do
    Rows.delete(h, key)
    {:ok, true}
  end

  def put_wrapped(h, key, value, write, {_id, seq} = numbers) do
    now = Rows.now(h)
    make = maker(h, key, value, write, numbers, now)
    answer = if h.bounded, do: put_bounded(h, key, make, write, now), else: put_unbounded(h, key, make, write, now)

    with {:ok, true} <- answer do
      cond do
        write.ttl == 0 and write.keep == 0 -> remove_version(h, key, seq)
        write.tags != [] or write.inherit -> Tags.recheck(h, key, seq)
        true -> :ok
      end

      h.changed.(key, :written)
      if h.bounded, do: Eviction.trim(h)
      answer
    end
  end

  defp remove_version(h, key, seq) do
    case :ets.lookup(h.data, key) do
      [row] when elem(row, 3) == seq -> Rows.remove(h, row)
      _newer -> :ok
    end
  end

  # Returns a function that makes the new row from the existing row, or from `nil`.
  defp maker(h, key, value, write, {new_id, seq}, now) do
    bytes = if h.size_of, do: h.size_of.(Key.unwrap(key), value), else: 0
    fresh = if write.kind == :negative, do: Rows.never(), else: Rows.later(now, write.ttl)
    keep = if write.keep == 0, do: fresh, else: Rows.later(max(fresh, now), write.keep)
    soft = if write.soft, do: now + write.soft

    fn old ->
      if write.inherit and old != nil and Rows.fresh?(h, old, now) do
        {_key, _value, fresh, _version, mark, id, tags, meta} = old
        {key, value, fresh, seq, used(h, mark, seq), id, tags, with_bytes(meta, bytes)}
      else
        place = if(h.bounded, do: (old && Rows.place(old)) || Eviction.place(h, key, seq))
        mark = used(h, if(old, do: elem(old, 4), else: -1), seq)
        plain? = keep == fresh and soft == nil and write.kind == :value and not h.bounded
        meta = if plain?, do: nil, else: {keep, soft, write.kind, bytes, place}
        {key, value, fresh, seq, mark, new_id, write.tags, meta}
      end
    end
  end

  defp with_bytes(nil, _bytes), do: nil
  defp with_bytes(meta, bytes), do: put_elem(meta, 3, bytes)

  defp used(%{marks: :lru}, _mark, seq), do: seq
  defp used(%{marks: :lfu}, mark, _seq), do: min(mark + 1, 3)
  defp used(_h, _mark, _seq), do: 0

  defp put_unbounded(h, key, make, %Write{mode: :always, inherit: false}, _now) do
    old = :ets.lookup(h.data, key)
    row = make.(nil)
    Rows.index(h, row)
    :ets.insert(h.data, row)
    Enum.each(old, &Rows.unindex(h, &1))
    {:ok, true}
  end

  defp put_unbounded(h, key, make, write, now) do
    old = List.first(:ets.lookup(h.data, key))

    if permits?(h, write.mode, old, now) do
      row = make.(old)
      Rows.index(h, row)
      swapped? = if old, do: Rows.replace(h, old, row), else: :ets.insert_new(h.data, row)

      cond do
        swapped? and old != nil ->
          unindex_replaced(h, old, row)
          {:ok, true}

        swapped? ->
          {:ok, true}

        true ->
          if old == nil or elem(old, 5) != elem(row, 5), do: Rows.unindex(h, row)
          put_unbounded(h, key, make, write, now)
      end
    else
      {:ok, false}
    end
  end

  # An entry that inherits the number of the old one also inherits its index entries.
  defp unindex_replaced(h, old, new), do: if(elem(old, 5) != elem(new, 5), do: Rows.unindex(h, old))

  defp put_bounded(h, key, make, write, now) do
    old = List.first(:ets.lookup(h.data, key))

    cond do
      not permits?(h, write.mode, old, now) -> {:ok, false}
      old == nil -> put_new_bounded(h, key, make, write, now)
      true -> put_over_bounded(h, key, old, make, write, now)
    end
  end

  defp put_new_bounded(h, key, make, write, now) do
    row = make.(nil)

    with :ok <- Eviction.reserve(h, 1, Rows.bytes(row), Rows.bytes(row)) do
      Rows.index(h, row)

      if :ets.insert_new(h.data, row) do
        Rows.enter(h, Rows.place(row), key)
        {:ok, true}
      else
        Rows.unindex(h, row)
        Eviction.give_back(h, 1, Rows.bytes(row))
        put_bounded(h, key, make, write, now)
      end
    end
  end

  # The entry keeps its place in the order of eviction: a new value does not make it a new entry.
  defp put_over_bounded(h, key, old, make, write, now) do
    row = make.(old)
    growth = Rows.bytes(row) - Rows.bytes(old)

    with :ok <- Eviction.reserve(h, 0, growth, Rows.bytes(row)) do
      Rows.index(h, row)

      if Rows.replace(h, old, row) do
        unindex_replaced(h, old, row)
        {:ok, true}
      else
        if elem(old, 5) != elem(row, 5), do: Rows.unindex(h, row)
        Eviction.give_back(h, 0, growth)
        put_bounded(h, key, make, write, now)
      end
    end
  end

  defp permits?(_h, :always, _old, _now), do: true
  defp permits?(_h, :new, nil, _now), do: true
  defp permits?(h, :new, old, now), do: not Rows.fresh?(h, old, now)
  defp permits?(_h, :existing, nil, _now), do: false
  defp permits?(h, :existing, old, now), do: Rows.fresh?(h, old, now)
  defp permits?(_h, {:version, version}, nil, _now), do: version == nil
  defp permits?(h, {:version, nil}, old, now), do: not Rows.fresh?(h, old, now)
  defp permits?(h, {:version, version}, old, now), do: elem(old, 3) == version and Rows.fresh?(h, old, now)

  @doc """
  Stores many values. Without a bound, `:ets` inserts all rows in one step, so no reader sees a part
  of them. With a bound, each value is put by itself, so that the bound holds.
  """
  @spec put_many(map, [{key :: term, value :: term}], Write.t()) :: :ok | {:error, :full}
  def put_many(h, entries, write)

  def put_many(_h, [], _write), do: :ok

  def put_many(%{bounded: false} = h, entries, %Write{ttl: ttl} = write) when ttl != 0 do
    entries = for {key, value} <- entries, into: %{}, do: {Key.wrap(key), value}
    Enum.each(entries, fn {key, _value} -> Leases.void(h.leases, key) end)
    old = Enum.flat_map(entries, fn {key, _value} -> :ets.lookup(h.data, key) end)
    now = Rows.now(h)

    rows =
      for {key, value} <- entries do
        seq = Rows.next_seq(h)
        row = maker(h, key, value, write, {seq, seq}, now).(nil)
        Rows.index(h, row)
        row
      end

    :ets.insert(h.data, rows)
    Enum.each(old, &Rows.unindex(h, &1))

    Enum.each(rows, fn row ->
      Leases.void(h.leases, elem(row, 0))
      Tags.recheck(h, elem(row, 0), elem(row, 3))
      h.changed.(elem(row, 0), :written)
    end)
  end

  def put_many(h, entries, write), do: Backend.put_each(entries, &put(h, &1, &2, write))
end
