defmodule Vdr.Web.Httpd do
  @moduledoc false
  # Serves the page by the web server of OTP's `:inets`. This process owns that server, and ends it.

  use GenServer

  alias Vdr.Web.{Router, Server}

  # Enough for people, and no more.
  @clients_max 50
  @header_bytes_max 8192
  @uri_bytes_max 4096

  @spec start_link(map) :: GenServer.on_start()
  def start_link(config), do: GenServer.start_link(__MODULE__, config)

  @spec port(pid) :: :inet.port_number()
  def port(pid), do: GenServer.call(pid, :port)

  @impl GenServer
  def init(config) do
    Process.flag(:trap_exit, true)

    with {:ok, _apps} <- Application.ensure_all_started(:inets),
         {:ok, server} <- Server.start_link(),
         {:ok, httpd} <- listen(config, server) do
      Process.monitor(httpd)
      {:ok, httpd}
    else
      {:error, {:inets, _reason}} -> {:stop, :no_inets}
      {:error, reason} -> {:stop, {:listen, reason}}
    end
  end

  defp listen(config, server) do
    # The folders are options that must be there; nothing is read from them.
    folder = to_charlist(System.tmp_dir!())
    {:ok, ip} = config.ip |> to_charlist() |> address()

    apply(:inets, :start, [
      :httpd,
      [
        port: config.port,
        bind_address: ip,
        ipfamily: if(tuple_size(ip) == 8, do: :inet6, else: :inet),
        server_name: ~c"veidrodelis",
        server_root: folder,
        document_root: folder,
        server_tokens: :none,
        modules: [__MODULE__],
        max_clients: @clients_max,
        max_header_size: @header_bytes_max,
        max_uri_size: @uri_bytes_max,
        max_body_size: 1,
        keep_alive_timeout: 30,
        vdr: %{config: config, server: server}
      ]
    ])
  end

  defp address(host) do
    with {:error, _no_address} <- :inet.parse_address(host), do: :inet.getaddr(host, :inet)
  end

  @impl GenServer
  def handle_call(:port, _from, httpd) do
    [port: port] = apply(:httpd, :info, [httpd, [:port]])
    {:reply, port, httpd}
  end

  def handle_call(_other, _from, httpd), do: {:reply, {:error, :unknown_call}, httpd}

  @impl GenServer
  def handle_info({:DOWN, _monitor, :process, httpd, reason}, httpd), do: {:stop, {:httpd, reason}, httpd}
  def handle_info({:EXIT, _server, reason}, httpd), do: {:stop, reason, httpd}
  def handle_info(_other, httpd), do: {:noreply, httpd}

  @impl GenServer
  def terminate(_reason, httpd), do: apply(:inets, :stop, [:httpd, httpd])

  # ---- the module of httpd

  @doc false
  # `mod` is httpd's record: its configuration is the fifth field, then come method, URI and
  # headers.
  @spec unquote(:do)(tuple) :: {:proceed, list}
  def unquote(:do)(mod) do
    %{config: config, server: server} = apply(:httpd_util, :lookup, [elem(mod, 5), :vdr])
    headers = elem(mod, 11)
    {path, query} = split(to_string(elem(mod, 8)))

    request = %{
      method: to_string(elem(mod, 6)),
      path: path,
      query: query,
      host: header(headers, ~c"host"),
      site: header(headers, ~c"sec-fetch-site"),
      base: ""
    }

    {status, headers, body} = Router.respond(request, config, fn -> server end)
    body = if request.method == "HEAD", do: "", else: body

    {:proceed,
     [response: {:response, [{:code, status}, {:content_length, content_length(body)} | names(headers)], [body]}]}
  end

  defp content_length(body), do: body |> byte_size() |> Integer.to_charlist()
  defp names(headers), do: for({name, value} <- headers, do: {String.to_charlist(name), String.to_charlist(value)})

  defp header(headers, name) do
    case List.keyfind(headers, name, 0) do
      {_name, value} -> to_string(value)
      nil -> nil
    end
  end

  defp split(uri) do
    {path, query} =
      case String.split(uri, "?", parts: 2) do
        [path, query] -> {path, query}
        [path] -> {path, ""}
      end

    {String.split(path, "/", trim: true), decode(query)}
  end

  # What is no query is an empty one.
  defp decode(query) do
    URI.decode_query(query)
  rescue
    ArgumentError -> %{}
  end
end
