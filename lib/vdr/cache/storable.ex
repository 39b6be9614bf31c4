defmodule Vdr.Cache.Storable do
  @moduledoc false
  # Pids, references, ports and functions mean nothing outside of their process or node, so a cache
  # cannot store them outside of it.

  @doc """
  Returns `{:error, {:not_storable, term}}` with the first pid, reference, port or function in a
  term. O(size of the term).
  """
  @spec check(term) :: :ok | {:error, {:not_storable, term}}
  def check(term) do
    walk(term)
    :ok
  catch
    {__MODULE__, found} -> {:error, {:not_storable, found}}
  end

  defp walk(term) when is_binary(term) or is_atom(term) or is_number(term) or is_bitstring(term), do: :ok

  defp walk([head | tail]) do
    walk(head)
    walk(tail)
  end

  defp walk([]), do: :ok
  defp walk(term) when is_tuple(term), do: term |> Tuple.to_list() |> walk()
  defp walk(term) when is_map(term), do: term |> :maps.to_list() |> walk()
  defp walk(term), do: throw({__MODULE__, term})
end
