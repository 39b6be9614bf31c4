defmodule Vdr.Cache.Backend.Server do
  @moduledoc false
  # The common part of `Vdr.Cache.Backend.Redis` and `Vdr.Cache.Backend.Mirror`: entries on a
  # server. Writes are scripts or transactions on the server, so each is atomic. Reads ask the
  # server or the mirror.

  alias Vdr.Cache.Backend.Server.{Bytes, Lease, Read, Scripts}
  alias Vdr.Cache.Write
  alias Vdr.Options.Url

  @portion 500
  @nonce_bytes 12
  @connection ~w(url host port socket sentinel username password ssl ssl_opts)a
  @schema [
    url: [
      type: :string,
      secret: true,
      doc: "the server's URL, as in `Veidrodelis.start_link/1`. It must not name another database than `:database`"
    ],
    host: [type: :host, doc: "the server's host name or address"],
    port: [type: {:integer, 1..65_535}, doc: "the server's port"],
    socket: [type: :text, doc: "the path of the server's Unix socket"],
    sentinel: [type: :any, doc: "finds the server by Sentinel; see `Veidrodelis.start_link/1`"],
    username: [type: :string, doc: "the ACL user"],
    password: [type: :password, secret: true, doc: "a string, or `{module, function, arguments}`"],
    ssl: [type: :boolean, doc: "whether to use TLS"],
    ssl_opts: [type: :any, doc: "the TLS options; see `Veidrodelis.start_link/1`"],
    mirror: [
      type: :any,
      doc: "the id of an instance of `Veidrodelis` that the application runs; replaces all options above"
    ],
    database: [type: {:integer, 0..0xFFFFFFFF}, default: 0, doc: "the number of the server's database"],
    key_prefix: [type: :binary, doc: "the beginning of every key (`\"vdr:<cache>:\"`)"],
    timeout: [
      type: {:integer, 1..0x7FFFFFFF},
      default: 5_000,
      doc: "how long a call without `timeout:` waits for the server, in ms"
    ],
    serializer: [
      type: {:check, "a module with encode/2 and decode/2", quote(do: module()), &__MODULE__.serializer?/1},
      doc: "a module with the behaviour `Vdr.Cache.Serializer`; the default is the external term format"
    ],
    compress: [
      type: {:integer, 1..0x7FFFFFFF},
      doc: "compresses values with more bytes than this; without it, no value is compressed"
    ],
    max_value: [
      type: {:integer, 1..0x7FFFFFFF},
      default: 64 * 1024 * 1024,
      doc: "the largest size of a compressed value after decompression, in bytes"
    ],
    lease: [
      type: {:integer, 100..0x7FFFFFFF},
      default: 10_000,
      doc: "how long a lease lives on the server if its node does not renew it, in ms"
    ],
    on_decode_error: [
      type: {:one_of, [:error, :miss]},
      default: :error,
      doc: "what a read returns for bytes that are not a value of a cache: an error, or a miss"
    ],
    stale_reads: [
      type: :any,
      default: :allow,
      doc: "how old a mirror may be for a read; see `Veidrodelis.start_link/1`"
    ],
    on_stale: [
      type: {:one_of, [:server, :error]},
      default: :server,
      doc: "what a read does if the mirror is not ready or too old: it asks the server, or returns the error"
    ],
    await_start: [
      type: {:integer, 0..0x7FFFFFFF},
      default: 30_000,
      doc: "how long the start waits for the mirror's first full sync, in ms"
    ]
  ]

  @doc false
  def docs, do: Vdr.Schema.docs(@schema)

  @doc false
  def serializer?(module) do
    is_atom(module) and Code.ensure_loaded?(module) and function_exported?(module, :encode, 2) and
      function_exported?(module, :decode, 2)
  end

  defmacro __using__(mirror: mirror?) do
    functions = [
      get: [:key],
      entry: [:key],
      ttl: [:key],
      put: [:key, :value, :write],
      delete: [:key],
      delete_many: [:keys],
      get_many: [:keys],
      put_many: [:entries, :write],
      take: [:key],
      incr: [:key, :n, :default, :write],
      expire: [:key, :ttl],
      invalidate_tag: [:tag],
      tagged: [:tag],
      flush: [],
      size: [],
      sweep: [],
      stream: [:what],
      info: [],
      acquire: [:key, :how],
      await_lease: [:wait, :timeout],
      commit: [:key, :lease, :answer, :write],
      release: [:key, :lease]
    ]

    delegated =
      for {name, arguments} <- functions do
        variables = Enum.map(arguments, &Macro.var(&1, __MODULE__))

        quote do
          @impl true
          def unquote(name)(h, unquote_splicing(variables)), do: Server.unquote(name)(h, unquote_splicing(variables))
        end
      end

    # Functions that need a mirror.
    of_mirrors =
      if mirror? do
        quote do
          @doc false
          def watch(h, key, ref), do: Server.watch(h, Server.entry_key(h, key), ref)
          @doc false
          def watch_tag(h, tag, ref), do: Server.watch(h, Server.generation_key(h, tag), ref)
          @doc false
          def unwatch(h, key), do: Server.unwatch(h, Server.entry_key(h, key))
          @doc false
          def unwatch_tag(h, tag), do: Server.unwatch(h, Server.generation_key(h, tag))
          @doc false
          def position(h), do: Veidrodelis.position(h.id)
          @doc false
          def await(h, position, timeout), do: Veidrodelis.await_position(h.id, position, timeout)
        end
      end

    quote do
      @behaviour Vdr.Cache.Backend
      alias Vdr.Cache.Backend.Server

      @impl true
      def check!(config), do: Server.check!(config)
      @impl true
      def start(config), do: Server.start(config, unquote(mirror?))
      @impl true
      def with_timeout(h, timeout), do: %{h | timeout: timeout}

      unquote_splicing(delegated)
      unquote(of_mirrors)
    end
  end

  # ---- start

  def check!(config) do
    opts = options!(config)

    if config.max_size != :infinity or config.max_bytes != :infinity or config.policy != :ttl_only do
      raise ArgumentError,
            "options :max_size, :max_bytes and :eviction_policy are not for a cache on a server, which bounds itself: set " <>
              "maxmemory and maxmemory-policy there"
    end

    # The instance checks its own options, and raises its own messages.
    if opts[:mirror] == nil, do: config |> instance(opts, true) |> Veidrodelis.child_spec()
    check_database!(opts, config)
  end

  # An instance ignores the database of its URL. A cache has one database, so it must not be another
  # one. The message shows no part of the URL, which may hold a password.
  defp check_database!(opts, config) do
    if opts[:url] != nil and Url.database(opts[:url]) not in [nil, opts[:database]] do
      raise ArgumentError,
            "option :url of :backend_opts of #{inspect(config.name)} names another database than the option :database, " <>
              "which is #{opts[:database]}: give :database the number, or leave the number out of the URL"
    end

    :ok
  end

  defp options!(config) do
    whose = ":backend_opts of #{inspect(config.name)}"
    given = Vdr.Schema.cast!(config.opts, @schema, whose)
    Vdr.Schema.exclude!(given, [:mirror], @connection, whose)
    Vdr.Schema.fill(given, @schema)
  end

  defp instance(config, opts, mirror?) do
    prefix = prefix(config, opts)
    # An instance that is needed for its connections only keeps keys that no client writes.
    kept = if mirror?, do: prefix, else: prefix <> "!none:"

    [id: id(config, opts), only: [dbs: [opts[:database]], prefixes: [kept]], stale_reads: opts[:stale_reads]] ++
      [guard_key: false] ++ for({name, value} <- Keyword.take(opts, @connection), value != nil, do: {name, value})
  end

  defp prefix(config, opts), do: opts[:key_prefix] || "vdr:#{inspect(config.name)}:"
  defp id(config, opts), do: opts[:mirror] || {Vdr.Cache, config.name}

  def start(config, mirror?) do
    opts = options!(config)

    state = %{
      id: id(config, opts),
      mirror: mirror?,
      connection: Veidrodelis,
      db: opts[:database],
      prefix: prefix(config, opts),
      timeout: opts[:timeout],
      codec: %{serializer: opts[:serializer], compress: opts[:compress], max_value: opts[:max_value]},
      lease: opts[:lease],
      on_decode_error: opts[:on_decode_error],
      on_stale: opts[:on_stale],
      report: config.report,
      telemetry: config.telemetry
    }

    instance = if opts[:mirror] == nil, do: [{Veidrodelis, instance(config, opts, mirror?)}], else: []
    await = if mirror?, do: [{__MODULE__.Await, {state.id, opts[:await_start]}}], else: []
    {:ok, instance ++ await, state}
  end

  # ---- reads

  defdelegate get(h, key), to: Read
  defdelegate entry(h, key), to: Read
  defdelegate ttl(h, key), to: Read
  defdelegate get_many(h, keys), to: Read
  defdelegate tagged(h, tag), to: Read
  defdelegate stream(h, what), to: Read
  defdelegate size(h), to: Read

  def info(h) do
    %{
      prefix: h.prefix,
      instance: h.id,
      mirror: if(h.mirror, do: Veidrodelis.info(h.id), else: nil)
    }
  end

  # The server itself removes expired entries. If a node has not finished an invalidation within a
  # minute, the other nodes finish it.
  @orphan_ms 60_000

  def sweep(h) do
    with {:ok, begun} <- command(h, ["HGETALL", h.prefix <> "d"], %Write{consistency: :server}) do
      for [nonce, at] <- Enum.chunk_every(begun, 2), orphan?(at), do: drain(h, "", "", nonce, 0)
      {:ok, 0}
    end
  end

  defp orphan?(at) do
    case Integer.parse(at) do
      {ms, ""} -> :os.system_time(:millisecond) - ms > @orphan_ms
      _foreign -> true
    end
  end

  # ---- writes

  # A value that cannot be stored is reported. The result of the write itself is not, so a write
  # with a condition waits for the server.
  def put(h, key, value, %Write{consistency: :async, mode: :always} = write) do
    with {:ok, _payload, _flag} <- Bytes.encode_write(value, write, h.codec) do
      spawn(fn -> put(h, key, value, %{write | consistency: :server}) end)
      {:ok, true}
    end
  end

  def put(h, key, value, %Write{inherit: true, mode: {:version, version}} = write) when is_binary(version) do
    with {:ok, opened} <- opened(version, key),
         {:ok, payload, flag} <- Bytes.encode(value, h.codec) do
      # The new value keeps the stamps and the times of the stored entry.
      bytes =
        if opened.header == "" and flag == :value,
          do: payload,
          else: Bytes.header(flag, opened.soft, opened.fresh, length(opened.stamps)) <> stamps(opened) <> payload

      run_put(h, key, bytes, "v", write, "version", version, "inherit", [])
    end
  end

  # The most common put needs no script: it is a transaction of two plain commands.
  def put(h, key, value, %Write{mode: :always, tags: [], keep: 0, soft: nil, kind: :value, ttl: ttl} = write)
      when ttl != 0 do
    with {:ok, payload, flag} <- Bytes.encode(value, h.codec) do
      bytes = if flag == :value, do: payload, else: Bytes.header(flag, nil, nil, 0) <> payload
      set = ["SET", entry_key(h, key), bytes | if(ttl == :infinity, do: [], else: ["PX", Integer.to_string(ttl)])]

      with {:ok, _replies} <- transaction(h, [["DEL", lease_key(h, key)], set], write), do: {:ok, true}
    end
  end

  def put(h, key, value, %Write{} = write) do
    with {:ok, payload, flag} <- Bytes.encode_write(value, write, h.codec) do
      {mode, expected} =
        case write.mode do
          {:version, nil} -> {"new", ""}
          {:version, version} -> {"version", version}
          mode -> {Atom.to_string(mode), ""}
        end

      run_put(h, key, payload, flag, write, mode, expected, "", tag_arguments(write.tags))
    end
  end

  defp run_put(h, key, payload, flag, write, mode, expected, inherit, tags) do
    {entry, lease} = {entry_key(h, key), lease_key(h, key)}
    arguments = [h.prefix, entry, lease, payload, flag] ++ Bytes.times(write) ++ [mode, expected, inherit] ++ tags

    case script(h, :put, [entry, lease], arguments, write) do
      {:ok, 1} -> {:ok, true}
      {:ok, 0} -> {:ok, false}
      error -> error
    end
  end

  defp tag_arguments(tags), do: Enum.flat_map(tags, &[Bytes.key(&1), nonce()])
  defp stamps(opened), do: Enum.map_join(opened.stamps, fn {tag, nonce} -> "#{byte_size(tag)}:" <> tag <> nonce end)

  defp opened(bytes, key) do
    with :error <- Bytes.open(bytes), do: {:error, {:undecodable, key}}
  end

  # One transaction, so the entries become visible together.
  def put_many(_h, [], _write), do: :ok

  def put_many(h, entries, write) do
    encoded = for {key, value} <- entries, do: {key, Bytes.encode_write(value, write, h.codec)}

    case Enum.find(encoded, &match?({_key, {:error, _reason}}, &1)) do
      {_key, error} -> error
      nil -> put_encoded(h, encoded, write)
    end
  end

  defp put_encoded(h, encoded, write) do
    commands = fn by ->
      for {key, {:ok, payload, flag}} <- encoded do
        {entry, lease} = {entry_key(h, key), lease_key(h, key)}
        arguments = [h.prefix, entry, lease, payload, flag] ++ Bytes.times(write) ++ ["always", "", ""]
        apply(Scripts, by, [:put, [entry, lease], arguments ++ tag_arguments(write.tags)])
      end
    end

    case transaction(h, commands.(:by_digest), write) do
      {:error, :no_script} -> with {:ok, _replies} <- transaction(h, commands.(:by_text), write), do: :ok
      {:ok, _replies} -> :ok
      error -> error
    end
  end

  def delete(h, key), do: with({:ok, count} <- delete_many(h, [key]), do: {:ok, count > 0})

  def delete_many(_h, []), do: {:ok, 0}

  def delete_many(h, keys) do
    keys = Enum.flat_map(keys, &[entry_key(h, &1), lease_key(h, &1)])
    script(h, :delete, keys, [h.prefix | keys], %Write{})
  end

  def take(h, key) do
    {entry, lease} = {entry_key(h, key), lease_key(h, key)}

    with {:ok, bytes} when is_binary(bytes) <- script(h, :take, [entry, lease], [h.prefix, entry, lease], %Write{}),
         {:ok, opened} <- opened(bytes, key) do
      Read.value(h, key, opened)
    else
      {:ok, nil} -> {:error, :not_found}
      error -> error
    end
  end

  def incr(h, key, n, default, write) do
    {entry, lease} = {entry_key(h, key), lease_key(h, key)}

    case script(h, :incr, [entry, lease], [h.prefix, entry, lease, Integer.to_string(n)], write) do
      {:ok, sum} when is_binary(sum) -> {:ok, String.to_integer(sum)}
      {:ok, 0} -> {:error, :not_an_integer}
      {:ok, nil} -> begin(h, key, n, default, write)
      error -> error
    end
  end

  defp begin(h, key, n, default, write) do
    case put(h, key, default + n, %{write | mode: :new}) do
      {:ok, true} -> {:ok, default + n}
      {:ok, false} -> incr(h, key, n, default, write)
      error -> error
    end
  end

  def expire(h, key, 0), do: delete(h, key)

  def expire(h, key, ttl) do
    entry = entry_key(h, key)

    case script(h, :expire, [entry], [h.prefix, entry, Bytes.ms(ttl)], %Write{}) do
      {:ok, n} -> {:ok, n == 1}
      error -> error
    end
  end

  # ---- tags

  def invalidate_tag(h, tag) do
    {tag, set} = {Bytes.key(tag), nonce()}

    # After this script, every entry that was put before is invalid on all nodes.
    case script(h, :invalidate, [key_of_generation(h, tag)], [h.prefix, tag, set], %Write{}) do
      {:ok, dead} when is_binary(dead) -> drain(h, tag, dead, set, 0)
      {:ok, nil} -> drain(h, tag, "", set, 0)
      error -> error
    end
  end

  defp drain(h, tag, dead, set, count) do
    case script(h, :drain, [h.prefix <> "d:" <> set], [h.prefix, tag, dead, set], %Write{}) do
      {:ok, [n, 0]} -> {:ok, count + n}
      {:ok, [n, _more]} -> drain(h, tag, dead, set, count + n)
      error -> error
    end
  end

  # ---- all of it

  # The mirror may lag behind, so the server lists the keys.
  def flush(h) do
    case Read.scan_server(h, h.prefix) do
      {:ok, keys} ->
        keys
        |> Enum.chunk_every(@portion)
        |> Enum.find_value(:ok, fn portion ->
          with {:ok, _count} <- command(h, ["UNLINK" | portion], %Write{}), do: nil
        end)

      error ->
        error
    end
  end

  # ---- leases

  defdelegate acquire(h, key, how), to: Lease
  defdelegate await_lease(h, wait, timeout), to: Lease
  defdelegate commit(h, key, lease, answer, write), to: Lease
  defdelegate release(h, key, lease), to: Lease

  def watch(h, on_server, ref), do: Veidrodelis.watch(h.id, h.db, on_server, ref)
  def unwatch(h, on_server), do: Veidrodelis.unwatch(h.id, h.db, on_server)

  # ---- common

  def entry_key(h, key), do: join(h.prefix, "e:", Bytes.key(key))
  def lease_key(h, key), do: join(h.prefix, "l:", Bytes.key(key))
  def generation_key(h, tag), do: key_of_generation(h, Bytes.key(tag))
  @doc "As `generation_key/2`, of a tag that is encoded."
  def key_of_generation(h, tag), do: join(h.prefix, "g:", tag)

  # Without the size, the compiler takes the first part for the beginning of a longer binary, and
  # makes one with room to grow. That takes as long as a third of a read.
  defp join(prefix, kind, key) do
    size = byte_size(prefix)
    <<prefix::binary-size(size), kind::binary, key::binary>>
  end

  def nonce, do: @nonce_bytes |> random() |> Base.encode64()

  # A nonce must be unique. It need not be unguessable.
  defp random(bytes), do: :rand.bytes(bytes)

  @doc "Runs a script by its digest. If the server does not know the script, sends its text."
  def script(h, name, keys, arguments, write) do
    case command(h, Scripts.by_digest(name, keys, arguments), write) do
      {:error, :no_script} -> command(h, Scripts.by_text(name, keys, arguments), write)
      answer -> answer
    end
  end

  def command(h, command, write), do: sent(h, write, &h.connection.command(h.id, command, &1))

  def transaction(h, commands, write) do
    with {:ok, replies} <- sent(h, write, &h.connection.transaction(h.id, commands, &1)), do: all_accepted(replies)
  end

  def pipeline(h, commands) do
    with {:ok, replies} <- sent(h, %Write{consistency: :server}, &h.connection.pipeline(h.id, commands, &1)),
         do: all_accepted(replies)
  end

  defp all_accepted(replies) do
    case Enum.find(replies, &is_exception/1) do
      nil -> {:ok, replies}
      error -> refused(error)
    end
  end

  defp sent(h, %Write{consistency: consistency}, send) do
    opts = [db: h.db, timeout: h.timeout, sync: h.mirror and consistency == :local]

    case send.(opts) do
      {:ok, reply} -> {:ok, reply}
      {:error, error} when is_struct(error) -> refused(error)
      {:error, reason} -> {:error, reason}
    end
  end

  # The server refused to queue a command of the transaction, and ran none of them.
  defp refused(%{code: "EXECABORT", cause: cause}) when cause != nil, do: refused(cause)
  defp refused(%{code: "NOSCRIPT"}), do: {:error, :no_script}
  defp refused(%{code: "OOM"}), do: {:error, :server_full}
  defp refused(%{code: "READONLY"}), do: {:error, :read_only}
  defp refused(%{message: text}), do: {:error, {:refused, text}}
end

defmodule Vdr.Cache.Backend.Server.Await do
  @moduledoc false
  # The start of a cache waits until its mirror has its data, so that the first request after a
  # deploy is a hit. If the server is away, the cache starts anyway: reads ask the server when it is
  # back.

  @spec child_spec({term, timeout}) :: Supervisor.child_spec()
  def child_spec(arg), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [arg]}}

  @spec start_link({term, non_neg_integer}) :: :ignore
  def start_link({_id, 0}), do: :ignore

  def start_link({id, timeout}) do
    Veidrodelis.await_ready(id, timeout)
    :ignore
  end
end
