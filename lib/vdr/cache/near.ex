defmodule Vdr.Cache.Near do
  @moduledoc false
  # A near cache: copies of entries that other nodes own, which those nodes keep fresh. It is a
  # store in front of `Vdr.Cache.Topology.Partitioned`.
  #
  # The owner of a key remembers which nodes have fetched its value, and sends them `{:changed,
  # key}` after every change. When a node joins or leaves, the near caches are emptied, because keys
  # may have another owner then.
  #
  # A value that was sent to this node before the key changed must not be kept. So each key has a
  # ticket, a counter that every reported change of the key increments. A reader reads the ticket,
  # fetches and stores the value, and removes the value again if the ticket has changed meanwhile.
  # Keys with the same hash share a ticket.

  use GenServer

  alias Vdr.Cache.Backend.ETS
  alias Vdr.Cache.{Entry, Handle, Write}
  alias Vdr.Cache.Topology.{Partitioned, Remote}

  @stripes 1_024

  @doc "Starts the near cache of a partitioned cache."
  @spec start(map, map, {module, map}) :: {:ok, list, {module, map}}
  def start(config, options, {Partitioned, far}) do
    bounds = %{max_size: options.near_cache_max_size, max_bytes: :infinity, size_of: nil, policy: :lru}
    quiet = %{opts: [], report: fn _what, _n -> :ok end}
    table = ETS.new(config |> Map.merge(bounds) |> Map.merge(quiet), fn _key, _what -> :ok end)

    state = %{
      far: far,
      near: table,
      tickets: :atomics.new(@stripes, []),
      ttl: options.near_cache_l1_ttl,
      process: process(config.name),
      report: config.report
    }

    {:ok, [{__MODULE__, state}], {__MODULE__, state}}
  end

  # ---- the owner's side

  @doc """
  Returns the function that an owner's backend calls with every changed key. The table `fetched` has
  the nodes that have fetched each key.
  """
  @spec changed(atom, :ets.table()) :: (term, atom -> :ok)
  def changed(name, fetched) do
    process = process(name)

    fn
      nil, :flushed ->
        nodes = fetched |> :ets.select([{{:_, :"$1"}, [], [:"$1"]}]) |> Enum.uniq()
        :ets.delete_all_objects(fetched)
        for node <- nodes, do: send({process, node}, :flushed)
        :ok

      wrapped, _what ->
        # No other node has fetched most of the keys.
        for {_key, node} <- :ets.take(fetched, wrapped), do: send({process, node}, {:changed, ETS.Key.unwrap(wrapped)})
        :ok
    end
  end

  defp process(name), do: Module.concat(name, "Vdr.Cache.Near")

  @doc "Called by another node: remembers that the node fetches the key, and reads the key."
  @spec fetch_for(atom, term, node) :: {:ok, term, Write.t()} | {:error, term} | {:moved, node}
  def fetch_for(name, key, node) do
    with %Handle{store: __MODULE__, state: %{far: %{local: {backend, state}} = far}} <- Handle.fetch(name),
         {:owner, owner} when owner == node() <- {:owner, Partitioned.owner_of(far, key)} do
      :ets.insert(far.fetched, {ETS.Key.wrap(key), node})

      case backend.dump(state, key) do
        {value, %Write{kind: :value, ttl: ttl} = write} when ttl != 0 -> {:ok, value, write}
        _absent -> {:error, :not_found}
      end
    else
      {:owner, owner} -> {:moved, owner}
      _not_here -> {:error, {:node_down, node()}}
    end
  rescue
    ArgumentError -> {:error, {:node_down, node()}}
  end

  # ---- this node's side

  def start_link(state), do: GenServer.start_link(__MODULE__, state, name: state.process)

  @impl GenServer
  def init(state), do: {:ok, state}

  @impl GenServer
  def handle_info({:changed, key}, state) do
    drop(state, key)
    {:noreply, state}
  end

  def handle_info(:flushed, state) do
    clear_all(state)
    {:noreply, state}
  end

  def handle_info(_message, state), do: {:noreply, state}

  @doc "Removes all copies, because the owners of keys have changed."
  @spec clear(atom) :: :ok
  def clear(name) do
    with %Handle{store: __MODULE__, state: state} <- Handle.fetch(name), do: clear_all(state)
    :ok
  end

  defp clear_all(state) do
    for stripe <- 1..@stripes, do: :atomics.add(state.tickets, stripe, 1)
    ETS.flush(state.near)
  end

  defp drop(h, key) do
    :atomics.add(h.tickets, stripe(key), 1)
    ETS.delete(h.near, key)
    :ok
  end

  defp stripe(key), do: :erlang.phash2(key, @stripes) + 1

  def with_timeout(h, timeout), do: %{h | far: Partitioned.with_timeout(h.far, timeout)}

  # ---- reads

  def get(h, key) do
    case ETS.get(h.near, key) do
      {:ok, value} ->
        h.report.(:near_hits, 1)
        {:ok, value}

      {:error, :not_found} ->
        owner = Partitioned.owner_of(h.far, key)
        if owner == node(), do: Partitioned.get(h.far, key), else: fetch(h, key, owner)
    end
  end

  defp fetch(h, key, owner) do
    ticket = :atomics.get(h.tickets, stripe(key))

    case Remote.call(owner, __MODULE__, :fetch_for, [h.far.name, key, node()], h.far.timeout) do
      {:ok, value, write} ->
        keep(h, key, value, write, ticket)
        {:ok, value}

      {:moved, _owner} ->
        Partitioned.get(h.far, key)

      {:error, {:node_down, _node}} when h.far.on_node_down == :miss ->
        {:error, :not_found}

      error ->
        error
    end
  end

  defp keep(h, key, value, write, ticket) do
    ETS.put(h.near, key, value, %Write{ttl: min(write.ttl, h.ttl)})
    if :atomics.get(h.tickets, stripe(key)) != ticket, do: ETS.delete(h.near, key)
  end

  @doc "Reads a key for `get_or_fetch`, which needs no version."
  def peek(h, key) do
    case ETS.get(h.near, key) do
      {:ok, value} ->
        h.report.(:near_hits, 1)
        {:ok, %Entry{value: value}}

      {:error, :not_found} ->
        Partitioned.entry(h.far, key)
    end
  end

  def entry(h, key), do: Partitioned.entry(h.far, key)
  def ttl(h, key), do: Partitioned.ttl(h.far, key)
  def get_many(h, keys), do: Partitioned.get_many(h.far, keys)
  def size(h), do: Partitioned.size(h.far)
  def stream(h, what), do: Partitioned.stream(h.far, what)
  def tagged(h, tag), do: Partitioned.tagged(h.far, tag)
  def info(h), do: Map.put(Partitioned.info(h.far), :near_size, ETS.size(h.near))

  def sweep(h) do
    ETS.sweep(h.near)
    Partitioned.sweep(h.far)
  end

  # ---- writes: to the owner first; then the copy on this node is removed

  def put(h, key, value, write), do: written(h, [key], fn -> Partitioned.put(h.far, key, value, write) end)
  def delete(h, key), do: written(h, [key], fn -> Partitioned.delete(h.far, key) end)
  def take(h, key), do: written(h, [key], fn -> Partitioned.take(h.far, key) end)
  def expire(h, key, ttl), do: written(h, [key], fn -> Partitioned.expire(h.far, key, ttl) end)
  def delete_many(h, keys), do: written(h, keys, fn -> Partitioned.delete_many(h.far, keys) end)

  def incr(h, key, n, default, write),
    do: written(h, [key], fn -> Partitioned.incr(h.far, key, n, default, write) end)

  def put_many(h, entries, write),
    do: written(h, Enum.map(entries, &elem(&1, 0)), fn -> Partitioned.put_many(h.far, entries, write) end)

  def commit(h, key, lease, answer, write),
    do: written(h, [key], fn -> Partitioned.commit(h.far, key, lease, answer, write) end)

  def acquire(h, key, how), do: Partitioned.acquire(h.far, key, how)
  def await_lease(h, wait, timeout), do: Partitioned.await_lease(h.far, wait, timeout)
  def release(h, key, lease), do: Partitioned.release(h.far, key, lease)

  # The near cache does not know the tags of its copies, so all of them are removed.
  def invalidate_tag(h, tag), do: all_written(h, fn -> Partitioned.invalidate_tag(h.far, tag) end)
  def flush(h), do: all_written(h, fn -> Partitioned.flush(h.far) end)

  # The ticket is incremented before and after the write, so a value that was read before the write
  # is not kept.
  defp written(h, keys, fun) do
    Enum.each(keys, &:atomics.add(h.tickets, stripe(&1), 1))
    answer = fun.()
    Enum.each(keys, &drop(h, &1))
    answer
  end

  defp all_written(h, fun) do
    answer = fun.()
    clear_all(h)
    answer
  end

  def ready(h), do: Partitioned.ready(h.far)
  def leaving(h), do: Partitioned.leaving(h.far)
end
