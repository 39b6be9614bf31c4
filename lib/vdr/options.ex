defmodule Vdr.Options do
  @moduledoc false
  # What `Veidrodelis.start_link/1` and `Vdr.RedisStream.Replica.start_link/1` take: one schema, from which their
  # documentation is made, and what the options mean together. Whoever has a `%Vdr.Options{}` need check nothing again.

  @port 1..65_535
  @ms 0..2_147_483_647
  @db 0..0xFFFFFFFF

  # Options by name: what they take, their default, what they are for. An option that has no default is `nil` then. One
  # that is `for:` a mirror or a replica is not for the other.
  @schema [
    id: [for: :mirror, type: :any, default: Veidrodelis, doc: "names the instance in every other call; any term"],
    name: [type: :name, doc: "registers the process that is started, as `GenServer` does"],
    host: [type: :string, default: "localhost", doc: "the server's host name or address"],
    port: [type: {:integer, @port}, default: 6379, doc: "the server's port"],
    url: [
      type: :url,
      doc:
        "`redis://`, `rediss://`, `valkey://` or `valkeys://user:password@host:port`, or `unix://user:password@/path`, in the " <>
          "place of `:host`, `:port`, `:socket`, `:username`, `:password` and `:ssl`"
    ],
    socket: [type: :string, doc: "the path of the server's Unix socket, in the place of `:host` and `:port`"],
    sentinel: [
      type: :sentinel,
      doc:
        "finds the server by Sentinel instead of `:host` and `:port`: `:sentinels` (required, each with `:host` and " <>
          "`:port`), `:group` (required), `:role` (`:primary`, the default, or `:replica`), `:connect_opts`, " <>
          "`:replica_connect_opts`, `:host_map`"
    ],
    username: [type: :string, doc: "the ACL user; servers before 6.0 know none"],
    password: [type: :password, doc: "a string, or `{module, function, arguments}` that returns one at each attempt"],
    ssl: [type: :boolean, default: false, doc: "whether to use TLS, which verifies the server's certificate"],
    ssl_opts: [
      type: :tls,
      default: [],
      doc:
        "options of TLS by the names of Erlang's `:ssl`: `:verify` (`:verify_peer`, the default, or `:verify_none`), " <>
          "`:cacertfile` or `:cacerts` in the place of the system's authorities, `:certfile` and `:keyfile`, " <>
          "`:server_name_indication` (`:disable` takes any name), `:versions`. Files are read anew by each link"
    ],
    timeout: [type: {:integer, 1..2_147_483_647}, default: 5000, doc: "how long connecting may take, in ms"],
    read_timeout: [
      type: {:integer, 1..2_147_483_647},
      default: 30_000,
      doc: "how long the server may be silent, in ms; it speaks every 10 s unless told otherwise"
    ],
    stale_reads: [
      for: :mirror,
      type: :stale_reads,
      default: :allow,
      doc:
        "what reads answer while the data may be behind: `:allow` reads what is there, `{:max_ms, n}` refuses with " <>
          "`{:error, :stale}` when nothing was heard of the server for `n` ms (it speaks every 10 s unless told otherwise), " <>
          "`:deny` whenever no link is streaming"
    ],
    reconnect: [type: :boolean, default: true, doc: "whether to connect again after a failure"],
    reconnect_delay_ms: [type: {:integer, @ms}, default: 1000, doc: "the first delay before connecting again"],
    max_reconnect_delay_ms: [type: {:integer, @ms}, default: 30_000, doc: "where doubling the delay ends"],
    ack_interval_ms: [
      type: {:integer, 1..2_147_483_647},
      default: 1000,
      doc: "how often the primary is told how far the mirror is"
    ],
    ack: [
      type: :ack,
      default: :truthful,
      doc:
        "what the primary is told of how far the mirror is: `:truthful`, so that SHUTDOWN waits for nobody, but WAIT and a " <>
          "FAILOVER without a target take the mirror for a copy; or `:lagging`, which is the other way round"
    ],
    guard_key: [
      for: :mirror,
      type: :guard_key,
      default: "__vdr_tx",
      doc:
        "the key that holds writes back while it is set, so that they become visible together (see the guide on transactions); " <>
          "`false` for none"
    ],
    on_unknown_command: [
      type: {:one_of, [:continue, :stop]},
      default: :continue,
      doc:
        "what to do when the stream brings a command that the library does not know: `:continue` counts it in `info/1` and logs " <>
          "its name once, `:stop` ends the link for good with `{:unknown_command, name}`"
    ],
    only: [
      type: :only,
      doc:
        "a part of the data instead of all of it, as `[dbs: [0], prefixes: [\"user:\"], types: [:hash]]`, each of them " <>
          "optional; types are `:string`, `:list`, `:set`, `:zset`, `:hash`, `:stream`, `:other`"
    ],
    command_filter: [
      for: :replica,
      type: :command_filter,
      doc: "a `Vdr.RedisStream.CommandFilter` that commands pass before the callback module gets them"
    ],
    callback_module: [
      for: :replica,
      type: :callback_module,
      required: true,
      doc: "implements `Vdr.RedisStream.Callback`"
    ],
    callback_opts: [for: :replica, type: :any, required: true, doc: "is given to its `init/1`"],
    initial: [
      for: :replica,
      type: :initial,
      doc:
        "where to go on without a full sync: `{replication_id, offset}` or `{replication_id, offset, db}`, as " <>
          "`get_position/1` answers"
    ]
  ]

  @names Keyword.keys(@schema)
  @owners %{mirror: "Veidrodelis", replica: "Vdr.RedisStream.Replica"}
  @types [:string, :list, :set, :zset, :hash, :stream, :other]
  @schemes %{"redis" => false, "valkey" => false, "rediss" => true, "valkeys" => true}
  @schemes_known "redis://, rediss://, valkey://, valkeys:// or unix://"

  @derive {Inspect, except: [:password]}
  @enforce_keys [:id]
  # `only` is a map for the native library.
  # `password` is nil or a function that returns it: no crash report, however it is formatted, shows what a closure has
  # closed over.
  defstruct @names -- [:url]

  @type t :: %__MODULE__{}
  @type owner :: :mirror | :replica

  @doc "The list of options for the documentation."
  @spec docs(owner) :: String.t()
  def docs(owner \\ :mirror) do
    Enum.map_join(schema(owner), "\n", fn {name, spec} ->
      notes =
        [if(spec[:required], do: "required"), if(Keyword.has_key?(spec, :default), do: "`#{inspect(spec[:default])}`")]
        |> Enum.reject(&is_nil/1)
        |> Enum.map_join("", &" (#{&1})")

      "  * `#{inspect(name)}`#{notes} - #{spec[:doc]}."
    end)
  end

  @doc "The options as a struct; raises `ArgumentError` that names what is wrong."
  @spec validate!(keyword | t, owner) :: t
  def validate!(options, owner \\ :mirror)
  def validate!(%__MODULE__{} = options, _owner), do: options

  def validate!(options, owner) do
    whose = @owners[owner]
    unless Keyword.keyword?(options), do: refuse("the options of #{whose}", "a keyword list", inspect_kind(options))
    refuse_filter_of_mirror!(options, owner)
    Enum.each(options, fn {name, value} -> check_known!(name, value, owner) end)
    check_required!(options, owner)

    given = options |> expand_url() |> check_together!()
    defaults = for {name, spec} <- @schema, name != :url, do: {name, spec[:default]}
    given = given |> Keyword.replace_lazy(:password, &hide/1) |> expand_sentinel()

    defaults
    |> Keyword.merge(given)
    |> Keyword.update!(:only, &only/1)
    |> identify(owner)
    |> then(&struct!(__MODULE__, &1))
  end

  # Of a mirror any term is an id, `false` and `nil` as well.
  defp identify(options, :mirror), do: options
  defp identify(options, :replica), do: Keyword.put(options, :id, options[:name] || options[:callback_module])

  defp schema(owner), do: Enum.filter(@schema, fn {_name, spec} -> Keyword.get(spec, :for, owner) == owner end)

  # A function of Elixir would be called for each of a million commands a second, and a command that it changed or left
  # out would make what later commands build on wrong.
  defp refuse_filter_of_mirror!(options, :mirror) do
    if options[:command_filter] do
      raise ArgumentError,
            "option :command_filter is not for a mirror, whose values must be the primary's: keep a part of the data with " <>
              ":only, or filter commands in Vdr.RedisStream.Replica"
    end
  end

  defp refuse_filter_of_mirror!(_options, :replica), do: :ok

  defp only(nil), do: nil
  defp only(only), do: Map.merge(%{dbs: nil, prefixes: nil, types: nil}, Map.new(only))

  # What is to hold for the server that Sentinel finds is then as if it had been given for a server of its own.
  defp expand_sentinel(options) do
    case Keyword.pop(options, :sentinel) do
      {nil, options} ->
        options

      {given, options} ->
        {sentinel, server} = Vdr.Options.Sentinel.new!(given)
        options |> Keyword.merge(Keyword.replace_lazy(server, :password, &hide/1)) |> Keyword.put(:sentinel, sentinel)
    end
  end

  @doc "What tells whether the data of an instance is what another instance of the same id would have."
  @spec identity(t) :: map
  def identity(%__MODULE__{sentinel: sentinel} = options) do
    followed = if sentinel, do: {sentinel.group, sentinel.role}, else: options.socket || {options.host, options.port}
    %{followed: followed, stale_ms: stale_ms(options), guard_key: options.guard_key || nil, only: options.only}
  end

  @doc "How long data is read after the last word of the server: `nil` is for ever, 0 only while a link streams."
  @spec stale_ms(t) :: nil | non_neg_integer
  def stale_ms(%__MODULE__{stale_reads: :allow}), do: nil
  def stale_ms(%__MODULE__{stale_reads: :deny}), do: 0
  def stale_ms(%__MODULE__{stale_reads: {:max_ms, ms}}), do: ms

  @doc "The password for one attempt to connect."
  @spec password(t | %{:password => nil | fun, optional(atom) => term}) ::
          {:ok, binary | nil} | {:error, :bad_password_function}
  def password(%{password: nil}), do: {:ok, nil}

  def password(%{password: fun}) do
    case fun.() do
      password when is_binary(password) -> {:ok, password}
      _other -> {:error, :bad_password_function}
    end
  catch
    # What it raised may show the secret that it had in hand.
    _kind, _reason -> {:error, :bad_password_function}
  end

  @doc false
  @spec hide(nil | binary | {module, atom, list}) :: nil | fun
  def hide({module, function, arguments}), do: fn -> apply(module, function, arguments) end
  def hide(password) when is_binary(password), do: fn -> password end
  def hide(nil), do: nil

  defp check_known!(:command_filter, nil, _owner), do: :ok

  defp check_known!(name, value, owner) do
    case schema(owner)[name] do
      nil -> raise ArgumentError, "unknown option #{inspect(name)} of #{@owners[owner]}#{nearest(name, owner)}"
      spec -> check!(inspect(name), spec[:type], value)
    end
  end

  defp nearest(name, owner) do
    names = Keyword.keys(schema(owner))
    nearest = Enum.max_by(names, &String.jaro_distance(to_string(&1), to_string(name)))

    if String.jaro_distance(to_string(nearest), to_string(name)) > 0.77,
      do: ", did you mean #{inspect(nearest)}?",
      else: "; known are #{Enum.map_join(names, ", ", &inspect/1)}"
  end

  defp check_required!(options, owner) do
    for {name, spec} <- schema(owner), spec[:required], not Keyword.has_key?(options, name) do
      raise ArgumentError, "option #{inspect(name)} of #{@owners[owner]} is missing: it #{spec[:doc]}"
    end
  end

  defp check!(_name, :any, _value), do: :ok
  defp check!(_name, :boolean, value) when is_boolean(value), do: :ok
  defp check!(name, :boolean, value), do: refuse(name, "true or false", inspect(value))

  defp check!(name, {:integer, %Range{first: first, last: last}}, value) do
    unless is_integer(value) and value >= first and value <= last,
      do: refuse(name, "an integer from #{first} to #{last}", inspect(value))
  end

  defp check!(name, :string, value) do
    unless is_binary(value) and value != "" and String.valid?(value),
      do: refuse(name, "a string that is not empty", inspect(value))
  end

  defp check!(_name, :password, nil), do: :ok
  defp check!(_name, :password, value) when is_binary(value) and value != "", do: :ok
  defp check!(_name, :password, {m, f, a}) when is_atom(m) and is_atom(f) and is_list(a), do: :ok

  defp check!(name, :password, value),
    do: refuse(name, "a string that is not empty, or {module, function, arguments}", inspect_kind(value))

  defp check!(_name, :name, value) when is_atom(value) and value not in [nil, true, false], do: :ok
  defp check!(_name, :name, {:global, _name_of_it}), do: :ok
  defp check!(_name, :name, {:via, module, _name_of_it}) when is_atom(module), do: :ok
  defp check!(name, :name, value), do: refuse(name, "an atom, {:global, term} or {:via, module, term}", inspect(value))

  defp check!(name, :url, value) do
    unless is_binary(value), do: refuse(name, "a URL as a string", inspect_kind(value))
  end

  defp check!(name, :tls, value), do: Vdr.Options.Tls.check!(name, value)
  defp check!(_name, :stale_reads, value) when value in [:allow, :deny], do: :ok
  defp check!(_name, :stale_reads, {:max_ms, ms}) when is_integer(ms) and ms in 1..2_147_483_647, do: :ok
  defp check!(name, :stale_reads, value), do: refuse(name, ":allow, {:max_ms, n} or :deny", inspect(value))
  defp check!(_name, :ack, value) when value in [:truthful, :lagging], do: :ok
  defp check!(name, :ack, value), do: refuse(name, ":truthful or :lagging", inspect(value))
  defp check!(_name, :guard_key, false), do: :ok
  defp check!(_name, :guard_key, value) when is_binary(value) and value != "", do: :ok
  defp check!(name, :guard_key, value), do: refuse(name, "a string that is not empty, or false", inspect(value))

  defp check!(name, {:one_of, words}, value) do
    unless value in words, do: refuse(name, Enum.map_join(words, " or ", &inspect/1), inspect(value))
  end

  defp check!(name, :command_filter, value) do
    unless Vdr.RedisStream.CommandFilter.filter?(value),
      do:
        refuse(
          name,
          "a module with pre_handle/1 or post_handle/1, or what CommandFilter.combine/2 returns",
          inspect(value)
        )
  end

  defp check!(name, :callback_module, value) do
    unless is_atom(value) and Code.ensure_loaded?(value) and function_exported?(value, :handle_commands, 2) and
             function_exported?(value, :init, 1),
           do: refuse(name, "a module with init/1 and handle_commands/2 (Vdr.RedisStream.Callback)", inspect(value))
  end

  defp check!(name, :initial, value) do
    unless value == nil or Vdr.RedisStream.Replica.position?(value),
      do: refuse(name, "{replication_id, offset} or {replication_id, offset, db}", inspect(value))
  end

  defp check!(_name, :only, nil), do: :ok

  defp check!(name, :only, value) do
    unless Keyword.keyword?(value), do: refuse(name, "a keyword list", inspect(value))
    Enum.each(value, fn {sub, value} -> check_only!("#{inspect(sub)} in #{name}", sub, value) end)
  end

  defp check!(name, :sentinel, value), do: Vdr.Options.Sentinel.check!(name, value)

  defp check_only!(name, :dbs, value) do
    unless list_of?(value, &(is_integer(&1) and &1 in @db)),
      do: refuse(name, "a list of database numbers", inspect(value))
  end

  defp check_only!(name, :prefixes, value) do
    unless list_of?(value, &is_binary/1), do: refuse(name, "a list of strings", inspect(value))
  end

  defp check_only!(name, :types, value) do
    unless list_of?(value, &(&1 in @types)),
      do: refuse(name, "a list of #{Enum.map_join(@types, ", ", &inspect/1)}", inspect(value))
  end

  defp check_only!(name, _sub, _value), do: refuse(":only", ":dbs, :prefixes and :types", name)

  # An empty list would keep nothing, which nobody wants.
  defp list_of?(value, test), do: is_list(value) and value != [] and Enum.all?(value, test)

  @doc false
  @spec refuse(String.t(), String.t(), String.t()) :: no_return
  def refuse(name, takes, got), do: raise(ArgumentError, "#{name} takes #{takes}, got: #{got}")

  # For what may be, or hold, a secret.
  defp inspect_kind(value) when is_binary(value), do: "a string"
  defp inspect_kind(value) when is_list(value), do: "a list"
  defp inspect_kind(value) when is_tuple(value), do: "a tuple of #{tuple_size(value)}"
  defp inspect_kind(value) when is_atom(value) or is_number(value), do: inspect(value)
  defp inspect_kind(_value), do: "a term of another kind"

  defp expand_url(options) do
    case Keyword.pop(options, :url) do
      {nil, options} -> options
      {url, options} -> Keyword.merge(options, from_url(parse_url(url), options))
    end
  end

  # What `URI.parse/1` would drop in silence: a password that is not encoded is cut in two at the first of these, and its
  # beginning is taken for the host and the port. What is wrong is not shown, since it may be of the password.
  defp parse_url(url) do
    if String.contains?(url, ["?", "#"]),
      do: refuse(":url", "no ? and no #, which are %3F and %23 in a password", "one")

    address = url |> String.split("//", parts: 2) |> List.last() |> String.split("/") |> hd()
    host = address |> String.split("@") |> List.last()
    if host =~ ~r/:(?!\d+$)[^\]]*$/, do: refuse(":url", "a number as the port behind the host", "something else")
    URI.parse(url)
  end

  defp from_url(%URI{scheme: "unix"} = uri, options) do
    unless uri.host in [nil, ""] and uri.port == nil, do: refuse(":url", "a path alone after unix://", "a host or port")
    if uri.path in [nil, "", "/"], do: refuse(":url", "the path of a socket after unix://", "none")
    check_exclusive!([socket: URI.decode(uri.path)] ++ user(uri), options)
  end

  defp from_url(%URI{scheme: scheme} = uri, options) do
    unless is_map_key(@schemes, scheme), do: refuse(":url", @schemes_known, "the scheme #{inspect(scheme)}")

    if uri.host in [nil, ""], do: refuse(":url", "a URL with a host", "one without")

    unless uri.path in [nil, "", "/"],
      do: refuse(":url", "no database, since all are mirrored, and %2F for a / in a password", "a path behind the host")

    url =
      [host: uri.host, ssl: Map.fetch!(@schemes, scheme)] ++ if(uri.port, do: [port: uri.port], else: []) ++ user(uri)

    if uri.port, do: check!("the port of :url", {:integer, @port}, uri.port)
    check_exclusive!(url, options)
  end

  defp check_exclusive!(url, options) do
    for name <- [:host, :port, :socket | Keyword.keys(url)], Keyword.has_key?(options, name) do
      raise ArgumentError, "options :url and #{inspect(name)} exclude each other"
    end

    url
  end

  defp user(%URI{userinfo: nil}), do: []

  defp user(%URI{userinfo: userinfo}) do
    case userinfo |> String.split(":", parts: 2) |> Enum.map(&URI.decode/1) do
      ["", password] -> [password: password]
      [username, password] when password != "" -> [username: username, password: password]
      _no_password -> refuse(":url", "user:password@ or :password@ before the host", "one without a password")
    end
  end

  defp check_together!(options) do
    for name <- [:host, :port, :socket, :username, :password, :ssl, :ssl_opts],
        options[:sentinel] && Keyword.has_key?(options, name) do
      raise ArgumentError, "options :sentinel and #{inspect(name)} exclude each other"
    end

    for name <- [:host, :port], options[:socket] && Keyword.has_key?(options, name) do
      raise ArgumentError, "options :socket and #{inspect(name)} exclude each other"
    end

    if Keyword.get(options, :ssl_opts, []) != [] and not Keyword.get(options, :ssl, false),
      do: raise(ArgumentError, "option :ssl_opts needs ssl: true beside it")

    if options[:username] && !options[:password],
      do: raise(ArgumentError, "option :username needs :password beside it")

    {first, last} =
      {options[:reconnect_delay_ms] || @schema[:reconnect_delay_ms][:default],
       options[:max_reconnect_delay_ms] || @schema[:max_reconnect_delay_ms][:default]}

    if first > last,
      do: refuse(":max_reconnect_delay_ms", "at least :reconnect_delay_ms (#{first})", "#{last}")

    options
  end
end
