defmodule Vdr.Cache.Backend.ETS.Key do
  @moduledoc false
  # The form of keys in the table. A row is compared and swapped with a match specification, where
  # the atoms `:_` and `:"$1"` are patterns, and which do not take maps. A key that contains one of
  # these is stored in the external term format.

  @doc "Returns the key for the table."
  @spec wrap(term) :: term
  def wrap(key) when is_binary(key) or is_integer(key), do: key
  def wrap(key), do: if(plain?(key), do: key, else: {__MODULE__, :erlang.term_to_binary(key, [:deterministic])})

  @doc "Returns the key as the user gave it."
  @spec unwrap(term) :: term
  def unwrap({__MODULE__, binary}) when is_binary(binary), do: :erlang.binary_to_term(binary)
  def unwrap(key), do: key

  # Atoms are ordered by their text, and `%` follows `$`: so these are the atoms that begin with
  # `$`.
  defp plain?(key) when is_atom(key),
    do: key != :_ and (key < :"$" or key >= :%) and key != __MODULE__

  defp plain?(key) when is_tuple(key), do: plain_tuple?(key, tuple_size(key))
  defp plain?([head | tail]), do: plain?(head) and plain?(tail)
  defp plain?(key) when is_map(key), do: false
  defp plain?(_key), do: true

  defp plain_tuple?(_tuple, 0), do: true
  defp plain_tuple?(tuple, n), do: plain?(:erlang.element(n, tuple)) and plain_tuple?(tuple, n - 1)
end
