defmodule Vdr.Test.Chaos.Cluster do
  @moduledoc """
  Two servers and three Sentinels, with a proxy before each of them; the mirror sees them only
  through the proxies. A real server listens on 127.0.0.1, its proxy on the same port of 127.0.0.2,
  and the mirror's host map leads from one to the other. So the Sentinels name true addresses and
  see the servers as they are, whatever happens to the mirror's network.
  """
  alias Vdr.Test.{Proxy, Sentinels, Server}

  # Longer than any fault that should pass without a failover, shorter than those that should end in
  # one.
  @down_after_ms 1000
  @answer_ms 500

  @real "127.0.0.1"
  @seen "127.0.0.2"

  defstruct [:servers, :sentinels, :server_proxies, :sentinel_proxies]

  def start(binary, config) do
    cluster =
      Sentinels.start!(binary: binary, config: config, start: &Sentinels.linked/1, down_after_ms: @down_after_ms)

    %__MODULE__{
      servers: cluster.servers,
      sentinels: cluster.sentinels,
      server_proxies: Enum.map(cluster.servers, &proxy/1),
      sentinel_proxies: Enum.map(cluster.sentinels, &proxy/1)
    }
  end

  def stop(cluster) do
    Enum.each(cluster.sentinels ++ cluster.servers ++ proxies(cluster), &GenServer.stop/1)
  end

  defp proxy(server) do
    {:ok, proxy} = Proxy.start_link(Server.port(server), ip: {127, 0, 0, 2}, port: Server.port(server))
    proxy
  end

  def proxies(cluster), do: cluster.server_proxies ++ cluster.sentinel_proxies

  @doc "The option `:sentinel` of a mirror behind the proxies."
  def option(cluster) do
    [
      sentinels: for(sentinel <- cluster.sentinels, do: [host: @seen, port: Server.port(sentinel)]),
      group: Sentinels.group(),
      host_map: %{@real => @seen},
      connect_opts: [timeout: 500]
    ]
  end

  @doc "The server that most Sentinels name, or the first server if they name none."
  def primary(cluster) do
    port = List.first(named(cluster)) || Server.port(hd(cluster.servers))
    Enum.find(cluster.servers, &(Server.port(&1) == port))
  end

  def other(cluster), do: Enum.find(cluster.servers, &(&1 != primary(cluster)))

  # The ports that the Sentinels name, the one with most votes first.
  defp named(cluster) do
    votes =
      for sentinel <- cluster.sentinels,
          {:ok, [_host, port]} <- [ask(sentinel, ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Sentinels.group()])],
          do: String.to_integer(port)

    votes |> Enum.frequencies() |> Enum.sort_by(fn {_port, votes} -> -votes end) |> Enum.map(&elem(&1, 0))
  end

  @doc "Sends one command to the primary. Raises the server's error, or the connection's."
  def command!(cluster, words) do
    case ask(primary(cluster), words, 5000) do
      {:ok, reply} -> reply
      {:error, %{__exception__: true} = error} -> raise error
      {:error, reason} -> raise Redix.ConnectionError, reason: reason
    end
  end

  @doc """
  Sends one command on a new connection, without a proxy: `{:ok, reply}` or `{:error, reason}`. The
  caller must trap exits.
  """
  def ask(server, words, timeout_ms \\ @answer_ms) do
    with {:ok, redis} <- Redix.start_link(host: @real, port: Server.port(server), timeout: timeout_ms) do
      reply = Redix.command(redis, words)
      if Process.alive?(redis), do: Redix.stop(redis)
      reply
    end
  catch
    :exit, reason -> {:error, reason}
  end

  # ---- back to rest

  @doc "Makes the weather calm, and brings every server up and awake."
  def mend(cluster) do
    for proxy <- proxies(cluster) do
      Proxy.next(proxy, nil)
      Proxy.weather(proxy, :calm)
    end

    for server <- cluster.servers ++ cluster.sentinels do
      Server.resume(server)
      unless Server.running?(server), do: :ok = Server.restart(server)
    end
  end

  @doc """
  The primary, if all Sentinels agree on it and the other server follows it; otherwise what is
  wrong.
  """
  def whole(cluster) do
    primary = primary(cluster)
    port = Integer.to_string(Server.port(primary))

    cond do
      length(named(cluster)) != 1 -> {:error, "the Sentinels are at odds: #{inspect(named(cluster))}"}
      Enum.any?(cluster.sentinels, &failing_over?/1) -> {:error, "a failover goes on"}
      not match?({:ok, ["master" | _]}, ask(primary, ["ROLE"])) -> {:error, "#{port} is no primary"}
      true -> followed(cluster, primary, port)
    end
  end

  # A primary that was away during a failover returns as a primary, and Sentinel waits eight seconds
  # before it makes it a replica.
  defp followed(cluster, primary, port) do
    case ask(other(cluster), ["ROLE"]) do
      {:ok, ["slave", @real, _port, "connected", _offset]} -> {:ok, primary}
      {:ok, ["master" | _]} -> made_replica(other(cluster), port)
      other -> {:error, "the other server: #{inspect(other)}"}
    end
  end

  defp made_replica(server, port) do
    ask(server, ["REPLICAOF", @real, port])
    {:error, "the other server has just been made a replica"}
  end

  defp failing_over?(sentinel) do
    case ask(sentinel, ["SENTINEL", "MASTERS"]) do
      {:ok, [fields]} -> Enum.any?(fields, &(is_binary(&1) and &1 =~ ~r/s_down|o_down|failover_in_progress/))
      _silent -> true
    end
  end
end
