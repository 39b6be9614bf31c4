defmodule Vdr.Cache.Backend.ETS do
  @moduledoc """
  Keeps entries in memory. They are lost when the cache stops. The default backend, and the fastest:
  a read is one look-up in a table.

  Keys and values may be any terms. Values are copied into the table and out of it.

  ## Options

    * `:clock` - a function that returns the time in ms, for tests; the clock of the VM by default

  ## Costs

  `get`, `put`, `delete`, `take`, `incr` and `ttl` are O(1), with a time to live, with `:fifo` and
  with `:lfu` O(log n) for writes; each tag adds O(log n). `size` is O(1). `invalidate_tag` makes
  the entries absent in O(1), and then counts and removes them in O(entries of the tag). `flush`,
  `stream` and `keys` are O(n).
  """

  @behaviour Vdr.Cache.Backend

  alias Vdr.Cache.Backend.ETS.{Eviction, Key, Leases, Rows}
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
  # `changed` is for a backend on top of this one. It is called with every key that changed, after
  # the change: with `:written` or `:removed`, and with `nil` and `:flushed` for all of them.
  def new(config, changed) do
    # Sizes are asked for at every eviction, and decentralized counters take a round through all
    # schedulers to answer.
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
      # 1: the last number given, 2: entries, 3: bytes, 4 and 5: entries of the small and of the
      # main queue
      counts: :atomics.new(5, []),
      clock: options!(config)[:clock],
      bounded: bounded,
      max_size: config.max_size,
      max_bytes: config.max_bytes,
      size_of: config.max_bytes != :infinity && (config.size_of || (&external_size/2)),
      policy: config.policy,
      # Reads of a bounded cache leave marks.
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
        if h.marks, do: mark(h, key, mark)
        {:ok, value}

      [{_key, value, _fresh, _version, mark, _id, _tags, _meta} = row] ->
        if Rows.fresh?(h, row, Rows.now(h)) do
          if h.marks, do: mark(h, key, mark)
          {:ok, value}
        else
          {:error, :not_found}
        end

      [] ->
        {:error, :not_found}
    end
  end

  # Hot keys do not write: three uses are as good as many, and a recent use is as good as the last
  # one.
  defp mark(%{marks: :lfu} = h, key, mark),
    do: if(mark < 3, do: :ets.update_element(h.data, key, {5, mark + 1}))

  defp mark(%{marks: :lru} = h, key, mark) do
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
          if h.marks, do: mark(h, key, mark)
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
    case fresh_row(h, Key.wrap(key)) do
      nil -> {:error, :not_found}
      {row, now} -> {:ok, remaining(elem(row, 2), now)}
    end
  end

  defp remaining(:infinity, _now), do: :infinity
  defp remaining(time, now), do: time - now

  defp fresh_row(h, key) do
    now = Rows.now(h)

    with [row] <- :ets.lookup(h.data, key), true <- Rows.fresh?(h, row, now) do
      {row, now}
    else
      _absent -> nil
    end
  end

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

  # The table stays fixed, so that each entry that is there all the time comes exactly once.
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
    |> tag_index(tag, :infinity)
    |> Stream.flat_map(fn {{_tag, id}, key} ->
      case fresh_row(h, key) do
        {row, _now} -> if elem(row, 5) == id and has_tag?(row, tag), do: [Key.unwrap(key)], else: []
        nil -> []
      end
    end)
  end

  # `1` and `1.0` have one place in an ordered table, and are two tags.
  defp has_tag?(row, tag), do: Enum.any?(elem(row, 6), &(&1 === tag))

  # The index entries of a tag up to a number, one after the other, whatever happens to the table
  # meanwhile.
  defp tag_index(h, tag, last) do
    Stream.unfold({tag, 0}, fn place ->
      case :ets.next(h.tags, place) do
        {next_tag, id} = next when next_tag == tag and id <= last -> {next, next}
        _other_tag_or_end -> nil
      end
    end)
    |> Stream.flat_map(&:ets.lookup(h.tags, &1))
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
  def put(h, key, value, %Write{} = write) do
    key = Key.wrap(key)
    Leases.void(h.leases, key)
    seq = Rows.next_seq(h)
    answer = put_wrapped(h, key, value, write, {seq, seq})
    # Who began to fetch in between has seen the old entry, and must not replace the new one.
    Leases.void(h.leases, key)
    answer
  end

  # `id` is the number that the tags' generations are compared with: that of a fetched value was
  # taken before the fetch. `seq` is the new version.
  defp put_wrapped(h, key, _value, %Write{ttl: 0, keep: 0, mode: :always}, _numbers) do
    delete_wrapped(h, key)
    {:ok, true}
  end

  defp put_wrapped(h, key, value, write, {_id, seq} = numbers) do
    now = Rows.now(h)
    make = maker(h, key, value, write, numbers, now)
    answer = if h.bounded, do: put_bounded(h, key, make, write, now), else: put_unbounded(h, key, make, write, now)

    with {:ok, true} <- answer do
      cond do
        write.ttl == 0 and write.keep == 0 -> remove_version(h, key, seq)
        write.tags != [] or write.inherit -> settle_tags(h, key, seq)
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

  # An invalidation that came between the number and the row may have passed the row by.
  defp settle_tags(h, key, seq) do
    with [{_key, _value, _fresh, ^seq, _mark, _id, [_ | _], _meta} = row] <- :ets.lookup(h.data, key),
         false <- Rows.tags_valid?(h, row) do
      Rows.remove(h, row)
    else
      _fine -> :ok
    end
  end

  # The row that a write makes of the row that is there.
  defp maker(h, key, value, write, {new_id, seq}, now) do
    bytes = if h.size_of, do: h.size_of.(Key.unwrap(key), value), else: 0
    fresh = if write.kind == :negative, do: Rows.never(), else: add(now, write.ttl)
    keep = if write.keep == 0, do: fresh, else: later(max(fresh, now), write.keep)
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

  defp add(_now, :infinity), do: :infinity
  defp add(now, ms), do: now + ms
  defp later(:infinity, _ms), do: :infinity
  defp later(time, ms), do: time + ms

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

  # An entry that inherits its number inherits its index entries.
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

  # The place stays: a new value of an old entry is no new entry.
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

  @impl true
  def put_many(_h, [], _write), do: :ok

  # A list is inserted at once: no reader sees a part of it. The bound is kept entry by entry.
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
      settle_tags(h, elem(row, 0), elem(row, 3))
      h.changed.(elem(row, 0), :written)
    end)
  end

  def put_many(h, entries, write) do
    Enum.reduce_while(entries, :ok, fn {key, value}, :ok ->
      case put(h, key, value, write) do
        {:ok, _written} -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  @impl true
  def delete(h, key) do
    key = Key.wrap(key)
    Leases.void(h.leases, key)
    {:ok, delete_wrapped(h, key) != nil}
  end

  defp delete_wrapped(h, key) do
    now = Rows.now(h)

    case :ets.take(h.data, key) do
      [row] ->
        Rows.forget(h, row)
        if Rows.fresh?(h, row, now), do: row

      [] ->
        nil
    end
  end

  @impl true
  def delete_many(h, keys), do: {:ok, Enum.count(keys, &(delete(h, &1) == {:ok, true}))}

  @impl true
  def take(h, key) do
    key = Key.wrap(key)
    Leases.void(h.leases, key)

    case delete_wrapped(h, key) do
      nil -> {:error, :not_found}
      row -> {:ok, elem(row, 1)}
    end
  end

  @impl true
  def incr(h, key, n, default, %Write{} = write) do
    wrapped = Key.wrap(key)

    case fresh_row(h, wrapped) do
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

  # The version is set in the same step: it grows past 0, and is replaced by a number of its own.
  defp add_to(h, key, n, again) do
    [value, _version] = :ets.update_counter(h.data, key, [{2, n}, {4, 1, 0, Rows.next_seq(h)}])
    h.changed.(key, :written)
    {:ok, value}
  rescue
    # The entry was deleted, or got a value that is no integer.
    ArgumentError -> again.()
  end

  @impl true
  def expire(h, key, 0), do: delete(h, key)

  def expire(h, key, ttl) do
    wrapped = Key.wrap(key)

    case fresh_row(h, wrapped) do
      nil ->
        {:ok, false}

      {row, now} ->
        moved = row |> put_elem(2, add(now, ttl)) |> put_elem(3, Rows.next_seq(h)) |> move_keep(row)
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

  # What is kept past its time is kept as long past the new one.
  defp move_keep({_key, _value, _fresh, _version, _mark, _id, _tags, nil} = row, _old), do: row

  defp move_keep(row, old) do
    {keep, soft, kind, bytes, place} = elem(row, 7)

    keep =
      if is_integer(keep) and is_integer(elem(old, 2)), do: later(elem(row, 2), keep - elem(old, 2)), else: elem(row, 2)

    put_elem(row, 7, {keep, soft, kind, bytes, place})
  end

  # ---- tags

  @impl true
  def invalidate_tag(h, tag), do: invalidate_tag(h, tag, mark(h))

  @doc false
  # What is put from here on is not touched by an invalidation or a flush with this mark.
  def mark(h), do: Rows.next_seq(h)

  @doc false
  def invalidate_tag(h, tag, generation) do
    # From here on no entry that was put before is valid. Of two numbers, the later one stays: one
    # more, one less, and not below this one.
    :ets.update_counter(h.generations, tag, [{2, 1}, {2, -1, generation, generation}], {tag, 0, nil})
    :ets.update_element(h.generations, tag, {3, self()})
    count = drain(h, tag, generation)
    :ets.update_element(h.generations, tag, {3, nil})
    {:ok, count}
  end

  defp drain(h, tag, generation) do
    now = Rows.now(h)
    h |> tag_index(tag, generation) |> Enum.count(&drain_one(h, tag, &1, now))
  end

  # Whether a living entry was removed. An entry whose other tags were invalidated before is not
  # alive.
  defp drain_one(h, tag, {{_tag, id} = index, key}, now) do
    case :ets.lookup(h.data, key) do
      [row] when elem(row, 5) == id ->
        alive? = now < elem(row, 2) and alive_but_for?(h, row, tag)
        has_tag?(row, tag) and Rows.remove(h, row) and alive?

      _gone ->
        :ets.delete(h.tags, index)
        false
    end
  end

  defp alive_but_for?(h, row, tag), do: not Rows.invalidated?(h, Enum.reject(elem(row, 6), &(&1 === tag)), elem(row, 5))

  # ---- for other nodes

  @doc false
  # An entry and the write that puts it elsewhere, `nil` where there is none. Times are what
  # remains of them.
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

  # ---- all of it

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

  # Somebody may have changed it, and it may still be the entry of before.
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
    # A fetch that begins from now on is newer.
    last = Rows.next_seq(h)
    sweep_generations(h, min(Leases.sweep(h.leases), last))
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

  # A generation is needed while entries of before are there, which its own call removes, and while
  # a fetch runs that began before.
  defp sweep_generations(h, oldest_lease) do
    for {tag, generation, drainer} = row <- :ets.tab2list(h.generations),
        generation < oldest_lease and not (is_pid(drainer) and Process.alive?(drainer)) do
      drain(h, tag, generation)
      :ets.delete_object(h.generations, row)
    end
  end

  # ---- leases

  @impl true
  def acquire(h, key, how), do: acquire_for(h, key, how, self())

  @doc false
  # For a process of another node, too.
  def acquire_for(h, key, how, pid) do
    wrapped = Key.wrap(key)
    lease = Leases.acquire(h.leases, wrapped, fn -> Rows.next_seq(h) end, pid)

    # It may have come between the caller's look and the lease.
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
        with {:ok, true} <- put_wrapped(h, wrapped, value, write, {seq, Rows.next_seq(h)}), do: {:ok, :stored}
      end
    end)
  end

  @impl true
  def release(h, key, lease), do: Leases.release(h.leases, Key.wrap(key), lease)
end
