defmodule Vdr.Test.Sentinels do
  @moduledoc """
  A small cluster for a test: real servers, the first of which is the primary, and real Sentinels
  with short timeouts that watch them. They live under the test's supervisor. Without a test, they
  are linked to the process that starts them (`start: &Sentinels.linked/1`).
  """

  alias Vdr.Test.{Mirror, Server}

  @group "mymaster"
  # So long that a loaded machine makes no failover of its own.
  @down_after_ms 5_000
  @down_soon_ms 500

  defstruct [:servers, :sentinels, :binary]

  def group, do: @group

  @doc """
  Starts `:servers` (2) and `:sentinels` (3) of a `:binary`, and waits until they know each other.
  `:down_after_ms` (5,000) is how long a server must be silent before it counts as down.
  """
  def start!(opts \\ []) do
    binary = opts[:binary] || Server.any()
    config = Keyword.get(opts, :config, [])
    start = Keyword.get(opts, :start, &Server.start!/1)
    [primary | others] = for _ <- 1..Keyword.get(opts, :servers, 2), do: start.(binary: binary, config: config)

    for other <- others,
        do: command!(Server.port(other), ["REPLICAOF", "127.0.0.1", Integer.to_string(Server.port(primary))])

    Mirror.eventually("the replicas are linked", fn ->
      command!(Server.port(primary), ["INFO", "replication"]) =~ "connected_slaves:#{length(others)}" and
        Enum.all?(others, &(command!(Server.port(&1), ["INFO", "replication"]) =~ "master_link_status:up"))
    end)

    lines = lines(Server.port(primary), Keyword.get(opts, :down_after_ms, @down_after_ms))
    sentinels = for _ <- 1..Keyword.get(opts, :sentinels, 3)//1, do: start.(binary: binary, sentinel: lines)
    cluster = %__MODULE__{servers: [primary | others], sentinels: sentinels, binary: binary}
    Mirror.eventually("the sentinels know all", fn -> Enum.all?(sentinels, &knows_all?(&1, cluster)) end)
    cluster
  end

  @doc "The option `:sentinel` for a mirror."
  def option(cluster, opts \\ []) do
    sentinels = for sentinel <- cluster.sentinels, do: [host: "127.0.0.1", port: Server.port(sentinel)]
    Keyword.merge([sentinels: sentinels, group: @group], opts)
  end

  @doc "A mirror that follows the cluster."
  def mirror!(cluster, opts \\ []) do
    id = {:sentinel_test, System.unique_integer([:positive])}
    {sentinel, opts} = Keyword.pop(opts, :sentinel, [])
    own = [id: id, sentinel: option(cluster, sentinel), reconnect_delay_ms: 50, max_reconnect_delay_ms: 1000]
    ExUnit.Callbacks.start_supervised!({Veidrodelis, Keyword.merge(own, opts)})
    id
  end

  @doc "What a Sentinel lists of the group's replicas: `[%{\"port\" => ...}]`."
  def replicas(sentinel) do
    for fields <- command!(Server.port(sentinel), ["SENTINEL", "REPLICAS", @group]) do
      for [name, value] <- Enum.chunk_every(fields, 2), into: %{}, do: {name, value}
    end
  end

  @doc "The primary's port, according to the first Sentinel that answers."
  def primary_port(cluster) do
    [_host, port] =
      Enum.find_value(cluster.sentinels, fn sentinel ->
        command!(Server.port(sentinel), ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", @group])
      end)

    String.to_integer(port)
  end

  def failover!(cluster), do: command!(Server.port(hd(cluster.sentinels)), ["SENTINEL", "FAILOVER", @group])

  @doc """
  Ends or pauses the primary by a function of `Server`. From then on half a second of silence makes
  a server count as down, so that the Sentinels soon name another.
  """
  def bring_down!(cluster, how) do
    port = primary_port(cluster)
    cluster.servers |> Enum.find(&(Server.port(&1) == port)) |> how.()
    down_after!(cluster, @down_soon_ms)
  end

  @doc "Sets how long a server must be silent before it counts as down."
  def down_after!(cluster, ms) do
    for sentinel <- cluster.sentinels,
        do: command!(Server.port(sentinel), ["SENTINEL", "SET", @group, "down-after-milliseconds", ms])
  end

  @doc "Sends one command on a new connection."
  def command!(port, words) do
    {:ok, redis} = Redix.start_link(host: "127.0.0.1", port: port)
    reply = Redix.command!(redis, words)
    Redix.stop(redis)
    reply
  end

  @doc "A server that is linked to the caller."
  def linked(opts) do
    {:ok, server} = Server.start_link(opts)
    server
  end

  @doc "A Sentinel. `more` holds further lines of its configuration."
  def sentinel!(binary, primary_port, more \\ "") do
    Server.start!(binary: binary, sentinel: lines(primary_port, @down_after_ms) <> more <> "\n")
  end

  defp lines(primary_port, down_after_ms) do
    """
    sentinel monitor #{@group} 127.0.0.1 #{primary_port} 2
    sentinel down-after-milliseconds #{@group} #{down_after_ms}
    sentinel failover-timeout #{@group} 3000
    sentinel parallel-syncs #{@group} 1
    """
  end

  defp knows_all?(sentinel, cluster) do
    others = command!(Server.port(sentinel), ["SENTINEL", "SENTINELS", @group])
    replicas = replicas(sentinel)

    length(others) == length(cluster.sentinels) - 1 and length(replicas) == length(cluster.servers) - 1 and
      Enum.all?(replicas, &(&1["master-link-status"] == "ok"))
  end
end
