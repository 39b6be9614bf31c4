defmodule Vdr.Cache.Backend.ETS.Key do
  @moduledoc false
  # Keys as the table has them. The table compares and swaps by match specifications, in which the
  # atoms `:_` and `:"$1"` are no atoms but patterns, and which take no maps. A key with one of
  # these is stored as its external term format.

  @doc "The key in the table."
  @spec wrap(term) :: term
  def wrap(key) when is_binary(key) or is_integer(key), do: key
  def wrap(key), do: if(plain?(key), do: key, else: {__MODULE__, :erlang.term_to_binary(key, [:deterministic])})

  @doc "The key that the user gave."
  @spec unwrap(term) :: term
  def unwrap({__MODULE__, binary}) when is_binary(binary), do: :erlang.binary_to_term(binary)
  def unwrap(key), do: key

  # Atoms are ordered by their text, and `%` comes after `$`.
  defp plain?(key) when is_atom(key),
    do: key != :_ and (key < :"$" or key >= :%) and key != __MODULE__

  defp plain?(key) when is_tuple(key), do: plain_tuple?(key, tuple_size(key))
  defp plain?([head | tail]), do: plain?(head) and plain?(tail)
  # A match specification takes no map that it does not know to be one.
  defp plain?(key) when is_map(key), do: false
  defp plain?(_key), do: true

  defp plain_tuple?(_tuple, 0), do: true
  defp plain_tuple?(tuple, n), do: plain?(:erlang.element(n, tuple)) and plain_tuple?(tuple, n - 1)
end
