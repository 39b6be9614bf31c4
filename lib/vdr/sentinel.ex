defmodule Vdr.Sentinel do
  @moduledoc false
  # Finding a server by Sentinel. Sentinels are asked in order and the first usable answer counts; who gave it is asked
  # first the next time. Whether the server is what the Sentinel says is found out by the link, which asks for its role.

  alias Vdr.Sentinel.Connection

  @type address :: Connection.address()
  @type t :: %__MODULE__{}

  # So many are remembered, whatever a Sentinel says that there are.
  @sentinels_max 32

  @derive {Inspect, only: [:sentinels, :group, :role]}
  @enforce_keys [:sentinels, :group, :role, :connect, :host_map]
  # `override` is `{host, port}` of `:replica_connect_opts`, each of which may be nil.
  defstruct [:sentinels, :group, :role, :connect, :host_map, override: {nil, nil}]

  @doc "The server to attach to, and the Sentinels in the order to ask the next time."
  @spec find(t, [address]) ::
          {:ok, address, [address]} | {:error, atom, detail :: String.t(), :soon | :slowly}
  def find(%__MODULE__{} = sentinel, sentinels), do: ask_in_turn(sentinel, sentinels, sentinels, [])

  @doc "What most of the Sentinels that answer take for the primary; nil when they are at odds."
  @spec majority(t, [address]) :: address | nil
  def majority(%__MODULE__{} = sentinel, sentinels) do
    answers =
      sentinels
      |> Task.async_stream(&ask(%{sentinel | role: :primary}, &1),
        max_concurrency: @sentinels_max,
        timeout: sentinel.connect.timeout * 4,
        on_timeout: :kill_task
      )
      |> Enum.flat_map(fn
        {:ok, {:ok, address, _others}} -> [address]
        _no_answer -> []
      end)

    answers |> Enum.frequencies() |> Enum.find_value(fn {address, votes} -> votes * 2 > length(answers) && address end)
  end

  @doc "An address as a Sentinel names it, as we reach it."
  @spec reachable(t, address) :: {:ok, address} | {:error, {:bad_host_map, String.t()}}
  def reachable(sentinel, {host, port}) do
    with {:ok, host} <- mapped(sentinel.host_map, host) do
      {own_host, own_port} = sentinel.override
      {:ok, {own_host || host, own_port || port}}
    end
  end

  defp ask_in_turn(_sentinel, [], _all, failures), do: worst(Enum.reverse(failures))

  defp ask_in_turn(sentinel, [first | rest], all, failures) do
    case ask(sentinel, first) do
      {:ok, address, others} ->
        {:ok, address, Enum.take(Enum.uniq([first | all] ++ others), max(@sentinels_max, length(all)))}

      {:error, failure} ->
        ask_in_turn(sentinel, rest, all, [{first, failure} | failures])
    end
  end

  # What says most about the cause comes first: a Sentinel that answered knows more than one that did not.
  @causes [
    no_usable_replica: {:no_usable_replica, :soon},
    bad_host_map: {:bad_host_map, :slowly},
    unknown_group: {:unknown_group, :slowly},
    refused: {:sentinel_refused, :slowly},
    unreachable: {:no_sentinel_reachable, :soon}
  ]

  defp worst(failures) do
    {_kind, {code, retry}} =
      Enum.find(@causes, fn {kind, _code} -> Enum.any?(failures, &match?({_address, {^kind, _text}}, &1)) end)

    detail = Enum.map_join(failures, "; ", fn {{host, port}, {_kind, text}} -> "#{host}:#{port}: #{text}" end)
    {:error, code, detail, retry}
  end

  defp ask(sentinel, address) do
    with {:ok, connection} <- Connection.open(address, sentinel.connect) do
      try do
        with {:ok, found, connection} <- server(sentinel, connection),
             {:ok, found} <- reachable(sentinel, found),
             do: {:ok, found, others(sentinel, connection)}
      after
        Connection.close(connection)
      end
    end
  end

  defp server(%{role: :primary, group: group}, connection) do
    with {:ok, reply, connection} <- Connection.command(connection, ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", group]) do
      case reply do
        nil -> {:error, {:unknown_group, "it does not know the group #{inspect(group)}"}}
        [host, port] -> with {:ok, address} <- address(host, port), do: {:ok, address, connection}
        _odd -> {:error, {:unreachable, "its answer makes no sense"}}
      end
    else
      {:error, {:refused, "IDONTKNOW" <> _text}} -> {:error, {:unknown_group, "it does not know the group"}}
      error -> error
    end
  end

  defp server(%{role: :replica, group: group}, connection) do
    case Connection.command(connection, ["SENTINEL", "REPLICAS", group]) do
      {:ok, replicas, connection} when is_list(replicas) ->
        case replicas |> Enum.map(&fields/1) |> Enum.flat_map(&usable/1) do
          [] -> {:error, {:no_usable_replica, "none of its #{length(replicas)} replicas is in use"}}
          # No replica gets all the mirrors.
          usable -> {:ok, Enum.random(usable), connection}
        end

      {:ok, _odd, _connection} ->
        {:error, {:unreachable, "its answer makes no sense"}}

      {:error, {:refused, "ERR No such master" <> _text}} ->
        {:error, {:unknown_group, "it does not know the group #{inspect(group)}"}}

      error ->
        error
    end
  end

  # An older Sentinel, or a user who may not ask, knows no others.
  defp others(%{group: group} = sentinel, connection) do
    case Connection.command(connection, ["SENTINEL", "SENTINELS", group]) do
      {:ok, sentinels, _connection} when is_list(sentinels) ->
        for %{"ip" => host, "port" => port} <- Enum.map(sentinels, &fields/1),
            {:ok, {host, port}} <- [address(host, port)],
            {:ok, host} <- [mapped(sentinel.host_map, host)],
            do: {host, port}

      _none ->
        []
    end
  end

  defp usable(%{"ip" => host, "port" => port, "flags" => flags} = replica) do
    down = Enum.any?(String.split(flags, ","), &(&1 in ["s_down", "o_down", "disconnected"]))

    case address(host, port) do
      {:ok, address} when not down -> if replica["master-link-status"] == "ok", do: [address], else: []
      _unusable -> []
    end
  end

  defp usable(_replica), do: []

  defp fields(flat) when is_list(flat) do
    for [name, value] <- Enum.chunk_every(flat, 2, 2, :discard), is_binary(name), is_binary(value), into: %{} do
      {name, value}
    end
  end

  defp fields(_odd), do: %{}

  defp address(host, port) when is_binary(host) and host != "" and is_binary(port) do
    case Integer.parse(port) do
      {port, ""} when port in 1..65_535 -> {:ok, {host, port}}
      _no_port -> {:error, {:unreachable, "it names no port"}}
    end
  end

  defp address(_host, _port), do: {:error, {:unreachable, "it names no host"}}

  defp mapped(host_map, host) do
    case host_map.(host) do
      mapped when is_binary(mapped) and mapped != "" -> {:ok, mapped}
      _other -> {:error, {:bad_host_map, "the host map has no string for #{inspect(host)}"}}
    end
  catch
    _kind, _reason -> {:error, {:bad_host_map, "the host map failed on #{inspect(host)}"}}
  end
end
