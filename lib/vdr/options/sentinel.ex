defmodule Vdr.Options.Sentinel do
  @moduledoc false
  # The option `:sentinel`: finds the server by asking Sentinels.

  alias Vdr.Schema

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
    keywords = {:check, "a keyword list", quote(do: keyword()), &Keyword.keyword?/1}
    sockets = {:check, "a list", quote(do: list()), &is_list/1}

    schema = [
      timeout: [type: {:integer, @ms}, default: 500, doc: "how long each step may take, in ms"],
      ssl: [type: :boolean, default: false, doc: "whether to use TLS"],
      ssl_opts: [type: keywords, default: [], secret: true, doc: "options of Erlang's `:ssl`"],
      socket_opts: [type: sockets, default: [], doc: "options of the socket"],
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
          ssl_opts: [type: Vdr.Options.Tls.type(), doc: "as the option of the server"],
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

  @doc "The checked option, and what of it holds for the server that is found, as options of their own."
  @spec new!(keyword) :: {Vdr.Sentinel.t(), keyword}
  def new!(value) do
    replica = for {name, given} <- value[:replica_connect_opts], given != nil, do: {name, given}
    {_options, connect_schema, _relations} = connect_type()

    sentinel = %Vdr.Sentinel{
      sentinels: for(address <- value[:sentinels], do: {address[:host], address[:port]}),
      group: value[:group],
      role: value[:role],
      connect:
        value[:connect_opts] |> Schema.fill(connect_schema) |> Map.new() |> Map.update!(:password, &Vdr.Secret.hide/1),
      host_map: host_map(value[:host_map]),
      override: {replica[:host], replica[:port]}
    }

    {sentinel, Keyword.drop(replica, [:host, :port])}
  end

  defp host_map(nil), do: & &1
  defp host_map(%{} = map), do: &Map.get(map, &1, &1)
  defp host_map(fun), do: fun
end
