defmodule Vdr.Test.Proxy do
  @moduledoc """
  A TCP proxy that treats connections as bad networks do. It listens on a port of its own and
  forwards every connection to its target. Each direction has a process of its own and follows the
  current weather:

    * `:calm`
    * `:stall` - nothing passes; the bytes are kept and pass later
    * `:stall_replication` - the same for what the server sends to replicas; commands and their
      replies pass
    * `{:throttle, bytes, ms}` - this many bytes at a time, with a pause after each portion
    * `{:split, bytes}` - the same without a pause
    * `{:delay, ms}` - everything arrives later

  `next/2` schedules an event of the next full sync, after so many bytes from the server: `{:reset,
  bytes}`, `{:corrupt, bytes}`.
  """
  use GenServer

  @piece 65_536
  @stall_ms 10

  @doc "Options: `:ip` ({127, 0, 0, 1}) and `:port` (a free one) to listen on."
  def start_link(target_port, opts \\ []), do: GenServer.start_link(__MODULE__, {target_port, opts})
  def port(proxy), do: GenServer.call(proxy, :port)
  def weather(proxy, weather), do: GenServer.call(proxy, {:set, :weather, weather})
  def target(proxy, port), do: GenServer.call(proxy, {:set, :target, port})
  def next(proxy, due), do: GenServer.call(proxy, {:set, :next, due})

  @doc "The scheduled event. `nil` once a full sync has begun with it."
  def next(proxy), do: GenServer.call(proxy, {:get, :next})

  @doc "Ends every connection: `:close` in order, `:reset` abruptly."
  def cut(proxy, how), do: GenServer.call(proxy, {:cut, how})

  @doc "Flips a bit of the next byte that comes from the server, on every connection."
  def corrupt(proxy), do: GenServer.call(proxy, :corrupt)

  @doc "How many connections there are."
  def connections(proxy), do: GenServer.call(proxy, :connections)

  @impl GenServer
  def init({target_port, opts}) do
    Process.flag(:trap_exit, true)
    table = :ets.new(__MODULE__, [:public, read_concurrency: true])
    :ets.insert(table, weather: :calm, target: target_port, next: nil, corrupt: 0)
    own = [ip: Keyword.get(opts, :ip, {127, 0, 0, 1}), reuseaddr: true, backlog: 100]
    {:ok, listener} = :gen_tcp.listen(Keyword.get(opts, :port, 0), options() ++ own)
    {:ok, port} = :inet.port(listener)
    proxy = self()
    spawn_link(fn -> accept(listener, table, proxy) end)
    {:ok, %{table: table, port: port, pairs: %{}}}
  end

  defp options, do: [:binary, active: false, nodelay: true]

  @impl GenServer
  def handle_call(:port, _from, state), do: {:reply, state.port, state}
  def handle_call(:connections, _from, state), do: {:reply, map_size(state.pairs), state}

  def handle_call({:get, name}, _from, state), do: {:reply, get(state.table, name), state}

  def handle_call({:set, name, value}, _from, state) do
    :ets.insert(state.table, {name, value})
    {:reply, :ok, state}
  end

  def handle_call(:corrupt, _from, state) do
    :ets.update_counter(state.table, :corrupt, 1)
    {:reply, :ok, state}
  end

  def handle_call({:cut, how}, _from, state) do
    Enum.each(state.pairs, fn {_pid, sockets} -> close(sockets, how) end)
    {:reply, map_size(state.pairs), state}
  end

  @impl GenServer
  def handle_info({:pair, pid, sockets}, state) do
    Process.monitor(pid)
    {:noreply, put_in(state.pairs[pid], sockets)}
  end

  def handle_info({:DOWN, _ref, :process, pid, _reason}, state) do
    {sockets, pairs} = Map.pop(state.pairs, pid, [])
    close(sockets, :close)
    {:noreply, %{state | pairs: pairs}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp accept(listener, table, proxy) do
    {:ok, client} = :gen_tcp.accept(listener)

    case :gen_tcp.connect({127, 0, 0, 1}, get(table, :target), options(), 1000) do
      {:ok, server} ->
        pid = spawn(fn -> pump(client, server, table) end)
        send(proxy, {:pair, pid, [client, server]})

      {:error, _refused} ->
        close([client], :reset)
    end

    accept(listener, table, proxy)
  end

  # One process for each direction. If one ends, both do.
  defp pump(client, server, table) do
    Process.flag(:trap_exit, true)
    weather = %{table: table, due: nil, passed: 0, others: [client, server], replica: false}
    corrupted = get(table, :corrupt)
    down = spawn_link(fn -> pass(server, client, Map.merge(weather, %{corrupted: corrupted, down: self()})) end)
    up = spawn_link(fn -> pass(client, server, Map.merge(weather, %{corrupted: :never, down: down})) end)

    receive do
      {:EXIT, pid, _reason} when pid in [up, down] -> close([client, server], :close)
    end

    Enum.each([up, down], &Process.exit(&1, :kill))
  end

  defp pass(from, to, weather) do
    await_wind(weather)

    with {:ok, data} <- :gen_tcp.recv(from, 0),
         {data, weather} = damaged(data, recognized(data, weather)),
         :ok <- sent(to, data, weather) do
      pass(from, to, %{weather | passed: weather.passed + byte_size(data)})
    end
  end

  # Whether the client is a replica, and begins a full sync. The commands of a handshake are so
  # short that each comes in one piece.
  defp recognized(data, %{down: down} = weather) when self() != down do
    # It is there before the answer of the server.
    if data =~ "PSYNC", do: send(down, :replica)
    weather
  end

  defp recognized(data, weather) do
    weather = if weather.replica, do: weather, else: %{weather | replica: replica?()}

    if weather.replica and data =~ "+FULLRESYNC" do
      due = get(weather.table, :next)
      :ets.insert(weather.table, {:next, nil})
      %{weather | due: due}
    else
      weather
    end
  end

  defp replica? do
    receive do
      :replica -> true
    after
      0 -> false
    end
  end

  defp await_wind(weather) do
    if stalled?(get(weather.table, :weather), weather) do
      Process.sleep(@stall_ms)
      await_wind(weather)
    end
  end

  defp stalled?(:stall, _weather), do: true
  defp stalled?(:stall_replication, %{replica: replica?}), do: replica?
  defp stalled?(_other, _weather), do: false

  defp damaged(data, weather) do
    at = weather.due && elem(weather.due, 1) - weather.passed

    case weather.due do
      {:reset, _bytes} when at < byte_size(data) ->
        close(weather.others, :reset)
        exit(:normal)

      {:corrupt, _bytes} when at in 0..(byte_size(data) - 1)//1 ->
        {flip(data, at), %{weather | due: nil}}

      _not_yet ->
        now = get(weather.table, :corrupt)

        if weather.corrupted == :never or weather.corrupted == now,
          do: {data, weather},
          else: {flip(data, :rand.uniform(byte_size(data)) - 1), %{weather | corrupted: now}}
    end
  end

  defp flip(data, at) do
    {before, <<byte, rest::binary>>} = :erlang.split_binary(data, at)
    <<before::binary, Bitwise.bxor(byte, 1), rest::binary>>
  end

  defp sent(_to, "", _weather), do: :ok

  defp sent(to, data, weather) do
    {size, pause_ms} =
      case get(weather.table, :weather) do
        {:throttle, bytes, ms} -> {bytes, ms}
        {:split, bytes} -> {bytes, 0}
        {:delay, ms} -> {@piece, ms}
        _calm_or_stall -> {@piece, 0}
      end

    size = min(size, byte_size(data))
    {piece, rest} = :erlang.split_binary(data, size)
    if pause_ms > 0, do: Process.sleep(pause_ms)
    await_wind(weather)
    with :ok <- :gen_tcp.send(to, piece), do: sent(to, rest, weather)
  end

  defp close(sockets, how) do
    for socket <- sockets do
      if how == :reset, do: :inet.setopts(socket, linger: {true, 0})
      :gen_tcp.close(socket)
    end
  end

  defp get(table, name), do: :ets.lookup_element(table, name, 2)
end
