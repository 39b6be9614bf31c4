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
  A write touched the watched key, or a key with the watched prefix or pattern. The write is already
  visible: a read after this event returns the data of this write or of a newer one.

    * `command` - a tuple of the command's name as an atom and its arguments. Numbers are numbers,
      and repeated groups are one list: `{:set, key, value}`, `{:hset, key, [{field, value}]}`,
      `{:del, [key]}`. A command that the library does not know is `{:generic, [name | arguments]}`
    * `db` - the number of the database
    * `key` - the key that the write touched. A watch of a prefix or pattern gets `nil` when the
      write touched several of its keys, or the whole database. Then `command` names the keys
    * `offset` - the replication offset after the command
  """

  @enforce_keys [:command, :db, :key, :offset]
  defstruct [:command, :db, :key, :offset]

  @type t :: %__MODULE__{command: tuple, db: Veidrodelis.db(), key: binary | nil, offset: non_neg_integer}
end

defmodule Vdr.WatchEvent.Init do
  @moduledoc """
  A full sync has become visible, the first or a later one. The data that the process knew of the
  watched keys may be stale. This event replaces all earlier events that the process did not get.

  A watch also gets this event when a watched key may have changed while the watch was registered,
  or when the library dropped events. `offset` is the replication offset of the visible data.
  """

  @enforce_keys [:offset]
  defstruct [:offset]

  @type t :: %__MODULE__{offset: non_neg_integer}
end

defmodule Vdr.WatchEvent.Value do
  @moduledoc """
  A watched key was written (`notify: :value`). The event has the values before and after the write.
  Several writes may become visible together. Then each written key has one event, however often the
  key was written.

    * `db` - the number of the database
    * `key` - the key. A watch of a prefix or pattern gets `nil` when the whole database was emptied
      or swapped. Then `old` and `new` are `nil`, too
    * `old`, `new` - the values that readers saw before and see after. The two may be equal
    * `offset` - the replication offset of the data with the new value
  """

  @enforce_keys [:db, :key, :old, :new, :offset]
  defstruct [:db, :key, :old, :new, :offset]

  @typedoc """
  `nil` if the key does not exist. The content is the same term that the reads of the type return.
  It is `:large` for an aggregate of more than 1,000 elements. It is `:unknown` for a value of a
  module, and for a value that the library does not follow. An expired key or field keeps its value
  until the primary has deleted it.
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
  A watched key was written (`notify: :key`). Several writes may become visible together. Then each
  written key has one event, however often the key was written.

  A watch of a prefix or pattern gets the `key` `nil` when the whole database was emptied or
  swapped. `offset` is the replication offset of the visible data.
  """

  @enforce_keys [:db, :key, :offset]
  defstruct [:db, :key, :offset]

  @type t :: %__MODULE__{db: Veidrodelis.db(), key: binary | nil, offset: non_neg_integer}
end

defmodule Vdr.WatchEvent.Missed do
  @moduledoc """
  The library did not send some events of this watch, because too many messages waited for the
  process (`:max_pending`). The data that the process knew may be stale. From now on the library
  sends events again.

  `count` is the number of events that were not sent. `from` and `to` are the replication offsets of
  the first and the last of these events.
  """

  @enforce_keys [:from, :to, :count]
  defstruct [:from, :to, :count]

  @type t :: %__MODULE__{from: non_neg_integer, to: non_neg_integer, count: pos_integer}
end

defmodule Vdr.WatchEvent.Link do
  @moduledoc """
  The state of the link to the server (`events: [:link]`). The state is `:up` when the link begins
  to stream, and `:down` when the link has ended. While the link is down, no write arrives. The
  library sends the first of these events for a new watch at once, with the current state.
  """

  @enforce_keys [:state]
  defstruct [:state]

  @type t :: %__MODULE__{state: :up | :down}
end
