defmodule Vdr.RedisStream.ReplicaCommand do
  @moduledoc """
  One command of a full sync or of the stream, as `c:Vdr.RedisStream.Callback.handle_commands/2`
  gets it.

    * `db` - the database that the command writes to
    * `command` - a tuple of the command's name as an atom and its arguments, see below. Examples
      are `{:set, key, value}`, `{:hset, key, [{field, value}]}` and `{:del, [key]}`. A command that
      the library does not know is `{:generic, [name | arguments]}`
    * `raw_command` - always `{:generic, [name | arguments]}`, as received
    * `affected_keys` - the keys that the command may change, including the keys of another database
      that MOVE, or COPY with DB, changes. `:all` if the command may change any key, such as
      FLUSHDB, FLUSHALL, SWAPDB, and every command that the library does not know
    * `offset` - the replication offset after the command. All commands of a full sync have the
      offset of the full sync
    * `context` - a map with `:phase` (`:full_sync` or `:stream`), `:replication_id`, and `:unit`.
      Commands between MULTI and EXEC are a unit, and their `:unit` is the offset before the MULTI.
      For other commands it is `nil`. One batch has all commands of a unit, side by side, unless
      they are more than 16,384 commands or longer than 1 MB

  ## The tuples

  The arguments stand in the server's order. A tuple has no counts: it has the counted arguments as
  one list.

    * `key` is a key that the command changes. `source` is a key that the command only reads
    * `integer` and `float` are numbers. An infinite float is `:pos_inf` or `:neg_inf`
    * `word` is a keyword as an atom in lower case, such as `:before` or `:left`
    * `options` is one list, which is `[]` without options. Keywords are atoms, integers are
      integers, and everything else is a binary. All options stand before the fields and ids, even
      options that the command has after them
    * `binary`, `member`, `field`, `id` and `value` are binaries as they arrived. Bounds of ranges,
      such as `"-inf"`, `"(5"` and `"[a"`, ids of streams, and numbers in a `[binary]` are binaries,
      too

  The tuples leave out the options of SET, DELEX, XADD, FLUSHALL and FLUSHDB, and of EXPIRE and the
  commands like it. Only `raw_command` has these options. Commands of modules, of vector sets and
  of arrays are `{name, key, [binary]}`. A command whose arguments do not fit its tuple is
  `{:generic, [name | arguments]}`.

  | tuple | commands |
  |---|---|
  | `{name, [key]}` | del, pfcount, unlink |
  | `{name, [source], word, options}` | lmpop, zmpop |
  | `{name, [{binary, binary}], options}` | msetex |
  | `{name, [{key, value}]}` | mset, msetnx |
  | `{name, integer, integer}` | swapdb |
  | `{name, key, [binary]}` | geoadd, hdel, hsetc, lpush, lpushx, pfadd, rpush, rpushx, sadd, srem, xdel, zrem |
  | `{name, key, [field]}` | hgetdel, hpersist |
  | `{name, key, [source], options}` | zinterstore, zunionstore |
  | `{name, key, [source]}` | pfmerge, sdiffstore, sinterstore, sunionstore, zdiffstore |
  | `{name, key, [{binary, binary}]}` | hmset, hset |
  | `{name, key, [{float, member}], options}` | zadd |
  | `{name, key, binary, [binary]}` | xack |
  | `{name, key, binary, [{binary, binary}]}` | xadd |
  | `{name, key, binary, binary, binary}` | xidmprecord |
  | `{name, key, binary, binary, integer, binary, options}` | xclaim |
  | `{name, key, binary, binary}` | hsetnx, zremrangebylex, zremrangebyscore |
  | `{name, key, binary, float}` | hincrbyfloat |
  | `{name, key, binary, integer}` | hincrby |
  | `{name, key, binary, options, [id]}` | xackdel |
  | `{name, key, binary, options}` | xsetid |
  | `{name, key, binary, word, options, [id]}` | xnack |
  | `{name, key, binary}` | append, delifeq, getset, set, setnx |
  | `{name, key, float, binary}` | zincrby |
  | `{name, key, float}` | incrbyfloat |
  | `{name, key, integer, binary, options}` | restore, restore-asking |
  | `{name, key, integer, binary}` | lrem, lset, psetex, setex, setrange |
  | `{name, key, integer, integer}` | ltrim, setbit, zremrangebyrank |
  | `{name, key, integer, options, [field]}` | hexpire, hexpireat, hpexpire, hpexpireat |
  | `{name, key, integer}` | decrby, expire, expireat, incrby, move, pexpire, pexpireat |
  | `{name, key, key, binary}` | smove |
  | `{name, key, key, word, word, options}` | lmovem |
  | `{name, key, key, word, word}` | lmove |
  | `{name, key, key}` | rename, renamenx, rpoplpush |
  | `{name, key, options, [field]}` | hgetex |
  | `{name, key, options, [id]}` | xdelex |
  | `{name, key, options, [{field, value}]}` | hsetex |
  | `{name, key, options}` | bitfield, getex, increx, lpop, rpop, xcfgset, zpopmax, zpopmin |
  | `{name, key, source, binary, binary, options}` | zrangestore |
  | `{name, key, source, options}` | geosearchstore |
  | `{name, key, word, binary, binary}` | linsert |
  | `{name, key, word, options}` | xtrim |
  | `{name, key}` | decr, delex, getdel, incr, persist |
  | `{name, source, binary, float, binary, options}` | georadiusbymember |
  | `{name, source, float, float, float, binary, options}` | georadius |
  | `{name, source, key, options}` | copy |
  | `{name, source, options}` | sort |
  | `{name, word, [{binary, binary}]}` | trimslots |
  | `{name, word, key, [source]}` | bitop |
  | `{name, word, key, binary, [binary]}` | xgroup |
  | `{name, word, key, options}` | pfdebug |
  | `{name, word, options}` | cluster |
  | `{name}` | flushall, flushdb |

  Commands that later versions of the library add take these forms, too.
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
