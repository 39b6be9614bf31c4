defmodule Vdr.Test.Http do
  @moduledoc false

  @doc """
  The whole answer of an HTTP server on this machine to a request as it stands on the wire, so that
  what a browser would correct is sent as it is.
  """
  def raw(port, bytes) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
    :ok = :gen_tcp.send(socket, bytes)
    answer = receive_all(socket, "")
    :gen_tcp.close(socket)
    answer
  end

  defp receive_all(socket, got) do
    case :gen_tcp.recv(socket, 0, 60_000) do
      {:ok, bytes} -> receive_all(socket, got <> bytes)
      {:error, _closed} -> got
    end
  end
end
