defmodule Vdr.WatchEvent do
  @moduledoc """
  The events of watches. A watching process receives them as `{ref, event}`, see
  `Veidrodelis.watch/4` and `Veidrodelis.watch_prefix/4`.
  """

  @type t :: Vdr.WatchEvent.Update.t() | Vdr.WatchEvent.Init.t()
end

defmodule Vdr.WatchEvent.Update do
  @moduledoc """
  A write touched the watched key, or a key with the watched prefix, and is visible: a read on
  receipt returns that write or a newer one.

    * `command` - the command: its name as an atom, then its arguments, with numbers as numbers and
      repeated groups as one list: `{:set, key, value}`, `{:hset, key, [{field, value}]}`,
      `{:del, [key]}`. A command that the library does not know is `{:generic, [name | arguments]}`
    * `db` - the number of the database
    * `key` - the key that the write touched. For a prefix it is `nil` when the write touched
      several of its keys, or the whole database; `command` says which
    * `offset` - the replication offset after the command
  """

  @enforce_keys [:command, :db, :key, :offset]
  defstruct [:command, :db, :key, :offset]

  @type t :: %__MODULE__{command: tuple, db: Veidrodelis.db(), key: binary | nil, offset: non_neg_integer}
end

defmodule Vdr.WatchEvent.Init do
  @moduledoc """
  A full sync has become visible, the first or a later one: what the process knew of the key, or of
  the keys with the prefix, may be stale.

  A watch also gets one when a key changed while the watch was being registered. `offset` is the
  replication offset of the visible data.
  """

  @enforce_keys [:offset]
  defstruct [:offset]

  @type t :: %__MODULE__{offset: non_neg_integer}
end
