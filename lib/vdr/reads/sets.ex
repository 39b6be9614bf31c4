defmodule Vdr.Reads.Sets do
  @moduledoc false
  use Vdr.Reads.Row, group: "Sets"

  @doc "All members of the set at `key`, in no particular order. O(n)."
  read smembers(key :: key) :: [binary]

  @doc "The number of members of the set at `key`. O(1)."
  read scard(key :: key) :: non_neg_integer

  @doc "Whether `member` is in the set at `key`. O(log n)."
  read sismember(key :: key, member :: binary) :: boolean

  @doc "Whether each of `members` is in the set at `key`. O(members asked for)."
  read smismember(key :: key, members :: [binary]) :: [boolean]

  @doc "A random member of the set at `key`, or `nil`. O(1)."
  read srandmember(key :: key) :: binary | nil

  @doc """
  Up to `count` distinct random members. A negative `count` returns exactly that many, with
  repeats, 1,048,576 at most. O(|count|).
  """
  read srandmember(key :: key, count :: integer) :: [binary]

  @doc "The members of any of the sets. O(members of all sets)."
  read sunion(keys :: [key]) :: [binary]

  @doc "The members that all of the sets have. O(smallest set * number of sets)."
  read sinter(keys :: [key]) :: [binary]

  @doc "The members of the first set that none of the other sets has. O(members of all sets)."
  read sdiff(keys :: [key]) :: [binary]

  @doc """
  The number of members that all of the sets have. Counting stops at `limit`, unless it is 0.
  O(smallest set * number of sets).
  """
  read sintercard(keys :: [key], limit :: non_neg_integer \\ 0) :: non_neg_integer

  @doc "The first `count` members in byte order. O(log n + count)."
  read sfirst(key :: key, count :: non_neg_integer) :: [binary]

  @doc "The last `count` members, in descending byte order. O(log n + count)."
  read slast(key :: key, count :: non_neg_integer) :: [binary]

  @doc """
  Up to `count` members after `member` in byte order; `member` need not be in the set. O(log n +
  count).
  """
  read snext(key :: key, member :: binary, count :: non_neg_integer) :: [binary]

  @doc """
  Up to `count` members before `member`, in descending byte order; `member` need not be in the
  set. O(log n + count).
  """
  read sprev(key :: key, member :: binary, count :: non_neg_integer) :: [binary]
end
