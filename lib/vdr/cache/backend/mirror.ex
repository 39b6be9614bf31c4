defmodule Vdr.Cache.Backend.Mirror do
  @moduledoc """
  Stores entries on a Redis or Valkey server, and reads them from this node's mirror of the server.

      use Vdr.Cache, backend: Vdr.Cache.Backend.Mirror, backend_opts: [url: "redis://localhost:6379"]

  ## Guarantees

    * Reads use no network and call no process. `get_many` reads from one snapshot. An entry and the
      generations of its tags are read as of one moment.
    * After a write has returned, every read on this node sees it, or a newer one.
    * Writes of other nodes, and of programs in other languages, become visible as soon as
      replication brings them. No invalidation is lost: it arrives as a write, in the order of the
      primary, and replication resumes after a disconnect.
    * While the server is away, reads continue and writes return an error. `get_or_fetch` then
      fetches, and does not store the value.
    * Across all nodes, a key has one fetch at a time, under a lease on the server. Waiting
      processes watch the mirror. A put, a delete or an invalidation voids the lease.

  The guide on consistency (docs/consistency.md) says how far a mirror may lag behind. The server
  sets the expiry times. The clock of this machine decides when a reader no longer sees an entry.

  ## Options

  #{Vdr.Cache.Backend.Server.docs()}

  The option `:consistency` of a call chooses when a write returns: `:local` (the default) when the
  write is visible on this node, and `:server` when the server has run it. With `:async`, `put`
  returns at once, without the result of the write; for other calls, `:async` is `:server`.

  `{:error, {:written, :not_visible}}` means that the server has run the write, but the write did
  not become visible on this node in time. The cache does not retry it.

  The keys on the server and the other errors are those of `Vdr.Cache.Backend.Redis`. `size`, `keys`
  and `stream` are O(entries), in memory.
  """

  use Vdr.Cache.Backend.Server, mirror: true
end
