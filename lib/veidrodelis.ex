defmodule Veidrodelis do
  @moduledoc """
  A read-only mirror of a Redis or Valkey server inside the BEAM.

  An *instance* attaches to a server as a replica, takes over its data by a full sync, and follows its stream of writes.
  Reads are answered in the caller's process, from memory, without a network or another process in between; writes go
  to the server through any client.

      {:ok, _pid} = Veidrodelis.start_link(id: :mirror, host: "localhost", port: 6379)
      :ok = Veidrodelis.await_ready(:mirror)
      {:ok, value} = Veidrodelis.get(:mirror, 0, "user:123:name")

  ## Reads

  Every read is `name(source, db, ...)`, is called as its command on the server, and answers `{:ok, value}` or
  `{:error, reason}`. The source is an instance's id or a `Vdr.Snapshot`; `db` is the number of the database. Reasons:

    * `:not_found` - there is no instance of this id
    * `:not_ready` - its first full sync is not complete yet
    * `:stale` - the data is older than the option `:stale_reads` allows; by default nothing is
    * `:wrong_type` - the key holds another type

  An argument of the wrong kind raises `ArgumentError`. `Veidrodelis.Error` turns reasons into sentences. Indices behave
  as on the server, where negative ones count from the end. Byte order is the order of Elixir's `<` on binaries.

  ## Keys in order

  The keys of a database are kept in order from the first call that asks for it: `keys/3`, `first/3`, `last/3`, `next/4`, `prev/4` or
  `stream_keys/3`, in scripts and on snapshots too. That call is O(n log n), some 0.3 s for a million keys; it holds up neither other
  reads nor the stream. From then on, until the database is emptied, such calls are O(log n + what they answer), a new key costs two to
  three times as much as before, and each takes some 30 bytes more.
  """

  alias Vdr.{Instance, Instances, Native, Options, Read, Script, Snapshot}

  @typedoc "Names an instance: any term."
  @type id :: term
  @typedoc "What can be read."
  @type source :: id | Snapshot.t()
  @type db :: non_neg_integer
  @type key :: binary
  @type reason :: :not_found | :not_ready | :stale | :wrong_type
  @type answer(value) :: {:ok, value} | {:error, reason}
  @typedoc "A score; no float of the BEAM is infinite."
  @type score :: float | :neg_inf | :pos_inf
  @type bound :: number | :neg_inf | :pos_inf | {:exclusive, number}
  @typedoc "As the server writes it: `\"[member\"` included, `\"(member\"` excluded, `\"-\"` and `\"+\"` or their words for no bound."
  @type lex_bound :: binary | :neg_inf | :pos_inf
  @typedoc "An entry's id as the server writes it: `\"ms-seq\"`."
  @type stream_id :: binary
  @typedoc "An entry's id, and its fields with their values in their order; a field may come twice."
  @type stream_entry :: {stream_id, [{binary, binary}]}
  @type kind :: :string | :list | :set | :zset | :hash | :stream | :other
  @typedoc "Where a link is: the steps of the opening in their order, then what comes when there is none."
  @type replication_state ::
          :init
          | :ping
          | :auth
          | :replconf_listening_port
          | :replconf_capa
          | :psync
          | :rdb_transfer
          | :streaming
          | :waiting
          | :stopped

  @doc group: "Lifecycle"
  @doc """
  Starts an instance, linked to the caller, and answers at once; connecting goes on in the background.

  `{:error, {:already_started, pid}}` when the id is taken. A wrong option raises `ArgumentError`.

  ## Options

  #{Options.docs()}
  """
  @spec start_link(keyword | Options.t()) :: Supervisor.on_start()
  def start_link(options), do: options |> Options.validate!() |> Instance.start_link()

  @doc group: "Lifecycle"
  @doc "A child specification for a supervisor; its id is `{Veidrodelis, id}`. Takes what `start_link/1` takes."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    # Validated here, so that the specification, which supervisors print, shows no password.
    options = Options.validate!(options)
    %{id: {__MODULE__, options.id}, start: {__MODULE__, :start_link, [options]}, type: :supervisor}
  end

  @doc group: "Lifecycle"
  @doc """
  Stops an instance, given by its id or its pid. Memory is given back in the background.

  An instance that stands in a supervisor as `:permanent`, which `child_spec/1` makes it, is started again by that one: there it is
  `Supervisor.terminate_child/2` that ends it.
  """
  @spec stop(id | pid) :: :ok
  def stop(pid_or_id) do
    with {:ok, id} <- Instances.id(pid_or_id), {_store, pid} <- Instances.find(id) do
      stop_supervisor(pid)
      # A read after this must find nothing, and the id must be free.
      Instances.released(id, pid)
    else
      _gone -> :ok
    end
  end

  defp stop_supervisor(pid) do
    Supervisor.stop(pid, :normal)
  catch
    # It was on its way out already.
    :exit, _reason -> :ok
  end

  @doc group: "Lifecycle"
  @doc """
  Waits until the first full sync is visible: `:ok`, `{:error, :timeout}`, `{:error, :not_found}`, or `{:error, reason}` when
  the server refuses for a reason that waiting does not mend, a wrong password say. `timeout` is in ms, or `:infinity`. The
  instance is given by its id or its pid.
  """
  @spec await_ready(id | pid) :: :ok | {:error, term}
  @spec await_ready(id | pid, timeout) :: :ok | {:error, term}
  def await_ready(pid_or_id, timeout \\ 60_000), do: Instances.await_ready(pid_or_id, timeout)

  @doc group: "Lifecycle"
  @doc "Where the link is, of an instance given by its id or its pid."
  @spec get_replication_state(id | pid) :: replication_state | {:error, :not_found}
  def get_replication_state(pid_or_id), do: Vdr.Info.state(pid_or_id)

  @doc group: "Lifecycle"
  @doc "The host and port of the connected server, of an instance given by its id or its pid."
  @spec get_connected_to(id | pid) ::
          {:ok, {String.t(), :inet.port_number()}} | {:error, :not_connected | :not_found}
  def get_connected_to(pid_or_id), do: Vdr.Info.connected_to(pid_or_id)

  @doc group: "Lifecycle"
  @doc """
  What is known of an instance, given by its id or its pid, as one map. No process is called, but to find the id of a pid.

    * `state` - as `get_replication_state/1`; `ready` - whether it can be read; `stale` - whether what is read may be behind,
      since no link is streaming; `stale_ms` - for how long
    * `primary` - `{host, port}` that it follows, `{path, 0}` for a Unix socket, nil while Sentinel has named none; `role` - what that server says that it is,
      `:primary`, `:replica`, or nil when it does not tell (the user lacks `+role`); `server` - `%{name, version}` or nil
    * `replication_id`; `offset` - the last byte of the stream that is applied; `primary_offset` - the last byte that has come, which is
      what is known of the primary's own offset; `lag_bytes` - between the two; `last_message_ms_ago` - since something came, or nil
    * `full_syncs`, `partial_syncs`, `reconnects`, `attempts`, `commands_applied` - counters; `unknown_commands` - `%{name => count}`
      of commands of the stream that the library does not know, see docs/commands.md
    * `divergences` - commands that contradicted the data; each ended its link and led to a full sync
    * `loading_bytes`, `loading_keys` - how far the last full sync is, or was at its end
    * `guard_window_ms` - for how long the guard key has been holding back writes, or nil; `guard_windows_given_up` - how often it
      was set for too long
    * `keys` - `%{db => count}`; `watches`
    * `snapshots_held` - how many snapshots of it processes hold; of the oldest: `snapshots_oldest_ms`, its age,
      `snapshots_written_since_bytes`, how much the stream has written since, and `snapshots_before_full_sync`, whether a full
      sync has replaced all data since. What they pin is at most what was overwritten or deleted since: some multiple of the
      former, or all data of before
    * `memory_bytes` - what the data takes, an estimate within some 10 % of the memory that it makes resident, the gaps that the allocator
      leaves included: from all aggregates of 4,096 elements, all strings of 64 KB, of other keys 20,000 in a database, and some elements
      of each aggregate. Those of few elements that are very long may be missed among more keys; what held snapshots keep alive is not
      in it. It takes some milliseconds of a dirty scheduler
    * `last_error` - why the last link ended, `{code, detail}`, or nil; `link` - what the process that keeps the link does. Both
      follow `stale` and `connected` by a moment
  """
  @spec info(id | pid) :: map | {:error, :not_found}
  def info(pid_or_id), do: Vdr.Info.of(pid_or_id)

  @doc group: "Lifecycle"
  @doc """
  Tells the calling process what happens to the links of an instance: it receives `{:veidrodelis, id, event, details}`.

    * `:connecting` - `%{primary: {host, port}, attempt: n}`
    * `:syncing` - a full sync began: `%{primary: {host, port}}`
    * `:ready` - the instance can be read, once
    * `:streaming` - `%{primary: {host, port}, sync: :full | :partial}`
    * `:disconnected` - `%{reason: code, detail: text, refused: boolean, retry_in_ms: ms or nil, primary: {host, port} or nil}`; `refused` when
      only somebody's hand can change it, `retry_in_ms` is nil when there will be no other attempt
    * `:switched` - Sentinel names another primary: `%{primary: {host, port}, from: {host, port} or nil}`
    * `:stopped` - the instance has ended

  Those of a handler's link are told under `{Vdr.RedisStream.Replica, name}`, see there.
  The subscription is to the id: it may come before the instance, lasts over its restarts, and ends with `unsubscribe/1` or the process.
  The same goes to `:telemetry`, when the host has it, as `[:veidrodelis, :link, event]` with `:id` among the details, and to the log.
  """
  @spec subscribe(id) :: :ok
  def subscribe(id), do: Vdr.Subscriptions.subscribe(id)

  @doc group: "Lifecycle"
  @doc "Ends the subscription of the calling process."
  @spec unsubscribe(id) :: :ok
  def unsubscribe(id), do: Vdr.Subscriptions.unsubscribe(id)

  @doc group: "Snapshots and transactions"
  @doc """
  Runs a Lua script on one snapshot: `{:ok, term}`, or `{:error, {:lua, kind, message}}` with the kind `:syntax`, `:runtime`,
  `:timeout`, `:memory` or `:result`. The script is a source, or what `lua_load/2` answered. Reads are in its global table `ts`.

      script = "return ts.hget('user:' .. ts.get(KEYS[1]), 'name')"
      {:ok, "Ona"} = Veidrodelis.read_tx(:mirror, 0, script, keys: ["item:456:owner_id"])

  Options: `:keys` and `:args`, which the script finds as `KEYS` and `ARGV`; `:timeout` in ms (5000); `:memory` in bytes that the
  script may allocate (64 MB). See the guide on Lua.
  """
  @spec read_tx(source, db, binary | Script.t(), keyword) ::
          {:ok, term} | {:error, {:lua, atom, String.t()} | :not_found | :not_ready | :stale}
  def read_tx(source, db, script, opts), do: Script.run(source, db, script, opts)

  @doc group: "Snapshots and transactions"
  @doc """
  Compiles a Lua source for `read_tx/4`: `{:ok, script}`, or `{:error, {:lua, :syntax, message}}`. Sources of up to 16 KB that are given
  again and again are remembered anyway; a loaded script spares looking them up.
  """
  @spec lua_load(source, source :: binary) :: {:ok, Script.t()} | {:error, {:lua, atom, String.t()} | :not_found}
  def lua_load(id, source), do: Script.load(id, source)

  @doc group: "Snapshots and transactions"
  @doc """
  Answers to a list of `{name, args...}`, reads of this module without source and db, all on one snapshot.

      {:ok, [{:ok, 2}, {:ok, ["a", "b"]}]} = Veidrodelis.read_tx(:mirror, 0, [{:llen, "l"}, {:lrange, "l", 0, -1}])

  What is no read command answers `{:error, {:bad_command, operation}}` in its place. O(sum of the operations). A Lua script in
  the place of the list is run as by `read_tx/4`.
  """
  @spec read_tx(source, db, [tuple] | binary | Script.t()) ::
          {:ok, [{:ok, term} | {:error, term}] | term} | {:error, reason | {:lua, atom, String.t()}}
  def read_tx(source, db, operations) when is_list(operations), do: Read.transaction(source, db, operations)
  def read_tx(source, db, %Script{} = script), do: Script.run(source, db, script, [])
  def read_tx(source, db, script) when is_binary(script), do: Script.run(source, db, script, [])
  def read_tx(source, db, operations), do: Read.transaction(source, db, operations)

  @doc group: "Snapshots and transactions"
  @doc "An immutable view of the whole keyspace, to be read in the place of the id. O(1)."
  @spec snapshot(id) :: {:ok, Snapshot.t()} | {:error, :not_found | :not_ready | :stale}
  def snapshot(id), do: Snapshot.of(id)

  @doc group: "Snapshots and transactions"
  @doc """
  A lazy stream of the keys of a database in byte order, all of one state: an id is read as it is when the stream begins.

  Options: `:prefix`, `:match` (a glob), `:type` (as `type/3` answers it), `:chunk` (how many keys are fetched at once, 1000).
  Enumerating raises `Veidrodelis.Error` when there is nothing to read. O(log n + keys with the prefix). The first such call
  [takes longer](#module-keys-in-order).

      :mirror |> Veidrodelis.stream_keys(0, prefix: "user:", type: :hash) |> Enum.count()
  """
  @spec stream_keys(source, db) :: Enumerable.t()
  @spec stream_keys(source, db, prefix: binary, match: binary, type: kind, chunk: pos_integer) :: Enumerable.t()
  def stream_keys(source, db, opts \\ []), do: Vdr.Keys.stream(source, db, opts)

  @doc group: "Snapshots and transactions"
  @doc """
  A lazy stream of what happened to the keys of a database from one state to another, in byte order: `{:added, key}`,
  `{:changed, key}` (another value or expiry) or `{:removed, key}`. Ids are read as they are when the stream begins.

  Keys past their time count until the primary has deleted them. The keys that differ are found when the stream begins:
  O(d log n) for d keys that were written, since what both states share is stepped over; O(n) across a full sync.
  Enumerating raises `Veidrodelis.Error` when there is nothing to read.

      {:ok, before} = Veidrodelis.snapshot(:mirror)
      # ...
      for {:changed, key} <- Veidrodelis.diff(before, :mirror, 0), do: refresh(key)
  """
  @spec diff(old :: source, new :: source, db) :: Enumerable.t()
  def diff(old, new, db), do: Vdr.Keys.diff(old, new, db)

  @doc group: "Snapshots and transactions"
  @doc """
  The 40 hex digits that `DEBUG DIGEST` of the primary answers on equal data: the proof that a mirror is right.

  Equal data means the same offset: `MULTI`, `INFO replication`, `DEBUG DIGEST`, `EXEC` on the primary answers an offset and its
  digest, and a snapshot tells its own, see `Vdr.Snapshot.offset/1`. Servers differ in how they write scores and expiring fields; the
  mirror does as the server whose full sync it began with. Values of modules cannot be compared:
  `{:error, {:not_comparable, keys}}` says how many there are. O(all data), some seven SHA-1 blocks per key, on a dirty scheduler; nobody
  waits for it.

      iex> {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "foo", "bar"]])
      iex> Veidrodelis.digest(snapshot)
      {:ok, "d2ab4820c1be0580ea28efbfe8bfa1dc05bb802a"}
  """
  @spec digest(source) ::
          {:ok, String.t()} | {:error, :not_found | :not_ready | :stale | {:not_comparable, keys :: pos_integer}}
  def digest(source) do
    case Read.source(source) do
      nil -> {:error, :not_found}
      native -> Native.digest(native)
    end
  end

  @doc group: "Snapshots and transactions"
  @doc """
  As `DEBUG DIGEST-VALUE` of the primary: the digest of the value at one key, all zeros when there is none. O(size of the value).

      iex> {:ok, snapshot} = Vdr.Snapshot.from_commands([["RPUSH", "l", "a", "b"]])
      iex> Veidrodelis.digest_value(snapshot, 0, "l")
      {:ok, "62f55a532623cf6c3d81081db480b6fd8461eb3f"}
  """
  @spec digest_value(source, db, key) ::
          {:ok, String.t()} | {:error, :not_found | :not_ready | :stale | {:not_comparable, keys :: pos_integer}}
  def digest_value(source, db, key) do
    with native when native != nil <- Read.source(source),
         {:error, :bad_argument} <- Native.digest_value(native, db, key) do
      raise ArgumentError,
            "Veidrodelis.digest_value takes (id_or_snapshot, db, key), db a number from 0, key a binary; " <>
              "got #{inspect(db)} and #{inspect(key, limit: 10, printable_limit: 100)}"
    else
      nil -> {:error, :not_found}
      answer -> answer
    end
  end

  @doc group: "Snapshots and transactions"
  @doc """
  A snapshot of what is in an RDB file, without any server: for tests and tools. All versions of Redis and Valkey are read.

  `{:error, reason}` is `:enoent`, `:eacces`, `:eisdir`, `:not_a_file` or `:io_error`, or `{code, about}` for a file that is wrong,
  where `about` is `%{offset: byte, key: key_or_nil, detail: text}`. Codes are `:rdb_bad_magic`, `:rdb_unsupported_version`,
  `:rdb_unknown_type`, `:rdb_corrupt`, `:rdb_checksum`, `:rdb_truncated` and `:rdb_too_large`. O(size of the file), on a dirty scheduler.

      iex> {:ok, snapshot} = Veidrodelis.load_rdb("test/fixtures/small.rdb")
      iex> Veidrodelis.get(snapshot, 0, "user:1:name")
      {:ok, "Alice"}
  """
  @spec load_rdb(Path.t()) :: {:ok, Snapshot.t()} | {:error, term}
  def load_rdb(path), do: Vdr.RdbFile.load(path)

  @doc group: "Watches"
  @doc """
  Tells the calling process of every write that touches `key`: it receives `{ref, %Vdr.WatchEvent.Update{}}` after the
  write is visible, and `{ref, %Vdr.WatchEvent.Init{}}` when a full sync has become visible.

  A watch may fire for a write that changed nothing; it never misses one. It lasts over reconnects, until `unwatch/3` or the
  end of the process or the instance. A process watches one key once: `{:error, :already_registered}` the second time.
  """
  @spec watch(id, db, key, ref :: term) :: :ok | {:error, :not_found | :already_registered}
  def watch(id, db, key, ref), do: Vdr.Watch.add(id, db, {:key, key}, ref)

  @doc group: "Watches"
  @doc """
  As `watch/4`, of every key of the database that begins with `prefix`, of all of them when it is `""`.

  A write is told once, however many of these keys it touches: the `key` of the update is `nil` where it touched several. A process watches
  one prefix once, and may watch a key of it besides: then it is told twice.
  """
  @spec watch_prefix(id, db, prefix :: binary, ref :: term) :: :ok | {:error, :not_found | :already_registered}
  def watch_prefix(id, db, prefix, ref), do: Vdr.Watch.add(id, db, {:prefix, prefix}, ref)

  @doc group: "Watches"
  @doc "Ends a watch of the calling process. `{:error, :not_found}` when there is none."
  @spec unwatch(id, db, key) :: :ok | {:error, :not_found}
  def unwatch(id, db, key), do: Vdr.Watch.remove(id, db, {:key, key})

  @doc group: "Watches"
  @doc "Ends a watch of a prefix. `{:error, :not_found}` when the calling process has none of it."
  @spec unwatch_prefix(id, db, prefix :: binary) :: :ok | {:error, :not_found}
  def unwatch_prefix(id, db, prefix), do: Vdr.Watch.remove(id, db, {:prefix, prefix})

  @doc group: "Strings"
  @doc "The value at `key`, `nil` when there is none. O(1); values of 512 bytes or more are not copied."
  @spec get(source, db, key) :: answer(binary | nil)
  def get(source, db, key), do: Read.call(source, db, :get, [key])

  @doc group: "Strings"
  @doc "The values at `keys`, in their order; `nil` for a key that is missing or no string. O(number of keys)."
  @spec mget(source, db, keys :: [key]) :: answer([binary | nil])
  def mget(source, db, keys), do: Read.call(source, db, :mget, [keys])

  @doc group: "Strings"
  @doc "The length in bytes of the string at `key`, 0 when there is none. O(1)."
  @spec strlen(source, db, key) :: answer(non_neg_integer)
  def strlen(source, db, key), do: Read.call(source, db, :strlen, [key])

  @doc group: "Strings"
  @doc "The bytes from `start` to `stop`, both included, of the string at `key`; negative positions count from the end. O(bytes returned)."
  @spec getrange(source, db, key, start :: integer, stop :: integer) :: answer(binary)
  def getrange(source, db, key, start, stop), do: Read.call(source, db, :getrange, [key, start, stop])

  @doc group: "Strings"
  @doc "The bit at `offset` of the string at `key`, 0 beyond its end. O(1)."
  @spec getbit(source, db, key, offset :: non_neg_integer) :: answer(0 | 1)
  def getbit(source, db, key, offset), do: Read.call(source, db, :getbit, [key, offset])

  @doc group: "Strings"
  @doc "How many bits are set in the string at `key`. O(bytes)."
  @spec bitcount(source, db, key) :: answer(non_neg_integer)
  def bitcount(source, db, key), do: Read.call(source, db, :bitcount, [key])

  @doc group: "Strings"
  @doc "How many bits are set between `start` and `stop`, both included, counted in bytes or bits, negative from the end. O(bytes)."
  @spec bitcount(source, db, key, start :: integer, stop :: integer) :: answer(non_neg_integer)
  @spec bitcount(source, db, key, start :: integer, stop :: integer, unit :: :byte | :bit) :: answer(non_neg_integer)
  def bitcount(source, db, key, start, stop, unit \\ :byte),
    do: Read.call(source, db, :bitcount, [key, start, stop, unit])

  @doc group: "Strings"
  @doc "The position of the first `bit` in the string at `key`, -1 when there is none; looking for 0, the position after the last byte counts. O(bytes)."
  @spec bitpos(source, db, key, bit :: 0 | 1) :: answer(integer)
  def bitpos(source, db, key, bit), do: Read.call(source, db, :bitpos, [key, bit])

  @doc group: "Strings"
  @doc "As `bitpos/4`, from byte `start` on. O(bytes)."
  @spec bitpos(source, db, key, bit :: 0 | 1, start :: integer) :: answer(integer)
  def bitpos(source, db, key, bit, start), do: Read.call(source, db, :bitpos, [key, bit, start])

  @doc group: "Strings"
  @doc "As `bitpos/4`, between `start` and `stop`, both included, counted in bytes or bits; nothing after `stop` counts. O(bytes)."
  @spec bitpos(source, db, key, bit :: 0 | 1, start :: integer, stop :: integer) :: answer(integer)
  @spec bitpos(source, db, key, bit :: 0 | 1, start :: integer, stop :: integer, unit :: :byte | :bit) ::
          answer(integer)
  def bitpos(source, db, key, bit, start, stop, unit \\ :byte),
    do: Read.call(source, db, :bitpos, [key, bit, start, stop, unit])

  @doc group: "Lists"
  @doc "The length of the list at `key`, 0 when there is none. O(1)."
  @spec llen(source, db, key) :: answer(non_neg_integer)
  def llen(source, db, key), do: Read.call(source, db, :llen, [key])

  @doc group: "Lists"
  @doc "The elements from `start` to `stop`, both included, negative from the end. O(log n + elements returned)."
  @spec lrange(source, db, key, start :: integer, stop :: integer) :: answer([binary])
  def lrange(source, db, key, start, stop), do: Read.call(source, db, :lrange, [key, start, stop])

  @doc group: "Lists"
  @doc "The element at `index`, negative from the end, `nil` outside of the list. O(log n)."
  @spec lindex(source, db, key, index :: integer) :: answer(binary | nil)
  def lindex(source, db, key, index), do: Read.call(source, db, :lindex, [key, index])

  @doc group: "Lists"
  @doc "The index of the first `element`, `nil` when it is not there. O(n)."
  @spec lpos(source, db, key, element :: binary) :: answer(non_neg_integer | nil)
  def lpos(source, db, key, element), do: Read.call(source, db, :lpos, [key, element])

  @doc group: "Sets"
  @doc "All members of the set at `key`, in no order to rely on. O(n)."
  @spec smembers(source, db, key) :: answer([binary])
  def smembers(source, db, key), do: Read.call(source, db, :smembers, [key])

  @doc group: "Sets"
  @doc "The number of members of the set at `key`. O(1)."
  @spec scard(source, db, key) :: answer(non_neg_integer)
  def scard(source, db, key), do: Read.call(source, db, :scard, [key])

  @doc group: "Sets"
  @doc "Whether `member` is in the set at `key`. O(log n)."
  @spec sismember(source, db, key, member :: binary) :: answer(boolean)
  def sismember(source, db, key, member), do: Read.call(source, db, :sismember, [key, member])

  @doc group: "Sets"
  @doc "Whether each of `members` is in the set at `key`. O(members asked for)."
  @spec smismember(source, db, key, members :: [binary]) :: answer([boolean])
  def smismember(source, db, key, members), do: Read.call(source, db, :smismember, [key, members])

  @doc group: "Sets"
  @doc "Up to `count` different random members; a negative `count` asks for exactly that many, 1,048,576 at most, with repeats. O(|count|)."
  @spec srandmember(source, db, key, count :: integer) :: answer([binary])
  def srandmember(source, db, key, count), do: Read.call(source, db, :srandmember, [key, count])

  @doc group: "Sets"
  @doc "The members that are in any of the sets. O(members of all sets)."
  @spec sunion(source, db, keys :: [key]) :: answer([binary])
  def sunion(source, db, keys), do: Read.call(source, db, :sunion, [keys])

  @doc group: "Sets"
  @doc "The members that are in all of the sets. O(smallest set * number of sets)."
  @spec sinter(source, db, keys :: [key]) :: answer([binary])
  def sinter(source, db, keys), do: Read.call(source, db, :sinter, [keys])

  @doc group: "Sets"
  @doc "The members of the first set that are in none of the others. O(members of all sets)."
  @spec sdiff(source, db, keys :: [key]) :: answer([binary])
  def sdiff(source, db, keys), do: Read.call(source, db, :sdiff, [keys])

  @doc group: "Sets"
  @doc "How many members are in all of the sets; counting stops at `limit`, unless that is 0. O(smallest set * number of sets)."
  @spec sintercard(source, db, keys :: [key]) :: answer(non_neg_integer)
  @spec sintercard(source, db, keys :: [key], limit :: non_neg_integer) :: answer(non_neg_integer)
  def sintercard(source, db, keys, limit \\ 0), do: Read.call(source, db, :sintercard, [keys, limit])

  @doc group: "Sets"
  @doc "The first `count` members in byte order. O(log n + count)."
  @spec sfirst(source, db, key, count :: non_neg_integer) :: answer([binary])
  def sfirst(source, db, key, count), do: Read.call(source, db, :sfirst, [key, count])

  @doc group: "Sets"
  @doc "The last `count` members, in descending byte order. O(log n + count)."
  @spec slast(source, db, key, count :: non_neg_integer) :: answer([binary])
  def slast(source, db, key, count), do: Read.call(source, db, :slast, [key, count])

  @doc group: "Sets"
  @doc "Up to `count` members after `member` in byte order; it need not be in the set. O(log n + count)."
  @spec snext(source, db, key, member :: binary, count :: non_neg_integer) :: answer([binary])
  def snext(source, db, key, member, count), do: Read.call(source, db, :snext, [key, member, count])

  @doc group: "Sets"
  @doc "Up to `count` members before `member`, in descending byte order; it need not be in the set. O(log n + count)."
  @spec sprev(source, db, key, member :: binary, count :: non_neg_integer) :: answer([binary])
  def sprev(source, db, key, member, count), do: Read.call(source, db, :sprev, [key, member, count])

  @doc group: "Hashes"
  @doc "The value of `field` in the hash at `key`, or `nil`. O(1)."
  @spec hget(source, db, key, field :: binary) :: answer(binary | nil)
  def hget(source, db, key, field), do: Read.call(source, db, :hget, [key, field])

  @doc group: "Hashes"
  @doc "The values of `fields`, in their order, `nil` for each that is missing. O(fields asked for)."
  @spec hmget(source, db, key, fields :: [binary]) :: answer([binary | nil])
  def hmget(source, db, key, fields), do: Read.call(source, db, :hmget, [key, fields])

  @doc group: "Hashes"
  @doc "All fields and values, in no order to rely on. O(n)."
  @spec hgetall(source, db, key) :: answer([{field :: binary, value :: binary}])
  def hgetall(source, db, key), do: Read.call(source, db, :hgetall, [key])

  @doc group: "Hashes"
  @doc "All fields, in no order to rely on. O(n)."
  @spec hkeys(source, db, key) :: answer([binary])
  def hkeys(source, db, key), do: Read.call(source, db, :hkeys, [key])

  @doc group: "Hashes"
  @doc "All values, in no order to rely on. O(n)."
  @spec hvals(source, db, key) :: answer([binary])
  def hvals(source, db, key), do: Read.call(source, db, :hvals, [key])

  @doc group: "Hashes"
  @doc "The number of fields of the hash at `key`. O(1)."
  @spec hlen(source, db, key) :: answer(non_neg_integer)
  def hlen(source, db, key), do: Read.call(source, db, :hlen, [key])

  @doc group: "Hashes"
  @doc "Whether `field` is in the hash at `key`. O(1)."
  @spec hexists(source, db, key, field :: binary) :: answer(boolean)
  def hexists(source, db, key, field), do: Read.call(source, db, :hexists, [key, field])

  @doc group: "Hashes"
  @doc "The length in bytes of the value of `field`, 0 when it is missing. O(1)."
  @spec hstrlen(source, db, key, field :: binary) :: answer(non_neg_integer)
  def hstrlen(source, db, key, field), do: Read.call(source, db, :hstrlen, [key, field])

  @doc group: "Hashes"
  @doc "Up to `count` different random fields, with their values unless told otherwise; a negative `count` asks for exactly that many, 1,048,576 at most, with repeats. O(|count|)."
  @spec hrandfield(source, db, key, count :: integer) :: answer([{binary, binary}] | [binary])
  @spec hrandfield(source, db, key, count :: integer, with_values :: boolean) :: answer([{binary, binary}] | [binary])
  def hrandfield(source, db, key, count, with_values \\ true),
    do: Read.call(source, db, :hrandfield, [key, count, with_values])

  @doc group: "Hashes"
  @doc "The first `count` fields and values in byte order of field. O(log n + count)."
  @spec hfirst(source, db, key, count :: non_neg_integer) :: answer([{binary, binary}])
  def hfirst(source, db, key, count), do: Read.call(source, db, :hfirst, [key, count])

  @doc group: "Hashes"
  @doc "The last `count` fields and values, in descending byte order of field. O(log n + count)."
  @spec hlast(source, db, key, count :: non_neg_integer) :: answer([{binary, binary}])
  def hlast(source, db, key, count), do: Read.call(source, db, :hlast, [key, count])

  @doc group: "Hashes"
  @doc "Up to `count` fields and values after `field` in byte order; it need not be in the hash. O(log n + count)."
  @spec hnext(source, db, key, field :: binary, count :: non_neg_integer) :: answer([{binary, binary}])
  def hnext(source, db, key, field, count), do: Read.call(source, db, :hnext, [key, field, count])

  @doc group: "Hashes"
  @doc "Up to `count` fields and values before `field`, in descending byte order; it need not be in the hash. O(log n + count)."
  @spec hprev(source, db, key, field :: binary, count :: non_neg_integer) :: answer([{binary, binary}])
  def hprev(source, db, key, field, count), do: Read.call(source, db, :hprev, [key, field, count])

  @doc group: "Sorted sets"
  @doc "The score of `member`, or `nil`. O(1)."
  @spec zscore(source, db, key, member :: binary) :: answer(score | nil)
  def zscore(source, db, key, member), do: Read.call(source, db, :zscore, [key, member])

  @doc group: "Sorted sets"
  @doc "The scores of `members`, in their order, `nil` for each that is missing. O(members asked for)."
  @spec zmscore(source, db, key, members :: [binary]) :: answer([score | nil])
  def zmscore(source, db, key, members), do: Read.call(source, db, :zmscore, [key, members])

  @doc group: "Sorted sets"
  @doc "The number of members of the sorted set at `key`. O(1)."
  @spec zcard(source, db, key) :: answer(non_neg_integer)
  def zcard(source, db, key), do: Read.call(source, db, :zcard, [key])

  @doc group: "Sorted sets"
  @doc "How many members have a score between `min` and `max`. O(log n)."
  @spec zcount(source, db, key, min :: bound, max :: bound) :: answer(non_neg_integer)
  def zcount(source, db, key, min, max), do: Read.call(source, db, :zcount, [key, min, max])

  @doc group: "Sorted sets"
  @doc "How many members are between `min` and `max` in byte order, all scores being equal. O(log n)."
  @spec zlexcount(source, db, key, min :: lex_bound, max :: lex_bound) :: answer(non_neg_integer)
  def zlexcount(source, db, key, min, max), do: Read.call(source, db, :zlexcount, [key, min, max])

  @doc group: "Sorted sets"
  @doc "The members ranked from `start` to `stop`, both included, negative from the end, in ascending order. O(log n + members returned)."
  @spec zrange(source, db, key, start :: integer, stop :: integer) :: answer([{binary, score}] | [binary])
  @spec zrange(source, db, key, start :: integer, stop :: integer, with_scores :: boolean) ::
          answer([{binary, score}] | [binary])
  def zrange(source, db, key, start, stop, with_scores \\ true),
    do: Read.call(source, db, :zrange, [key, start, stop, with_scores])

  @doc group: "Sorted sets"
  @doc "As `zrange/6`, ranked and returned in descending order. O(log n + members returned)."
  @spec zrevrange(source, db, key, start :: integer, stop :: integer) :: answer([{binary, score}] | [binary])
  @spec zrevrange(source, db, key, start :: integer, stop :: integer, with_scores :: boolean) ::
          answer([{binary, score}] | [binary])
  def zrevrange(source, db, key, start, stop, with_scores \\ true),
    do: Read.call(source, db, :zrevrange, [key, start, stop, with_scores])

  @doc group: "Sorted sets"
  @doc "The members with a score between `min` and `max`, in ascending order. O(log n + members returned)."
  @spec zrangebyscore(source, db, key, min :: bound, max :: bound) :: answer([{binary, score}] | [binary])
  @spec zrangebyscore(source, db, key, min :: bound, max :: bound, with_scores :: boolean) ::
          answer([{binary, score}] | [binary])
  def zrangebyscore(source, db, key, min, max, with_scores \\ true),
    do: Read.call(source, db, :zrangebyscore, [key, min, max, with_scores])

  @doc group: "Sorted sets"
  @doc "The members with a score between `max` and `min`, which stand in this order, in descending order. O(log n + members returned)."
  @spec zrevrangebyscore(source, db, key, max :: bound, min :: bound) :: answer([{binary, score}] | [binary])
  @spec zrevrangebyscore(source, db, key, max :: bound, min :: bound, with_scores :: boolean) ::
          answer([{binary, score}] | [binary])
  def zrevrangebyscore(source, db, key, max, min, with_scores \\ true),
    do: Read.call(source, db, :zrevrangebyscore, [key, max, min, with_scores])

  @doc group: "Sorted sets"
  @doc "The members between `min` and `max` in byte order, all scores being equal. O(log n + members returned)."
  @spec zrangebylex(source, db, key, min :: lex_bound, max :: lex_bound) :: answer([binary])
  def zrangebylex(source, db, key, min, max), do: Read.call(source, db, :zrangebylex, [key, min, max])

  @doc group: "Sorted sets"
  @doc "The rank of `member` in ascending order, from 0, or `nil`. O(log n)."
  @spec zrank(source, db, key, member :: binary) :: answer(non_neg_integer | nil)
  def zrank(source, db, key, member), do: Read.call(source, db, :zrank, [key, member])

  @doc group: "Sorted sets"
  @doc "The rank of `member` in descending order, from 0, or `nil`. O(log n)."
  @spec zrevrank(source, db, key, member :: binary) :: answer(non_neg_integer | nil)
  def zrevrank(source, db, key, member), do: Read.call(source, db, :zrevrank, [key, member])

  @doc group: "Sorted sets"
  @doc "The first `count` members in score order, each after its score. O(log n + count)."
  @spec zfirst(source, db, key, count :: non_neg_integer) :: answer([{score, binary}])
  def zfirst(source, db, key, count), do: Read.call(source, db, :zfirst, [key, count])

  @doc group: "Sorted sets"
  @doc "The last `count` members, in descending score order, each after its score. O(log n + count)."
  @spec zlast(source, db, key, count :: non_neg_integer) :: answer([{score, binary}])
  def zlast(source, db, key, count), do: Read.call(source, db, :zlast, [key, count])

  @doc group: "Sorted sets"
  @doc "Up to `count` members after `member` in score order; `[]` when it is not there. O(log n + count)."
  @spec znext(source, db, key, member :: binary, count :: non_neg_integer) :: answer([{score, binary}])
  def znext(source, db, key, member, count), do: Read.call(source, db, :znext, [key, member, count])

  @doc group: "Sorted sets"
  @doc "Up to `count` members before `member`, in descending score order; `[]` when it is not there. O(log n + count)."
  @spec zprev(source, db, key, member :: binary, count :: non_neg_integer) :: answer([{score, binary}])
  def zprev(source, db, key, member, count), do: Read.call(source, db, :zprev, [key, member, count])

  @doc group: "Streams"
  @doc "How many entries the stream at `key` has, 0 when there is none. O(1)."
  @spec xlen(source, db, key) :: answer(non_neg_integer)
  def xlen(source, db, key), do: Read.call(source, db, :xlen, [key])

  @doc group: "Streams"
  @doc """
  The entries with ids from `start` to `stop`, at most `count` of them when it is not `nil`. O(log n + entries returned).

  A bound is `"-"` or `"+"` for the least and the greatest id, `"ms-seq"`, `"ms"` for a whole millisecond, or `"("` with an id
  that is not to be among them.
  """
  @spec xrange(source, db, key, start :: binary, stop :: binary) :: answer([stream_entry])
  @spec xrange(source, db, key, start :: binary, stop :: binary, count :: non_neg_integer | nil) ::
          answer([stream_entry])
  def xrange(source, db, key, start, stop, count \\ nil),
    do: Read.call(source, db, :xrange, [key, start, stop, count])

  @doc group: "Streams"
  @doc "As `xrange/6`, with the bounds the other way round and the entries in descending order. O(log n + entries returned)."
  @spec xrevrange(source, db, key, stop :: binary, start :: binary) :: answer([stream_entry])
  @spec xrevrange(source, db, key, stop :: binary, start :: binary, count :: non_neg_integer | nil) ::
          answer([stream_entry])
  def xrevrange(source, db, key, stop, start, count \\ nil),
    do: Read.call(source, db, :xrevrange, [key, stop, start, count])

  @doc group: "Streams"
  @doc """
  The entries after the id `after_id`, at most `count` of them when it is not `nil`. O(log n + entries returned).

  `"0-0"` stands before all entries; whoever goes on with the last id that it got meets every entry once. A `count` of 0 is none,
  where the server's `COUNT 0` is all.
  """
  @spec xread(source, db, key, after_id :: stream_id) :: answer([stream_entry])
  @spec xread(source, db, key, after_id :: stream_id, count :: non_neg_integer | nil) :: answer([stream_entry])
  def xread(source, db, key, after_id, count \\ nil), do: Read.call(source, db, :xread, [key, after_id, count])

  @doc group: "Streams"
  @doc """
  What the stream at `key` says of itself, `nil` when there is none. O(log n).

  The server's `XINFO STREAM`, its words with underscores: `length`, `last_generated_id`, `max_deleted_entry_id`, `entries_added`,
  `recorded_first_entry_id`, `groups` (how many), `first_entry` and `last_entry` (`nil` when the stream is empty).
  """
  @spec xinfo_stream(source, db, key) :: answer(map | nil)
  def xinfo_stream(source, db, key), do: Read.call(source, db, :xinfo_stream, [key])

  @doc group: "Streams"
  @doc """
  The consumer groups of the stream at `key`, in byte order of their names. O(groups).

  Of each the server's `XINFO GROUPS`, its words with underscores: `name`, `consumers`, `pending`, `last_delivered_id`, and
  `entries_read` and `lag`, which are `nil` where they are not known. A server does not tell its replicas of a consumer that has not
  got an entry yet, and one before 7.4 not of `entries_read`. `lag` is reckoned as Redis 8 does, whatever the server: an older Redis and
  Valkey may tell another, or none, after `XSETID` or where entries were deleted.
  """
  @spec xinfo_groups(source, db, key) :: answer([map])
  def xinfo_groups(source, db, key), do: Read.call(source, db, :xinfo_groups, [key])

  @doc group: "Streams"
  @doc """
  What consumers of `group` have got and not acknowledged, `nil` when there is no such stream or group. O(consumers).

  `pending` says how many entries, `min` and `max` the first and the last one's id (`nil` for none), `consumers` how many each
  consumer has that has any: `[{name, count}]`.
  """
  @spec xpending(source, db, key, group :: binary) :: answer(map | nil)
  def xpending(source, db, key, group), do: Read.call(source, db, :xpending, [key, group])

  @doc group: "Keys and databases"
  @doc "Whether there is `key`. O(1)."
  @spec exists(source, db, key) :: answer(boolean)
  def exists(source, db, key), do: Read.call(source, db, :exists, [key])

  @doc group: "Keys and databases"
  @doc "What `key` holds, `nil` when there is none; a module's value is `:other`. O(1)."
  @spec type(source, db, key) :: answer(kind | nil)
  def type(source, db, key), do: Read.call(source, db, :type, [key])

  @doc group: "Keys and databases"
  @doc "The seconds that `key` has left, rounded as the server does; `nil` when there is none. O(1)."
  @spec ttl(source, db, key) :: answer(non_neg_integer | :infinity | nil)
  def ttl(source, db, key), do: Read.call(source, db, :ttl, [key])

  @doc group: "Keys and databases"
  @doc "The milliseconds that `key` has left; `nil` when there is none. O(1)."
  @spec pttl(source, db, key) :: answer(non_neg_integer | :infinity | nil)
  def pttl(source, db, key), do: Read.call(source, db, :pttl, [key])

  @doc group: "Keys and databases"
  @doc "When `key` expires, in Unix seconds; `nil` when there is none. O(1)."
  @spec expiretime(source, db, key) :: answer(non_neg_integer | :infinity | nil)
  def expiretime(source, db, key), do: Read.call(source, db, :expiretime, [key])

  @doc group: "Keys and databases"
  @doc "When `key` expires, in Unix milliseconds; `nil` when there is none. O(1)."
  @spec pexpiretime(source, db, key) :: answer(non_neg_integer | :infinity | nil)
  def pexpiretime(source, db, key), do: Read.call(source, db, :pexpiretime, [key])

  @doc group: "Keys and databases"
  @doc "The number of keys of the database, those included that are past their time and not yet deleted by the primary, as on the server. O(1)."
  @spec dbsize(source, db) :: answer(non_neg_integer)
  def dbsize(source, db), do: Read.call(source, db, :dbsize, [])

  @doc group: "Keys and databases"
  @doc """
  The keys that match the glob `pattern`, in byte order. O(log n + keys that begin as the pattern does). The first such call
  [takes longer](#module-keys-in-order).

  A range such as `[a-z]` goes by byte order, also beyond ASCII, where servers differ: those on x86 put bytes from 128 on before all others.
  """
  @spec keys(source, db, pattern :: binary) :: answer([key])
  def keys(source, db, pattern), do: Read.call(source, db, :keys, [pattern])

  @doc group: "Keys and databases"
  @doc """
  Keys a portion at a time: begin with cursor 0 and go on with the one that comes back until that is 0 again. Options: `:match`
  (a glob as in `keys/3`), `:count` (how many keys to look at, a hint), `:type`. A key that is there all the time comes exactly once, even over
  changing data. O(keys of the database) a call: who walks many keys is better served by `first/3` and `next/4`.
  """
  @spec scan(source, db, cursor :: non_neg_integer) :: answer({cursor :: non_neg_integer, [key]})
  @spec scan(source, db, cursor :: non_neg_integer, opts :: [match: binary, count: pos_integer, type: kind]) ::
          answer({cursor :: non_neg_integer, [key]})
  def scan(source, db, cursor, opts \\ []), do: Read.call(source, db, :scan, [cursor, opts])

  @doc group: "Keys and databases"
  @doc "The first `count` keys in byte order. O(log n + count). The first such call [takes longer](#module-keys-in-order)."
  @spec first(source, db, count :: non_neg_integer) :: answer([key])
  def first(source, db, count), do: Read.call(source, db, :first, [count])

  @doc group: "Keys and databases"
  @doc "The last `count` keys, in descending byte order. O(log n + count). The first such call [takes longer](#module-keys-in-order)."
  @spec last(source, db, count :: non_neg_integer) :: answer([key])
  def last(source, db, count), do: Read.call(source, db, :last, [count])

  @doc group: "Keys and databases"
  @doc "Up to `count` keys after `key` in byte order; it need not exist. O(log n + count). The first such call [takes longer](#module-keys-in-order)."
  @spec next(source, db, key, count :: non_neg_integer) :: answer([key])
  def next(source, db, key, count), do: Read.call(source, db, :next, [key, count])

  @doc group: "Keys and databases"
  @doc "Up to `count` keys before `key`, in descending byte order; it need not exist. O(log n + count). The first such call [takes longer](#module-keys-in-order)."
  @spec prev(source, db, key, count :: non_neg_integer) :: answer([key])
  def prev(source, db, key, count), do: Read.call(source, db, :prev, [key, count])
end
