defmodule Vdr.WatchEvent do
  @moduledoc """
  What a watching process receives, as `{ref, event}`: see `Veidrodelis.watch/4` and
  `Veidrodelis.watch_prefix/4`.
  """

  @type t :: Vdr.WatchEvent.Update.t() | Vdr.WatchEvent.Init.t()
end

defmodule Vdr.WatchEvent.Update do
  @moduledoc """
  A write touched the watched key, or one of the watched prefix, and is visible: a read on receipt
  sees it, or something newer.

  `key` is the key that it touched. To a watched prefix it is `nil` where the write touched
  several of its keys, or all of a database: `command` tells which.

  `command` is the command's name as an atom, then its arguments, numbers as numbers and repeated
  groups as one list: `{:set, key, value}`, `{:hset, key, [{field, value}]}`, `{:del, [key]}`. One
  that the library does not know is `{:generic, [name | arguments]}`. `offset` is the replication
  offset behind the command.
  """

  @enforce_keys [:command, :db, :key, :offset]
  defstruct [:command, :db, :key, :offset]

  @type t :: %__MODULE__{command: tuple, db: Veidrodelis.db(), key: binary | nil, offset: non_neg_integer}
end

defmodule Vdr.WatchEvent.Init do
  @moduledoc """
  A full sync has become visible, the first or a later one: whatever was known of the key, or of
  those of the prefix, before may be stale.

  One comes for each watch, too, of which a key changed while the watch was being registered.
  `offset` is the replication offset of what is visible.
  """

  @enforce_keys [:offset]
  defstruct [:offset]

  @type t :: %__MODULE__{offset: non_neg_integer}
end
