defmodule Vdr.Cache.Topology.Replicated do
  @moduledoc """
  Keeps every entry on every node. Reads are local; writes go to all nodes.

  If you have a Redis or Valkey server, use `Vdr.Cache.Backend.Mirror` instead. There all writes
  have one order, so there are no conflicts, replication resumes exactly, and programs in any
  language can take part.

  This topology is for thousands of entries that change seldom, such as flags and configuration:
  each write is a message to each node.

  ## Guarantees

  When the nodes are connected and no process writes, all nodes have the same entries within two
  `:heartbeat`s, even if messages were lost:

    * Each entry has a version: a hybrid logical clock, and the node that wrote the entry. The
      larger version wins on all nodes. A wrong wall clock may decide which of several concurrent
      writes wins. It never makes nodes disagree. Deletes and invalidations have versions, too.
    * Each message names its predecessor, and heartbeats report which writes a node has of every
      other node. A node that has missed a message fetches all entries, in portions of a thousand or
      of a megabyte, and keeps the newer version of each entry. So does a node that joins. No node
      waits for a slow one: messages that it does not take are dropped, and it fetches the entries
      later. Nodes that have received the writes of a dead node pass them on.
    * Deletes are forgotten after `:tombstone_ttl`. If, during a network split, one side forgets
      deletes that the other side has not received, all nodes empty the cache after the split,
      because it is no longer known which entries were deleted.

  ## Behaviour

  A write returns when this node has it. One process on each node handles all of the node's writes;
  reads do not use it. Nodes exchange the remaining time to live of an entry. With bounds, each node
  evicts by itself, and a read of an evicted entry is a miss on that node. A delete removes the key
  on all nodes, whether or not this node has it. `get_or_fetch` fetches once on each node.

  When a node starts, reads return `{:error, :not_ready}` until it has the entries of another node.

  ## Options

    * `:heartbeat` - how often nodes compare the writes that they have, in ms (1,000)
    * `:tombstone_ttl` - how long deletes are remembered, in ms (60,000)
    * `:serve_while_joining` - whether a node that starts serves reads before it has all entries
      (`false`)
    * `:timeout` - how long a write without `timeout:` waits for the node's process, in ms (5,000)
    * `:clock` - a function that returns the time in ms, for tests
  """

  @behaviour Vdr.Cache.Topology

  alias Vdr.Cache.Topology.Replicated

  @schema [
    heartbeat: [
      type: {:integer, 1..0x7FFFFFFF},
      default: 1_000,
      doc: "how often nodes compare the writes that they have"
    ],
    tombstone_ttl: [type: {:integer, 1..0x7FFFFFFF}, default: 60_000, doc: "how long deletes are remembered"],
    serve_while_joining: [type: :boolean, default: false, doc: "whether reads are served before all entries are there"],
    timeout: [type: {:integer, 1..0x7FFFFFFF}, default: 5_000, doc: "how long a write waits for the process"],
    clock: [
      type: {:check, "a function of no arguments", quote(do: (... -> integer)), &Vdr.Cache.Backend.ETS.clock?/1},
      doc: "returns the time in ms"
    ]
  ]
  @backends [Vdr.Cache.Backend.ETS, Vdr.Cache.Backend.DETS]

  @impl Vdr.Cache.Topology
  def check!(config, backend) do
    unless backend in @backends do
      raise ArgumentError,
            "#{inspect(__MODULE__)} copies what nodes keep for themselves, and with #{inspect(backend)} every node would " <>
              "write the same server again: use Vdr.Cache.Backend.Mirror with Vdr.Cache.Topology.Local, which keeps all " <>
              "entries on every node"
    end

    options!(config)
    :ok
  end

  defp options!(config), do: Vdr.Schema.validate!(config.opts, @schema, ":topology_opts of #{inspect(config.name)}")

  @impl Vdr.Cache.Topology
  def start(config, local) do
    opts = options!(config)
    # 1: whether this node has the entries of another node, or is the only node
    ready = :atomics.new(1, [])
    if opts[:serve_while_joining], do: :atomics.put(ready, 1, 1)

    state = %{
      name: config.name,
      local: local,
      ready: ready,
      timeout: opts[:timeout],
      heartbeat: opts[:heartbeat],
      tombstone_ttl: opts[:tombstone_ttl],
      clock: opts[:clock] || fn -> :os.system_time(:millisecond) end,
      replicator: Module.concat(config.name, "Vdr.Cache.Replicator"),
      telemetry: config.telemetry
    }

    {:ok, [{Replicated.Replicator, state}], {__MODULE__, state}}
  end

  @doc false
  def with_timeout(h, timeout), do: %{h | timeout: timeout}

  @doc false
  def ready(h), do: GenServer.call(h.replicator, :join, :infinity)

  @doc false
  def leaving(h) do
    GenServer.call(h.replicator, :leave)
  catch
    :exit, _reason -> :ok
  end

  # ---- reads

  @doc false
  def get(h, key), do: read(h, :get, [key])
  @doc false
  def entry(h, key), do: read(h, :entry, [key])
  @doc false
  def get_many(h, keys), do: read(h, :get_many, [keys])
  @doc false
  def ttl(h, key), do: read(h, :ttl, [key])
  @doc false
  def size(%{local: {backend, state}}), do: backend.size(state)
  @doc false
  def stream(%{local: {backend, state}}, what), do: backend.stream(state, what)
  @doc false
  def tagged(%{local: {backend, state}}, tag), do: backend.tagged(state, tag)
  @doc false
  def sweep(%{local: {backend, state}}), do: backend.sweep(state)

  @doc false
  def info(%{local: {backend, state}} = h), do: Map.merge(backend.info(state), call(h, :info, %{members: [node()]}))

  defp read(%{local: {backend, state}} = h, function, arguments) do
    if :atomics.get(h.ready, 1) == 1, do: apply(backend, function, [state | arguments]), else: {:error, :not_ready}
  end

  # ---- writes

  @doc false
  def put(h, key, value, write), do: write(h, :put, [key, value, write], [key])
  @doc false
  def put_many(h, entries, write), do: write(h, :put_many, [entries, write], Enum.map(entries, &elem(&1, 0)))
  @doc false
  def delete(h, key), do: write(h, :delete, [key], [key])
  @doc false
  def delete_many(h, keys), do: write(h, :delete_many, [keys], keys)
  @doc false
  def take(h, key), do: write(h, :take, [key], [key])
  @doc false
  def incr(h, key, n, default, write), do: write(h, :incr, [key, n, default, write], [key])
  @doc false
  def expire(h, key, ttl), do: write(h, :expire, [key, ttl], [key])
  @doc false
  def commit(h, key, lease, answer, write), do: write(h, :commit, [key, lease, answer, write], [key])
  @doc false
  def invalidate_tag(h, tag), do: call(h, {:floor, {:tag, tag}}, nil)
  @doc false
  def flush(h), do: with({:ok, _count} <- call(h, {:floor, :all}, nil), do: :ok)

  # Leases are local to a node.
  @doc false
  def acquire(%{local: {backend, state}}, key, how), do: backend.acquire(state, key, how)
  @doc false
  def await_lease(%{local: {backend, state}}, wait, timeout), do: backend.await_lease(state, wait, timeout)
  @doc false
  def release(%{local: {backend, state}}, key, lease), do: backend.release(state, key, lease)

  defp write(h, function, arguments, keys), do: call(h, {:write, function, arguments, keys}, nil)

  defp call(h, request, otherwise) do
    GenServer.call(h.replicator, request, h.timeout)
  catch
    :exit, {:timeout, _call} -> otherwise || {:error, :timeout}
    :exit, _reason -> otherwise || {:error, :not_started}
  end
end
