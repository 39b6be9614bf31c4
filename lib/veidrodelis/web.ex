defmodule Veidrodelis.Web do
  @moduledoc """
  A page that shows the instances of this node: state, lag and rate as live plots, keys by type and
  prefix, the largest keys, keys and their values, slow scripts, and events.

  It is off unless you start it, in a supervision tree:

      children = [
        {Veidrodelis, "redis://localhost:6379"},
        {Veidrodelis.Web, port: 4380}
      ]

  and then open http://localhost:4380. It is served by OTP's `:inets`, which has to be among the
  `:extra_applications` of your `mix.exs`. An application that has Plug mounts it instead:

      # Phoenix: in the router, behind the pipeline that asks for a password
      forward "/mirrors", Veidrodelis.Web

      # Plug.Router
      forward "/mirrors", to: Veidrodelis.Web, init_opts: [values: false]

  **Who can see it.** The page listens on the loopback only. It has no password. It refuses requests
  for another host than those of the option `:hosts` (so that no foreign page can reach it through
  the browser of someone on this machine), and anything but `GET`. Do not make it listen elsewhere
  without something in front that asks who is there; as a Plug, your pipeline is that. With `values:
  false` it shows names of keys and no values.

  **What it costs.** Nothing while nobody looks. While somebody does, each instance that is looked
  at is asked once a second, for any number of viewers, and touches a bounded number of keys. A page
  loads no byte from another host.
  """

  alias Vdr.Schema
  alias Vdr.Web.{Httpd, Page, Router, Server}

  @page Page.options()
  @listener [
    port: [type: {:integer, 0..65_535}, default: 4380, doc: "the port; 0 is any that is free, see `port/1`"],
    ip: [type: :host, default: "127.0.0.1", doc: "the address to listen on"],
    hosts: [
      type: {:list, :text},
      default: ["localhost", "127.0.0.1", "[::1]"],
      doc: "the hosts for which it answers, as they stand in the browser's address, without the port"
    ]
  ]

  @type option :: unquote(Schema.type(@page ++ @listener))

  @doc """
  Starts the page. `{:error, :no_inets}` means that the application `:inets` is not there,
  `{:error, {:listen, reason}}` that the port cannot be used.

  ## Options

  #{Schema.docs(@page ++ @listener)}
  """
  @spec start_link([option]) :: {:ok, pid} | :ignore | {:error, :no_inets | {:listen, term}}
  def start_link(options \\ []) do
    options = Schema.validate!(options, @page ++ @listener, "Veidrodelis.Web")
    Httpd.start_link(Map.new(options))
  end

  @doc "A child specification with the id `{Veidrodelis.Web, port}`."
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(options) do
    port = Schema.validate!(options, @page ++ @listener, "Veidrodelis.Web")[:port]
    %{id: {__MODULE__, port}, start: {__MODULE__, :start_link, [options]}}
  end

  @doc "The port that a page listens on."
  @spec port(pid) :: :inet.port_number()
  def port(pid), do: Httpd.port(pid)

  # ---- Plug

  @doc false
  @spec init(keyword) :: map
  def init(options), do: options |> Schema.validate!(@page, "Veidrodelis.Web") |> Map.new() |> Map.put(:hosts, :any)

  @doc false
  @spec call(map, map) :: map
  def call(%{path_info: path, script_name: mounted} = conn, config) do
    # Plug is no dependency, so its functions are found when they are called.
    conn = apply(Plug.Conn, :fetch_query_params, [conn])
    base = Enum.map_join(mounted, &("/" <> URI.encode(&1, fn char -> URI.char_unreserved?(char) end)))
    request = %{method: conn.method, path: path, query: conn.query_params, host: nil, site: nil, base: base}
    {status, headers, body} = Router.respond(request, config, &Server.shared/0)

    conn =
      Enum.reduce(headers, conn, fn {name, value}, conn -> apply(Plug.Conn, :put_resp_header, [conn, name, value]) end)

    apply(Plug.Conn, :send_resp, [conn, status, body])
  end
end
