defmodule Vdr.Cache.Backend.Redis do
  @moduledoc """
  Stores entries on a Redis or Valkey server. All nodes, and programs in other languages, share the
  same entries. Each read and each write is one round trip.

      use Vdr.Cache, backend: Vdr.Cache.Backend.Redis, backend_opts: [url: "redis://localhost:6379"]

  `Vdr.Cache.Backend.Mirror` stores the same entries, and reads them from memory. If the entries fit
  into memory, it is the better choice. `near_cache: true` turns this backend into that one.

  The connections belong to an instance of `Veidrodelis` that keeps no data. Like every instance, it
  needs the right to replicate, and receives everything that is written to the server.

  ## Options

  #{Vdr.Cache.Backend.Server.docs()}

  `:max_size`, `:max_bytes` and `:eviction_policy` are refused, because the server bounds its own
  memory (`maxmemory`). The server may evict any key, also the keys for the cache's own bookkeeping.
  That never makes an invalidated entry valid again.

  ## Costs

  `get` of an entry with tags takes two round trips. `size`, `keys`, `stream` and `flush` scan all
  keys of the database with `SCAN`.

  ## On the server

  | key | content |
  |---|---|
  | `<prefix>e:<key>` | an entry |
  | `<prefix>l:<key>` | the lease of a fetch |
  | `<prefix>g:<tag>`, `<prefix>t:<tag>` | the generation of a tag, and the set of its entries; both expire with the last entry |
  | `<prefix>c`, `<prefix>d`, `<prefix>d:<...>` | the number of invalidations, and the unfinished ones |

  A key that is a binary is stored as it is, and every other key in the external term format. A
  value that is an integer of 64 bits is stored as decimal text, so that `INCRBY` works. Every other
  value is stored in the external term format. A value with tags, `:refresh_after` or
  `:stale_if_error` has an envelope around it.

  ## Errors

    * `{:not_storable, term}` - the value has a pid, a reference, a port or a function
    * `{:undecodable, key}` - the bytes on the server were not written by a cache, or have an atom
      that this node does not know: data from the server never creates an atom
    * `:server_full` - the server has reached `maxmemory`, and evicts nothing
    * `:read_only` - the server is a replica
    * `{:refused, text}` - another error of the server
    * the reasons of `Veidrodelis.command/3`
  """

  use Vdr.Cache.Backend.Server, mirror: false
end
