defmodule Vdr.Bench.PlainClient do
  @moduledoc false
  # A plain client whose callers share a connection, as those of Elixir programs do: a command is
  # sent at once, and the replies answer the callers in turn. It knows replies of one line only.
  use GenServer

  def start_link(port), do: GenServer.start_link(__MODULE__, port)
  def command(pid, words), do: GenServer.call(pid, {:command, words}, :infinity)

  @impl GenServer
  def init(port) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: true, nodelay: true, packet: :line])
    {:ok, %{socket: socket, callers: :queue.new()}}
  end

  @impl GenServer
  def handle_call({:command, words}, from, state) do
    :ok = :gen_tcp.send(state.socket, Redix.pack(words))
    {:noreply, %{state | callers: :queue.in(from, state.callers)}}
  end

  @impl GenServer
  def handle_info({:tcp, _socket, line}, state) do
    {{:value, from}, callers} = :queue.out(state.callers)
    GenServer.reply(from, line)
    {:noreply, %{state | callers: callers}}
  end

  # The bench stops its server.
  def handle_info({:tcp_closed, _socket}, state), do: {:stop, :normal, state}
end
