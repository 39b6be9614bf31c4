defmodule Vdr.Cache.Topology.Partitioned do
  @moduledoc """
  Spreads the keys over the nodes that run the cache. Each key is stored on one node.

  If you have a Redis or Valkey server, use `Vdr.Cache.Backend.Mirror` or `Vdr.Cache.Backend.Redis`
  instead. With those, the entries survive a lost node and a network split. For more data than one
  server holds, use the server's own cluster.

  ## How it works

  Among the nodes that run this cache, the *owner* of a key is the node with the largest hash of key
  and node (rendezvous hashing). Connected nodes that do not run the cache own no keys. When a node
  leaves, only its keys get another owner. A node that joins takes an equal share of the keys of
  every other node. A call for a key of another node is sent to that node, which takes some 50 µs.

  ## Guarantees and limits

    * Each entry is stored once. When a node is lost, its entries are lost, and reads of their keys
      miss. There is no `replication_factor`.
    * If the node that owns a key is down, a read is a miss. With `on_node_down: :error`, it returns
      an error. If the node does not respond in time, a read returns `{:error, :timeout}`. Writes
      return `{:error, {:node_down, node}}`, `{:error, :timeout}` or `{:error, {:remote, reason}}`.
      A write that timed out may have run.
    * A node serves a key only while it owns the key. It removes the entries that it no longer owns.
      So if the node owns such a key again later, the key has no old value.
    * During a network split, each side continues by itself. When the split heals, every node
      removes its entries (`on_heal: :clear`), because each side may have changed or invalidated
      keys that the other side also has.
    * `invalidate_tag` and `flush` reach all nodes. If some nodes do not respond, the call returns
      `{:error, {:partial, count, nodes}}`, and is repeated on those nodes as long as they stay members.
    * Across the cluster, `get_or_fetch` fetches a key once at a time. The function runs on the
      calling node. Waiting processes get the value from the owner.

  For a moment after a node has joined or left, two nodes may disagree about the owner of a key.

  ## Options

    * `:timeout` - how long a call without `timeout:` waits for another node, in ms (5,000)
    * `:on_node_down` - what a read of a lost node returns: `:miss` (the default) or `:error`
    * `:on_heal` - what happens after a network split: `:clear` (the default) removes all entries,
      `:keep` keeps them, if their time to live bounds their age well enough
    * `:hash` - a function of a key and the list of nodes that returns the owner, for an application
      with a hash ring of its own. It must be the same on all nodes

  With `near_cache: true`, a node keeps copies of values of other nodes for `:near_cache_l1_ttl`, at
  most `:near_cache_max_size` of them. When a value changes, its owner sends a message to the nodes
  that have fetched it. Until the message arrives, those nodes read the old value. The writing node
  sees its own write at once.

  `keys`, `stream` and `tagged` ask one node after the other.
  """

  @behaviour Vdr.Cache.Topology

  alias Vdr.Cache.{Flights, Handle}
  alias Vdr.Cache.Topology.{Partitioned, Remote}

  @schema [
    timeout: [type: {:integer, 1..0x7FFFFFFF}, default: 5_000, doc: "how long a call to another node takes at most"],
    on_node_down: [type: {:one_of, [:miss, :error]}, default: :miss, doc: "what a read of a lost node returns"],
    on_heal: [
      type: {:one_of, [:clear, :keep]},
      default: :clear,
      doc: "what happens to the entries after a network split"
    ],
    hash: [
      type: {:check, "a function of a key and a list of nodes", quote(do: (term, [node] -> node)), &__MODULE__.hash?/1},
      doc: "returns the owner of a key"
    ],
    replication_factor: [
      type: {:unsupported, "each key lives on one node; use Vdr.Cache.Backend.Mirror to keep it on several"}
    ]
  ]
  @backends [Vdr.Cache.Backend.ETS, Vdr.Cache.Backend.DETS]

  @doc false
  def hash?(value), do: is_function(value, 2)

  @impl Vdr.Cache.Topology
  def check!(config, backend) do
    unless backend in @backends do
      raise ArgumentError,
            "#{inspect(__MODULE__)} spreads what nodes keep for themselves, and #{inspect(backend)} keeps it on a server " <>
              "for all nodes: use Vdr.Cache.Topology.Local, and the server's own cluster for more data"
    end

    options!(config)
    :ok
  end

  defp options!(config), do: Vdr.Schema.validate!(config.opts, @schema, ":topology_opts of #{inspect(config.name)}")

  @impl Vdr.Cache.Topology
  def start(config, local) do
    opts = options!(config)
    # {:view, number, nodes}
    views = :ets.new(__MODULE__, [:set, :public, read_concurrency: true])
    :ets.insert(views, {:view, 0, [node()]})

    state = %{
      name: config.name,
      local: local,
      views: views,
      flights: Flights.new(),
      timeout: opts[:timeout],
      on_node_down: opts[:on_node_down],
      on_heal: opts[:on_heal],
      hash: opts[:hash],
      # For near caches: which nodes have fetched which keys, and a function that empties the near
      # cache of this node.
      fetched: config[:fetched],
      forget: config[:forget] || fn -> :ok end,
      member: Module.concat(config.name, "Vdr.Cache.Member"),
      telemetry: config.telemetry
    }

    {:ok, [{Partitioned.Member, state}], {__MODULE__, state}}
  end

  @doc false
  def with_timeout(h, timeout), do: %{h | timeout: timeout}

  @doc false
  def ready(h), do: Partitioned.Member.join(h.member)
  @doc false
  def leaving(h), do: Partitioned.Member.leave(h.member)

  # ---- owners

  @doc false
  def nodes(h), do: :ets.lookup_element(h.views, :view, 3)

  @doc "Returns the node that owns a key, in the view of the calling node."
  @spec owner(Vdr.Cache.cache(), key :: term) :: {:ok, node} | {:error, :not_started | :not_supported}
  def owner(cache, key) do
    with {:ok, h} <- running(cache), do: {:ok, owner_of(h, key)}
  end

  # A near cache may be in front of this store.
  defp running(name) do
    case Handle.fetch(name) do
      nil -> {:error, :not_started}
      %Handle{store: __MODULE__, state: h} -> {:ok, h}
      %Handle{state: %{far: h}} -> {:ok, h}
      _other_topology -> {:error, :not_supported}
    end
  end

  @doc false
  def owner_of(%{hash: nil} = h, key), do: rendezvous(nodes(h), key)
  def owner_of(h, key), do: h.hash.(key, nodes(h))

  # `phash2` returns the same hash on all nodes and in all versions of the VM.
  @doc false
  def rendezvous(nodes, key) do
    hash = :erlang.phash2(key, 0x100000000)
    nodes |> Enum.max_by(&{:erlang.phash2({hash, &1}, 0x100000000), &1})
  end

  # ---- one key

  # The owner may have changed before the call arrived. Then the call is repeated once, on the node
  # that the first one names.
  defp at_owner(h, key, function, arguments), do: at(h, owner_of(h, key), key, function, arguments, 1)

  defp at(h, owner, key, function, arguments, again) do
    answer =
      if owner == node(),
        do: run_here(h, key, function, arguments),
        else: Remote.call(owner, __MODULE__, :run, [h.name, key, function, arguments], h.timeout)

    case answer do
      {:moved, to} when again > 0 -> at(h, to, key, function, arguments, again - 1)
      {:moved, _to} -> {:error, {:remote, :moved}}
      answer -> answer
    end
  end

  @doc false
  # Called by another node.
  def run(name, key, function, arguments) do
    case running(name) do
      {:ok, h} -> run_here(h, key, function, arguments)
      _not_here -> {:error, {:node_down, node()}}
    end
  end

  defp run_here(h, key, function, arguments) do
    case owner_of(h, key) do
      owner when owner == node() ->
        answer = run_local(h, function, arguments)
        # If the key got another owner meanwhile, the entry must not stay here: the key may come
        # back.
        if owner_of(h, key) == node(), do: answer, else: drop(h, key)

      owner ->
        {:moved, owner}
    end
  rescue
    # The cache has stopped, and its tables are gone.
    ArgumentError -> {:error, {:node_down, node()}}
  end

  defp drop(h, key) do
    run_local(h, :delete, [key])
    {:moved, owner_of(h, key)}
  end

  defp run_local(h, :acquire_for, [key, how, pid]), do: acquire_here(h, key, how, pid)
  defp run_local(%{local: {backend, state}}, function, arguments), do: apply(backend, function, [state | arguments])

  defp read(h, key, function, arguments) do
    case at_owner(h, key, function, arguments) do
      {:error, {:node_down, _node}} when h.on_node_down == :miss -> {:error, :not_found}
      {:error, {:remote, :moved}} when h.on_node_down == :miss -> {:error, :not_found}
      answer -> answer
    end
  end

  @doc false
  def get(h, key), do: read(h, key, :get, [key])
  @doc false
  def entry(h, key), do: read(h, key, :entry, [key])
  @doc false
  def ttl(h, key), do: read(h, key, :ttl, [key])
  @doc false
  def put(h, key, value, write), do: at_owner(h, key, :put, [key, value, write])
  @doc false
  def delete(h, key), do: at_owner(h, key, :delete, [key])
  @doc false
  def take(h, key), do: at_owner(h, key, :take, [key])
  @doc false
  def incr(h, key, n, default, write), do: at_owner(h, key, :incr, [key, n, default, write])
  @doc false
  def expire(h, key, ttl), do: at_owner(h, key, :expire, [key, ttl])

  # ---- many keys: one call to each owner with its keys, all calls at the same time

  @doc false
  def get_many(h, keys) do
    answers = h |> by_owner(keys) |> at_all(h, :get_many, &[&1])

    Enum.reduce_while(answers, {:ok, %{}}, fn
      {_node, {:ok, found}}, {:ok, all} -> {:cont, {:ok, Map.merge(all, found)}}
      {_node, {:error, {:node_down, _}}}, all when h.on_node_down == :miss -> {:cont, all}
      {_node, {:error, {:remote, :moved}}}, all when h.on_node_down == :miss -> {:cont, all}
      {_node, error}, _all -> {:halt, error}
    end)
  end

  @doc false
  def put_many(h, entries, write) do
    answers = h |> by_owner(entries, &elem(&1, 0)) |> at_all(h, :put_many, &[&1, write])
    Enum.find_value(answers, :ok, fn {_node, answer} -> if answer != :ok, do: answer end)
  end

  @doc false
  def delete_many(h, keys), do: h |> by_owner(keys) |> at_all(h, :delete_many, &[&1]) |> sum()

  defp by_owner(h, items, key \\ & &1), do: items |> Enum.group_by(&owner_of(h, key.(&1))) |> Map.to_list()

  defp at_all(parts, h, function, arguments) do
    parts
    |> Enum.map(fn {node, part} -> {node, [h.name, function, arguments.(part), keys_of(function, part)]} end)
    |> Remote.call_all(__MODULE__, :run_many, h.timeout)
  end

  defp keys_of(:put_many, entries), do: Enum.map(entries, &elem(&1, 0))
  defp keys_of(_function, keys), do: keys

  @doc false
  def run_many(name, function, arguments, keys) do
    with {:ok, h} <- running(name),
         true <- Enum.all?(keys, &(owner_of(h, &1) == node())) do
      answer = run_local(h, function, arguments)
      moved = Enum.reject(keys, &(owner_of(h, &1) == node()))
      Enum.each(moved, &run_local(h, :delete, [&1]))
      if moved == [], do: answer, else: {:error, {:remote, :moved}}
    else
      false -> {:error, {:remote, :moved}}
      _not_here -> {:error, {:node_down, node()}}
    end
  rescue
    ArgumentError -> {:error, {:node_down, node()}}
  end

  # ---- all nodes

  @doc false
  def invalidate_tag(h, tag) do
    answers = everywhere(h, :invalidate_tag, [tag])
    for {node, {:error, _reason}} <- answers, do: Partitioned.Member.owe(h.member, node, {:invalidate_tag, [tag]})
    sum(answers)
  end

  @doc false
  def flush(h) do
    answers = everywhere(h, :flush, [])

    case for({node, {:error, _reason}} <- answers, do: node) do
      [] ->
        :ok

      nodes ->
        Enum.each(nodes, &Partitioned.Member.owe(h.member, &1, {:flush, []}))
        {:error, {:partial, length(answers) - length(nodes), nodes}}
    end
  end

  # Every node sweeps its own entries.
  @doc false
  def sweep(%{local: {backend, state}}), do: backend.sweep(state)

  @doc false
  def size(h) do
    h |> everywhere(:size, []) |> Enum.reduce(0, fn {_node, n}, sum -> if is_integer(n), do: sum + n, else: sum end)
  end

  @doc false
  def stream(h, what), do: node_by_node(h, :stream, [what])
  @doc false
  def tagged(h, tag), do: node_by_node(h, :tagged, [tag])

  defp node_by_node(h, function, arguments) do
    Stream.flat_map(nodes(h), fn node ->
      case Remote.call(node, __MODULE__, :list_here, [h.name, function, arguments], h.timeout) do
        items when is_list(items) -> items
        {:error, _reason} -> []
      end
    end)
  end

  @doc false
  def list_here(name, function, arguments) do
    with answer when not is_tuple(answer) <- run_here_for_all(name, function, arguments), do: Enum.to_list(answer)
  end

  @doc false
  def info(%{local: {backend, state}} = h) do
    [{:view, number, nodes}] = :ets.lookup(h.views, :view)
    Map.merge(backend.info(state), %{members: nodes, view: number, local_size: backend.size(state)})
  end

  defp everywhere(h, function, arguments) do
    calls = for node <- nodes(h), do: {node, [h.name, function, arguments]}
    Remote.call_all(calls, __MODULE__, :run_here_for_all, h.timeout)
  end

  @doc false
  def run_here_for_all(name, function, arguments) do
    case running(name) do
      {:ok, h} -> run_local(h, function, arguments)
      _not_here -> {:error, {:node_down, node()}}
    end
  rescue
    ArgumentError -> {:error, {:node_down, node()}}
  end

  defp sum(answers) do
    {count, failed} =
      Enum.reduce(answers, {0, []}, fn
        {_node, {:ok, n}}, {count, failed} -> {count + n, failed}
        {node, {:error, _reason}}, {count, failed} -> {count, [node | failed]}
      end)

    if failed == [], do: {:ok, count}, else: {:error, {:partial, count, Enum.reverse(failed)}}
  end

  # ---- leases: the flight of a key is on its owner

  @doc false
  def acquire(h, key, how) do
    case at_owner(h, key, :acquire_for, [key, how, self()]) do
      {:lead, at, ref, lease} -> {:ok, {at, ref, lease, self()}}
      {:follow, at, leader, ref} -> {:wait, {at, key, leader, ref}}
      other -> other
    end
  end

  @doc false
  def acquire_here(%{local: {backend, state}} = h, key, how, pid) do
    case Flights.open(h.flights, key, pid) do
      {:lead, ref} -> lead_here(h, key, ref, pid, backend.acquire_for(state, key, how, pid))
      {:follow, leader, ref} -> {:follow, node(), leader, ref}
    end
  end

  defp lead_here(_h, _key, ref, _pid, {:ok, lease}), do: {:lead, node(), ref, lease}

  defp lead_here(h, key, ref, pid, hit) do
    Flights.close(h.flights, key, ref, :again, pid)
    hit
  end

  @doc false
  def await_lease(h, {at, key, leader, ref}, timeout) do
    place = if at == node(), do: h.flights, else: %{node: at, name: h.name, module: __MODULE__, timeout: h.timeout}
    Flights.follow(place, key, leader, ref, timeout)
  end

  @doc false
  def commit(h, key, {at, _ref, _lease, _pid} = lease, answer, write) do
    arguments = [h.name, key, lease, answer, write]

    if at == node(),
      do: apply(__MODULE__, :commit_here, arguments),
      else: Remote.call(at, __MODULE__, :commit_here, arguments, h.timeout)
  end

  @doc false
  def commit_here(name, key, {_at, ref, lease, pid}, answer, write) do
    case running(name) do
      {:ok, %{local: {backend, state}} = h} ->
        Flights.closing(h.flights, key, ref, pid)

        stored =
          case run_here(h, key, :commit, [key, lease, answer, write]) do
            {:moved, _owner} ->
              backend.release(state, key, lease)
              {:ok, :lost}

            stored ->
              stored
          end

        # The value was fetched before another write of the key. A process that asked after that
        # write must not get it.
        told = if stored == {:ok, :lost} and write != :nothing, do: :again, else: {:done, answer}
        Flights.close(h.flights, key, ref, told, pid)
        stored

      _not_here ->
        {:ok, :lost}
    end
  end

  @doc false
  def release(h, key, {at, _ref, _lease, _pid} = lease) do
    arguments = [h.name, key, lease]

    if at == node(),
      do: apply(__MODULE__, :release_here, arguments),
      else: Remote.call(at, __MODULE__, :release_here, arguments, h.timeout)

    :ok
  end

  @doc false
  def release_here(name, key, {_at, ref, lease, pid}) do
    with {:ok, %{local: {backend, state}} = h} <- running(name) do
      backend.release(state, key, lease)
      Flights.close(h.flights, key, ref, :again, pid)
    end

    :ok
  end

  @doc false
  # Called by another node for its waiting process.
  def join_flight(name, key, leader, ref, alias) do
    case running(name) do
      {:ok, h} -> Flights.join(h.flights, key, leader, ref, alias)
      _not_here -> :gone
    end
  end

  @doc false
  def leave_flight(name, ref, alias),
    do: with({:ok, h} <- running(name), do: Flights.leave(h.flights, ref, alias))

  @doc false
  def abandon_flight(name, key, leader, ref),
    do: with({:ok, h} <- running(name), do: Flights.abandon(h.flights, key, leader, ref))
end
