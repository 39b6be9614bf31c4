defmodule Vdr.Cache.Topology.Replicated do
  @moduledoc """
  Every node holds every entry. Reads are local; writes go to all nodes.

  With a Redis or Valkey server at hand, use `Vdr.Cache.Backend.Mirror` instead: there is one order
  of all writes, no conflict, exact resumption, and every language can take part.

  For thousands of entries that change seldom, such as flags and configuration: each write is a
  message to each node.

  ## What it promises

  When nodes are connected and nobody writes, all of them have the same entries within two
  `:heartbeat`s, whatever was lost on the way:

    * Each entry has a version of a hybrid logical clock and the node that wrote it. The larger
      version wins on all nodes. A wrong wall clock decides who wins among writers at the same
      moment, and never whether nodes agree. Deletes and invalidations have versions, too.
    * Messages say which one was before them, and heartbeats say what a node has of every other. A
      node that has missed something fetches all entries, in portions of a thousand or of a
      megabyte, and keeps the newer version of each. So does a node that joins. Nobody waits for a
      node that is slow: what it does not take is dropped, and it fetches it later. The nodes that
      have received the writes of a dead node pass them on.
    * Deletes are forgotten after `:tombstone_ttl`. After a split in which some were forgotten that
      the other side has not heard of, all nodes empty the cache, because nobody knows any more
      what was deleted meanwhile.

  A write returns when this node has it. The writes of a node take turns in one process; reads do
  not pass it. Times to live travel as what remains. Bounds evict on each node for itself, and then
  a local miss is a miss; a delete is for all nodes, whatever it finds on this one. `get_or_fetch`
  fetches once on each node.

  Until a node that starts has the entries of another one, reads answer `{:error, :not_ready}`.

  ## Options

    * `:heartbeat` - how often nodes compare what they have sent, in ms (1,000)
    * `:tombstone_ttl` - how long deletes are remembered, in ms (60,000)
    * `:serve_while_joining` - whether a node answers from what it has before it has all (`false`)
    * `:timeout` - how long a write waits for the process, in ms (5,000)
    * `:clock` - a function that returns the time in ms, for tests
  """

  @behaviour Vdr.Cache.Topology

  alias Vdr.Cache.Topology.Replicated

  @schema [
    heartbeat: [type: {:integer, 1..0x7FFFFFFF}, default: 1_000, doc: "how often nodes compare what they have sent"],
    tombstone_ttl: [type: {:integer, 1..0x7FFFFFFF}, default: 60_000, doc: "how long deletes are remembered"],
    serve_while_joining: [type: :boolean, default: false, doc: "whether reads answer before all entries are there"],
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
    # 1: whether the entries of another node have come, or there is no other node
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

  # A lease is of this node.
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
