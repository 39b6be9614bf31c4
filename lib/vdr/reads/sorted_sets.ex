defmodule Vdr.Reads.SortedSets do
  @moduledoc false
  # Ranges answer `{member, score}`, as the server writes them. Cursors answer `{score, member}`,
  # which is what orders the set, and what the next call takes as its place.
  use Vdr.Reads.Row, group: "Sorted sets"

  @doc "The score of `member`, or `nil`. O(1)."
  read zscore(key :: key, member :: binary) :: score | nil

  @doc """
  The scores of `members`, in their order, with `nil` for each missing one. O(members asked for).
  """
  read zmscore(key :: key, members :: [binary]) :: [score | nil]

  @doc "The number of members of the sorted set at `key`. O(1)."
  read zcard(key :: key) :: non_neg_integer

  @doc "The number of members with a score between `min` and `max`. O(log n)."
  read zcount(key :: key, min :: bound, max :: bound) :: non_neg_integer

  @doc """
  The number of members between `min` and `max` in byte order, in a set whose scores are equal.
  O(log n).
  """
  read zlexcount(key :: key, min :: lex_bound, max :: lex_bound) :: non_neg_integer

  @doc """
  The members of rank `start` to `stop`, both included, in ascending order, with their scores
  unless `with_scores: false` is given. Negative ranks count from the end. O(log n + members
  returned).
  """
  read zrange(key :: key, start :: integer, stop :: integer, with_scores :: with_scores \\ true) ::
         [{binary, score}] | [binary]

  @doc "As `zrange/6`, ranked and returned in descending order. O(log n + members returned)."
  read zrevrange(key :: key, start :: integer, stop :: integer, with_scores :: with_scores \\ true) ::
         [{binary, score}] | [binary]

  @doc """
  The members with a score between `min` and `max`, in ascending order, with their scores unless
  `with_scores: false` is given. O(log n + members returned).
  """
  read zrangebyscore(key :: key, min :: bound, max :: bound, with_scores :: with_scores \\ true) ::
         [{binary, score}] | [binary]

  @doc """
  As `zrangebyscore/6`, with `max` before `min`, in descending order. O(log n + members returned).
  """
  read zrevrangebyscore(key :: key, max :: bound, min :: bound, with_scores :: with_scores \\ true) ::
         [{binary, score}] | [binary]

  @doc """
  The members between `min` and `max` in byte order, in a set whose scores are equal. O(log n +
  members returned).
  """
  read zrangebylex(key :: key, min :: lex_bound, max :: lex_bound) :: [binary]

  @doc "The rank of `member` in ascending order, counted from 0, or `nil`. O(log n)."
  read zrank(key :: key, member :: binary) :: non_neg_integer | nil

  @doc "The rank of `member` in descending order, counted from 0, or `nil`. O(log n)."
  read zrevrank(key :: key, member :: binary) :: non_neg_integer | nil

  @doc "The first `count` scores and members in score order. O(log n + count)."
  read zfirst(key :: key, count :: non_neg_integer) :: [{score, binary}]

  @doc "The last `count` scores and members, in descending score order. O(log n + count)."
  read zlast(key :: key, count :: non_neg_integer) :: [{score, binary}]

  @doc """
  Up to `count` scores and members after `place` in score order. O(log n + count).

  The place is a member, or `{score, member}` as the cursors return it. A member that is not in
  the set has no place, so the answer is `[]`. A `{score, member}` always has its place, whether
  that member is there or not: use it to walk a set that changes.
  """
  read znext(key :: key, place :: binary | {number | infinite, binary}, count :: non_neg_integer) :: [{score, binary}]

  @doc """
  Up to `count` scores and members before `place`, in descending score order; see `znext/5`. O(log
  n + count).
  """
  read zprev(key :: key, place :: binary | {number | infinite, binary}, count :: non_neg_integer) :: [{score, binary}]
end
