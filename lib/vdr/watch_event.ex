defmodule Vdr.WatchEvent do
  @moduledoc """
  The events of watches. A watching process receives them as `{ref, event}`, see
  `Veidrodelis.watch/5`, `Veidrodelis.watch_prefix/5` and `Veidrodelis.watch_pattern/5`.
  """

  @type t ::
          Vdr.WatchEvent.Update.t()
          | Vdr.WatchEvent.Value.t()
          | Vdr.WatchEvent.Key.t()
          | Vdr.WatchEvent.Init.t()
          | Vdr.WatchEvent.Missed.t()
          | Vdr.WatchEvent.Link.t()
end

defmodule Vdr.WatchEvent.Update do
  @moduledoc """
  A write touched the watched key, or a key with the watched prefix or pattern, and is visible: a
  read on receipt returns that write or a newer one.

    * `command` - the command: its name as an atom, then its arguments, with numbers as numbers and
      repeated groups as one list: `{:set, key, value}`, `{:hset, key, [{field, value}]}`,
      `{:del, [key]}`. A command that the library does not know is `{:generic, [name | arguments]}`
    * `db` - the number of the database
    * `key` - the key that the write touched. For a prefix or pattern it is `nil` when the write
      touched several of its keys, or the whole database; `command` says which
    * `offset` - the replication offset after the command
  """

  @enforce_keys [:command, :db, :key, :offset]
  defstruct [:command, :db, :key, :offset]

  @type t :: %__MODULE__{command: tuple, db: Veidrodelis.db(), key: binary | nil, offset: non_neg_integer}
end

defmodule Vdr.WatchEvent.Init do
  @moduledoc """
  A full sync has become visible, the first or a later one: what the process knew of the key, or of
  the keys with the prefix or pattern, may be stale. It stands for every event before it that the
  process did not get.

  A watch also gets one when a key changed while the watch was being registered. `offset` is the
  replication offset of the visible data.
  """

  @enforce_keys [:offset]
  defstruct [:offset]

  @type t :: %__MODULE__{offset: non_neg_integer}
end

defmodule Vdr.WatchEvent.Value do
  @moduledoc """
  The value of a watched key before and after (`notify: :value`). One event for each key and
  publication, however often the key was written: several writes may become visible together.

    * `db` - the number of the database
    * `key` - the key, or `nil` when the whole database was emptied or swapped and the watch is of a
      prefix or pattern; then `old` and `new` are `nil`, too
    * `old`, `new` - the values, exactly as they were visible before and after. They may be equal
    * `offset` - the replication offset of the data that has `new`
  """

  @enforce_keys [:db, :key, :old, :new, :offset]
  defstruct [:db, :key, :old, :new, :offset]

  @typedoc """
  `nil` where there is no such key. The content is what the reads of the type answer, `:large` for
  an aggregate of more than 1,000 elements, and `:unknown` for a value of a module or one that is
  not followed. An expired key or field has its value until the primary has deleted it.
  """
  @type value ::
          nil
          | {:string, binary}
          | {:list | :set, [binary] | :large}
          | {:hash, [{binary, binary}] | :large}
          | {:zset, [{binary, Veidrodelis.score()}] | :large}
          | {:stream, [Veidrodelis.stream_entry()] | :large}
          | {:other, :unknown}

  @type t :: %__MODULE__{
          db: Veidrodelis.db(),
          key: binary | nil,
          old: value,
          new: value,
          offset: non_neg_integer
        }
end

defmodule Vdr.WatchEvent.Key do
  @moduledoc """
  A watched key was written (`notify: :key`). One event for each key and publication, however often
  the key was written.

  `key` is `nil` when the whole database was emptied or swapped and the watch is of a prefix or
  pattern. `offset` is the replication offset of the visible data.
  """

  @enforce_keys [:db, :key, :offset]
  defstruct [:db, :key, :offset]

  @type t :: %__MODULE__{db: Veidrodelis.db(), key: binary | nil, offset: non_neg_integer}
end

defmodule Vdr.WatchEvent.Missed do
  @moduledoc """
  The process did not drain its mailbox, so events of this watch were not sent (`:max_pending`). Now
  there is room again: what the process knew may be stale, and later events follow.

  `count` is the number of events that were not sent, `from` and `to` are the offsets of the first
  and the last of them.
  """

  @enforce_keys [:from, :to, :count]
  defstruct [:from, :to, :count]

  @type t :: %__MODULE__{from: non_neg_integer, to: non_neg_integer, count: pos_integer}
end

defmodule Vdr.WatchEvent.Link do
  @moduledoc """
  The link to the server (`events: [:link]`): `:up` when it begins to stream, `:down` when it has
  ended. While it is down no write arrives. The first one comes with the watch and says what holds
  then.
  """

  @enforce_keys [:state]
  defstruct [:state]

  @type t :: %__MODULE__{state: :up | :down}
end
