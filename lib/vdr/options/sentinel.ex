defmodule Vdr.Options.Sentinel do
  @moduledoc false
  # The option `:sentinel`: finds the server by asking Sentinels. The struct is the checked option.

  alias Vdr.{Options, Schema, Secret}

  @derive {Inspect, only: [:sentinels, :group, :role]}
  @enforce_keys [:sentinels, :group, :role, :connect, :host_map]
  # `connect` is a map. `override` is `{host, port}` of `:replica_connect_opts`, each of which may
  # be nil.
  defstruct [:sentinels, :group, :role, :connect, :host_map, override: {nil, nil}]

  @type t :: %__MODULE__{}

  @port 1..65_535
  @ms 1..2_147_483_647

  @spec type() :: Schema.type()
  def type do
    schema = [
      sentinels: [
        type: {:nonempty_list, {:options, address(required: true), &nothing_together/2}},
        required: true,
        doc: "lists the Sentinels to ask, such as `[[host: \"sentinel1\", port: 26379]]`"
      ],
      group: [type: :string, required: true, doc: "names the group of servers, as Sentinel's configuration does"],
      role: [type: {:one_of, [:primary, :replica]}, default: :primary, doc: "which server of the group to follow"],
      connect_opts: [type: connect_type(), default: [], doc: "how to connect to a Sentinel"],
      replica_connect_opts: [
        type: replica_connect_type(),
        default: [],
        doc: "how to connect to the server that Sentinel names; `:host` and `:port` override what it says"
      ],
      host_map: [
        type:
          {:check, "a map or a function of one argument", quote(do: map() | (String.t() -> String.t())), &host_map?/1},
        doc: "a map or a function from hosts as Sentinel names them to hosts as this node reaches them"
      ]
    ]

    {:options, schema, &nothing_together/2}
  end

  defp address(more) do
    [
      host: [type: :host, doc: "is the Sentinel's host name or address"] ++ more,
      port: [type: {:integer, @port}, doc: "is the Sentinel's port"] ++ more
    ]
  end

  defp connect_type do
    schema = [
      timeout: [type: {:integer, @ms}, default: 500, doc: "how long each step may take, in ms"],
      ssl: [type: :boolean, default: false, doc: "whether to use TLS"],
      ssl_opts: [type: Options.Tls.type(), default: [], doc: "as the option of the server"],
      socket_opts: Options.Socket.spec(),
      username: [type: :string, doc: "the ACL user"],
      password: [type: :password, secret: true, doc: "as the password of the server"]
    ]

    {:options, schema, &check_user!/2}
  end

  defp replica_connect_type do
    schema =
      address(required: false) ++
        [
          timeout: [type: {:integer, @ms}, doc: "as the option of the server"],
          ssl: [type: :boolean, doc: "as the option of the server"],
          ssl_opts: [type: Options.Tls.type(), doc: "as the option of the server"],
          username: [type: :string, doc: "as the option of the server"],
          password: [type: :password, secret: true, doc: "as the option of the server"]
        ]

    {:options, schema, &check_user!/2}
  end

  @doc false
  @spec check_user!(keyword, String.t()) :: :ok
  def check_user!(given, path), do: Schema.need!(given, :username, :password, path)

  @doc false
  @spec nothing_together(keyword, String.t()) :: :ok
  def nothing_together(_given, _path), do: :ok

  @doc false
  @spec host_map?(term) :: boolean
  def host_map?(value), do: is_map(value) or is_function(value, 1)

  @doc "The checked option, and its options for the server that is found."
  @spec new!(keyword) :: {t, keyword}
  def new!(value) do
    replica = for {name, given} <- value[:replica_connect_opts], given != nil, do: {name, given}
    {:options, connect_schema, _relations} = connect_type()

    sentinel = %__MODULE__{
      sentinels: for(address <- value[:sentinels], do: {address[:host], address[:port]}),
      group: value[:group],
      role: value[:role],
      connect:
        value[:connect_opts] |> Schema.fill(connect_schema) |> Map.new() |> Map.update!(:password, &Secret.hide/1),
      host_map: value[:host_map] || %{},
      override: {replica[:host], replica[:port]}
    }

    {sentinel, Keyword.drop(replica, [:host, :port])}
  end

  @doc "The option and the options of the server as the native library takes them."
  @spec config(t, Options.t()) :: map
  def config(%__MODULE__{connect: connect, override: {host, port}} = sentinel, options) do
    %{
      sentinels: sentinel.sentinels,
      group: sentinel.group,
      role: sentinel.role,
      access: access(connect),
      server_access: access(options),
      host_map: table(sentinel),
      server_host: host,
      server_port: port
    }
  end

  @doc "How to connect, and as whom, as the native library takes it."
  @spec access(Options.t() | map) :: map
  def access(options) do
    %{
      tls: if(options.ssl, do: Options.Tls.config(options.ssl_opts)),
      timeout_ms: options.timeout,
      username: options.username,
      password: options.password != nil
    }
  end

  @doc "The host map as the native library takes it: a map, or `nil` when the native library has to ask."
  @spec table(t | nil) :: %{String.t() => String.t()} | nil
  def table(nil), do: %{}
  def table(%__MODULE__{host_map: map}), do: if(table?(map), do: map)

  # The native library asks for a host that is mapped by a function, or to what is no string.
  defp table?(map) when is_map(map), do: Enum.all?(map, fn {from, to} -> text?(from) and text?(to) end)
  defp table?(_function), do: false

  defp text?(value), do: is_binary(value) and value != "" and String.valid?(value)

  @doc "The host by which this node reaches a host that Sentinel names. A user's function may be behind it."
  @spec map_host(t, String.t()) :: {:ok, String.t()} | {:error, :bad_host_map}
  def map_host(%__MODULE__{host_map: map}, host) do
    mapped = if is_map(map), do: Map.get(map, host, host), else: map.(host)
    if text?(mapped), do: {:ok, mapped}, else: {:error, :bad_host_map}
  catch
    _kind, _reason -> {:error, :bad_host_map}
  end
end
