defmodule Vdr.RedisStream.ReplicaCommand do
  @moduledoc """
  One command of a full sync or of the stream, as `c:Vdr.RedisStream.Callback.handle_commands/2`
  gets it.

    * `db` - the database that the command writes to
    * `command` - the command's name as an atom, then its arguments: numbers as numbers, and
      repeated groups as one list. Examples are `{:set, key, value}`,
      `{:hset, key, [{field, value}]}` and `{:del, [key]}`. A command that the library does not know
      is `{:generic, [name | arguments]}`. The options of SET and XADD stand only in `raw_command`.
    * `raw_command` - always `{:generic, [name | arguments]}`, as received
    * `affected_keys` - the keys that the command may change, including those that MOVE, or COPY
      with DB, changes in another database. `:all` if it may change any key: FLUSHDB, FLUSHALL,
      SWAPDB, and commands that the library does not know
    * `offset` - the replication offset behind the command. All commands of a full sync have the
      offset of the whole
    * `context` - a map with `:phase` (`:full_sync` or `:stream`), `:replication_id`, and `:unit`.
      The unit of commands between MULTI and EXEC is the offset before the MULTI, otherwise `nil`.
      The commands of a unit stand side by side in one batch, unless they are more than 16,384 or
      longer than 1 MB
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
