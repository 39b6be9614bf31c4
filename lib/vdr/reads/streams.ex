defmodule Vdr.Reads.Streams do
  @moduledoc false
  use Vdr.Reads.Row, group: "Streams"

  @doc "The number of entries of the stream at `key`, 0 if there is none. O(1)."
  read xlen(key :: key) :: non_neg_integer

  @doc """
  The entries with ids from `start` to `stop`, at most `count` of them unless it is `nil`.
  O(log n + entries returned).

  A bound is `"-"` or `"+"` for the least and the greatest id, `"ms-seq"`, `"ms"` for a whole
  millisecond, or any of the last two after `"("`, which excludes it.
  """
  read xrange(key :: key, start :: binary, stop :: binary, count :: non_neg_integer | nil \\ nil) :: [stream_entry]

  @doc """
  As `xrange/6`, with `stop` before `start`, in descending order. O(log n + entries returned).
  """
  read xrevrange(key :: key, stop :: binary, start :: binary, count :: non_neg_integer | nil \\ nil) :: [stream_entry]

  @doc """
  The entries after the id `after_id`, at most `count` of them unless it is `nil`. O(log n +
  entries returned).

  `"0-0"` stands before all entries. A reader that passes on the last id that it got meets every
  entry once. A `count` of 0 returns nothing, while the server's `COUNT 0` returns everything.
  """
  read xread(key :: key, after_id :: stream_id, count :: non_neg_integer | nil \\ nil) :: [stream_entry]

  @doc """
  The stream's description of itself, or `nil`. O(log n).

  The fields are those of the server's `XINFO STREAM`, with underscores: `length`,
  `last_generated_id`, `max_deleted_entry_id`, `entries_added`, `recorded_first_entry_id`,
  `groups` (their number), `first_entry` and `last_entry` (`nil` in an empty stream).
  """
  read xinfo_stream(key :: key) :: map | nil

  @doc """
  The consumer groups of the stream at `key`, in byte order of their names. O(groups).

  The fields of each are those of the server's `XINFO GROUPS`, with underscores: `name`,
  `consumers`, `pending`, `last_delivered_id`, `entries_read` and `lag`. The last two are `nil`
  where they are unknown. A server does not tell its replicas about a consumer before that
  consumer gets its first entry, and a server older than 7.4 does not tell them about
  `entries_read`. `lag` is computed as Redis 8 computes it. An older Redis, or a Valkey, may
  report another `lag`, or none, after `XSETID` or after entries were deleted.
  """
  read xinfo_groups(key :: key) :: [map]

  @doc """
  The entries that consumers of `group` have received and not acknowledged, or `nil` without such
  a stream or group. O(consumers).

  `pending` is the number of entries, `min` and `max` are the ids of the first and the last one
  (or `nil`), and `consumers` is `[{name, count}]` of the consumers that have any.
  """
  read xpending(key :: key, group :: binary) :: map | nil
end
