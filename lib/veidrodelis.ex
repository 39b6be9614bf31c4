defmodule Veidrodelis do
  @moduledoc """
  A mirror of a Redis or Valkey server inside the BEAM.

  An *instance* attaches to a server as a replica, loads its data by a full sync, and follows its
  replication stream. Your process reads from memory: a read uses no network and calls no other
  process. Writes go to the primary: by `command/3`, which returns when the write can be read here,
  or through any client.

      {:ok, _pid} = Veidrodelis.start_link(id: :mirror, host: "localhost", port: 6379)
      :ok = Veidrodelis.await_ready(:mirror)
      {:ok, value} = Veidrodelis.get(:mirror, 0, "user:123:name")

  ## Instances

  The first argument of every function names an instance. It is the instance's id (the option
  `:id`), the pid that `start_link/1` returned, or the name that this pid is registered under (the
  option `:name`). Reads by id are the fastest. The id is `Veidrodelis` unless you give one, so an
  application with a single mirror needs none:

      children = [{Veidrodelis, "redis://localhost:6379"}]

      Veidrodelis.get(Veidrodelis, 0, "user:123:name")

  ## Reads

  A read is called as its command on the server, `name(source, db, ...)`. The source is an
  instance or a `Vdr.Snapshot`, and `db` is the number of the database. A read returns
  `{:ok, value}` or `{:error, reason}` with one of these reasons:

    * `:no_instance` - there is no such instance
    * `:not_ready` - its first full sync is not complete yet
    * `:stale` - the data is older than the option `:stale_reads` allows; by default no data is
      too old
    * `:wrong_type` - the key holds a value of another type
    * `:unknown_value` - a command that the library does not know may have changed the key since
      the last full sync

  `name!(source, db, ...)` returns the value itself, and raises `Veidrodelis.Error` in these
  cases. An argument of the wrong kind raises `ArgumentError`. Indices work as on the server:
  negative ones count from the end. Byte order is the order of Elixir's `<` on binaries.

      iex> {:ok, snapshot} = Vdr.Snapshot.from_commands([["ZADD", "z", "1", "a", "2", "b"]])
      iex> Veidrodelis.zrange(snapshot, 0, "z", 0, -1)
      {:ok, [{"a", 1.0}, {"b", 2.0}]}
      iex> Veidrodelis.zrange!(snapshot, 0, "z", 0, -1, with_scores: false)
      ["a", "b"]
      iex> Veidrodelis.get(snapshot, 0, "z")
      {:error, :wrong_type}

  ## Servers

  The server must accept `PSYNC`. Redis 7.0, 8.0 and 8.6 and Valkey 8.1 and 9.1 are tested, with and
  without Sentinel. Most managed services forbid `PSYNC`; the error is `:psync_forbidden`. An
  instance follows one server: of a Redis Cluster or Valkey Cluster it holds the slots of one node.

  ## Guarantees

    * Values equal the primary's at one replication offset. Each read sees one offset, and so do all
      reads of a `read_tx/3`, of a script, and of a snapshot.
    * The writes of a `MULTI`, of a script, and of a guard-key window become visible together.
    * A full sync becomes visible as a whole. Until then, and while the link is down, reads return
      the last good snapshot.
    * No write is skipped in silence. A command that contradicts the data leads to a full sync. A
      command that the library does not know is counted in `info/1` and logged, and reads of the keys
      that it may have changed return `{:error, :unknown_value}`.
    * After a disconnect the instance resumes at its offset, if the primary still has the missing
      part of the stream.
    * A watch gets a message for each write to its keys, after the write is visible.
    * Readers wait for no lock, no process and no writer.

  An instance lags behind its primary, as every replica does. It holds all keys in memory, or those
  that `:only` selects. Values of modules (JSON, vector sets) are not readable.

  ## Keys in order

  Some calls need an index of a database's keys in byte order: `keys/3`, `first/3`, `last/3`,
  `next/4`, `prev/4` and `stream_keys/3`, also in scripts and on snapshots. The first such call
  builds the index. It is O(n log n), and takes about 0.3 s for a million keys; other reads and the
  stream do not wait for it. From then on, until the database is emptied, such calls are O(log n +
  keys returned). With the index, a new key costs two to three times as much, and each key takes
  about 30 bytes more.
  """

  use Vdr.Reads

  alias Vdr.{Handle, Log, Mirror, Native, Options, Read, Script, Snapshot, Subscriptions, Writes}

  @typedoc "The id of an instance. It may be any term."
  @type id :: term
  @typedoc "An instance: its id, its pid, or the registered name of the pid."
  @type instance :: id | pid | GenServer.name()
  @typedoc "The data that a read uses: an instance, or a snapshot."
  @type source :: instance | Snapshot.t()
  @type db :: non_neg_integer
  @type key :: binary
  @typedoc "The reasons of reads. `t:Veidrodelis.Error.reason/0` has all reasons."
  @type reason :: :no_instance | :not_ready | :stale | :wrong_type | :unknown_value
  @type answer(value) :: {:ok, value} | {:error, reason}
  @typedoc "A score. Floats of the BEAM are finite, so infinite scores are atoms."
  @type score :: float | :neg_inf | :pos_inf
  @typedoc "An infinite score as an argument; `:infinity` is `:pos_inf`."
  @type infinite :: :neg_inf | :pos_inf | :infinity
  @type bound :: number | infinite | {:exclusive, number | infinite}
  @typedoc """
  A bound as the server writes it: `"[member"` includes the member, `"(member"` excludes it, and
  `"-"` and `"+"`, or `:neg_inf` and `:pos_inf`, are no bound.
  """
  @type lex_bound :: binary | :neg_inf | :pos_inf
  @typedoc "Whether scores come with the members."
  @type with_scores :: boolean | [with_scores: boolean]
  @typedoc "Whether values come with the fields."
  @type with_values :: boolean | [with_values: boolean]
  @type scan_option :: {:match, binary} | {:count, pos_integer} | {:type, kind}
  @typedoc "An entry's id as the server writes it: `\"ms-seq\"`."
  @type stream_id :: binary
  @typedoc "An entry's id, and its fields and values in their order; a field may occur twice."
  @type stream_entry :: {stream_id, [{binary, binary}]}
  @type kind :: :string | :list | :set | :zset | :hash | :stream | :other
  @typedoc "A word of a command."
  @type word :: binary | number | atom
  @type command :: [word, ...]
  @typedoc "An option of `command/3`, `pipeline/3` and `transaction/3`."
  @type write_option :: unquote(Writes.type())
  @typedoc "A reply of the server to `command/3`. Only replies of `EXEC` and of pipelines contain errors."
  @type reply :: binary | integer | nil | [reply | Veidrodelis.ServerError.t()]
  @type write_error :: Veidrodelis.ServerError.t() | Veidrodelis.Error.reason()
  @typedoc "A replication id and an offset, see `position/1`."
  @type position :: {replication_id :: String.t(), offset :: non_neg_integer}
  @typedoc "A host name or address, and a port; `{path, 0}` for a Unix socket."
  @type address :: {String.t(), :inet.port_number()}
  @typedoc """
  The state of the link: the steps of the handshake in their order, then `:waiting` between two
  attempts and `:stopped` when there will be no other attempt.
  """
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

  @typedoc "The lowest level of log lines, or `false` for none; see `log_level/2`."
  @type log_level :: :trace | Logger.level() | false
  @typedoc "See `start_link/1`."
  @type option :: unquote(Options.type(:mirror))

  @typedoc "See `info/1`."
  @type info :: %{
          state: replication_state,
          link: :connecting | :linked | :waiting | :stopped,
          connected: boolean,
          ready: boolean,
          stale: boolean,
          stale_ms: non_neg_integer | nil,
          primary: address | nil,
          role: :primary | :replica | nil,
          server: %{name: String.t(), version: String.t()} | nil,
          replication_id: String.t() | nil,
          offset: non_neg_integer,
          primary_offset: non_neg_integer,
          lag_bytes: non_neg_integer,
          last_message_ms_ago: non_neg_integer | nil,
          full_syncs: non_neg_integer,
          partial_syncs: non_neg_integer,
          attempts: non_neg_integer,
          reconnects: non_neg_integer,
          commands_applied: non_neg_integer,
          complete: boolean,
          unknown_values: non_neg_integer,
          miscounted_streams: non_neg_integer,
          unknown_commands: %{String.t() => pos_integer},
          divergences: non_neg_integer,
          loading_bytes: non_neg_integer,
          loading_keys: non_neg_integer,
          guard_window_ms: non_neg_integer | nil,
          guard_windows_given_up: non_neg_integer,
          keys: %{db => non_neg_integer},
          watches: non_neg_integer,
          snapshots_held: non_neg_integer,
          snapshots_oldest_ms: non_neg_integer | nil,
          snapshots_written_since_bytes: non_neg_integer | nil,
          snapshots_before_full_sync: boolean,
          writes: :unused | :ready | :no_offset | :down,
          waiting: non_neg_integer,
          last_error: {atom, String.t()} | nil
        }

  @doc group: "Lifecycle"
  @doc """
  Starts an instance that is linked to the caller. Returns at once; the instance connects in the
  background.

  Takes options, a URL, or a URL and options. `{:error, {:already_started, pid}}` means that the
  id is taken. A wrong option raises `ArgumentError`.

      Veidrodelis.start_link("redis://localhost:6379", id: :mirror)

  ## Options

  #{Options.docs()}
  """
  @spec start_link([option] | String.t()) :: Supervisor.on_start()
  def start_link(url) when is_binary(url), do: start_link(url, [])
  def start_link(options), do: options |> Options.validate!() |> Mirror.Supervisor.start_link()

  @doc group: "Lifecycle"
  @doc """
  Starts an instance that follows the server at a URL. The options are those of `start_link/1`.
  """
  @spec start_link(url :: String.t(), [option]) :: Supervisor.on_start()
  def start_link(url, options), do: options |> with_url(url) |> start_link()

  @doc group: "Lifecycle"
  @doc """
  Returns a child specification with the id `{Veidrodelis, id}`. Takes the arguments of
  `start_link/1`, or `{url, options}`.

      children = [
        {Veidrodelis, id: :sessions, host: "sessions.internal"},
        {Veidrodelis, {"redis://prices.internal", id: :prices}}
      ]

  `Supervisor.child_spec/2` changes the values of `:restart` (`:permanent`) and `:shutdown`
  (`:infinity`):

      Supervisor.child_spec({Veidrodelis, id: :sessions}, restart: :transient, shutdown: 10_000)
  """
  @spec child_spec([option] | String.t() | {String.t(), [option]}) :: Supervisor.child_spec()
  def child_spec(url) when is_binary(url), do: child_spec({url, []})
  def child_spec({url, options}), do: options |> with_url(url) |> child_spec()

  def child_spec(options) do
    # Validation hides the password. Supervisors print specifications.
    options = Options.validate!(options)
    %{id: {__MODULE__, options.id}, start: {Mirror.Supervisor, :start_link, [options]}, type: :supervisor}
  end

  # An option that is `nil` counts as not given, but a URL that is missing where one is expected
  # is a mistake.
  defp with_url(_options, nil), do: raise(ArgumentError, "Veidrodelis takes a URL as a string, got: nil")
  defp with_url(options, url) when is_list(options), do: [{:url, url} | options]
  defp with_url(options, _url), do: options

  @doc group: "Lifecycle"
  @doc """
  Stops an instance. Returns `:ok`, also if there is no such instance. The memory is freed in the
  background.

  The children of `child_spec/1` are `:permanent`, so a supervisor restarts them. To stop such an
  instance, call `Supervisor.terminate_child/2`.
  """
  @spec stop(instance) :: :ok
  def stop(instance) do
    with {:ok, {id, _store, pid}} <- Handle.fetch(instance, :stop) do
      stop_supervisor(pid)
      # When this returns, reads must find no instance, and the id must be free.
      Mirror.Stores.await_release(id, pid)
    else
      {:error, :no_instance} -> :ok
    end
  end

  defp stop_supervisor(pid) do
    Supervisor.stop(pid, :normal)
  catch
    # The supervisor has ended, or is about to.
    :exit, _reason -> :ok
  end

  # A server with default settings waits 5 s before a full sync by the socket. Loading large data
  # takes longer.
  @await_ready_ms 60_000

  @doc group: "Lifecycle"
  @doc """
  Waits until the instance can be read: until its first full sync is complete.

  Returns `:ok`, `{:error, :timeout}`, `{:error, :no_instance}`, or `{:error, reason}` when the
  server refuses for a reason that waiting does not cure, such as a wrong password. A server that
  does not run may still start, so it leads to `:timeout`; then `info(instance, :last_error)` has
  the reason. `timeout` is in ms, or `:infinity`.
  """
  @spec await_ready() :: :ok | {:error, Veidrodelis.Error.reason()}
  @spec await_ready(instance) :: :ok | {:error, Veidrodelis.Error.reason()}
  @spec await_ready(instance, timeout) :: :ok | {:error, Veidrodelis.Error.reason()}
  def await_ready(instance \\ __MODULE__, timeout \\ @await_ready_ms) do
    Mirror.Readiness.check_timeout!(timeout)
    with {:ok, {id, _store, _pid}} <- Handle.fetch(instance, :await_ready), do: Mirror.Readiness.await(id, timeout)
  end

  @doc group: "Observation"
  @doc """
  Returns whether the instance can be read now; `false` if there is no such instance. The call is
  cheap, and is meant for health checks.
  """
  @spec ready?() :: boolean
  @spec ready?(instance) :: boolean
  def ready?(instance \\ __MODULE__) do
    case Handle.fetch(instance, :ready?) do
      {:ok, {_id, store, _pid}} -> Native.ready(store)
      {:error, :no_instance} -> false
    end
  end

  @doc group: "Observation"
  @doc "Returns the ids of all instances of this node."
  @spec list() :: [id]
  defdelegate list, to: Mirror.Stores

  @doc group: "Observation"
  @doc "Returns the state of the link."
  @spec replication_state() :: replication_state | {:error, :no_instance}
  @spec replication_state(instance) :: replication_state | {:error, :no_instance}
  def replication_state(instance \\ __MODULE__) do
    with %{state: state} <- Mirror.Info.of(instance, :replication_state), do: state
  end

  @doc group: "Observation"
  @doc "Returns the host and port of the connected server."
  @spec connected_to() :: {:ok, address} | {:error, :not_connected | :no_instance}
  @spec connected_to(instance) :: {:ok, address} | {:error, :not_connected | :no_instance}
  def connected_to(instance \\ __MODULE__) do
    case Mirror.Info.of(instance, :connected_to) do
      %{connected: true, primary: primary} -> {:ok, primary}
      %{connected: false} -> {:error, :not_connected}
      error -> error
    end
  end

  @doc group: "Observation"
  @doc "The old name of `replication_state/1`."
  @deprecated "Use replication_state/1 instead"
  @spec get_replication_state(instance) :: replication_state | {:error, :no_instance}
  def get_replication_state(instance), do: replication_state(instance)

  @doc group: "Observation"
  @doc "The old name of `connected_to/1`."
  @deprecated "Use connected_to/1 instead"
  @spec get_connected_to(instance) :: {:ok, address} | {:error, :not_connected | :no_instance}
  def get_connected_to(instance), do: connected_to(instance)

  @doc group: "Observation"
  @doc """
  Returns a map that describes an instance: its link, its data and its counters. It calls no
  process.

    * `state` - as `replication_state/1`; `ready` - whether it can be read; `stale` - whether
      reads may be behind, because no link is streaming; `stale_ms` - for how long
    * `primary` - the `{host, port}` that it follows, `{path, 0}` for a Unix socket, `nil` while
      Sentinel has named none; `role` - `:primary` or `:replica`, as that server calls itself, or
      `nil` when it does not say (the user lacks `+role`); `server` - `%{name, version}` or `nil`
    * `replication_id`; `offset` - the last byte of the stream that is applied; `primary_offset` -
      the last byte that has arrived, so the primary's own offset may be larger;
      `lag_bytes` - the bytes between the two; `last_message_ms_ago` - the time since something
      arrived, or `nil`
    * `full_syncs`, `partial_syncs`, `reconnects`, `attempts`, `commands_applied` - counters;
      `unknown_commands` - `%{name => count}` of the commands of the stream that the library does
      not know, or not with all of their options, since the instance started; see
      docs/commands.md
    * `complete` - whether every command since the last full sync was known; `unknown_values` - for
      how many keys reads return `{:error, :unknown_value}`, because an unknown command may have
      changed them. A write that replaces such a key makes it known again
    * `miscounted_streams` - how many streams of the last full sync recorded another number of
      entries than they have, as early versions of Redis 5 left them; `xlen/2` returns the
      recorded number, as the server does
    * `divergences` - the number of commands that contradicted the data; each of them ended its
      link and caused a full sync
    * `loading_bytes`, `loading_keys` - the progress of the full sync, or the totals of the last one
    * `guard_window_ms` - for how long the guard key has been holding writes back, or `nil`;
      `guard_windows_given_up` - how often it was set for too long
    * `keys` - `%{db => count}`; `watches` - their number
    * `snapshots_held` - how many snapshots processes hold. About the oldest of them:
      `snapshots_oldest_ms` is its age; `snapshots_written_since_bytes` is how much the stream has
      written since; `snapshots_before_full_sync` is whether a full sync has replaced all data
      since. Held snapshots keep at most the data in memory that was overwritten or deleted since:
      some multiple of those bytes, or all data from before the full sync
    * `writes` - whether commands can be sent: `:unused` before the first one, `:ready`, `:down`
      when the last attempt to connect failed, `:no_offset` when the user may not ask for offsets
      (`+role`, `+info`), so that commands need `sync: false`; `waiting` - how many calls wait for
      a position
    * `last_error` - why the last link ended, `{code, detail}`, or `nil`; `link` - what the
      process that keeps the link does; `connected` - whether a server is connected. `last_error`
      and `link` follow `stale` and `connected` by a moment

  `info/2` has one more key:

    * `memory_bytes` - the memory that the data makes resident, gaps of the allocator included,
      estimated within about 10 %. The estimate looks at all aggregates of
      4,096 elements or more, at all strings of 64 KB or more, at 20,000 other keys of a database,
      and at some elements of each aggregate. It may miss keys of few, very long elements among
      more keys than that. It leaves out what held snapshots keep alive. It takes some
      milliseconds of a dirty scheduler
  """
  @spec info() :: info | {:error, :no_instance}
  @spec info(instance) :: info | {:error, :no_instance}
  def info(instance \\ __MODULE__), do: Mirror.Info.of(instance, :info)

  @doc group: "Observation"
  @doc """
  Returns the value of one key of `info/1`, or a map of several keys.

      :streaming = Veidrodelis.info(:mirror, :state)
      %{lag_bytes: 0, memory_bytes: _} = Veidrodelis.info(:mirror, [:lag_bytes, :memory_bytes])

  `:memory_bytes` is a key, too. Any other key raises `ArgumentError`.
  """
  @spec info(instance, atom | [atom]) :: term | {:error, :no_instance}
  def info(instance, key_or_keys), do: Mirror.Info.take(instance, key_or_keys)

  @doc group: "Observation"
  @doc """
  Subscribes the calling process to the link events of an instance. They arrive as messages
  `{:veidrodelis, id, event, details}`.

    * `:connecting` - `%{primary: {host, port} or nil, attempt: n}`; the primary is `nil` when no
      Sentinel named one
    * `:syncing` - a full sync began: `%{primary: {host, port}}`
    * `:ready` - the instance can be read; once
    * `:streaming` - `%{primary: {host, port}, sync: :full | :partial}`
    * `:disconnected` - `%{reason: code, detail: text, refused: boolean, retry_in_ms: ms or nil,
      primary: {host, port} or nil, contradictions: n}`; `refused` is true if only a person can fix
      the reason, and `retry_in_ms` is `nil` if there will be no other attempt. Each `:connecting` is
      followed by one `:disconnected` with the same primary. If the link did not end by itself, the
      reason is `:switched`, `:stopped` or `:link_crashed`. `contradictions` is how many links in a
      row have ended by a contradiction
    * `:emptied` - the primary came back with far fewer keys, and the option `:on_empty_primary` has
      decided: `%{primary: {host, port}, keys: n, before: n, decision: :keep | :accept}`
    * `:switched` - Sentinel names another primary: `%{primary: {host, port}, from: {host, port}
      or nil}`
    * `:stopped` - the instance has ended; the last event

  The links of handlers have the id `{Vdr.RedisStream.Replica, name}`; see
  `Vdr.RedisStream.Replica`. A subscription belongs to an id. It may begin before the instance, and
  it outlives restarts of the instance. It ends with `unsubscribe/1`, with the process, or with the
  application. A pid or a registered name stands for the id of the instance that runs at the moment.

  The same events go to the log (see `log_level/2`), and to `:telemetry` if it is installed (see
  `Veidrodelis.Telemetry`). Log backends and telemetry handlers run in the process of the link, so a
  slow one delays that link, and no other.
  """
  @spec subscribe() :: :ok
  @spec subscribe(instance) :: :ok
  def subscribe(instance \\ __MODULE__), do: instance |> Handle.id(:subscribe) |> Subscriptions.subscribe()

  @doc group: "Observation"
  @doc "Ends the subscription of the calling process."
  @spec unsubscribe() :: :ok
  @spec unsubscribe(instance) :: :ok
  def unsubscribe(instance \\ __MODULE__), do: instance |> Handle.id(:unsubscribe) |> Subscriptions.unsubscribe()

  @doc group: "Observation"
  @doc "Returns the lowest level of log lines about an instance; see `log_level/2`."
  @spec log_level() :: log_level | {:error, :no_instance}
  @spec log_level(instance) :: log_level | {:error, :no_instance}
  def log_level(instance \\ __MODULE__) do
    with {:ok, {_id, store, _pid}} <- Handle.fetch(instance, :log_level), do: Log.level(store)
  end

  @doc group: "Observation"
  @doc """
  Sets the lowest level of log lines about one instance. `false` turns the lines off. When the
  instance is started again, its option `log:` sets the level.

      :ok = Veidrodelis.log_level(:mirror, :debug)

  `:debug` logs each step of the instance's connections, and how long a handshake and a sync took.
  `:trace` also logs each batch of commands. The Logger has no level `:trace`, so it gets these
  lines with the level `:debug`. Lines below the level of the instance cost nothing.

  The Logger filters the lines after that. If its own level is `:info`, call
  `Logger.put_module_level(Vdr.Log, :debug)` to let `:debug` lines of this library through.

  Each line has the metadata `vdr: id`. No line shows a password or a value. The native library
  writes the lines about connections, in the order and with the time of the reported events. A queue
  of 1,000 lines holds them for the Logger. When the queue is full, further lines are dropped until
  it is half empty. Then one line says how many were dropped.
  """
  @spec log_level(instance, log_level) :: :ok | {:error, :no_instance}
  def log_level(instance, level) do
    Log.check_level!(level, "Veidrodelis.log_level")
    with {:ok, {_id, store, _pid}} <- Handle.fetch(instance, :log_level), do: Log.set_level(store, level)
  end

  @doc group: "Snapshots and transactions"
  @doc """
  Reads on one snapshot: a list of operations, or a Lua script.

  An operation is `{name, args...}`: a read of this module without source and database. The result
  has one answer for each operation. For a tuple that is not a read, the answer is
  `{:error, {:bad_command, operation}}`. O(sum of the operations). A script runs as in `read_tx/4`.

      iex> {:ok, snapshot} = Vdr.Snapshot.from_commands([["RPUSH", "l", "a", "b"]])
      iex> Veidrodelis.read_tx(snapshot, 0, [{:llen, "l"}, {:lrange, "l", 0, -1}, {:get, "l"}])
      {:ok, [ok: 2, ok: ["a", "b"], error: :wrong_type]}
  """
  @spec read_tx(source, db, [tuple] | binary | Script.t()) ::
          {:ok, term} | {:error, reason | Script.error()}
  def read_tx(source, db, operations) when is_list(operations), do: Read.transaction(source, db, operations)

  def read_tx(source, db, script) when is_struct(script, Script) or is_binary(script),
    do: read_tx(source, db, script, [])

  def read_tx(source, db, operations), do: Read.transaction(source, db, operations)

  @doc group: "Snapshots and transactions"
  @doc """
  Runs a Lua script on one snapshot. The script is a source, or the result of `lua_load/2`. It calls
  the reads through the global table `ts`.

      iex> commands = [["SET", "item:owner", "7"], ["HSET", "user:7", "name", "Ona"]]
      iex> {:ok, snapshot} = Vdr.Snapshot.from_commands(commands)
      iex> script = "return ts.hget('user:' .. ts.get(KEYS[1]), 'name')"
      iex> Veidrodelis.read_tx(snapshot, 0, script, keys: ["item:owner"])
      {:ok, "Ona"}

  Returns `{:ok, term}`, or `{:error, {:lua, kind, message}}` with the kind `:syntax`, `:runtime`,
  `:timeout`, `:memory` or `:result`.

  Options: `:keys` and `:args`, the globals `KEYS` and `ARGV` of the script; `:timeout` in ms
  (5000); `:memory`, the bytes that the script may allocate (64 MB). The guide on Lua
  (docs/lua.md) has more.
  """
  @spec read_tx(source, db, binary | Script.t(), [Script.option()]) :: {:ok, term} | {:error, reason | Script.error()}
  def read_tx(source, db, script, opts), do: Script.run(source, db, script, opts)

  @doc group: "Snapshots and transactions"
  @doc """
  Does the same as `read_tx/3`, but returns the value itself, and raises `Veidrodelis.Error` instead
  of returning an error.
  """
  @spec read_tx!(source, db, [tuple] | binary | Script.t()) :: term
  def read_tx!(source, db, operations), do: source |> read_tx(db, operations) |> Read.value!()

  @doc group: "Snapshots and transactions"
  @doc """
  Does the same as `read_tx/4`, but returns the value itself, and raises `Veidrodelis.Error` instead
  of returning an error.
  """
  @spec read_tx!(source, db, binary | Script.t(), [Script.option()]) :: term
  def read_tx!(source, db, script, opts), do: source |> read_tx(db, script, opts) |> Read.value!()

  @doc group: "Snapshots and transactions"
  @doc """
  Compiles a Lua source for `read_tx/4`. Returns `{:ok, script}`, or
  `{:error, {:lua, :syntax, message}}`. The library caches recent sources of up to 16 KB anyway; a
  loaded script saves the look-up.
  """
  @spec lua_load(source, source :: binary) :: {:ok, Script.t()} | {:error, :no_instance | Script.error()}
  def lua_load(id, source), do: Script.load(id, source)

  @doc group: "Snapshots and transactions"
  @doc """
  Returns a snapshot: an immutable view of all data. Reads take it in place of the instance. O(1).
  """
  @spec snapshot() :: {:ok, Snapshot.t()} | {:error, :no_instance | :not_ready | :stale}
  @spec snapshot(instance) :: {:ok, Snapshot.t()} | {:error, :no_instance | :not_ready | :stale}
  def snapshot(instance \\ __MODULE__), do: Read.snapshot(instance)

  @doc group: "Snapshots and transactions"
  @doc """
  Does the same as `snapshot/1`, but returns the snapshot itself, and raises `Veidrodelis.Error`
  instead of returning an error.
  """
  @spec snapshot!() :: Snapshot.t()
  @spec snapshot!(instance) :: Snapshot.t()
  def snapshot!(instance \\ __MODULE__), do: instance |> snapshot() |> Read.value!()

  @doc group: "Snapshots and transactions"
  @doc """
  Returns a lazy stream of the keys of a database in byte order. All keys are of one state: the
  state of the instance when the stream begins.

  Options: `:prefix`, `:match` (a glob), `:type` (as `type/3` returns it), `:chunk` (how many keys
  are fetched at once, 1000). Enumerating raises `Veidrodelis.Error` if the instance cannot be read.
  O(log n + keys with the prefix). The first such call [takes longer](#module-keys-in-order).

      :mirror |> Veidrodelis.stream_keys(0, prefix: "user:", type: :hash) |> Enum.count()
  """
  @spec stream_keys(source, db) :: Enumerable.t()
  @spec stream_keys(source, db, prefix: binary, match: binary, type: kind, chunk: pos_integer) :: Enumerable.t()
  def stream_keys(source, db, opts \\ []), do: Vdr.Keys.stream(source, db, opts)

  @doc group: "Snapshots and transactions"
  @doc """
  Returns a lazy stream of the differences between two states of a database, in byte order of the
  keys: `{:added, key}`, `{:changed, key}` (another value or expiry) or `{:removed, key}`. For an
  instance, it uses the state when the stream begins.

  Expired keys count until the primary has deleted them. The stream finds the keys that differ when
  it begins. That is O(d log n) for d written keys, because it skips the parts that both states
  share, and O(n) across a full sync. Enumerating raises `Veidrodelis.Error` if the data cannot be
  read.

      {:ok, before} = Veidrodelis.snapshot(:mirror)
      # ...
      for {:changed, key} <- Veidrodelis.diff(before, :mirror, 0), do: refresh(key)
  """
  @spec diff(old :: source, new :: source, db) :: Enumerable.t()
  def diff(old, new, db), do: Vdr.Keys.diff(old, new, db)

  @doc group: "Snapshots and transactions"
  @doc """
  Returns the digest of all data: 40 hex digits. `DEBUG DIGEST` of the primary returns the same
  digits for equal data, so this proves that a mirror is correct.

  Compare the digests at the same offset. `MULTI`, `INFO replication`, `DEBUG DIGEST`, `EXEC` on the
  primary returns an offset and its digest; `Vdr.Snapshot.offset/1` returns the offset of a
  snapshot. Servers differ in how they write scores and expiring fields; the mirror writes them as
  the server of its full sync does. Values of modules cannot be compared: the error
  `{:not_comparable, keys}` has the number of their keys. O(all data), about seven SHA-1 blocks for
  each key, on a dirty scheduler; no other call waits for it.

      iex> {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "foo", "bar"]])
      iex> Veidrodelis.digest(snapshot)
      {:ok, "d2ab4820c1be0580ea28efbfe8bfa1dc05bb802a"}
  """
  @spec digest(source) ::
          {:ok, String.t()} | {:error, :no_instance | :not_ready | :stale | {:not_comparable, keys :: pos_integer}}
  def digest(source), do: Read.digest(source)

  @doc group: "Snapshots and transactions"
  @doc """
  Returns the digest of the value at one key, as `DEBUG DIGEST-VALUE` of the primary does; all zeros
  if there is no such key. O(size of the value).

      iex> {:ok, snapshot} = Vdr.Snapshot.from_commands([["RPUSH", "l", "a", "b"]])
      iex> Veidrodelis.digest_value(snapshot, 0, "l")
      {:ok, "62f55a532623cf6c3d81081db480b6fd8461eb3f"}
  """
  @spec digest_value(source, db, key) ::
          {:ok, String.t()} | {:error, :no_instance | :not_ready | :stale | {:not_comparable, keys :: pos_integer}}
  def digest_value(source, db, key), do: Read.digest_value(source, db, key)

  @doc group: "Snapshots and transactions"
  @doc """
  Loads an RDB file, and returns a snapshot of its data. It needs no server, and is meant for tests
  and tools. It reads the files of all versions of Redis and Valkey.

  `{:error, reason}` is `:enoent`, `:eacces`, `:eisdir`, `:not_a_file` or `:io_error`, or `{code,
  about}` for a bad file, where `about` is `%{offset: byte, key: key_or_nil, detail: text}`. The
  codes are `:rdb_bad_magic`, `:rdb_unsupported_version`, `:rdb_unknown_type`, `:rdb_corrupt`,
  `:rdb_checksum`, `:rdb_truncated` and `:rdb_too_large`. O(size of the file), on a dirty
  scheduler.

      iex> {:ok, snapshot} = Veidrodelis.load_rdb("test/fixtures/small.rdb")
      iex> Veidrodelis.get(snapshot, 0, "user:1:name")
      {:ok, "Alice"}
  """
  @spec load_rdb(Path.t()) :: {:ok, Snapshot.t()} | {:error, Veidrodelis.Error.reason()}
  def load_rdb(path), do: Vdr.RdbFile.load(path)

  @doc group: "Writes and positions"
  @doc """
  Sends a command to the primary. Returns the reply once the write is visible in the instance, so a
  later read of this process sees it.

      {:ok, "OK"} = Veidrodelis.command(:mirror, ["SET", "user:7:name", "Ona"])
      {:ok, "Ona"} = Veidrodelis.get(:mirror, 0, "user:7:name")

  A command is a list of binaries, numbers and atoms, its name first. The reply is a binary, an
  integer, `nil`, or a list of replies. The connections are the instance's own. They follow the
  primary through failovers, and through Sentinel; an instance that follows a replica writes to the
  primary of that replica. The guide on writes (docs/writes.md) has more.

  `{:error, reason}` is one of these:

    * `%Veidrodelis.ServerError{}` - the server's error. The library retried nothing
    * `{:not_allowed, name}` - the command would change or hold a connection that other calls share;
      it was not sent
    * `{:sent, reason}` - it is unknown whether the command ran: the connection was lost, or the
      timeout ended, before the reply came
    * `{:written, :not_visible}` - the command ran, but its effect did not become visible in time
    * `{:written, :lost_history}` - the command ran on a primary that the instance no longer
      follows: a failover may have lost the write. `{:written, reason}` with another reason means
      that the connection was lost before the server sent the offset of the write
    * `:no_offset` - the user may not ask the server for offsets (ACL); use `sync: false`
    * `:no_instance`, `:timeout`, `:overloaded`, `:request_too_large`, or the reason why there is no
      connection, such as `:connection_refused` or `:wrong_password`: the command was not sent

  The guide on writes has a table of the errors after which a command may be sent again. While there
  is no connection, the call waits for one until its timeout. So a short failover causes no error.

  ## Options

  #{Writes.docs()}
  """
  @spec command(instance, command) :: {:ok, reply} | {:error, write_error}
  @spec command(instance, command, [write_option]) :: {:ok, reply} | {:error, write_error}
  def command(instance, command, opts \\ []), do: Writes.call(instance, :command, [command], opts, :command)

  @doc group: "Writes and positions"
  @doc """
  Sends several commands at once, and returns their replies in order. If the server refuses a
  command, its reply is a `%Veidrodelis.ServerError{}`. Options and errors are those of `command/3`.

      {:ok, ["OK", 1]} = Veidrodelis.pipeline(:mirror, [["SET", "a", "1"], ["SADD", "s", "x"]])
  """
  @spec pipeline(instance, [command]) :: {:ok, [reply | Veidrodelis.ServerError.t()]} | {:error, write_error}
  @spec pipeline(instance, [command], [write_option]) ::
          {:ok, [reply | Veidrodelis.ServerError.t()]} | {:error, write_error}
  def pipeline(instance, commands, opts \\ []), do: Writes.call(instance, :pipeline, commands, opts, :pipeline)

  @doc group: "Writes and positions"
  @doc """
  Runs several commands as one transaction (`MULTI` and `EXEC`), which becomes visible as a whole.
  Returns their replies in order; the reply of a command that fails is a
  `%Veidrodelis.ServerError{}`. If the server refuses to queue a command, none of them runs, and the
  call returns an error with the code `"EXECABORT"`. Options and errors are those of `command/3`.

      {:ok, [1, 1]} = Veidrodelis.transaction(:mirror, [["INCR", "seen"], ["LPUSH", "log", "x"]])
  """
  @spec transaction(instance, [command]) ::
          {:ok, [reply | Veidrodelis.ServerError.t()]} | {:error, write_error}
  @spec transaction(instance, [command], [write_option]) ::
          {:ok, [reply | Veidrodelis.ServerError.t()]} | {:error, write_error}
  def transaction(instance, commands, opts \\ []),
    do: Writes.call(instance, :transaction, commands, opts, :transaction)

  @doc group: "Writes and positions"
  @doc """
  Does the same as `command/3`, but returns the reply itself, and raises `Veidrodelis.ServerError`
  or `Veidrodelis.Error` instead of returning an error.
  """
  @spec command!(instance, command) :: reply
  @spec command!(instance, command, [write_option]) :: reply
  def command!(instance, command, opts \\ []),
    do: instance |> Writes.call(:command, [command], opts, :command!) |> Writes.value!()

  @doc group: "Writes and positions"
  @doc """
  Does the same as `pipeline/3`, but returns the replies themselves, and raises `Veidrodelis.Error`
  instead of returning an error.
  """
  @spec pipeline!(instance, [command]) :: [reply | Veidrodelis.ServerError.t()]
  @spec pipeline!(instance, [command], [write_option]) :: [reply | Veidrodelis.ServerError.t()]
  def pipeline!(instance, commands, opts \\ []),
    do: instance |> Writes.call(:pipeline, commands, opts, :pipeline!) |> Writes.value!()

  @doc group: "Writes and positions"
  @doc """
  Does the same as `transaction/3`, but returns the replies themselves, and raises
  `Veidrodelis.ServerError` or `Veidrodelis.Error` instead of returning an error.
  """
  @spec transaction!(instance, [command]) :: [reply | Veidrodelis.ServerError.t()]
  @spec transaction!(instance, [command], [write_option]) :: [reply | Veidrodelis.ServerError.t()]
  def transaction!(instance, commands, opts \\ []),
    do: instance |> Writes.call(:transaction, commands, opts, :transaction!) |> Writes.value!()

  # The default timeout of most clients.
  @sync_ms 5000

  @doc group: "Writes and positions"
  @doc """
  Waits until every write that the primary had acknowledged before the call, to any client, is
  visible in the instance. It takes one round trip to the primary; concurrent calls share it.

  Returns `:ok`, `{:error, :timeout}`, `{:error, :lost_history}` if a failover came in between, or
  the reason why the primary cannot be asked, as `command/3` does. `timeout` is in ms, or
  `:infinity`.

      {:ok, _pushed} = Redix.command(redis, ["LPUSH", "events", "myevent"])
      :ok = Veidrodelis.sync(:mirror)
      {:ok, ["myevent"]} = Veidrodelis.lrange(:mirror, 0, "events", 0, 0)
  """
  @spec sync() :: :ok | {:error, Veidrodelis.Error.reason()}
  @spec sync(instance) :: :ok | {:error, Veidrodelis.Error.reason()}
  @spec sync(instance, timeout) :: :ok | {:error, Veidrodelis.Error.reason()}
  def sync(instance \\ __MODULE__, timeout \\ @sync_ms), do: Writes.sync(instance, timeout)

  @doc group: "Writes and positions"
  @doc """
  Returns the position of the data that can be read now. After `await_position/3` of it, on this
  node or another one, a read sees this state or a newer one.

  A position is a term that you can send elsewhere: `{replication_id, offset}`, a string and a
  number. Compare positions by `await_position/3` only, because offsets of two replication ids
  cannot be compared. O(1), and uses no network.
  """
  @spec position() :: {:ok, position} | {:error, :no_instance | :not_ready | :stale}
  @spec position(instance) :: {:ok, position} | {:error, :no_instance | :not_ready | :stale}
  def position(instance \\ __MODULE__), do: Writes.position(instance)

  @doc group: "Writes and positions"
  @doc """
  Waits until everything up to a position is visible in the instance.

  Returns `:ok`, `{:error, :timeout}`, or `{:error, :lost_history}` when the position is not part of
  the history of the instance's data. A failover may have lost its writes, or it comes from another
  server. `timeout` is in ms, or `:infinity`. O(log n) of the processes that wait.

      {:ok, position} = Veidrodelis.position(:mirror)
      # ... on another node:
      :ok = Veidrodelis.await_position(:mirror, position, 1000)
  """
  @spec await_position(instance, position) :: :ok | {:error, :timeout | :lost_history | :no_instance}
  @spec await_position(instance, position, timeout) :: :ok | {:error, :timeout | :lost_history | :no_instance}
  def await_position(instance, position, timeout \\ @sync_ms), do: Writes.await_position(instance, position, timeout)

  @typedoc "See `watch/5`."
  @type watch_option :: unquote(Vdr.Watch.type())
  @typedoc "With the option `:since`, the answer says whether a write was missed since then."
  @type watch_answer ::
          :ok | {:ok, :unchanged | :missed} | {:error, :no_instance | :already_registered | :not_found}

  @doc group: "Watches"
  @doc """
  Watches a key. The calling process receives `{ref, %Vdr.WatchEvent.Update{}}` after each write to
  the key has become visible, and `{ref, %Vdr.WatchEvent.Init{}}` after a full sync has.

  A watch never misses a write. It may also send a message for a write that changed nothing. It
  outlives reconnects, and ends with `unwatch/3`, with the process, or with the instance. A process
  can watch a key once; the second call returns `{:error, :already_registered}`.
  `{:error, :not_found}` means that the process in the option `:to` does not exist. O(1).

  A process that does not drain its mailbox gets at most `:max_pending` messages. Once it has caught
  up, it gets one `{ref, %Vdr.WatchEvent.Missed{}}` with the number of the others. The guide on
  watches (docs/watches.md) has more.

  ## Options

  #{Vdr.Watch.docs()}
  """
  @spec watch(instance, db, key, ref :: term) :: watch_answer
  @spec watch(instance, db, key, ref :: term, [watch_option]) :: watch_answer
  def watch(instance, db, key, ref, opts \\ []), do: Vdr.Watch.add(instance, db, {:key, key}, ref, opts)

  @doc group: "Watches"
  @doc """
  Watches every key of the database that begins with `prefix`, as `watch/5` watches one key. The
  prefix `""` stands for all keys.

  A write sends one message, however many of these keys it touches. If it touched several, the `key`
  of the update is `nil`. A process can watch a prefix once. If it also watches a key with the
  prefix, it gets two messages. The options are those of `watch/5`. O(1).
  """
  @spec watch_prefix(instance, db, prefix :: binary, ref :: term) :: watch_answer
  @spec watch_prefix(instance, db, prefix :: binary, ref :: term, [watch_option]) :: watch_answer
  def watch_prefix(instance, db, prefix, ref, opts \\ []),
    do: Vdr.Watch.add(instance, db, {:prefix, prefix}, ref, opts)

  @doc group: "Watches"
  @doc """
  Watches every key of the database that matches a glob pattern by the server's rules, such as
  `"user:*:name"` or `"*:[0-9]"`. It works as `watch_prefix/5`. A pattern has at most 1,024 bytes.
  O(length of the pattern).

  A write is compared with the patterns whose longest run of literal bytes occurs in its key. A
  pattern without literal bytes, such as `"???"`, is compared with each write of the database.
  """
  @spec watch_pattern(instance, db, pattern :: binary, ref :: term) :: watch_answer
  @spec watch_pattern(instance, db, pattern :: binary, ref :: term, [watch_option]) :: watch_answer
  def watch_pattern(instance, db, pattern, ref, opts \\ []),
    do: Vdr.Watch.add(instance, db, {:pattern, pattern}, ref, opts)

  @doc group: "Watches"
  @doc """
  Ends a watch of the calling process, or of the process that the option `:to` names. `{:error,
  :not_found}` means that it has no such watch. O(1).
  """
  @spec unwatch(instance, db, key) :: :ok | {:error, :no_instance | :not_found}
  @spec unwatch(instance, db, key, to: pid) :: :ok | {:error, :no_instance | :not_found}
  def unwatch(instance, db, key, opts \\ []), do: Vdr.Watch.remove(instance, db, {:key, key}, opts)

  @doc group: "Watches"
  @doc """
  Ends a watch of a prefix. `{:error, :not_found}` means that the process has no such watch. The
  option is that of `unwatch/4`. O(1).
  """
  @spec unwatch_prefix(instance, db, prefix :: binary) :: :ok | {:error, :no_instance | :not_found}
  @spec unwatch_prefix(instance, db, prefix :: binary, to: pid) :: :ok | {:error, :no_instance | :not_found}
  def unwatch_prefix(instance, db, prefix, opts \\ []), do: Vdr.Watch.remove(instance, db, {:prefix, prefix}, opts)

  @doc group: "Watches"
  @doc """
  Ends a watch of a pattern. `{:error, :not_found}` means that the process has no such watch. The
  option is that of `unwatch/4`. O(length of the pattern).
  """
  @spec unwatch_pattern(instance, db, pattern :: binary) :: :ok | {:error, :no_instance | :not_found}
  @spec unwatch_pattern(instance, db, pattern :: binary, to: pid) :: :ok | {:error, :no_instance | :not_found}
  def unwatch_pattern(instance, db, pattern, opts \\ []),
    do: Vdr.Watch.remove(instance, db, {:pattern, pattern}, opts)

  @doc group: "Watches"
  @doc """
  Acknowledges messages of watches that were set with `ack: true`: the calling process has handled
  `count` more of them. With the option `to: pid`, it acknowledges for another process, which may be
  on another node.

  `{:error, :not_found}` means that the process has no watch. O(1), and takes no lock that the
  writer of the data takes.

  This function has nothing to do with the option `:ack` of `start_link/1`. That option is about the
  replication offset that the mirror acknowledges to the primary.
  """
  @spec ack(instance) :: :ok | {:error, :no_instance | :not_found}
  @spec ack(instance, count :: non_neg_integer) :: :ok | {:error, :no_instance | :not_found}
  @spec ack(instance, count :: non_neg_integer, to: pid) :: :ok | {:error, :no_instance | :not_found}
  def ack(instance, count \\ 1, opts \\ []), do: Vdr.Watch.ack(instance, count, opts)
end
