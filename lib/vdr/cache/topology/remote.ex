defmodule Vdr.Cache.Topology.Remote do
  @moduledoc false
  # Calls on other nodes. Every way in which such a call can end is an answer.

  alias Vdr.Deadline

  @doc """
  What the function returns there, or `{:error, {:node_down, node} | :timeout | {:remote,
  reason}}`.
  """
  @spec call(node, module, atom, [term], timeout) :: term
  def call(node, module, function, arguments, timeout),
    do: node |> :erpc.send_request(module, function, arguments) |> receive_answer(node, Deadline.after_timeout(timeout))

  @doc "The same on many nodes at once, as pairs of node and answer."
  @spec call_all([{node, [term]}], module, atom, timeout) :: [{node, term}]
  def call_all(calls, module, function, timeout) do
    deadline = Deadline.after_timeout(timeout)
    requests = for {node, arguments} <- calls, do: {node, :erpc.send_request(node, module, function, arguments)}
    for {node, request} <- requests, do: {node, receive_answer(request, node, deadline)}
  end

  defp receive_answer(request, node, deadline) do
    :erpc.receive_response(request, Deadline.left(deadline))
  catch
    :error, {:erpc, :noconnection} -> {:error, {:node_down, node}}
    :error, {:erpc, :timeout} -> {:error, :timeout}
    :error, {:erpc, reason} -> {:error, {:remote, reason}}
    :error, {:exception, reason, _stack} -> {:error, {:remote, reason}}
    :exit, {:exception, reason} -> {:error, {:remote, reason}}
    :exit, {:signal, reason} -> {:error, {:remote, reason}}
    :throw, reason -> {:error, {:remote, reason}}
  end
end
