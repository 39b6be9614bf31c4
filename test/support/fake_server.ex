defmodule Vdr.Test.FakeServer do
  @moduledoc """
  A listener that misbehaves in ways that healthy servers do not show on demand. It accepts one
  connection after another and passes each socket to the given function, in a process of its own.
  When the function returns, the socket is closed.
  """
  use GenServer

  @doc """
  Starts it under the test's supervisor, and returns the port. Every connection sends `{:connected,
  port}` to the test.
  """
  def start!(fun) when is_function(fun, 1) do
    pid = ExUnit.Callbacks.start_supervised!({__MODULE__, {fun, self()}}, id: make_ref())
    GenServer.call(pid, :port)
  end

  @doc """
  A primary that answers each command, its words as one line, with the result of `reply`. After
  `{:last, bytes}` it hangs up.
  """
  def primary!(reply) do
    start!(fn socket -> serve(socket, reply) end)
  end

  @doc """
  A Sentinel of the group `g` that names the server on the port that `named` answers, as a string.
  Each PING of a subscription gets the message of a switch to that server.
  """
  def switching_sentinel!(named) do
    primary!(fn
      "SENTINEL GET-MASTER-ADDR-BY-NAME g" -> "*2\r\n" <> bulk("127.0.0.1") <> bulk(named.())
      "SUBSCRIBE +switch-master" -> "*3\r\n" <> bulk("subscribe") <> bulk("+switch-master") <> ":1\r\n"
      "PING" -> "*3\r\n" <> bulk("message") <> bulk("+switch-master") <> bulk("g 127.0.0.1 1 127.0.0.1 #{named.()}")
      "SENTINEL SENTINELS g" -> "*0\r\n"
      _other -> "-ERR no\r\n"
    end)
  end

  @doc "A bulk string as a server sends it."
  def bulk(text), do: "$#{byte_size(text)}\r\n#{text}\r\n"

  def start_link({fun, owner}), do: GenServer.start_link(__MODULE__, {fun, owner})

  @impl GenServer
  def init({fun, owner}) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, active: false, reuseaddr: true, backlog: 50])
    {:ok, port} = :inet.port(listener)
    spawn_link(fn -> accept(listener, port, fun, owner) end)
    {:ok, port}
  end

  @impl GenServer
  def handle_call(:port, _from, port), do: {:reply, port, port}

  defp accept(listener, port, fun, owner) do
    {:ok, socket} = :gen_tcp.accept(listener)
    send(owner, {:connected, port})

    handler =
      spawn(fn ->
        receive do
          :go -> fun.(socket)
        end
      end)

    :ok = :gen_tcp.controlling_process(socket, handler)
    send(handler, :go)
    accept(listener, port, fun, owner)
  end

  @doc "Answers on one socket until the peer hangs up or an answer is `{:last, bytes}`."
  def serve(socket, reply) do
    with words when is_list(words) <- command(socket),
         answer when is_binary(answer) <- reply.(Enum.join(words, " ")) do
      :gen_tcp.send(socket, answer)
      serve(socket, reply)
    else
      {:last, answer} ->
        :gen_tcp.send(socket, answer)
        :gen_tcp.close(socket)

      :closed ->
        :gen_tcp.close(socket)
    end
  end

  # Reads one command as a client sends it: *n, then n times $len and bytes.
  defp command(socket) do
    :ok = :inet.setopts(socket, packet: :line)

    with {:ok, "*" <> count} <- :gen_tcp.recv(socket, 0) do
      {count, _} = Integer.parse(count)
      words = for _ <- 1..count, do: word(socket)
      if :closed in words, do: :closed, else: words
    else
      _ -> :closed
    end
  end

  defp word(socket) do
    with {:ok, "$" <> length} <- :gen_tcp.recv(socket, 0),
         {length, _} = Integer.parse(length),
         :ok <- :inet.setopts(socket, packet: :raw),
         {:ok, bytes} <- :gen_tcp.recv(socket, length + 2),
         :ok <- :inet.setopts(socket, packet: :line) do
      binary_part(bytes, 0, length)
    else
      _ -> :closed
    end
  end
end
