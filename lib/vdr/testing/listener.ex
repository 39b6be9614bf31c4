defmodule Vdr.Testing.Listener do
  @moduledoc false
  # The TCP port of a simulated primary, on the loopback interface. Handlers need the port, because
  # their links have a network always. This module answers the handshake, and `Vdr.Testing.Primary`
  # sends the data and the stream.

  use GenServer

  alias Vdr.Testing.Primary

  @line_bytes_max 64 * 1024

  @spec start_link({id :: term, primary :: pid}) :: GenServer.on_start()
  def start_link({id, primary}), do: GenServer.start_link(__MODULE__, {id, primary})

  @doc "The port of the primary with this id."
  @spec port(id :: term) :: {:ok, :inet.port_number()} | {:error, :no_instance}
  def port(id) do
    case Vdr.Reports.about({:listener, id}) do
      port when is_integer(port) -> {:ok, port}
      _none -> {:error, :no_instance}
    end
  end

  @impl GenServer
  def init({id, primary}) do
    Process.flag(:trap_exit, true)
    Primary.own(primary, self())
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, active: false, packet: :line, reuseaddr: true])
    {:ok, port} = :inet.port(listener)
    Vdr.Reports.create({:listener, id}, port)
    spawn_link(fn -> accept(listener, primary) end)
    {:ok, id}
  end

  @impl GenServer
  def handle_info({:EXIT, _acceptor, reason}, id), do: {:stop, reason, id}
  def handle_info(_other, id), do: {:noreply, id}

  @impl GenServer
  def terminate(_reason, id), do: Vdr.Reports.delete({:listener, id})

  defp accept(listener, primary) do
    {:ok, socket} = :gen_tcp.accept(listener)
    pid = spawn(fn -> receive(do: (:go -> serve(socket, primary))) end)
    :ok = :gen_tcp.controlling_process(socket, pid)
    send(pid, :go)
    accept(listener, primary)
  end

  defp serve(socket, primary) do
    case command(socket) do
      {:ok, [name | args]} -> reply(String.upcase(name), args, socket, primary)
      _closed -> :gen_tcp.close(socket)
    end
  end

  defp reply("PSYNC", [id, offset], socket, primary) do
    position = if id == "?", do: nil, else: {id, String.to_integer(offset) - 1}
    Primary.attach_socket(primary, socket, position)
    serve(socket, primary)
  end

  # A primary does not answer an acknowledgement.
  defp reply("REPLCONF", ["ACK" | _], socket, primary), do: serve(socket, primary)
  defp reply("PING", [], socket, primary), do: answer(socket, "+PONG\r\n", primary)
  defp reply(name, _args, socket, primary) when name in ["AUTH", "REPLCONF"], do: answer(socket, "+OK\r\n", primary)
  defp reply(_other, _args, socket, primary), do: answer(socket, "-ERR unknown command\r\n", primary)

  defp answer(socket, bytes, primary) do
    _closed = :gen_tcp.send(socket, bytes)
    serve(socket, primary)
  end

  # A client sends a command as *n, then n times $len and bytes. A bare newline is a keepalive.
  defp command(socket) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, "\n"} -> command(socket)
      {:ok, "*" <> count} -> words(socket, number(count), [])
      _other -> :closed
    end
  end

  defp words(_socket, 0, words), do: {:ok, Enum.reverse(words)}

  defp words(socket, count, words) do
    with {:ok, "$" <> length} <- :gen_tcp.recv(socket, 0),
         length when length <= @line_bytes_max <- number(length),
         :ok <- :inet.setopts(socket, packet: :raw),
         {:ok, bytes} <- :gen_tcp.recv(socket, length + 2),
         :ok <- :inet.setopts(socket, packet: :line) do
      words(socket, count - 1, [binary_part(bytes, 0, length) | words])
    else
      _other -> :closed
    end
  end

  defp number(line), do: line |> String.trim() |> String.to_integer()
end
