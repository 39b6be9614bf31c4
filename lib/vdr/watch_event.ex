defmodule Vdr.WatchEvent do
  @moduledoc """
  What a watching process receives, as `{ref, event}`: see `Veidrodelis.watch/4`.
  """

  @type t :: Vdr.WatchEvent.Update.t() | Vdr.WatchEvent.Init.t()
end

defmodule Vdr.WatchEvent.Update do
  @moduledoc """
  A write touched the watched key, and is visible: a read on receipt sees it, or something newer.

  `command` is the command's name as an atom, then its arguments, numbers as numbers and repeated groups as one list:
  `{:set, key, value}`, `{:hset, key, [{field, value}]}`, `{:del, [key]}`. One that the library does not know is
  `{:generic, [name | arguments]}`. `offset` is the replication offset behind the command.
  """

  @enforce_keys [:command, :db, :key, :offset]
  defstruct [:command, :db, :key, :offset]

  @type t :: %__MODULE__{command: tuple, db: Veidrodelis.db(), key: binary, offset: non_neg_integer}
end

defmodule Vdr.WatchEvent.Init do
  @moduledoc """
  A full sync has become visible, the first or a later one: whatever was known of the key before may be stale.

  One comes for each watch, too, whose key changed while the watch was being registered. `offset` is the replication
  offset of what is visible.
  """

  @enforce_keys [:offset]
  defstruct [:offset]

  @type t :: %__MODULE__{offset: non_neg_integer}
end
