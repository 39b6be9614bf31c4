defmodule Vdr.Reads.Hashes do
  @moduledoc false
  use Vdr.Reads.Row, group: "Hashes"

  @doc "The value of `field` in the hash at `key`, or `nil`. O(1)."
  read hget(key :: key, field :: binary) :: binary | nil

  @doc """
  The values of `fields`, in their order, with `nil` for each missing one. O(fields asked for).
  """
  read hmget(key :: key, fields :: [binary]) :: [binary | nil]

  @doc "All fields and values, in no particular order. O(n)."
  read hgetall(key :: key) :: [{field :: binary, value :: binary}]

  @doc "All fields, in no particular order. O(n)."
  read hkeys(key :: key) :: [binary]

  @doc "All values, in no particular order. O(n)."
  read hvals(key :: key) :: [binary]

  @doc "The number of fields of the hash at `key`. O(1)."
  read hlen(key :: key) :: non_neg_integer

  @doc "Whether `field` is in the hash at `key`. O(1)."
  read hexists(key :: key, field :: binary) :: boolean

  @doc "The length in bytes of the value of `field`, 0 if there is none. O(1)."
  read hstrlen(key :: key, field :: binary) :: non_neg_integer

  @doc "A random field of the hash at `key`, or `nil`. O(1); O(n) in a hash with expiring fields."
  read hrandfield(key :: key) :: binary | nil

  @doc """
  Up to `count` distinct random fields, with their values unless `with_values: false` is given. A
  negative `count` returns exactly that many, with repeats, 1,048,576 at most. O(|count|); O(n) in
  a hash with expiring fields.
  """
  read hrandfield(key :: key, count :: integer, with_values :: with_values \\ true) :: [{binary, binary}] | [binary]

  @doc "The first `count` fields and values in byte order of field. O(log n + count)."
  read hfirst(key :: key, count :: non_neg_integer) :: [{binary, binary}]

  @doc "The last `count` fields and values, in descending byte order of field. O(log n + count)."
  read hlast(key :: key, count :: non_neg_integer) :: [{binary, binary}]

  @doc """
  Up to `count` fields and values after `field` in byte order; `field` need not be in the hash.
  O(log n + count).
  """
  read hnext(key :: key, field :: binary, count :: non_neg_integer) :: [{binary, binary}]

  @doc """
  Up to `count` fields and values before `field`, in descending byte order; `field` need not be in
  the hash. O(log n + count).
  """
  read hprev(key :: key, field :: binary, count :: non_neg_integer) :: [{binary, binary}]
end
