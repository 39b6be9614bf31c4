defmodule Vdr.Cache.Backend.ETS do
  @moduledoc """
  Stores entries in memory. They are lost when the cache stops. This is the default backend, and the
  fastest one: a read is one look-up in a table.

  Keys and values may be any terms. Values are copied into the table and out of it.

  ## Options

    * `:clock` - a function that returns the time in ms, for tests. The default is the clock of the
      VM

  ## Costs

  `get`, `put`, `delete`, `take`, `incr` and `ttl` are O(1). Writes are O(log n) with a time to
  live, with `:fifo` and with `:lfu`; each tag adds O(log n). `size` is O(1). `invalidate_tag`
  invalidates the entries in O(1), and then counts and removes them in O(entries of the tag).
  `flush`, `stream` and `keys` are O(n).
  """

  @behaviour Vdr.Cache.Backend

  alias Vdr.Cache.Backend.ETS.{Eviction, Key, Leases, Put, Rows, Tags}
  alias Vdr.Cache.{Entry, Write}

  @portion 500
  @clock_type {:check, "a function of no arguments", quote(do: (... -> integer)), &__MODULE__.clock?/1}

  @doc false
  def clock?(value), do: is_function(value, 0)

  @impl true
  def check!(config) do
    options!(config)
    :ok
  end

  defp options!(config) do
    schema = [clock: [type: @clock_type, doc: "returns the time in ms"]]
    Vdr.Schema.validate!(config.opts, schema, ":backend_opts of #{inspect(config.name)}")
  end

  @impl true
  def start(config), do: {:ok, [], new(config, config[:changed] || fn _key, _what -> :ok end)}

  @doc false
  # `changed` is for a backend on top of this one. After each change, it is called with the key and
  # `:written` or `:removed`; after a flush, with `nil` and `:flushed`.
  def new(config, changed) do
    # Every eviction reads the size of a table. With decentralized counters, that would take a round
    # through all schedulers.
    concurrent = [:public, read_concurrency: true, write_concurrency: true, decentralized_counters: false]
    table = fn kind -> :ets.new(__MODULE__, [kind | concurrent]) end
    bounded = config.max_size != :infinity or config.max_bytes != :infinity

    %{
      data: table.(:set),
      due: table.(:ordered_set),
      tags: table.(:ordered_set),
      generations: table.(:set),
      order: table.(:ordered_set),
      ghosts: table.(:set),
      ghost_order: table.(:ordered_set),
      leases: table.(:set),
      # 1: the last number of a put or an invalidation, 2: entries, 3: bytes, 4 and 5: entries of
      # the small and of the main queue
      counts: :atomics.new(5, []),
      clock: options!(config)[:clock],
      bounded: bounded,
      max_size: config.max_size,
      max_bytes: config.max_bytes,
      size_of: config.max_bytes != :infinity && (config.size_of || (&external_size/2)),
      policy: config.policy,
      # With these policies, a read marks the row as used.
      marks: bounded && config.policy in [:lru, :lfu] && config.policy,
      report: config.report,
      changed: changed
    }
  end

  defp external_size(key, value), do: :erlang.external_size(key) + :erlang.external_size(value)

  # ---- reading

  @impl true
  def get(h, key) do
    key = Key.wrap(key)

    case :ets.lookup(h.data, key) do
      [{_key, value, :infinity, _version, mark, _id, [], _meta}] ->
        if h.marks, do: mark_used(h, key, mark)
        {:ok, value}

      [{_key, value, _fresh, _version, mark, _id, _tags, _meta} = row] ->
        if Rows.fresh?(h, row, Rows.now(h)) do
          if h.marks, do: mark_used(h, key, mark)
          {:ok, value}
        else
          {:error, :not_found}
        end

      [] ->
        {:error, :not_found}
    end
  end

  # A read of a hot key writes nothing: for `:lfu`, three uses count as many; for `:lru`, a recent
  # use counts as the last one.
  defp mark_used(%{marks: :lfu} = h, key, mark),
    do: if(mark < 3, do: :ets.update_element(h.data, key, {5, mark + 1}))

  defp mark_used(%{marks: :lru} = h, key, mark) do
    seq = :atomics.get(h.counts, 1)
    if (seq - mark) * 64 > :atomics.get(h.counts, 2), do: :ets.update_element(h.data, key, {5, seq})
  end

  @impl true
  def entry(h, key) do
    key = Key.wrap(key)
    now = Rows.now(h)

    case :ets.lookup(h.data, key) do
      [{_key, value, fresh, version, mark, _id, _tags, meta} = row] ->
        if Rows.kept?(h, row, now) do
          if h.marks, do: mark_used(h, key, mark)
          {:ok, struct!(Entry, [value: value, version: version, fresh: now < fresh] ++ about(meta, now))}
        else
          {:error, :not_found}
        end

      [] ->
        {:error, :not_found}
    end
  end

  defp about(nil, _now), do: []
  defp about({_keep, nil, kind, _bytes, _place}, _now), do: [kind: kind]
  defp about({_keep, soft, kind, _bytes, _place}, now), do: [kind: kind, refresh: now >= soft]

  @impl true
  def get_many(h, keys) do
    {:ok,
     Enum.reduce(keys, %{}, fn key, found ->
       case get(h, key) do
         {:ok, value} -> Map.put(found, key, value)
         {:error, :not_found} -> found
       end
     end)}
  end

  @impl true
  def ttl(h, key) do
    case Rows.fresh_row(h, Key.wrap(key)) do
      nil -> {:error, :not_found}
      {row, now} -> {:ok, remaining(elem(row, 2), now)}
    end
  end

  defp remaining(:infinity, _now), do: :infinity
  defp remaining(time, now), do: time - now

  @impl true
  def size(h), do: :ets.info(h.data, :size)

  @impl true
  def stream(h, what) do
    now = Rows.now(h)

    h.data
    |> select([{:"$1", [], [:"$1"]}])
    |> Stream.filter(&Rows.fresh?(h, &1, now))
    |> Stream.map(fn row ->
      if what == :keys, do: Key.unwrap(elem(row, 0)), else: {Key.unwrap(elem(row, 0)), elem(row, 1)}
    end)
  end

  # `safe_fixtable` makes each entry that is in the table all the time occur exactly once.
  defp select(table, spec) do
    Stream.resource(
      fn ->
        :ets.safe_fixtable(table, true)
        :first
      end,
      fn
        :first -> portion(:ets.select(table, spec, @portion))
        :end -> {:halt, :end}
        continuation -> portion(:ets.select(continuation))
      end,
      fn _state -> :ets.safe_fixtable(table, false) end
    )
  end

  defp portion(:"$end_of_table"), do: {:halt, :end}
  defp portion({rows, :"$end_of_table"}), do: {rows, :end}
  defp portion({rows, continuation}), do: {rows, continuation}

  @impl true
  def tagged(h, tag) do
    h
    |> Tags.index(tag, :infinity)
    |> Stream.flat_map(fn {{_tag, id}, key} ->
      case Rows.fresh_row(h, key) do
        {row, _now} -> if elem(row, 5) == id and Tags.has_tag?(row, tag), do: [Key.unwrap(key)], else: []
        nil -> []
      end
    end)
  end

  @impl true
  def info(h) do
    words = for table <- tables(h), reduce: 0, do: (sum -> sum + :ets.info(table, :memory))
    bounded = if h.bounded, do: %{bytes: :atomics.get(h.counts, 3)}, else: %{}
    Map.merge(%{memory_bytes: words * :erlang.system_info(:wordsize)}, bounded)
  end

  defp tables(h),
    do: [h.data, h.due, h.tags, h.generations, h.order, h.ghosts, h.ghost_order, h.leases]

  # ---- writing

  @impl true
  def put(h, key, value, write), do: Put.put(h, key, value, write)
  @impl true
  def put_many(h, entries, write), do: Put.put_many(h, entries, write)

  @impl true
  def delete(h, key) do
    key = Key.wrap(key)
    Leases.void(h.leases, key)
    {:ok, Rows.delete(h, key) != nil}
  end

  @impl true
  def delete_many(h, keys), do: {:ok, Enum.count(keys, &(delete(h, &1) == {:ok, true}))}

  @impl true
  def take(h, key) do
    key = Key.wrap(key)
    Leases.void(h.leases, key)

    case Rows.delete(h, key) do
      nil -> {:error, :not_found}
      row -> {:ok, elem(row, 1)}
    end
  end

  @impl true
  def incr(h, key, n, default, %Write{} = write) do
    wrapped = Key.wrap(key)

    case Rows.fresh_row(h, wrapped) do
      nil ->
        case put(h, key, default + n, %{write | mode: :new}) do
          {:ok, true} -> {:ok, default + n}
          {:ok, false} -> incr(h, key, n, default, write)
          error -> error
        end

      {row, _now} when is_integer(elem(row, 1)) ->
        Leases.void(h.leases, wrapped)
        add_to(h, wrapped, n, fn -> incr(h, key, n, default, write) end)

      {_row, _now} ->
        {:error, :not_an_integer}
    end
  end

  # `:ets` adds and sets the version in one step: adding 1 takes the version above the threshold 0,
  # so it becomes the new number.
  defp add_to(h, key, n, again) do
    [value, _version] = :ets.update_counter(h.data, key, [{2, n}, {4, 1, 0, Rows.next_seq(h)}])
    h.changed.(key, :written)
    {:ok, value}
  rescue
    # The entry was deleted, or its new value is not an integer.
    ArgumentError -> again.()
  end

  @impl true
  def expire(h, key, 0), do: delete(h, key)

  def expire(h, key, ttl) do
    wrapped = Key.wrap(key)

    case Rows.fresh_row(h, wrapped) do
      nil ->
        {:ok, false}

      {row, now} ->
        moved = row |> put_elem(2, Rows.later(now, ttl)) |> put_elem(3, Rows.next_seq(h)) |> move_keep(row)
        Rows.index_due(h, Rows.due(moved), elem(row, 5), wrapped)

        if Rows.replace(h, row, moved) do
          if Rows.due(row) != Rows.due(moved), do: Rows.unindex_due(h, Rows.due(row), elem(row, 5))
          h.changed.(wrapped, :written)
          {:ok, true}
        else
          expire(h, key, ttl)
        end
    end
  end

  # An entry that is kept past its time to live is kept for as long past the new one.
  defp move_keep({_key, _value, _fresh, _version, _mark, _id, _tags, nil} = row, _old), do: row

  defp move_keep(row, old) do
    {keep, soft, kind, bytes, place} = elem(row, 7)

    keep =
      if is_integer(keep) and is_integer(elem(old, 2)),
        do: Rows.later(elem(row, 2), keep - elem(old, 2)),
        else: elem(row, 2)

    put_elem(row, 7, {keep, soft, kind, bytes, place})
  end

  # ---- tags

  @impl true
  def invalidate_tag(h, tag), do: invalidate_tag(h, tag, mark(h))

  @doc false
  # An invalidation or a flush with this mark leaves all later puts alone.
  def mark(h), do: Rows.next_seq(h)

  @doc false
  def invalidate_tag(h, tag, mark), do: Tags.invalidate(h, tag, mark)

  # ---- for other nodes

  @doc false
  # Returns the value of an entry and the write that stores it on another node, or `nil`. The times
  # of the write are the remaining ones.
  def dump(h, key) do
    now = Rows.now(h)

    with [{_key, value, fresh, _version, _mark, _id, tags, meta} = row] <- :ets.lookup(h.data, Key.wrap(key)),
         true <- Rows.kept?(h, row, now) do
      {keep, soft, kind, _bytes, _place} = meta || {fresh, nil, :value, 0, nil}
      ttl = if kind == :negative, do: :infinity, else: left(fresh, now)
      more = if keep == :infinity or fresh == :infinity, do: 0, else: max(0, keep - max(fresh, now))
      {value, %Write{ttl: ttl, keep: more, soft: soft && max(0, soft - now), kind: kind, tags: tags}}
    else
      _absent -> nil
    end
  end

  defp left(:infinity, _now), do: :infinity
  defp left(time, now), do: max(0, time - now)

  # ---- all entries

  @impl true
  def flush(h), do: flush(h, mark(h))

  @doc false
  def flush(h, last) do
    Leases.void_all(h.leases)
    if h.bounded or h.size_of, do: flush_rows(h, last), else: flush_tables(h, last)
    h.changed.(nil, :flushed)
  end

  defp flush_rows(h, last) do
    h.data |> select([{:"$1", [{:"=<", {:element, 6, :"$1"}, last}], [:"$1"]}]) |> Enum.each(&remove_old(h, &1, last))
  end

  # Another process may have changed the row, and the row may still be an old entry.
  defp remove_old(h, row, last) do
    unless Rows.remove(h, row) do
      case :ets.lookup(h.data, elem(row, 0)) do
        [row] when elem(row, 5) <= last -> remove_old(h, row, last)
        _newer -> :ok
      end
    end
  end

  defp flush_tables(h, last) do
    old = {:"=<", :"$1", last}
    :ets.select_delete(h.data, [{{:_, :_, :_, :_, :_, :"$1", :_, :_}, [old], [true]}])
    :ets.select_delete(h.due, [{{{:_, :"$1"}, :_}, [old], [true]}])
    :ets.select_delete(h.tags, [{{{:_, :"$1"}, :_}, [old], [true]}])
    :ok
  end

  @impl true
  def sweep(h) do
    count = sweep_due(h, Rows.now(h), 0)
    # Fetches that begin from now on are newer than this number.
    last = Rows.next_seq(h)
    Tags.sweep(h, min(Leases.sweep(h.leases), last))
    {:ok, count}
  end

  defp sweep_due(h, now, count) do
    case :ets.first(h.due) do
      {due, _id} = first when due <= now ->
        sweep_due(h, now, if(Eviction.expire(h, first), do: count + 1, else: count))

      _later_or_end ->
        count
    end
  end

  # ---- leases

  @impl true
  def acquire(h, key, how), do: acquire_for(h, key, how, self())

  @doc false
  # The process may be on another node.
  def acquire_for(h, key, how, pid) do
    wrapped = Key.wrap(key)
    lease = Leases.acquire(h.leases, wrapped, fn -> Rows.next_seq(h) end, pid)

    # The entry may have been put between the caller's read and the lease.
    case entry(h, key) do
      {:ok, entry} when not how.refresh and (entry.fresh or entry.kind == :negative) ->
        Leases.release(h.leases, wrapped, lease)
        {:hit, entry}

      _absent ->
        {:ok, lease}
    end
  end

  @impl true
  def await_lease(_h, _wait, _timeout), do: :again

  @impl true
  def commit(h, key, lease, _answer, :nothing) do
    release(h, key, lease)
    {:ok, :lost}
  end

  def commit(h, key, {_ref, seq} = lease, {_kind, value}, %Write{} = write) do
    wrapped = Key.wrap(key)

    Leases.commit(h.leases, wrapped, lease, fn ->
      if Rows.invalidated?(h, write.tags, seq) do
        {:ok, :lost}
      else
        with {:ok, true} <- Put.put_wrapped(h, wrapped, value, write, {seq, Rows.next_seq(h)}), do: {:ok, :stored}
      end
    end)
  end

  @impl true
  def release(h, key, lease), do: Leases.release(h.leases, Key.wrap(key), lease)
end
