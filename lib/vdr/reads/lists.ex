defmodule Vdr.Reads.Lists do
  @moduledoc false
  use Vdr.Reads.Row, group: "Lists"

  @doc "The length of the list at `key`, 0 if there is none. O(1)."
  read llen(key :: key) :: non_neg_integer

  @doc """
  The elements from `start` to `stop`, both included. Negative indices count from the end.
  O(log n + elements returned).
  """
  read lrange(key :: key, start :: integer, stop :: integer) :: [binary]

  @doc """
  The element at `index`, or `nil` outside of the list. A negative index counts from the end.
  O(log n).
  """
  read lindex(key :: key, index :: integer) :: binary | nil

  @doc "The index of the first `element`, or `nil`. O(n)."
  read lpos(key :: key, element :: binary) :: non_neg_integer | nil
end
