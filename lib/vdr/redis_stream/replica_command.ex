defmodule Vdr.RedisStream.ReplicaCommand do
  @moduledoc """
  One command of a full sync or of the stream, as `c:Vdr.RedisStream.Callback.handle_commands/2` gets it.

    * `db` - the database that it was written in
    * `command` - its name as an atom, then its arguments, numbers as numbers and repeated groups as one list:
      `{:set, key, value}`, `{:hset, key, [{field, value}]}`, `{:del, [key]}`. One that the library does not know is
      `{:generic, [name | arguments]}`. Options of SET and XADD are in `raw_command` only.
    * `raw_command` - always `{:generic, [name | arguments]}`, as received
    * `affected_keys` - the keys that it may change; `:all` when that may be any key: FLUSHDB, FLUSHALL, SWAPDB, and
      commands that the library does not know. A key that MOVE, or COPY with DB, changes in another database stands here, too.
    * `offset` - the replication offset behind it. Commands of one full sync all have the offset of the whole.
    * `context` - a map with `:phase` (`:full_sync` or `:stream`), `:replication_id`, and `:unit`: `nil`, or, for commands between
      MULTI and EXEC, the offset before the MULTI. Commands of a unit stand side by side in one batch, unless they are more than
      16,384 or longer than 1 MB.
  """

  @enforce_keys [:db, :command, :raw_command, :affected_keys, :offset, :context]
  defstruct [:db, :command, :raw_command, :affected_keys, :offset, :context]

  @type t :: %__MODULE__{
          db: non_neg_integer,
          command: tuple,
          raw_command: {:generic, [binary, ...]},
          affected_keys: [binary] | :all,
          offset: non_neg_integer,
          context: %{
            phase: :full_sync | :stream,
            replication_id: String.t(),
            unit: non_neg_integer | nil
          }
        }
end
