defmodule Vdr.Cache.Error do
  @moduledoc """
  The reason of a cache's `{:error, reason}` as an exception, with a readable message.

      iex> Exception.message(Vdr.Cache.Error.exception(:full))
      "the cache is full, and its policy evicts nothing"
  """

  @enforce_keys [:reason]
  defexception [:reason, :cache, :key]

  @typedoc """
  The reasons of a cache. `t:Veidrodelis.Error.reason/0` lists those of the connection to a server.
  """
  @type reason ::
          :not_found
          | :full
          | :timeout
          | :not_started
          | :not_ready
          | :contended
          | :not_an_integer
          | :not_supported
          | {:node_down, node}
          | {:remote, term}
          | {:partial, non_neg_integer, [node]}
          | {:partial, [node]}
          | {:not_storable, term}
          | {:disk, term}
          | {:undecodable, key :: term}
          | :server_full
          | :read_only
          | {:refused, String.t()}
          | {:written, :not_visible}
          | Veidrodelis.Error.reason()

  @type t :: %__MODULE__{reason: reason | term, cache: term, key: term}

  @impl Exception
  def exception(options) when is_list(options), do: struct!(__MODULE__, options)
  def exception(reason), do: %__MODULE__{reason: reason}

  @impl Exception
  def message(%__MODULE__{reason: reason}), do: sentence(reason)

  defp sentence(:not_found), do: "the cache has no such entry"
  defp sentence(:full), do: "the cache is full, and its policy evicts nothing"
  defp sentence(:timeout), do: "the call did not finish within its timeout"
  defp sentence(:not_started), do: "the cache is not started"
  defp sentence(:not_ready), do: "this node has not received the entries of the other nodes yet"
  defp sentence(:contended), do: "other processes kept changing the entry"
  defp sentence(:not_an_integer), do: "the value is not an integer"
  defp sentence(:not_supported), do: "the backend or the topology of the cache cannot do this"
  defp sentence({:node_down, node}), do: "the node #{node} that owns the key does not answer"
  defp sentence({:remote, reason}), do: "the call on the node that owns the key failed: #{show(reason)}"
  defp sentence({:partial, _n, nodes}), do: "these nodes did not answer: #{Enum.join(nodes, ", ")}"
  defp sentence({:partial, nodes}), do: "these nodes did not answer: #{Enum.join(nodes, ", ")}"

  defp sentence({:not_storable, term}),
    do: "this term cannot be stored, because it means nothing outside of its process or node: #{show(term)}"

  defp sentence({:disk, reason}), do: "the file of the cache failed: #{show(reason)}"
  defp sentence({:undecodable, key}), do: "the bytes of the key #{show(key)} are not a value of a cache"
  defp sentence(:server_full), do: "the server has reached its maxmemory"
  defp sentence(:read_only), do: "the server is a replica and takes no writes"
  defp sentence({:refused, text}) when is_binary(text), do: "the server refused: #{text}"

  defp sentence({:written, :not_visible}),
    do: "the server has run the write, but it did not become visible in the mirror in time"

  defp sentence(other), do: Exception.message(Veidrodelis.Error.exception(other))

  defp show(term), do: inspect(term, limit: 5, printable_limit: 100)
end
