defmodule Vdr.Sentinel.Listener do
  @moduledoc false
  # Hears of failovers: subscribed to one Sentinel, and to the next when that one is gone or silent. Messages get lost, so
  # it also asks all of them now and then. What it learns it tells `Vdr.Link`, which decides.

  use GenServer

  alias Vdr.{Link, Sentinel}
  alias Vdr.Sentinel.Connection

  @channel "+switch-master"

  # How often a sign of life is asked for, and how many may be missed.
  @ping_ms 1000
  @missed_max 3
  # How long to wait when no Sentinel lets us subscribe.
  @retry_ms 1000
  # How often all of them are asked, and the list of them is read anew.
  @poll_ms 10_000

  @spec start_link({owner :: {module, term}, Vdr.Options.t()}) :: GenServer.on_start()
  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @impl GenServer
  def init({owner, %Vdr.Options{sentinel: %Sentinel{} = sentinel} = options}) do
    Logger.metadata(vdr: options.id)

    state = %{
      owner: owner,
      sentinel: sentinel,
      sentinels: sentinel.sentinels,
      connection: nil,
      ping: nil,
      missed: 0,
      polled_at: nil
    }

    {:ok, state, {:continue, :subscribe}}
  end

  @impl GenServer
  def handle_continue(:subscribe, state), do: {:noreply, subscribe(state, length(state.sentinels))}

  @impl GenServer
  def handle_info(:subscribe, state), do: {:noreply, subscribe(state, length(state.sentinels))}

  # The clock of a connection that is gone is none of those that match: two would ask twice as often, for ever.
  def handle_info({:timeout, clock, :ping}, %{ping: clock, missed: @missed_max} = state), do: {:noreply, lost(state)}

  def handle_info({:timeout, clock, :ping}, %{ping: clock} = state) do
    case Connection.send_command(state.connection, ["PING"]) do
      :ok ->
        {:noreply, poll_when_due(%{state | ping: clock(), missed: state.missed + 1})}

      {:error, _reason} ->
        {:noreply, lost(state)}
    end
  end

  def handle_info(_message, %{connection: nil} = state), do: {:noreply, state}

  def handle_info(message, state) do
    case Connection.received(state.connection, message) do
      {:ok, replies, connection} ->
        Enum.each(replies, &heard(&1, state))
        state = %{state | connection: connection, missed: 0}
        if Connection.activate(connection) == :ok, do: {:noreply, state}, else: {:noreply, lost(state)}

      {:error, _reason} ->
        {:noreply, lost(state)}

      :unknown ->
        {:noreply, state}
    end
  end

  defp subscribe(state, 0) do
    Process.send_after(self(), :subscribe, @retry_ms)
    state
  end

  defp subscribe(%{sentinels: [first | rest]} = state, tries) do
    case subscribed(first, state.sentinel.connect) do
      {:ok, connection} ->
        # What was said before is told now.
        poll(%{state | connection: connection, ping: clock(), missed: 0})

      {:error, _reason} ->
        subscribe(%{state | sentinels: rest ++ [first]}, tries - 1)
    end
  end

  defp subscribed(address, connect) do
    with {:ok, connection} <- Connection.open(address, connect) do
      with {:ok, ["subscribe", @channel, 1], connection} <- Connection.command(connection, ["SUBSCRIBE", @channel]),
           :ok <- Connection.activate(connection) do
        {:ok, connection}
      else
        refused ->
          Connection.close(connection)
          {:error, refused}
      end
    end
  end

  defp lost(%{sentinels: [first | rest]} = state) do
    Connection.close(state.connection)
    subscribe(%{state | connection: nil, ping: nil, sentinels: rest ++ [first]}, length(state.sentinels))
  end

  defp clock, do: :erlang.start_timer(@ping_ms, self(), :ping)

  defp heard(["message", @channel, text], %{sentinel: %{group: group}} = state) when is_binary(text) do
    with [^group, _old_host, _old_port, host, port] <- String.split(text, " "),
         {port, ""} when port in 1..65_535 <- Integer.parse(port),
         {:ok, address} <- Sentinel.reachable(state.sentinel, {host, port}) do
      Link.switched(state.owner, address)
    end
  end

  defp heard(_pong, _state), do: :ok

  defp poll_when_due(state) do
    if System.monotonic_time(:millisecond) - state.polled_at >= @poll_ms, do: poll(state), else: state
  end

  defp poll(state) do
    state =
      case Sentinel.find(%{state.sentinel | role: :primary}, state.sentinels) do
        {:ok, _address, sentinels} -> %{state | sentinels: in_order_of(state.sentinels, sentinels)}
        {:error, _code, _detail, _retry} -> state
      end

    address = Sentinel.majority(state.sentinel, state.sentinels)
    if address, do: Link.switched(state.owner, address)
    %{state | polled_at: System.monotonic_time(:millisecond)}
  end

  # The one that we are subscribed to stays the first.
  defp in_order_of(known, found), do: known ++ (found -- known)
end
