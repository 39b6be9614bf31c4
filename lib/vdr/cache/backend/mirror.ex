defmodule Vdr.Cache.Backend.Mirror do
  @moduledoc """
  Keeps entries on a Redis or Valkey server, and reads them from the local mirror of it.

      use Vdr.Cache, backend: Vdr.Cache.Backend.Mirror, backend_opts: [url: "redis://localhost:6379"]

  ## What it promises

    * Reads use no network and call no process. `get_many` reads from one snapshot, and an entry is
      as its tags were at one moment
    * After a write has returned, every read on this node sees it, or something newer
    * Other writers, on other nodes and in other languages, are seen as fast as replication brings
      their writes. No invalidation gets lost: it is the write itself, in the order of the primary,
      and is resumed after a disconnect
    * Reads go on while the server is away. Writes answer an error then, and `get_or_fetch` fetches
      and does not store
    * One fetch of a key at a time on all nodes, by a lease on the server. Those who wait watch the
      mirror. A put, a delete or an invalidation voids the lease

  How far a mirror may be behind says docs/consistency.md. The entries' times are those of the
  server; this machine's clock decides when a reader no longer sees an entry.

  ## Options

  #{Vdr.Cache.Backend.Server.docs()}

  Those of calls: `consistency: :local` (the default) returns when the write is visible here,
  `:server` when the server has done it, `:async` at once, without an answer.

  `{:error, {:written, :not_visible}}`: the server has done it, and it has not arrived in time. It
  is not retried.

  What stands on the server, and the other reasons, are those of `Vdr.Cache.Backend.Redis`. `size`,
  `keys` and `stream` are O(entries), in memory.
  """

  use Vdr.Cache.Backend.Server, mirror: true
end
