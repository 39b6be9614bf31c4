defmodule Vdr.Test.ReplicaNet do
  @moduledoc """
  Replicas of a cache in one process, on a network that loses, delays and splits, under a clock that
  the test moves. Everything is chosen by `:rand`, so a seed says what happens.

  Messages from one node to another keep their order, as in Erlang. What a node hears of its
  connections has an order of its own.
  """

  alias Vdr.Cache.Backend.ETS
  alias Vdr.Cache.Topology.Replicated.{Copy, Replica}

  @heartbeat 100
  @tombstone_ttl 2_000
  @keys 12
  @tags [:a, :b]

  defstruct nodes: %{}, cut: MapSet.new(), queues: %{}, now: 0, lives: 0, loss: 0.0, log: [], crashed: false

  @doc "Nodes that know each other. The clocks of some are wrong."
  def new(count) do
    Process.put(__MODULE__, 0)
    Enum.reduce(1..count, %__MODULE__{}, &start(&2, &1, nil)) |> settle()
  end

  @doc "Starts a node, on the entries of `store` where it had some before."
  def start(net, name, store) do
    net = %{net | lives: net.lives + 1}
    me = {name, net.lives}
    store = store || store()
    offset = Enum.at([0, 0, 7, -3_600_000], rem(name, 4))

    h = %{
      local: {ETS, store},
      ready: :atomics.new(1, []),
      heartbeat: @heartbeat,
      tombstone_ttl: @tombstone_ttl,
      clock: fn -> 10_000_000 + now() + offset end,
      portion: 3,
      telemetry: nil
    }

    # Messages wait here until the node's step is over.
    send = fn to, message -> Process.put(:out, [{me, to, message} | Process.get(:out, [])]) end
    replica = Replica.new(h, me, {name, net.lives}, send, &now/0)
    others = for {other, node} <- net.nodes, not cut?(net, name, other), do: node.me
    node = %{me: me, replica: replica, store: store, beat: net.now + :rand.uniform(@heartbeat)}
    net = %{net | nodes: Map.put(net.nodes, name, node)}
    net = net |> change(name, &(&1 |> Replica.meet(others) |> Replica.join()))
    Enum.reduce(others, net, fn {other, _life}, net -> tell(net, other, {:join, me}) end)
  end

  defp now, do: Process.get(__MODULE__)

  defp store do
    ETS.new(
      %{
        name: :replica,
        opts: [clock: &now/0],
        max_size: :infinity,
        max_bytes: :infinity,
        size_of: nil,
        policy: :ttl_only,
        report: fn _what, _n -> :ok end
      },
      fn _key, _what -> :ok end
    )
  end

  # ---- what can happen

  @doc """
  One thing that may happen to a cluster: writes and messages only (`:calm`), anything (`:rough`),
  or nodes that die while messages get lost (`:deadly`).
  """
  def step(net, how) do
    case {:rand.uniform(100), how} do
      {n, _how} when n <= 35 -> write(net)
      {n, _how} when n <= 80 -> deliver(net)
      {n, _how} when n <= 90 -> pass(net, :rand.uniform(@heartbeat))
      {_n, :calm} -> pass(net, 1)
      {n, :deadly} when n <= 94 -> %{net | loss: Enum.random([0.0, 0.3])}
      {n, :deadly} when n <= 96 -> crash(net)
      {_n, :deadly} -> pass(net, 1)
      {91, :rough} -> pass(net, :rand.uniform(2 * @tombstone_ttl))
      {n, :rough} when n <= 94 -> split(net)
      {n, :rough} when n <= 97 -> heal(net)
      {n, :rough} when n <= 99 -> %{net | loss: Enum.random([0.0, 0.05, 0.5])}
      {100, :rough} -> if :rand.uniform(3) == 1, do: crash(net), else: net
    end
  end

  @doc "A call of a user on a node."
  def write(net) do
    name = net.nodes |> Map.keys() |> Enum.random()
    key = :rand.uniform(@keys)
    value = {name, net.now, :rand.uniform(1_000_000)}
    write = %Vdr.Cache.Write{tags: Enum.filter(@tags, fn _tag -> :rand.uniform(3) == 1 end)}

    {function, arguments, keys} =
      case :rand.uniform(14) do
        n when n <= 6 -> {:put, [key, value, write], [key]}
        7 -> {:put, [key, value, %{write | ttl: :rand.uniform(1_000)}], [key]}
        8 -> {:put, [key, value, %{write | mode: :new}], [key]}
        9 -> {:delete, [key], [key]}
        10 -> {:take, [key], [key]}
        11 -> {:incr, [{:n, key}, 1 - :rand.uniform(2), 0, %Vdr.Cache.Write{}], [{:n, key}]}
        12 -> {:put_many, [[{key, value}, {key + 1, value}], write], [key, key + 1]}
        13 -> {:floor, {:tag, Enum.random(@tags)}, []}
        14 -> if :rand.uniform(5) == 1, do: {:floor, :all, []}, else: {:expire, [key, 500], [key]}
      end

    before = net.nodes[name].replica.copy.clock

    net =
      if function == :floor,
        do: change(net, name, &(&1 |> Replica.floor(arguments) |> elem(1))),
        else: change(net, name, &(&1 |> Replica.write(function, arguments, keys) |> elem(1)))

    note(net, name, before, function, arguments, keys)
  end

  # What was written, for the node that sees everything.
  defp note(net, name, before, function, arguments, keys) do
    %{replica: %{copy: copy, writer: writer}, store: store} = net.nodes[name]

    written =
      cond do
        copy.clock == before -> []
        function == :floor -> [{:floor, arguments, Tuple.insert_at(copy.clock, 2, writer)}]
        true -> for {key, version} <- Enum.zip(keys, versions(copy, keys)), do: {key, version, ETS.dump(store, key)}
      end

    %{net | log: written ++ net.log}
  end

  defp versions(copy, keys) do
    for key <- keys do
      [{_key, version, _state}] = :ets.lookup(copy.versions, :erlang.term_to_binary(key, [:deterministic]))
      version
    end
  end

  @doc "One message arrives, or is lost."
  def deliver(net) do
    case Map.keys(net.queues) do
      [] -> pass(net, 1)
      queues -> deliver(net, Enum.random(queues))
    end
  end

  defp deliver(net, {_from, to} = queue) do
    [message | rest] = net.queues[queue]
    queues = if rest == [], do: Map.delete(net.queues, queue), else: Map.put(net.queues, queue, rest)
    net = %{net | queues: queues}
    {name, _life} = to

    case net.nodes[name] do
      %{me: ^to} -> change(net, name, &handle(&1, message))
      _dead -> net
    end
  end

  defp handle(replica, {:join, pid}), do: Replica.meet(replica, [pid])
  defp handle(replica, {:leave, pid}), do: Replica.part(replica, [pid])
  defp handle(replica, message), do: Replica.handle(replica, message)

  @doc "Time passes, and who is due sends its heartbeats."
  def pass(net, ms) do
    net = %{net | now: net.now + ms}
    Process.put(__MODULE__, net.now)

    Enum.reduce(net.nodes, net, fn {name, node}, net ->
      if node.beat <= net.now,
        do: net |> put_in([Access.key(:nodes), name, :beat], net.now + @heartbeat) |> change(name, &Replica.beat/1),
        else: net
    end)
  end

  defp split(net) do
    {left, right} = net.nodes |> Map.keys() |> Enum.shuffle() |> Enum.split(:rand.uniform(map_size(net.nodes) - 1))
    for(one <- left, other <- right, do: {one, other}) |> Enum.reduce(net, fn {a, b}, net -> cut(net, a, b) end)
  end

  defp cut(net, a, b) do
    if cut?(net, a, b) do
      net
    else
      %{net | cut: MapSet.put(net.cut, Enum.sort([a, b]))}
      |> lose_some(net.nodes[a].me, net.nodes[b].me)
      |> lose_some(net.nodes[b].me, net.nodes[a].me)
      |> tell(a, {:leave, net.nodes[b].me})
      |> tell(b, {:leave, net.nodes[a].me})
    end
  end

  defp cut?(net, a, b), do: MapSet.member?(net.cut, Enum.sort([a, b]))

  # The end of what was under way. The beginning is in the mailbox already.
  defp lose_some(net, from, to) do
    case net.queues do
      %{{^from, ^to} => messages} ->
        kept = Enum.take(messages, :rand.uniform(length(messages) + 1) - 1)
        queues = Map.delete(net.queues, {from, to})
        %{net | queues: if(kept == [], do: queues, else: Map.put(queues, {from, to}, kept))}

      _nothing ->
        net
    end
  end

  defp heal(net) do
    for([a, b] <- net.cut, do: {a, b})
    |> Enum.reduce(%{net | cut: MapSet.new()}, fn {a, b}, net ->
      net |> tell(a, {:join, net.nodes[b].me}) |> tell(b, {:join, net.nodes[a].me})
    end)
  end

  # The machine ends, or only the process; a new one begins with nothing, or with what was there.
  defp crash(net) do
    {name, node} = Enum.random(net.nodes)
    net = %{net | crashed: true, nodes: Map.delete(net.nodes, name)}

    net =
      Enum.reduce(net.nodes, net, fn {other, %{me: me}}, net ->
        net = lose_some(net, node.me, me)
        if cut?(net, name, other), do: net, else: tell(net, other, {:leave, node.me})
      end)

    net = if :rand.uniform(2) == 1, do: pass(net, :rand.uniform(@tombstone_ttl)), else: net
    start(net, name, if(:rand.uniform(2) == 1, do: node.store))
  end

  # ---- the network

  defp tell(net, name, event), do: enqueue(net, :pg, net.nodes[name].me, event)

  defp enqueue(net, from, to, message),
    do: %{net | queues: Map.update(net.queues, {from, to}, [message], &(&1 ++ [message]))}

  defp change(net, name, fun) do
    Process.put(:out, [])
    replica = fun.(net.nodes[name].replica)
    net = put_in(net.nodes[name].replica, replica)
    :out |> Process.put([]) |> Enum.reverse() |> Enum.reduce(net, &post/2)
  end

  # What is written again is written.
  defp post({_from, _to, {:changes, _pid, _writer, _previous, _last, changes}} = message, net) do
    written =
      for {key, version, what} when key != :floor <- changes, do: {key, version, with({:put, v, w} <- what, do: {v, w})}

    send_on(message, %{net | log: written ++ net.log})
  end

  defp post(message, net), do: send_on(message, net)

  defp send_on({{a, _life} = from, {b, _other_life} = to, message}, net) do
    lost? = cut?(net, a, b) or not match?(%{me: ^to}, net.nodes[b]) or :rand.uniform() < net.loss
    if lost?, do: net, else: enqueue(net, from, to, message)
  end

  # ---- the end

  @doc "Everything is connected and nobody writes; all messages arrive, for some heartbeats."
  def quiet(net, heartbeats) do
    net = heal(%{net | loss: 0.0})
    Enum.reduce(1..heartbeats, net, fn _beat, net -> net |> settle() |> pass(@heartbeat + 1) end) |> settle()
  end

  @doc "All messages arrive."
  def settle(%{queues: queues} = net) when queues == %{}, do: net
  def settle(net), do: net |> deliver() |> settle()

  @doc "The entries of every node."
  def dumps(net),
    do: Map.new(net.nodes, fn {name, node} -> {name, node.store |> ETS.stream(:entries) |> Enum.sort()} end)

  @doc "Whether reads of every node are answered."
  def ready?(net), do: Enum.all?(net.nodes, fn {_name, node} -> :atomics.get(node.replica.h.ready, 1) == 1 end)

  @doc "What must be there after all that was written, as the versions say."
  def expected(net) do
    every_floor = for {_name, node} <- net.nodes, floor <- Copy.floors(node.replica.copy), do: floor
    floors = for {:floor, what, version} <- every_floor ++ net.log, do: {what, version}

    newest =
      for {key, version, dump} <- Enum.reverse(net.log), key != :floor, reduce: %{} do
        newest -> Map.update(newest, key, {version, dump}, &max_version(&1, {version, dump}))
      end

    # What had a time to live is over it at the end.
    for {key, {version, {value, %{ttl: :infinity} = write}}} <- newest,
        Enum.all?(floors, fn {what, floor} ->
          version > floor or what not in [:all | Enum.map(write.tags, &{:tag, &1})]
        end) do
      {key, value}
    end
    |> Enum.sort()
  end

  defp max_version({one, _dump} = known, {other, _other_dump}) when one >= other, do: known
  defp max_version(_known, newer), do: newer

  @doc "What was kept of deletes and of writers, to see that it does not grow."
  def remembered(net) do
    for {_name, %{replica: replica}} <- net.nodes do
      {:ets.info(replica.copy.graves, :size), map_size(replica.copy.floors), map_size(replica.heard),
       map_size(replica.gone)}
    end
  end
end
