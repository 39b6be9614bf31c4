defmodule Vdr.Cache.Backend.Redis do
  @moduledoc """
  Keeps entries on a Redis or Valkey server. All nodes, and programs in other languages, have the
  same entries. Reads and writes are one round trip each.

      use Vdr.Cache, backend: Vdr.Cache.Backend.Redis, backend_opts: [url: "redis://localhost:6379"]

  `Vdr.Cache.Backend.Mirror` is the same with reads from memory, and the better choice where the
  entries fit into it. `near_cache: true` makes this backend that one.

  The connections are those of an instance of `Veidrodelis` that keeps no data. Its link needs the
  right to replicate, as every instance, and receives what is written to the server.

  ## Options

  #{Vdr.Cache.Backend.Server.docs()}

  `:max_size`, `:max_bytes` and `:eviction_policy` are refused: the server bounds its own memory
  (`maxmemory`). It may evict what it likes, the cache's own bookkeeping, too; no entry that was
  invalidated comes back by that.

  ## Costs

  `get` of an entry with tags takes two round trips. `size`, `keys`, `stream` and `flush` walk over
  all keys of the database, with `SCAN`.

  ## On the server

  | key | what |
  |---|---|
  | `<prefix>e:<key>` | an entry |
  | `<prefix>l:<key>` | the lease of a fetch |
  | `<prefix>g:<tag>`, `<prefix>t:<tag>` | the generation of a tag, and its entries; they end with the last of these |
  | `<prefix>c`, `<prefix>d`, `<prefix>d:<...>` | the number of invalidations, and those that are under way |

  A key that is a binary stands there as it is, and every other term in the external term format. An
  integer of 64 bits is decimal text, so that `INCRBY` works; every other value is in the external
  term format, in an envelope where it has tags, `:refresh_after` or `:stale_if_error`.

  Values with pids, references, ports or functions answer `{:error, {:not_storable, term}}`. Bytes
  that no cache wrote answer `{:error, {:undecodable, key}}`. So do atoms that this node does not
  know yet: nothing that comes from the server makes new ones.

  Other reasons: `:server_full` (the server has reached `maxmemory` and evicts nothing),
  `:read_only`, `{:refused, text}`, and those of `Veidrodelis.command/3`.
  """

  use Vdr.Cache.Backend.Server, mirror: false
end
