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
  @down_after_ms 2000
  @answer_ms 500
  @starts 5

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

  @doc "The proxy before a server."
  def proxy(cluster, server),
    do: cluster.servers |> Enum.zip(cluster.server_proxies) |> List.keyfind(server, 0) |> elem(1)

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
  def primary(cluster), do: primary(cluster, named(cluster))

  defp primary(cluster, named) do
    port = List.first(named) || Server.port(hd(cluster.servers))
    Enum.find(cluster.servers, &(Server.port(&1) == port))
  end

  def other(cluster), do: other(cluster, primary(cluster))
  defp other(cluster, primary), do: Enum.find(cluster.servers, &(&1 != primary))

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
    case ask(primary(cluster), words, timeout: 5000) do
      {:ok, reply} -> reply
      {:error, %{__exception__: true} = error} -> raise error
      {:error, reason} -> raise Redix.ConnectionError, reason: reason
    end
  end

  @doc """
  Sends one command on a new connection, without a proxy: `{:ok, reply}` or `{:error, reason}`. The
  caller must trap exits. Options of the connection: `:timeout`, `:database`.
  """
  def ask(server, words, options \\ []), do: connected(server, options, &Redix.command(&1, words))

  @doc "The same for several commands: `{:ok, replies}` or `{:error, reason}`."
  def ask_all(server, commands, options \\ []), do: connected(server, options, &Redix.pipeline(&1, commands))

  defp connected(server, options, ask) do
    options = Keyword.merge([host: @real, port: Server.port(server), timeout: @answer_ms], options)

    with {:ok, redis} <- Redix.start_link(options) do
      reply = ask.(redis)
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
      up(server, @starts)
    end
  end

  # On a loaded machine one start may take too long. A server that is never there again shows when
  # the mirror does not come to rest.
  defp up(_server, 0), do: :down
  defp up(server, left), do: Server.running?(server) or Server.restart(server) == :ok or up(server, left - 1)

  @doc """
  The primary, if all Sentinels agree on it and the other server follows it; otherwise what is
  wrong.
  """
  def whole(cluster) do
    with {:ok, primary} <- agreed(cluster), do: followed(cluster, primary, other(cluster, primary))
  end

  defp agreed(cluster) do
    named = named(cluster)
    primary = primary(cluster, named)

    cond do
      length(named) != 1 -> {:error, "the Sentinels are at odds: #{inspect(named)}"}
      Enum.any?(cluster.sentinels, &failing_over?/1) -> {:error, "a failover goes on"}
      not match?({:ok, ["master" | _]}, ask(primary, ["ROLE"])) -> {:error, "#{Server.port(primary)} is no primary"}
      true -> {:ok, primary}
    end
  end

  # A primary that was away during a failover returns as a primary, and Sentinel waits eight seconds
  # before it makes it a replica.
  defp followed(cluster, primary, other) do
    case ask(other, ["ROLE"]) do
      {:ok, ["slave", @real, _port, "connected", _offset]} -> {:ok, primary}
      {:ok, ["master" | _]} -> made_replica(cluster, primary, other)
      answer -> {:error, "the other server: #{inspect(answer)}"}
    end
  end

  # The Sentinels may have promoted the other one just now.
  defp made_replica(cluster, primary, other) do
    if agreed(cluster) == {:ok, primary}, do: ask(other, ["REPLICAOF", @real, Server.port(primary)])
    {:error, "both servers are primaries"}
  end

  defp failing_over?(sentinel) do
    case ask(sentinel, ["SENTINEL", "MASTERS"]) do
      {:ok, [fields]} -> Enum.any?(fields, &(is_binary(&1) and &1 =~ ~r/s_down|o_down|failover_in_progress/))
      _silent -> true
    end
  end
end
