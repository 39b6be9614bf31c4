defmodule Vdr.Bench.Primary do
  @moduledoc false
  # A primary without data that answers a replica's handshake and then sends ready-made bytes, so
  # that it takes next to no CPU time.
  import Bitwise

  # An empty file without a checksum.
  @rdb "REDIS0009" <> <<0xFF, 0::64>>

  def listen do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, active: false, packet: :raw, sndbuf: 1 <<< 20])
    {:ok, port} = :inet.port(listener)
    {listener, port}
  end

  @doc "Attaches a replica, up to the start of its stream. Nobody reads its acknowledgements."
  def accept(listener) do
    {:ok, socket} = :gen_tcp.accept(listener, 10_000)
    attach(socket)
    socket
  end

  defp attach(socket) do
    {:ok, bytes} = :gen_tcp.recv(socket, 0, 5_000)
    words = bytes |> String.upcase() |> String.split("\r\n")
    :ok = :gen_tcp.send(socket, Enum.map(words, &reply/1))
    unless "PSYNC" in words, do: attach(socket)
  end

  defp reply("PING"), do: "+PONG\r\n"
  defp reply(question) when question in ["ROLE", "INFO"], do: "-ERR unknown command\r\n"
  defp reply("REPLCONF"), do: "+OK\r\n"
  defp reply("PSYNC"), do: ["+FULLRESYNC #{String.duplicate("a", 40)} 0\r\n$#{byte_size(@rdb)}\r\n", @rdb]
  defp reply(_argument), do: ""
end
