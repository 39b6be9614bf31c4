defmodule Vdr.Cache do
  @moduledoc """
  A cache for Elixir: in memory, on disk, on a server, or in the local mirror of a server.

      defmodule MyApp.Cache do
        use Vdr.Cache, default_ttl: :timer.minutes(5)
      end

      children = [MyApp.Cache]

      MyApp.Cache.put(:user_1, %{name: "Alice"}, tags: [:users])
      MyApp.Cache.get(:user_1)
      # => {:ok, %{name: "Alice"}}
      MyApp.Cache.get_or_fetch(:user_2, fn _key -> {:ok, load_user(2)} end)
      MyApp.Cache.invalidate_tag(:users)
      # => {:ok, 2}

  `use Vdr.Cache` gives a module every function of this one, without the first argument. The first
  argument here is the name of the cache: the module, or the option `:name` of `start_link/1`. A
  module may be started several times under several names:

      {:ok, _pid} = MyApp.Cache.start_link(name: :tenant_a)
      Vdr.Cache.get(:tenant_a, :user_1)

  ## Return values

  A function returns `{:ok, value}`, `:ok`, or `{:error, reason}`. `t:Vdr.Cache.Error.reason/0`
  lists the reasons. If the cache is not started, the reason is `:not_started`. An argument or an
  option of the wrong type raises `ArgumentError`.

  A key may be any term. Keys are compared with `===`, so `1` and `1.0` are two keys. `nil` is an
  ordinary value.

  ## Options of a cache

  `use Vdr.Cache`, `start_link/1` and `child_spec/1` take the same options. If an option is given in
  several places, the first of these wins:

    1. the arguments of `start_link/1` or `child_spec/1`
    2. `config :my_app, MyApp.Cache, ...`, if `otp_app: :my_app` is set
    3. the options of `use Vdr.Cache`
    4. `config :veidrodelis, Vdr.Cache, ...`, which holds for all caches

  `:backend_opts` and `:topology_opts` are merged key by key.

  #{Vdr.Cache.Options.docs()}

  ## Options of calls

    * `:ttl` - the time to live in ms, or `:infinity`. The default is the cache's `:default_ttl`.
      With 0, the call stores nothing and removes the entry
    * `:tags` - a list of terms for `invalidate_tag/3`
    * `:refresh_after` - after this many ms, `get_or_fetch/4` returns the stored value, and one
      process fetches a new one in the background
    * `:stale_if_error` - if fetching fails, `get_or_fetch/4` returns the old value until this many
      ms past its time to live
    * `:negative_ttl` - after a failed fetch, `get_or_fetch/4` returns the same error for this many
      ms, without another fetch
    * `:ttl_jitter` - a number from 0 to 1. A random part of the time to live, up to this fraction,
      is taken off, so that entries that were put together do not expire together
    * `:on_timeout` - what `get_or_fetch/4` does when the fetch of another process takes longer than
      `:stampede_timeout`. `:error` (the default) returns `{:error, :timeout}`. `:fetch` calls the
      function, and does not store its result
    * `:timeout` - how long a call waits for the network or for a lock, in ms. The default is the
      `:timeout` of the backend or of the topology, and 5,000 for a lock
    * `:consistency` - when a write to a mirror returns; see `Vdr.Cache.Backend.Mirror`
    * `:telemetry`, `:stats` - with `false`, the call sends no event, or is not counted

  ## Bounds

  `:max_size` bounds the number of entries, and `:max_bytes` their size. Both bounds hold after
  every put. While several processes put at the same time, there may be one more entry for each of
  them.

  `:max_size` alone evicts no live entry: with the default policy, `:ttl_only`, a put into a full
  cache returns `{:error, :full}`. The option `:eviction_policy` chooses the entry that makes room:

    * `:ttl_only` (the default) - an expired entry. If there is none, the put returns
      `{:error, :full}`
    * `:fifo` - the oldest entry. A new value of an existing key keeps the age of the old value
    * `:lru` - of 16 entries taken at random, the one that was read longest ago
    * `:lfu` - S3-FIFO. It is better than `:lru` for most loads, and keys that are read once do not
      push out keys that are read often

  ## Stampedes

  When many processes of a node ask for a missing value, `get_or_fetch/4` calls the function in one
  of them. The other processes wait for its result. If the fetching process dies, one of the waiting
  processes calls its own function. An error goes to every waiting process, and is not stored.

  A put or a delete of the key, or an invalidation of one of its tags, voids a running fetch. The
  callers that asked before the change get the fetched value, but the cache does not store it. So a
  deleted value never comes back.

  ## Telemetry

  If the application has `:telemetry`, a cache sends these events. Their names begin with
  `:telemetry_prefix`. Durations are in native time units. The metadata has the `cache`, and the
  `key` unless `telemetry_keys: false` is set.

  #{Vdr.Cache.Telemetry.docs()}
  """

  alias Vdr.Cache.{Entry, Fetch, Flights, Handle, Options, Stats, Sweeper, Telemetry}

  @typedoc "The name of a cache."
  @type cache :: atom
  @type key :: term
  @type reason :: Vdr.Cache.Error.reason()
  @typedoc "What the function of `get_or_fetch/4` returns."
  @type fetched :: {:ok, term} | {:ok, term, keyword} | {:error, term}
  @typedoc "An option of a cache."
  @type option :: unquote(Vdr.Schema.type(Options.schema()))

  # How often a change of an entry is tried while other processes change the entry, too.
  @attempts 16
  @timeout_ms 5_000

  # The functions of a cache's module, each with the arguments before the options.
  @with_options [
    get: [:key],
    get!: [:key],
    put: [:key, :value],
    delete: [:key],
    exists?: [:key],
    flush: [],
    get_or_fetch: [:key, :fetch_fn],
    invalidate_tag: [:tag],
    get_many: [:keys],
    put_many: [:entries],
    delete_many: [:keys],
    put_new: [:key, :value],
    replace: [:key, :value],
    take: [:key],
    update: [:key, :initial, :fun],
    get_and_update: [:key, :fun],
    ttl: [:key],
    expire: [:key, :ttl],
    touch: [:key],
    persist: [:key],
    transaction: [:keys, :fun]
  ]
  @without_options [
    size: [],
    stats: [],
    stream: [],
    tagged: [:tag],
    info: [],
    reset_stats: [],
    sweep: [],
    watch: [:key, :ref],
    watch_tag: [:tag, :ref],
    unwatch: [:key],
    unwatch_tag: [:tag],
    position: []
  ]

  defmacro __using__(opts) do
    with_options =
      for {name, arguments} <- @with_options do
        variables = Enum.map(arguments, &Macro.var(&1, __MODULE__))

        quote do
          @doc "See `Vdr.Cache.#{unquote(name)}/#{unquote(length(arguments) + 2)}`."
          def unquote(name)(unquote_splicing(variables), opts \\ []),
            do: Vdr.Cache.unquote(name)(__MODULE__, unquote_splicing(variables), opts)
        end
      end

    without_options =
      for {name, arguments} <- @without_options do
        variables = Enum.map(arguments, &Macro.var(&1, __MODULE__))

        quote do
          @doc "See `Vdr.Cache.#{unquote(name)}/#{unquote(length(arguments) + 1)}`."
          def unquote(name)(unquote_splicing(variables)),
            do: Vdr.Cache.unquote(name)(__MODULE__, unquote_splicing(variables))
        end
      end

    quote do
      @doc false
      def __vdr_cache__, do: unquote(opts)

      @doc """
      A child specification with the name of the cache as its id. See `Vdr.Cache.start_link/2`.
      """
      def child_spec(opts \\ []), do: Vdr.Cache.child_spec(__MODULE__, opts)

      @doc "Starts the cache. See `Vdr.Cache.start_link/2`."
      def start_link(opts \\ []), do: Vdr.Cache.start_link(__MODULE__, opts)

      @doc "See `Vdr.Cache.incr/4`."
      def incr(key, n \\ 1, opts \\ []), do: Vdr.Cache.incr(__MODULE__, key, n, opts)

      @doc "See `Vdr.Cache.decr/4`."
      def decr(key, n \\ 1, opts \\ []), do: Vdr.Cache.decr(__MODULE__, key, n, opts)

      @doc "See `Vdr.Cache.await/3`."
      def await(position, timeout \\ 5_000), do: Vdr.Cache.await(__MODULE__, position, timeout)

      @doc "See `Vdr.Cache.keys/2`."
      def keys(prefix \\ nil), do: Vdr.Cache.keys(__MODULE__, prefix)

      unquote_splicing(with_options)
      unquote_splicing(without_options)
    end
  end

  # ---- start

  @doc group: "Lifecycle"
  @doc """
  Starts the cache of a module that has `use Vdr.Cache`, linked to the caller.

  `{:error, {:already_started, pid}}` means that the name is taken. `{:error, {:disk, reason}}`
  means that the file of the cache cannot be used. A wrong option raises `ArgumentError`.
  """
  @spec start_link(module, [option]) :: Supervisor.on_start()
  def start_link(module, opts \\ [])

  # The child specification holds a function, because supervisors print the specification.
  def start_link(module, hidden) when is_function(hidden, 0), do: start_link(module, hidden.())

  def start_link(module, opts),
    do: module |> Options.resolve!(module.__vdr_cache__(), opts) |> Vdr.Cache.Supervisor.start_link()

  @doc group: "Lifecycle"
  @doc """
  A child specification with the name of the cache as its id, so that one supervisor can start
  several caches.
  """
  @spec child_spec(module, [option]) :: Supervisor.child_spec()
  def child_spec(module, opts \\ []) do
    options = Options.resolve!(module, module.__vdr_cache__(), opts)
    %{id: options.name, start: {__MODULE__, :start_link, [module, Options.hide(opts)]}, type: :supervisor}
  end

  # ---- reading

  @doc group: "Reading"
  @doc """
  Returns the value of a key, or `{:error, :not_found}`. O(1).
  """
  @spec get(cache, key, keyword) :: {:ok, term} | {:error, reason}
  def get(cache, key, opts \\ [])

  def get(cache, key, []) do
    case Handle.fetch(cache) do
      nil -> {:error, :not_started}
      handle -> read(handle, key)
    end
  end

  def get(cache, key, opts), do: run(cache, opts, :read, &read(&1, key))

  defp read(h, key) do
    started = if h.tell_get, do: :erlang.monotonic_time()
    answer = if h.bypass, do: {:error, :not_found}, else: h.store.get(h.state, key)
    count_read(h.stats, answer)
    if started, do: tell_read(h, key, answer, started)
    answer
  rescue
    error in ArgumentError -> gone(h, error, __STACKTRACE__)
  end

  defp count_read(nil, _answer), do: :ok
  defp count_read(stats, {:ok, _value}), do: Stats.add(stats, :hits, 1)
  defp count_read(stats, {:error, :not_found}), do: Stats.add(stats, :misses, 1)
  defp count_read(stats, {:error, _reason}), do: Stats.add(stats, :errors, 1)

  defp tell_read(h, key, answer, started),
    do: Telemetry.stop(h.telemetry, :get, started, %{key: key, result: result(answer)})

  defp result({:ok, _value}), do: :hit
  defp result({:error, :not_found}), do: :miss
  defp result({:error, _reason}), do: :error

  @doc group: "Reading"
  @doc """
  Returns the value of a key. Raises `KeyError` if the key has no entry, and `Vdr.Cache.Error` for
  every other reason.
  """
  @spec get!(cache, key, keyword) :: term
  def get!(cache, key, opts \\ []) do
    case get(cache, key, opts) do
      {:ok, value} -> value
      {:error, :not_found} -> raise KeyError, key: key, term: cache
      {:error, reason} -> raise Vdr.Cache.Error, reason: reason, cache: cache, key: key
    end
  end

  @doc group: "Reading"
  @doc """
  Returns whether a key has an entry. The call counts neither as a hit nor as a miss. Raises
  `Vdr.Cache.Error` if the cache cannot know, for example when its server does not respond.
  """
  @spec exists?(cache, key, keyword) :: boolean
  def exists?(cache, key, opts \\ []) do
    case run(cache, opts, :read, &if(&1.bypass, do: {:error, :not_found}, else: &1.store.get(&1.state, key))) do
      {:ok, _value} -> true
      {:error, :not_found} -> false
      {:error, reason} -> raise Vdr.Cache.Error, reason: reason, cache: cache, key: key
    end
  end

  @doc group: "Reading"
  @doc """
  Returns a map of the keys that have an entry, with their values. Each key counts as a hit or a
  miss. O(keys).
  """
  @spec get_many(cache, [key], keyword) :: {:ok, %{key => term}} | {:error, reason}
  def get_many(cache, keys, opts \\ []) do
    unless is_list(keys), do: refuse!(:get_many, "a list of keys", keys)

    run(cache, opts, :read, fn h ->
      answer = if h.bypass, do: {:ok, %{}}, else: many(h, Enum.uniq(keys))

      with {:ok, found} <- answer do
        Stats.add(h.stats, :hits, map_size(found))
        Stats.add(h.stats, :misses, length(Enum.uniq(keys)) - map_size(found))
        answer
      end
    end)
  end

  defp many(h, keys) do
    if function_exported?(h.store, :get_many, 2) do
      h.store.get_many(h.state, keys)
    else
      Enum.reduce_while(keys, {:ok, %{}}, fn key, {:ok, found} ->
        case h.store.get(h.state, key) do
          {:ok, value} -> {:cont, {:ok, Map.put(found, key, value)}}
          {:error, :not_found} -> {:cont, {:ok, found}}
          error -> {:halt, error}
        end
      end)
    end
  end

  @doc group: "Reading"
  @doc "Returns the remaining time to live of an entry, in ms or `:infinity`. O(1)."
  @spec ttl(cache, key, keyword) :: {:ok, timeout} | {:error, reason}
  def ttl(cache, key, opts \\ []), do: run(cache, opts, :read, &ask(&1, :ttl, [key], {:error, :not_found}))

  @doc group: "Reading"
  @doc """
  Returns a stream of the keys of all live entries. With a `prefix`, the stream has only the keys
  that are binaries and begin with it. Keys that are added or removed while the stream runs may be
  in it or not. O(entries).
  """
  @spec keys(cache, prefix :: nil | binary) :: Enumerable.t() | {:error, reason}
  def keys(cache, prefix \\ nil) do
    unless prefix == nil or is_binary(prefix), do: refuse!(:keys, "a binary as the prefix", prefix)

    case run(cache, [], :read, &ask(&1, :stream, [:keys], [])) do
      {:error, _reason} = error -> error
      keys when prefix == nil -> keys
      keys -> Stream.filter(keys, &(is_binary(&1) and String.starts_with?(&1, prefix)))
    end
  end

  @doc group: "Reading"
  @doc "Returns a stream of all live entries as pairs of key and value. See `keys/2`."
  @spec stream(cache) :: Enumerable.t() | {:error, reason}
  def stream(cache), do: run(cache, [], :read, &ask(&1, :stream, [:entries], []))

  @doc group: "Tags"
  @doc "Returns a stream of the keys of all live entries with a tag. O(entries of the tag)."
  @spec tagged(cache, tag :: term) :: Enumerable.t() | {:error, reason}
  def tagged(cache, tag), do: run(cache, [], :read, &ask(&1, :tagged, [tag], []))

  # ---- writing

  @doc group: "Writing"
  @doc """
  Stores a value with a time to live and tags. Replaces an existing entry with its time and tags.
  O(1).
  """
  @spec put(cache, key, term, keyword) :: :ok | {:error, reason}
  def put(cache, key, value, opts \\ []) do
    run(cache, opts, :write, fn h ->
      write = write(h, opts)
      with {:ok, _written} <- do_put(h, key, value, write), do: :ok
    end)
  end

  @doc group: "Writing"
  @doc "Stores a value unless the key has an entry. Returns whether the value was stored."
  @spec put_new(cache, key, term, keyword) :: {:ok, boolean} | {:error, reason}
  def put_new(cache, key, value, opts \\ []),
    do: run(cache, opts, :write, &do_put(&1, key, value, %{write(&1, opts) | mode: :new}))

  @doc group: "Writing"
  @doc "Stores a value if the key has an entry. Returns whether the value was stored."
  @spec replace(cache, key, term, keyword) :: {:ok, boolean} | {:error, reason}
  def replace(cache, key, value, opts \\ []),
    do: run(cache, opts, :write, &do_put(&1, key, value, %{write(&1, opts) | mode: :existing}))

  defp do_put(%Handle{bypass: true}, _key, _value, _write), do: {:ok, true}

  defp do_put(h, key, value, write) do
    started = Telemetry.started(h.telemetry, :put)
    answer = h.store.put(h.state, key, value, write)
    count_write(h.stats, answer)
    Telemetry.stop(h.telemetry, :put, started, %{key: key, ttl: write.ttl})
    answer
  end

  defp count_write(stats, {:ok, true}), do: Stats.add(stats, :writes, 1)
  defp count_write(_stats, {:ok, false}), do: :ok
  defp count_write(stats, {:error, _reason}), do: Stats.add(stats, :errors, 1)

  @entries "a map, or a list of pairs of key and value"

  @doc group: "Writing"
  @doc """
  Stores many values, given as a map or a list of pairs. Readers see all of them or none, except in
  a cache with a bound and in a partitioned cache. O(entries).
  """
  @spec put_many(cache, %{key => term} | [{key, term}], keyword) :: :ok | {:error, reason}
  def put_many(cache, entries, opts \\ []) do
    unless is_map(entries) or is_list(entries), do: refuse!(:put_many, @entries, entries)
    entries = Enum.map(entries, &if(match?({_key, _value}, &1), do: &1, else: refuse!(:put_many, @entries, &1)))

    run(cache, opts, :write, fn h ->
      write = write(h, opts)
      answer = if h.bypass, do: :ok, else: do_put_many(h, entries, write)
      if answer == :ok, do: Stats.add(h.stats, :writes, length(entries)), else: Stats.add(h.stats, :errors, 1)
      answer
    end)
  end

  defp do_put_many(h, entries, write) do
    if function_exported?(h.store, :put_many, 3) do
      h.store.put_many(h.state, entries, write)
    else
      Vdr.Cache.Backend.put_each(entries, &h.store.put(h.state, &1, &2, write))
    end
  end

  @doc group: "Writing"
  @doc """
  Removes an entry, and voids a running fetch of its key. Returns `:ok` whether or not there was an
  entry. O(1).
  """
  @spec delete(cache, key, keyword) :: :ok | {:error, reason}
  def delete(cache, key, opts \\ []) do
    run(cache, opts, :read, fn h ->
      started = Telemetry.started(h.telemetry, :delete)
      answer = if h.bypass, do: {:ok, false}, else: h.store.delete(h.state, key)
      Telemetry.stop(h.telemetry, :delete, started, %{key: key})

      with {:ok, _was_there} <- count_deletes(h, answer), do: :ok
    end)
  end

  defp count_deletes(h, {:ok, count} = answer) do
    Stats.add(h.stats, :deletes, if(is_integer(count), do: count, else: 1))
    answer
  end

  defp count_deletes(h, error) do
    Stats.add(h.stats, :errors, 1)
    error
  end

  @doc group: "Writing"
  @doc "Removes many entries. Returns how many of the keys had an entry. O(keys)."
  @spec delete_many(cache, [key], keyword) :: {:ok, non_neg_integer} | {:error, reason}
  def delete_many(cache, keys, opts \\ []) do
    unless is_list(keys), do: refuse!(:delete_many, "a list of keys", keys)

    run(cache, opts, :read, fn h ->
      count_deletes(h, if(h.bypass, do: {:ok, 0}, else: ask(h, :delete_many, [Enum.uniq(keys)], {:ok, 0})))
    end)
  end

  @doc group: "Writing"
  @doc """
  Removes an entry, and returns its value. If several processes take the same key, only one of them
  gets the value. O(1).
  """
  @spec take(cache, key, keyword) :: {:ok, term} | {:error, reason}
  def take(cache, key, opts \\ []) do
    run(cache, opts, :read, fn h ->
      answer = ask(h, :take, [key], {:error, :not_found})
      count_read(h.stats, answer)
      with {:ok, _value} <- answer, do: Stats.add(h.stats, :deletes, 1)
      answer
    end)
  end

  @doc group: "Writing"
  @doc """
  Adds `n` to the integer of a key, and returns the sum. The entry keeps its time to live and its
  tags. A key without an entry starts from the option `:default` (0). O(1).
  """
  @spec incr(cache, key, integer, keyword) :: {:ok, integer} | {:error, :not_an_integer | reason}
  def incr(cache, key, n \\ 1, opts \\ [])
  def incr(cache, key, opts, []) when is_list(opts), do: incr(cache, key, 1, opts)

  def incr(cache, key, n, opts) when is_integer(n) do
    run(cache, opts, :incr, fn h ->
      default = Keyword.get(opts, :default, 0)
      answer = ask(h, :incr, [key, n, default, write(h, opts)], {:ok, default + n})
      count_write(h.stats, with({:ok, _sum} <- answer, do: {:ok, true}))
      answer
    end)
  end

  def incr(_cache, _key, n, _opts), do: refuse!(:incr, "an integer", n)

  @doc group: "Writing"
  @doc "Subtracts `n` from the integer of a key. See `incr/4`."
  @spec decr(cache, key, integer, keyword) :: {:ok, integer} | {:error, :not_an_integer | reason}
  def decr(cache, key, n \\ 1, opts \\ [])
  def decr(cache, key, opts, []) when is_list(opts), do: incr(cache, key, -1, opts)
  def decr(cache, key, n, opts) when is_integer(n), do: incr(cache, key, -n, opts)
  def decr(_cache, _key, n, _opts), do: refuse!(:decr, "an integer", n)

  @doc group: "Writing"
  @doc """
  Calls the function with the value of a key, and stores the function's result. If the key has no
  entry, stores `initial`. Returns the new value.

  If another process changes the entry meanwhile, the function runs again. After 16 attempts the
  call returns `{:error, :contended}`. The entry keeps its time to live and its tags. With the
  option `:ttl` or `:tags`, it keeps neither: `ttl:` alone also removes the tags.
  """
  @spec update(cache, key, term, (term -> term), keyword) :: {:ok, term} | {:error, reason}
  def update(cache, key, initial, fun, opts \\ []) do
    unless is_function(fun, 1), do: refuse!(:update, "a function of one argument", fun)

    change(cache, key, opts, fn
      :none -> {:put, initial, initial}
      {:ok, value} -> value |> fun.() |> then(&{:put, &1, &1})
    end)
  end

  @doc group: "Writing"
  @doc """
  Calls the function with the value of a key, or with `nil` if the key has no entry. The function
  returns `{answer, new_value}`, or `:pop` to delete the entry. The call then returns
  `{:ok, {answer, new_value}}`, and after `:pop` `{:ok, {old_value, nil}}`. Like the function of
  `update/5`, this one may run several times.
  """
  @spec get_and_update(cache, key, (term -> {term, term} | :pop), keyword) ::
          {:ok, {term, term}} | {:error, reason}
  def get_and_update(cache, key, fun, opts \\ []) do
    unless is_function(fun, 1), do: refuse!(:get_and_update, "a function of one argument", fun)

    change(cache, key, opts, fn found ->
      value = with {:ok, value} <- found, do: value, else: (_none -> nil)

      case fun.(value) do
        {got, new} ->
          {:put, new, {got, new}}

        :pop ->
          if found == :none, do: {:nothing, {nil, nil}}, else: {:pop, {value, nil}}

        other ->
          raise ArgumentError,
                "the function of get_and_update returns {answer, new_value} or :pop, got: #{inspect(other, limit: 5)}"
      end
    end)
  end

  defp change(cache, key, opts, fun) do
    run(cache, opts, :write, fn h ->
      write = %{write(h, opts) | inherit: not Keyword.has_key?(opts, :ttl) and not Keyword.has_key?(opts, :tags)}

      if h.bypass or not function_exported?(h.store, :entry, 2),
        do: without_entry(h, fun),
        else: attempt(h, key, write, fun, @attempts)
    end)
  end

  defp without_entry(%Handle{bypass: true}, fun) do
    with {_what, _new, answer} <- fun.(:none), do: {:ok, answer}, else: ({_what, answer} -> {:ok, answer})
  end

  defp without_entry(_h, _fun), do: {:error, :not_supported}

  defp attempt(h, _key, _write, _fun, 0) do
    Stats.add(h.stats, :errors, 1)
    {:error, :contended}
  end

  defp attempt(h, key, write, fun, left) do
    with {:ok, found, version} <- current(h, key) do
      case fun.(found) do
        {:put, new, answer} ->
          swap(h, key, new, %{write | mode: {:version, version}}, answer, fun, left)

        {:pop, answer} ->
          swap(h, key, nil, %{write | mode: {:version, version}, ttl: 0, inherit: false}, answer, fun, left)

        {:nothing, answer} ->
          {:ok, answer}
      end
    end
  end

  defp current(h, key) do
    case h.store.entry(h.state, key) do
      {:ok, %Entry{fresh: true, value: value, version: version}} -> {:ok, {:ok, value}, version}
      {:ok, %Entry{}} -> {:ok, :none, nil}
      {:error, :not_found} -> {:ok, :none, nil}
      error -> error
    end
  end

  defp swap(h, key, new, write, answer, fun, left) do
    case do_put(h, key, new, write) do
      {:ok, true} -> {:ok, answer}
      {:ok, false} -> attempt(h, key, write, fun, left - 1)
      error -> error
    end
  end

  @doc group: "Writing"
  @doc """
  Sets the time to live of an entry, counted from now, in ms or `:infinity`. Returns whether there
  is such an entry. O(1).
  """
  @spec expire(cache, key, timeout, keyword) :: {:ok, boolean} | {:error, reason}
  def expire(cache, key, ttl, opts \\ []) do
    Options.ttl!(ttl)
    run(cache, opts, :read, &ask(&1, :expire, [key, ttl], {:ok, false}))
  end

  @doc group: "Writing"
  @doc """
  Restarts the time to live of an entry: the option `:ttl` of the call, or else the cache's
  `:default_ttl`. Returns whether there is such an entry.
  """
  @spec touch(cache, key, keyword) :: {:ok, boolean} | {:error, reason}
  def touch(cache, key, opts \\ []),
    do: run(cache, opts, :touch, &ask(&1, :expire, [key, Keyword.get(opts, :ttl, &1.default_ttl)], {:ok, false}))

  @doc group: "Writing"
  @doc "Removes the time limit of an entry. Returns whether there is such an entry."
  @spec persist(cache, key, keyword) :: {:ok, boolean} | {:error, reason}
  def persist(cache, key, opts \\ []), do: expire(cache, key, :infinity, opts)

  @doc group: "Writing"
  @doc "Removes all entries that were put before the call began. O(entries)."
  @spec flush(cache, keyword) :: :ok | {:error, reason}
  def flush(cache, opts \\ []), do: run(cache, opts, :read, &if(&1.bypass, do: :ok, else: &1.store.flush(&1.state)))

  @doc group: "Tags"
  @doc """
  Invalidates every entry with the tag that was put before the call began. Returns how many of these
  entries were live. An entry with several tags becomes invalid with the first of its tags that is
  invalidated. Reads miss these entries at once. Removing them is O(entries of the tag).
  """
  @spec invalidate_tag(cache, tag :: term, keyword) :: {:ok, non_neg_integer} | {:error, reason}
  def invalidate_tag(cache, tag, opts \\ []) do
    run(cache, opts, :read, fn h ->
      answer = if h.bypass, do: {:ok, 0}, else: ask(h, :invalidate_tag, [tag], {:ok, 0})

      case answer do
        {:ok, count} -> Telemetry.execute(h.telemetry, [:invalidate_tag, :stop], %{count: count}, %{tag: tag})
        {:error, _reason} -> Stats.add(h.stats, :errors, 1)
      end

      answer
    end)
  end

  # ---- fetching

  @doc group: "Fetching"
  @doc """
  Returns the value of a key. If the key has no entry, calls the function, stores its result, and
  returns it.

  The function takes the key, or no argument. It runs in the calling process, and returns one of
  these:

    * `{:ok, value}` - the value is stored with the options of the call
    * `{:ok, value, options}` - these options override those of the call: `:ttl`, `:tags`,
      `:refresh_after`, `:stale_if_error`, `:ttl_jitter` and `:consistency`. With `store: false` the
      value is not stored
    * `{:error, reason}` - every waiting process gets the error. It is stored only with
      `:negative_ttl`

  Any other result raises `ArgumentError`. An exception of the function reaches its caller, and one
  of the waiting processes calls its own function.

  The function must not fetch its own key from the cache: that raises `ArgumentError`. If the
  functions of two processes fetch each other's keys, both wait until `:stampede_timeout`.
  """
  @spec get_or_fetch(cache, key, (key -> fetched) | (... -> fetched), keyword) :: {:ok, term} | {:error, reason | term}
  def get_or_fetch(cache, key, fetch_fn, opts \\ []) do
    unless is_function(fetch_fn, 0) or is_function(fetch_fn, 1),
      do: refuse!(:get_or_fetch, "a function of the key, or of no argument", fetch_fn)

    Options.check!(opts, :fetch)

    case Handle.fetch(cache) do
      nil ->
        {:error, :not_started}

      h ->
        h = if opts == [], do: h, else: Handle.for_call(h, opts)
        Fetch.run(h, key, fetch_fn, write(h, opts), opts)
    end
  end

  @doc group: "Fetching"
  @doc """
  Locks the keys on this node, calls the function, and returns its result. At any moment, only one
  process of the node is in a transaction with a given key. If the locks are not free within
  `:timeout` ms, the call returns `{:error, :timeout}`. Puts and deletes outside of transactions do
  not wait for the locks.
  """
  @spec transaction(cache, [key], (... -> result), keyword) :: result | {:error, :timeout | :not_started}
        when result: term
  def transaction(cache, keys, fun, opts \\ []) do
    unless is_list(keys), do: refuse!(:transaction, "a list of keys", keys)
    unless is_function(fun, 0), do: refuse!(:transaction, "a function of no argument", fun)
    Options.check!(opts, :read)

    case Handle.fetch(cache) do
      nil -> {:error, :not_started}
      h -> Flights.locked(h.flights, keys, Keyword.get(opts, :timeout, @timeout_ms), fun)
    end
  end

  # ---- mirrors

  @doc group: "Mirrors"
  @doc """
  Watches an entry: the calling process receives `{ref, event}` after each change of the entry, on
  any node and by any client. Events and errors are those of `Veidrodelis.watch/4`. Only
  `Vdr.Cache.Backend.Mirror` supports watches.
  """
  @spec watch(cache, key, term) :: :ok | {:error, reason}
  def watch(cache, key, ref), do: run(cache, [], :read, &ask(&1, :watch, [key, ref], {:error, :not_supported}))

  @doc group: "Mirrors"
  @doc """
  Watches the invalidations of a tag, as `watch/3` watches an entry. The first put with a tag is an
  event, too.
  """
  @spec watch_tag(cache, tag :: term, term) :: :ok | {:error, reason}
  def watch_tag(cache, tag, ref), do: run(cache, [], :read, &ask(&1, :watch_tag, [tag, ref], {:error, :not_supported}))

  @doc group: "Mirrors"
  @doc "Ends `watch/3`."
  @spec unwatch(cache, key) :: :ok | {:error, reason}
  def unwatch(cache, key), do: run(cache, [], :read, &ask(&1, :unwatch, [key], {:error, :not_supported}))

  @doc group: "Mirrors"
  @doc "Ends `watch_tag/3`."
  @spec unwatch_tag(cache, tag :: term) :: :ok | {:error, reason}
  def unwatch_tag(cache, tag), do: run(cache, [], :read, &ask(&1, :unwatch_tag, [tag], {:error, :not_supported}))

  @doc group: "Mirrors"
  @doc """
  Returns the position of the data that can be read now; see `Veidrodelis.position/1`. Send the
  position to another node: there, `await/3` waits until the node's data is at least as new.
  """
  @spec position(cache) :: {:ok, term} | {:error, reason}
  def position(cache), do: run(cache, [], :read, &ask(&1, :position, [], {:error, :not_supported}))

  @doc group: "Mirrors"
  @doc """
  Waits until this node can read everything up to a position; see `Veidrodelis.await_position/3`.
  """
  @spec await(cache, term, timeout) :: :ok | {:error, reason}
  def await(cache, position, timeout \\ @timeout_ms),
    do: run(cache, [], :read, &ask(&1, :await, [position, timeout], {:error, :not_supported}))

  # ---- observation

  @doc group: "Observation"
  @doc "Returns the number of entries. Expired entries count until they are removed. O(1)."
  @spec size(cache) :: non_neg_integer | {:error, reason}
  def size(cache), do: run(cache, [], :read, & &1.store.size(&1.state))

  @doc group: "Observation"
  @doc """
  Returns a map of the counters since the start, or since `reset_stats/1`:

    * `hits`, `misses`, `writes`, `deletes`, `evictions`, `errors`
    * `expirations` - expired entries that were removed
    * `fetches`, `fetch_errors` - calls of the functions of `get_or_fetch/4`, and how many of them
      failed
    * `waits`, `lease_waits` - waits for the fetch of another process, and of another node
    * `stale_served` - old values that were returned because fetching failed
    * `lease_lost` - fetched values that were not stored, because the key was written meanwhile
    * `degraded` - fetches while the cache could not be used
    * `near_hits` - hits in the near cache
    * `decode_errors` - bytes on the server that are not a value of a cache

  The map also has `size`, `hit_rate`, `since` (the start, in ms of Unix time) and `enabled`.
  """
  @spec stats(cache) :: map | {:error, reason}
  def stats(cache) do
    run(cache, [], :read, fn h ->
      stats = Stats.read(h.stats)
      asked = stats.hits + stats.misses
      rate = if asked == 0, do: 0.0, else: stats.hits / asked
      size = h.store.size(h.state)
      Map.merge(stats, %{size: size, hit_rate: rate, since: h.started_at, enabled: h.stats != nil})
    end)
  end

  @doc group: "Observation"
  @doc "Sets all counters to 0."
  @spec reset_stats(cache) :: :ok | {:error, reason}
  def reset_stats(cache), do: run(cache, [], :read, &Stats.reset(&1.stats))

  @doc group: "Observation"
  @doc """
  Returns a map that describes a cache: its name, module, backend, topology, members and size. The
  backend and the topology add keys of their own.
  """
  @spec info(cache) :: map | {:error, reason}
  def info(cache) do
    run(cache, [], :read, fn h ->
      own = %{
        name: h.name,
        module: h.module,
        backend: h.options.backend,
        topology: h.options.topology,
        members: [node()],
        size: h.store.size(h.state)
      }

      if function_exported?(h.store, :info, 1), do: Map.merge(own, h.store.info(h.state)), else: own
    end)
  end

  @doc group: "Observation"
  @doc "Removes all expired entries now, and returns how many there were."
  @spec sweep(cache) :: {:ok, non_neg_integer} | {:error, reason}
  def sweep(cache), do: run(cache, [], :read, &Sweeper.sweep/1)

  # ---- common

  defp write(h, opts), do: Options.write(h.default_ttl, opts)

  @spec refuse!(atom, String.t(), term) :: no_return
  defp refuse!(function, takes, got) do
    raise ArgumentError, "#{function} of a cache takes #{takes}, got: #{inspect(got, limit: 5, printable_limit: 100)}"
  end

  # Calls the function with the handle of a running cache.
  defp run(cache, opts, kind, fun) do
    Options.check!(opts, kind)

    case Handle.fetch(cache) do
      nil ->
        {:error, :not_started}

      h ->
        h = if opts == [], do: h, else: Handle.for_call(h, opts)

        try do
          fun.(h)
        rescue
          error in ArgumentError -> gone(h, error, __STACKTRACE__)
          # Raised by a stream that cannot begin.
          error in Vdr.Cache.Error -> {:error, error.reason}
        end
    end
  end

  # When a cache is stopped in the middle of a call, its tables are gone, and `:ets` raises.
  defp gone(h, error, stacktrace) do
    case Handle.fetch(h.name) do
      %Handle{flights: flights} when flights == h.flights -> reraise error, stacktrace
      _stopped -> {:error, :not_started}
    end
  end

  # A store lacks the functions that it does not support.
  defp ask(%Handle{bypass: true}, _function, _arguments, nothing), do: nothing

  defp ask(h, function, arguments, _nothing) do
    if function_exported?(h.store, function, length(arguments) + 1),
      do: apply(h.store, function, [h.state | arguments]),
      else: {:error, :not_supported}
  end
end
