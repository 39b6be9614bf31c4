defmodule Vdr.Cache.Topology.Remote do
  @moduledoc false
  # Calls to other nodes. Every failure of such a call is returned as an error.

  alias Vdr.Deadline

  @doc """
  Calls a function on another node. Returns its result, or an error with the reason
  `{:node_down, node}`, `:timeout` or `{:remote, reason}`.
  """
  @spec call(node, module, atom, [term], timeout) :: term
  def call(node, module, function, arguments, timeout),
    do: node |> :erpc.send_request(module, function, arguments) |> receive_answer(node, Deadline.after_timeout(timeout))

  @doc "Calls a function on many nodes at once. Returns pairs of node and result."
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
