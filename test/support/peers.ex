defmodule Vdr.Test.Peers do
  @moduledoc """
  Nodes of a cluster on this machine, each a VM of its own that ends together with the test.

  The test controls them by their standard input and output, so it reaches them also while they do
  not reach each other. The node of the test is no member of the cluster.
  """

  alias Vdr.Test.Mirror

  @doc "Starts nodes that are connected to each other, with the application started on each."
  def start!(count, opts \\ []) do
    {_out, 0} = System.cmd("epmd", ["-daemon"])
    peers = 1..count |> Enum.map(fn n -> Task.async(fn -> boot(n, opts) end) end) |> Task.await_many(60_000)
    ExUnit.Callbacks.on_exit(fn -> Enum.each(peers, &stop/1) end)
    join(peers)
    peers
  end

  defp boot(n, opts) do
    name = :"vdr#{System.pid()}_#{n}_#{System.unique_integer([:positive])}"
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    overlapping = to_charlist(Keyword.get(opts, :prevent_overlapping_partitions, false))
    args = [~c"-setcookie", ~c"vdr", ~c"-kernel", ~c"prevent_overlapping_partitions", overlapping | paths]

    options = %{
      name: name,
      host: ~c"127.0.0.1",
      longnames: true,
      connection: :standard_io,
      args: args,
      wait_boot: 60_000
    }

    {:ok, pid, node} = :peer.start(options)
    peer = %{pid: pid, node: node}
    {:ok, _started} = call(peer, :application, :ensure_all_started, [:veidrodelis])
    :ok = call(peer, Logger, :configure, [[level: :error]])
    peer
  end

  @doc "Ends a node."
  def stop(peer) do
    :peer.stop(peer.pid)
  catch
    # It was killed before.
    :exit, _reason -> :ok
  end

  @doc "Kills the VM, as the system does."
  def kill(peer) do
    pid = call(peer, :os, :getpid, [])
    signal(pid, "KILL")
    # Until the system has closed its sockets.
    Process.sleep(50)
  end

  @doc "Stops the VM in the middle of what it does, until `signal(pid, \"CONT\")`."
  def freeze(peer) do
    pid = call(peer, :os, :getpid, [])
    signal(pid, "STOP")
    pid
  end

  def signal(pid, name), do: {_out, 0} = System.cmd("kill", ["-" <> name, to_string(pid)])

  def call(peer, module, function, arguments, timeout \\ 60_000),
    do: :peer.call(peer.pid, module, function, arguments, timeout)

  @doc "Runs a function of a module of the tests on a peer, without waiting for it."
  def async(peer, module, function, arguments), do: Task.async(fn -> call(peer, module, function, arguments) end)

  @doc "Starts a cache under the application of a peer."
  def start_cache(peer, opts) do
    spec = Vdr.Test.CacheContract.Cache.child_spec(opts)
    {:ok, _pid} = call(peer, Supervisor, :start_child, [Vdr.Supervisor, Map.put(spec, :restart, :temporary)])
    :ok
  end

  def stop_cache(peer, name), do: :ok = call(peer, Supervisor, :terminate_child, [Vdr.Supervisor, name])

  @doc "Connects every node with every other."
  def join(peers) do
    for peer <- peers, other <- peers, peer != other, do: call(peer, :net_kernel, :connect_node, [other.node])

    for peer <- peers do
      Mirror.eventually("connected", fn -> length(call(peer, :erlang, :nodes, [])) >= length(peers) - 1 end)
    end
  end

  @doc """
  Cuts the network between two groups of nodes. The wrong cookies differ, so that they do not
  connect again.
  """
  def split(left, right) do
    for one <- left, other <- right do
      call(one, :erlang, :set_cookie, [other.node, :cut_left])
      call(other, :erlang, :set_cookie, [one.node, :cut_right])
      call(one, :erlang, :disconnect_node, [other.node])
      call(other, :erlang, :disconnect_node, [one.node])
    end

    for one <- left, other <- right do
      Mirror.eventually("split", fn -> other.node not in call(one, :erlang, :nodes, []) end)
      Mirror.eventually("split", fn -> one.node not in call(other, :erlang, :nodes, []) end)
    end
  end

  @doc "Lets them see each other again."
  def heal(left, right) do
    for one <- left, other <- right do
      call(one, :erlang, :set_cookie, [other.node, :vdr])
      call(other, :erlang, :set_cookie, [one.node, :vdr])
    end

    for one <- left, other <- right, do: call(one, :net_kernel, :connect_node, [other.node])

    for one <- left,
        other <- right,
        do: Mirror.eventually("healed", fn -> other.node in call(one, :erlang, :nodes, []) end)
  end

  @doc "Waits until a cache has these members on all of them."
  def await_members(peers, cache) do
    nodes = peers |> Enum.map(& &1.node) |> Enum.sort()

    for peer <- peers do
      Mirror.eventually("members", fn -> explain(peers, cache) end, fn ->
        call(peer, Vdr.Cache, :info, [cache]).members == nodes
      end)
    end

    nodes
  end

  defp explain(peers, cache) do
    for peer <- peers do
      group = for group <- call(peer, :pg, :which_groups, [Vdr.Cache]), elem(group, 0) == cache, do: group
      pids = Enum.flat_map(group, &call(peer, :pg, :get_members, [Vdr.Cache, &1]))

      {peer.node, call(peer, Vdr.Cache, :info, [cache]).members, call(peer, :erlang, :nodes, []),
       Enum.map(pids, &node/1)}
    end
  end
end

defmodule Vdr.Test.PeerWork do
  @moduledoc """
  What the tests do on other nodes. Functions do not travel by their code, so they have names here.
  """

  alias Vdr.Cache, as: C

  @doc """
  Many processes of a node fetch the same keys. Answers the values that each key got, and how often
  it was fetched here.
  """
  def fetch_all(cache, keys, processes, ms) do
    calls = :counters.new(1, [])

    fetch = fn _key ->
      :counters.add(calls, 1, 1)
      Process.sleep(ms)
      {:ok, node()}
    end

    values =
      for(_ <- 1..processes, do: Task.async(fn -> for key <- keys, do: {key, C.get_or_fetch(cache, key, fetch)} end))
      |> Task.await_many(60_000)
      |> List.flatten()
      |> Enum.uniq()

    {values, :counters.get(calls, 1)}
  end

  @doc "Fetches, and takes this long for it."
  def fetch(cache, key, value, ms, opts \\ []) do
    C.get_or_fetch(
      cache,
      key,
      fn ->
        :persistent_term.put({__MODULE__, key}, true)
        Process.sleep(ms)
        {:ok, value}
      end,
      opts
    )
  end

  @doc "A function for `get_or_fetch`."
  def large, do: {:ok, :binary.copy("x", 50_000)}

  @doc "Whether `fetch/5` of the key has begun here."
  def fetching?(key), do: :persistent_term.get({__MODULE__, key}, false)

  @doc "Puts and deletes at random, and pauses now and then."
  def write_at_random(cache, keys, count, seed) do
    :rand.seed(:exsss, {seed, 1, 1})

    for n <- 1..count do
      key = :rand.uniform(keys)

      case :rand.uniform(10) do
        1 -> C.delete(cache, key)
        2 -> C.invalidate_tag(cache, rem(key, 3))
        3 -> C.put(cache, key, {node(), n}, ttl: 60_000)
        _ -> C.put(cache, key, {node(), n}, tags: [rem(key, 3)])
      end

      if rem(n, 50) == 0, do: Process.sleep(1)
    end

    :ok
  end

  @doc "A clock that is wrong."
  def an_hour_ago, do: :os.system_time(:millisecond) - 3_600_000

  @doc "Reads a number that grows until it is this one. It must not go back."
  def read_until(cache, key, last, seen \\ 0, reads \\ 0) do
    case C.get(cache, key) do
      {:ok, ^last} -> {:ok, reads}
      {:ok, value} when value >= seen and reads < 50_000_000 -> read_until(cache, key, last, value, reads + 1)
      {:error, :not_found} when seen == 0 -> read_until(cache, key, last, seen, reads)
      other -> {:error, {other, seen, reads}}
    end
  end

  @doc "All entries, in order."
  def dump(cache), do: cache |> C.stream() |> Enum.sort()

  @doc "Reads and writes until told to stop; answers all that was no plain answer."
  def load(cache, ms) do
    deadline = System.monotonic_time(:millisecond) + ms
    :rand.seed(:exsss, {1, 2, 3})
    load(cache, deadline, MapSet.new())
  end

  defp load(cache, deadline, odd) do
    if System.monotonic_time(:millisecond) > deadline do
      MapSet.to_list(odd)
    else
      key = :rand.uniform(200)

      odd =
        case C.get(cache, key) do
          {:ok, ^key} -> odd
          {:error, :not_found} -> odd
          other -> MapSet.put(odd, {:get, other})
        end

      odd =
        case C.put(cache, key, key) do
          :ok -> odd
          {:error, {:node_down, _node}} -> odd
          {:error, {:remote, :moved}} -> odd
          other -> MapSet.put(odd, {:put, other})
        end

      load(cache, deadline, odd)
    end
  end
end
