defmodule :veidrodelis do
  @moduledoc ~S"""
  `Veidrodelis` for Erlang.

      {ok, _} = application:ensure_all_started(veidrodelis).
      {ok, _Pid} = veidrodelis:start_link([{id, mirror}, {host, "localhost"}, {port, 6379}]).
      ok = veidrodelis:await_ready(mirror).
      {ok, Value} = veidrodelis:get(mirror, 0, <<"user:123:name">>).

  The functions are those of `Veidrodelis`, with the same arguments and the same answers. The
  guide docs/erlang.md shows a project and a session. What differs:

    * **Options** are lists as Erlang writes them: `[{host, "localhost"}, ssl]`. `ssl` alone is
      `{ssl, true}`, and `undefined` is an option that is not given. Text may be a string: hosts,
      URLs, paths, user names, passwords, prefixes. A host may be an address as a tuple, `{127, 0,
      0, 1}`. A map is an option list, too. The options of a read are a list of pairs.
    * **Keys and values** are binaries.
    * The id of an instance is `veidrodelis` unless the option `id` says otherwise.
    * What is not there is `nil`, as in `{ok, nil}` of a missing key.
    * `ready?` is `is_ready/1`. Instead of lazy streams there are `fold_keys/5` and `fold_diff/5`.
    * An argument of the wrong kind is an error of the class `error`, with an exception of Elixir:
      a map with the key `message`. `format_error/1` has the sentence for `{error, Reason}`.
    * Watch events are maps: `#{command := Command, key := Key, offset := Offset}` for a write,
      `#{offset := Offset}` alone for a full sync, and `#{count := Count}` for events that were not
      sent. `event_type/1` tells them apart.
  """

  # The reads are made from the rows of lib/vdr/reads/.
  use Vdr.Reads, twins: false

  alias Vdr.{ErlangOptions, Keys, Options, Script, Snapshot}

  @type id :: Veidrodelis.id()
  @type instance :: Veidrodelis.instance()
  @type source :: Veidrodelis.source()
  @type db :: Veidrodelis.db()
  @type key :: Veidrodelis.key()
  @type reason :: Veidrodelis.reason()
  @type answer(value) :: Veidrodelis.answer(value)
  @type score :: Veidrodelis.score()
  @type infinite :: Veidrodelis.infinite()
  @type bound :: Veidrodelis.bound()
  @type lex_bound :: Veidrodelis.lex_bound()
  @type with_scores :: Veidrodelis.with_scores()
  @type with_values :: Veidrodelis.with_values()
  @type scan_option :: Veidrodelis.scan_option()
  @type stream_id :: Veidrodelis.stream_id()
  @type stream_entry :: Veidrodelis.stream_entry()
  @type kind :: Veidrodelis.kind()
  @typedoc "A binary, or a string of characters."
  @type text :: binary | charlist
  @typedoc "As `t:Veidrodelis.option/0`, with text as strings, too; an atom `a` is `{a, true}`."
  @type options :: [{atom, term} | atom] | %{optional(atom) => term}

  # ---- lifecycle

  @doc group: "Lifecycle"
  @doc "As `Veidrodelis.start_link/1`: takes options or a URL."
  @spec start_link(options | text) :: Supervisor.on_start()
  def start_link(options_or_url), do: options_or_url |> instance_options() |> Veidrodelis.start_link()

  @doc group: "Lifecycle"
  @doc "As `Veidrodelis.start_link/2`."
  @spec start_link(url :: text, options) :: Supervisor.on_start()
  def start_link(url, options), do: url |> with_url(options) |> Veidrodelis.start_link()

  @doc group: "Lifecycle"
  @doc "As `Veidrodelis.child_spec/1`: takes options, a URL, or `{Url, Options}`. For `supervisor`."
  @spec child_spec(options | text | {text, options}) :: Supervisor.child_spec()
  def child_spec({url, options}), do: url |> with_url(options) |> Veidrodelis.child_spec()
  def child_spec(options_or_url), do: options_or_url |> instance_options() |> Veidrodelis.child_spec()

  @doc group: "Lifecycle"
  @doc "As `Veidrodelis.stop/1`."
  @spec stop(instance) :: :ok
  defdelegate stop(instance), to: Veidrodelis

  @doc group: "Lifecycle"
  @doc "As `Veidrodelis.await_ready/2`."
  @spec await_ready() :: :ok | {:error, Veidrodelis.Error.reason()}
  @spec await_ready(instance) :: :ok | {:error, Veidrodelis.Error.reason()}
  def await_ready(instance \\ __MODULE__), do: Veidrodelis.await_ready(instance)

  @doc group: "Lifecycle"
  @doc "As `Veidrodelis.await_ready/2`."
  @spec await_ready(instance, timeout) :: :ok | {:error, Veidrodelis.Error.reason()}
  defdelegate await_ready(instance, timeout), to: Veidrodelis

  # ---- observation

  @doc group: "Observation"
  @doc "As `Veidrodelis.ready?/1`."
  @spec is_ready() :: boolean
  @spec is_ready(instance) :: boolean
  def is_ready(instance \\ __MODULE__), do: Veidrodelis.ready?(instance)

  @doc group: "Observation"
  @doc "As `Veidrodelis.list/0`."
  @spec list() :: [id]
  defdelegate list, to: Veidrodelis

  @doc group: "Observation"
  @doc "As `Veidrodelis.replication_state/1`."
  @spec replication_state() :: Veidrodelis.replication_state() | {:error, :no_instance}
  @spec replication_state(instance) :: Veidrodelis.replication_state() | {:error, :no_instance}
  def replication_state(instance \\ __MODULE__), do: Veidrodelis.replication_state(instance)

  @doc group: "Observation"
  @doc "As `Veidrodelis.connected_to/1`."
  @spec connected_to() :: {:ok, Veidrodelis.address()} | {:error, :not_connected | :no_instance}
  @spec connected_to(instance) :: {:ok, Veidrodelis.address()} | {:error, :not_connected | :no_instance}
  def connected_to(instance \\ __MODULE__), do: Veidrodelis.connected_to(instance)

  @doc group: "Observation"
  @doc "As `Veidrodelis.info/1`."
  @spec info() :: Veidrodelis.info() | {:error, :no_instance}
  @spec info(instance) :: Veidrodelis.info() | {:error, :no_instance}
  def info(instance \\ __MODULE__), do: Veidrodelis.info(instance)

  @doc group: "Observation"
  @doc "As `Veidrodelis.info/2`."
  @spec info(instance, atom | [atom]) :: term | {:error, :no_instance}
  defdelegate info(instance, key_or_keys), to: Veidrodelis

  @doc group: "Observation"
  @doc "As `Veidrodelis.subscribe/1`. The messages are `{veidrodelis, Id, Event, Details}`."
  @spec subscribe() :: :ok
  @spec subscribe(instance) :: :ok
  def subscribe(instance \\ __MODULE__), do: Veidrodelis.subscribe(instance)

  @doc group: "Observation"
  @doc "As `Veidrodelis.unsubscribe/1`."
  @spec unsubscribe() :: :ok
  @spec unsubscribe(instance) :: :ok
  def unsubscribe(instance \\ __MODULE__), do: Veidrodelis.unsubscribe(instance)

  @doc group: "Observation"
  @doc "As `Veidrodelis.log_level/1`."
  @spec log_level() :: Veidrodelis.log_level() | {:error, :no_instance}
  @spec log_level(instance) :: Veidrodelis.log_level() | {:error, :no_instance}
  def log_level(instance \\ __MODULE__), do: Veidrodelis.log_level(instance)

  @doc group: "Observation"
  @doc "As `Veidrodelis.log_level/2`."
  @spec log_level(instance, Veidrodelis.log_level()) :: :ok | {:error, :no_instance}
  defdelegate log_level(instance, level), to: Veidrodelis

  @doc group: "Observation"
  @doc """
  The sentence for a reason of `{error, Reason}`, as a binary.

      <<"the first full sync is not complete yet">> = veidrodelis:format_error(not_ready).
  """
  @spec format_error(Veidrodelis.Error.reason() | term) :: binary
  def format_error(reason), do: Exception.message(Veidrodelis.Error.exception(reason: reason))

  # ---- snapshots and transactions

  @doc group: "Snapshots and transactions"
  @doc """
  As `Veidrodelis.read_tx/3`: a list of operations, or a script as a binary, a string, or what
  `lua_load/2` returned.

      {ok, [{ok, 2}, {ok, nil}]} = veidrodelis:read_tx(mirror, 0, [{llen, <<"l">>}, {get, <<"none">>}]).
  """
  @spec read_tx(source, db, [tuple] | text | Script.t()) :: {:ok, term} | {:error, reason | Script.error()}
  def read_tx(source, db, operations_or_script),
    do: Veidrodelis.read_tx(source, db, ErlangOptions.text(operations_or_script))

  @doc group: "Snapshots and transactions"
  @doc "As `Veidrodelis.read_tx/4`: the options are `keys`, `args`, `timeout` and `memory`."
  @spec read_tx(source, db, text | Script.t(), options) :: {:ok, term} | {:error, reason | Script.error()}
  def read_tx(source, db, script, options) do
    options = ErlangOptions.keywords(options, Script.options())
    Veidrodelis.read_tx(source, db, ErlangOptions.text(script), options)
  end

  @doc group: "Snapshots and transactions"
  @doc "As `Veidrodelis.lua_load/2`."
  @spec lua_load(source, text) :: {:ok, Script.t()} | {:error, :no_instance | Script.error()}
  def lua_load(source, script), do: Veidrodelis.lua_load(source, ErlangOptions.text(script))

  @doc group: "Snapshots and transactions"
  @doc "As `Veidrodelis.snapshot/1`."
  @spec snapshot() :: {:ok, Snapshot.t()} | {:error, :no_instance | :not_ready | :stale}
  @spec snapshot(instance) :: {:ok, Snapshot.t()} | {:error, :no_instance | :not_ready | :stale}
  def snapshot(instance \\ __MODULE__), do: Veidrodelis.snapshot(instance)

  @doc group: "Snapshots and transactions"
  @doc "As `Vdr.Snapshot.offset/1`."
  @spec snapshot_offset(Snapshot.t()) :: non_neg_integer
  defdelegate snapshot_offset(snapshot), to: Snapshot, as: :offset

  @doc group: "Snapshots and transactions"
  @doc "As `Vdr.Snapshot.from_commands/2`, in database 0; a word may be a string."
  @spec from_commands([[text | number | atom]]) :: {:ok, Snapshot.t()} | {:error, {:bad_command, non_neg_integer}}
  def from_commands(commands), do: from_commands(commands, 0)

  @doc group: "Snapshots and transactions"
  @doc "As `Vdr.Snapshot.from_commands/2`; a word may be a string."
  @spec from_commands([[text | number | atom]], db) :: {:ok, Snapshot.t()} | {:error, {:bad_command, non_neg_integer}}
  def from_commands(commands, db), do: Snapshot.from_commands(words(commands), db)

  defp words(commands) do
    if is_list(commands) and not List.improper?(commands), do: Enum.map(commands, &command/1), else: commands
  end

  defp command(words) do
    if is_list(words) and not List.improper?(words), do: Enum.map(words, &ErlangOptions.text/1), else: words
  end

  @doc group: "Snapshots and transactions"
  @doc "As `fold_keys/5`, without options: all keys of the database."
  @spec fold_keys((key, acc -> acc), acc, source, db) :: acc when acc: term
  def fold_keys(fun, acc, source, db), do: fold_keys(fun, acc, source, db, [])

  @doc group: "Snapshots and transactions"
  @doc """
  Folds over the keys of a database in byte order, all from one state: `Fun(Key, Acc)` as for
  `lists:foldl/3`. The options are those of `Veidrodelis.stream_keys/3`: `prefix`, `match`, `type`
  and `chunk`. Fetches a chunk at a time. An instance that cannot be read is an error of the class
  `error`.

      Count = veidrodelis:fold_keys(fun(_Key, N) -> N + 1 end, 0, mirror, 0, [{prefix, "user:"}]).
  """
  @spec fold_keys((key, acc -> acc), acc, source, db, options) :: acc when acc: term
  def fold_keys(fun, acc, source, db, options) do
    options = ErlangOptions.keywords(options, Keys.options())
    source |> Veidrodelis.stream_keys(db, options) |> Enum.reduce(acc, fun)
  end

  @doc group: "Snapshots and transactions"
  @doc """
  Folds over the differences between two states of a database, as `Veidrodelis.diff/3` lists them:
  `Fun({added | changed | removed, Key}, Acc)`.
  """
  @spec fold_diff(({:added | :changed | :removed, key}, acc -> acc), acc, old :: source, new :: source, db) :: acc
        when acc: term
  def fold_diff(fun, acc, old, new, db), do: old |> Veidrodelis.diff(new, db) |> Enum.reduce(acc, fun)

  @doc group: "Snapshots and transactions"
  @doc "As `Veidrodelis.digest/1`."
  @spec digest(source) ::
          {:ok, binary} | {:error, :no_instance | :not_ready | :stale | {:not_comparable, keys :: pos_integer}}
  defdelegate digest(source), to: Veidrodelis

  @doc group: "Snapshots and transactions"
  @doc "As `Veidrodelis.digest_value/3`."
  @spec digest_value(source, db, key) ::
          {:ok, binary} | {:error, :no_instance | :not_ready | :stale | {:not_comparable, keys :: pos_integer}}
  defdelegate digest_value(source, db, key), to: Veidrodelis

  @doc group: "Snapshots and transactions"
  @doc "As `Veidrodelis.load_rdb/1`."
  @spec load_rdb(text) :: {:ok, Snapshot.t()} | {:error, Veidrodelis.Error.reason()}
  def load_rdb(path), do: Veidrodelis.load_rdb(ErlangOptions.text(path))

  # ---- writes and positions

  @doc group: "Writes and positions"
  @doc "As `Veidrodelis.command/3`. A word may be a string."
  @spec command(instance, [text | number | atom]) :: {:ok, term} | {:error, term}
  @spec command(instance, [text | number | atom], options) :: {:ok, term} | {:error, term}
  def command(instance, words, options \\ []),
    do: Veidrodelis.command(instance, command(words), ErlangOptions.keywords(options, []))

  @doc group: "Writes and positions"
  @doc "As `Veidrodelis.pipeline/3`. A word may be a string."
  @spec pipeline(instance, [[text | number | atom]]) :: {:ok, [term]} | {:error, term}
  @spec pipeline(instance, [[text | number | atom]], options) :: {:ok, [term]} | {:error, term}
  def pipeline(instance, commands, options \\ []),
    do: Veidrodelis.pipeline(instance, words(commands), ErlangOptions.keywords(options, []))

  @doc group: "Writes and positions"
  @doc "As `Veidrodelis.transaction/3`. A word may be a string."
  @spec transaction(instance, [[text | number | atom]]) :: {:ok, [term]} | {:error, term}
  @spec transaction(instance, [[text | number | atom]], options) :: {:ok, [term]} | {:error, term}
  def transaction(instance, commands, options \\ []),
    do: Veidrodelis.transaction(instance, words(commands), ErlangOptions.keywords(options, []))

  @doc group: "Writes and positions"
  @doc "As `Veidrodelis.sync/2`."
  @spec sync() :: :ok | {:error, term}
  @spec sync(instance) :: :ok | {:error, term}
  def sync(instance \\ __MODULE__), do: Veidrodelis.sync(instance)

  @doc group: "Writes and positions"
  @doc "As `Veidrodelis.sync/2`."
  @spec sync(instance, timeout) :: :ok | {:error, term}
  defdelegate sync(instance, timeout), to: Veidrodelis

  @doc group: "Writes and positions"
  @doc "As `Veidrodelis.position/1`."
  @spec position() :: {:ok, Veidrodelis.position()} | {:error, term}
  @spec position(instance) :: {:ok, Veidrodelis.position()} | {:error, term}
  def position(instance \\ __MODULE__), do: Veidrodelis.position(instance)

  @doc group: "Writes and positions"
  @doc "As `Veidrodelis.await_position/3`."
  @spec await_position(instance, Veidrodelis.position()) :: :ok | {:error, term}
  defdelegate await_position(instance, position), to: Veidrodelis

  @doc group: "Writes and positions"
  @doc "As `Veidrodelis.await_position/3`."
  @spec await_position(instance, Veidrodelis.position(), timeout) :: :ok | {:error, term}
  defdelegate await_position(instance, position, timeout), to: Veidrodelis

  # ---- watches of other processes

  @doc group: "Watches"
  @doc "As `Veidrodelis.unwatch/4`."
  @spec unwatch(instance, db, key, options) :: :ok | {:error, :no_instance | :not_found}
  def unwatch(instance, db, key, options),
    do: Veidrodelis.unwatch(instance, db, key, ErlangOptions.keywords(options, []))

  @doc group: "Watches"
  @doc "As `Veidrodelis.unwatch_prefix/4`."
  @spec unwatch_prefix(instance, db, prefix :: binary, options) :: :ok | {:error, :no_instance | :not_found}
  def unwatch_prefix(instance, db, prefix, options),
    do: Veidrodelis.unwatch_prefix(instance, db, prefix, ErlangOptions.keywords(options, []))

  @doc group: "Watches"
  @doc "As `Veidrodelis.unwatch_pattern/4`."
  @spec unwatch_pattern(instance, db, pattern :: binary, options) :: :ok | {:error, :no_instance | :not_found}
  def unwatch_pattern(instance, db, pattern, options),
    do: Veidrodelis.unwatch_pattern(instance, db, pattern, ErlangOptions.keywords(options, []))

  @doc group: "Watches"
  @doc "As `Veidrodelis.ack/2` of one event."
  @spec ack(instance) :: :ok | {:error, :no_instance | :not_found}
  defdelegate ack(instance), to: Veidrodelis

  # ---- watches

  @doc group: "Watches"
  @doc "As `Veidrodelis.watch/4`. The messages are `{Ref, Event}`, see `event_type/1`."
  @spec watch(instance, db, key, ref :: term) :: Veidrodelis.watch_answer()
  defdelegate watch(instance, db, key, ref), to: Veidrodelis

  @doc group: "Watches"
  @doc "As `Veidrodelis.watch/5`."
  @spec watch(instance, db, key, ref :: term, options) :: Veidrodelis.watch_answer()
  def watch(instance, db, key, ref, options),
    do: Veidrodelis.watch(instance, db, key, ref, ErlangOptions.keywords(options, []))

  @doc group: "Watches"
  @doc "As `Veidrodelis.watch_prefix/4`."
  @spec watch_prefix(instance, db, prefix :: binary, ref :: term) :: Veidrodelis.watch_answer()
  defdelegate watch_prefix(instance, db, prefix, ref), to: Veidrodelis

  @doc group: "Watches"
  @doc "As `Veidrodelis.watch_prefix/5`."
  @spec watch_prefix(instance, db, prefix :: binary, ref :: term, options) :: Veidrodelis.watch_answer()
  def watch_prefix(instance, db, prefix, ref, options),
    do: Veidrodelis.watch_prefix(instance, db, prefix, ref, ErlangOptions.keywords(options, []))

  @doc group: "Watches"
  @doc "As `Veidrodelis.watch_pattern/4`."
  @spec watch_pattern(instance, db, pattern :: binary, ref :: term) :: Veidrodelis.watch_answer()
  defdelegate watch_pattern(instance, db, pattern, ref), to: Veidrodelis

  @doc group: "Watches"
  @doc "As `Veidrodelis.watch_pattern/5`."
  @spec watch_pattern(instance, db, pattern :: binary, ref :: term, options) :: Veidrodelis.watch_answer()
  def watch_pattern(instance, db, pattern, ref, options),
    do: Veidrodelis.watch_pattern(instance, db, pattern, ref, ErlangOptions.keywords(options, []))

  @doc group: "Watches"
  @doc "As `Veidrodelis.unwatch/3`."
  @spec unwatch(instance, db, key) :: :ok | {:error, :no_instance | :not_found}
  defdelegate unwatch(instance, db, key), to: Veidrodelis

  @doc group: "Watches"
  @doc "As `Veidrodelis.unwatch_prefix/3`."
  @spec unwatch_prefix(instance, db, prefix :: binary) :: :ok | {:error, :no_instance | :not_found}
  defdelegate unwatch_prefix(instance, db, prefix), to: Veidrodelis

  @doc group: "Watches"
  @doc "As `Veidrodelis.unwatch_pattern/3`."
  @spec unwatch_pattern(instance, db, pattern :: binary) :: :ok | {:error, :no_instance | :not_found}
  defdelegate unwatch_pattern(instance, db, pattern), to: Veidrodelis

  @doc group: "Watches"
  @doc "As `Veidrodelis.ack/2`."
  @spec ack(instance, count :: non_neg_integer) :: :ok | {:error, :no_instance | :not_found}
  defdelegate ack(instance, count), to: Veidrodelis

  @doc group: "Watches"
  @doc "As `Veidrodelis.ack/3`."
  @spec ack(instance, count :: non_neg_integer, options) :: :ok | {:error, :no_instance | :not_found}
  def ack(instance, count, options), do: Veidrodelis.ack(instance, count, ErlangOptions.keywords(options, []))

  @doc group: "Watches"
  @doc """
  What a watch reports: `update`, `value` or `key`, a write; `init`, a full sync that has become
  visible; `missed`, events that were not sent; `link`, the link has come up or has ended.
  """
  @spec event_type(Vdr.WatchEvent.t()) :: :update | :value | :key | :init | :missed | :link
  def event_type(%Vdr.WatchEvent.Update{}), do: :update
  def event_type(%Vdr.WatchEvent.Value{}), do: :value
  def event_type(%Vdr.WatchEvent.Key{}), do: :key
  def event_type(%Vdr.WatchEvent.Init{}), do: :init
  def event_type(%Vdr.WatchEvent.Missed{}), do: :missed
  def event_type(%Vdr.WatchEvent.Link{}), do: :link

  # ---- options

  defp instance_options(url) when is_binary(url), do: with_url(url, [])

  defp instance_options(options) do
    case ErlangOptions.text(options) do
      url when is_binary(url) -> with_url(url, [])
      options -> with_id(ErlangOptions.keywords(options, Options.schema(:mirror)))
    end
  end

  defp with_url(url, options) do
    options = with_id(ErlangOptions.keywords(options, Options.schema(:mirror)))
    if is_list(options), do: [{:url, ErlangOptions.text(url)} | options], else: options
  end

  defp with_id(options) do
    if is_list(options) and not List.improper?(options) and not List.keymember?(options, :id, 0),
      do: options ++ [id: __MODULE__],
      else: options
  end
end
