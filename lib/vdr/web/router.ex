defmodule Vdr.Web.Router do
  @moduledoc false
  # What the page answers to a request: a function of the request, of the configuration and of the
  # instances, whoever serves it. Every answer is bounded, and every name and value in it is text.

  alias Vdr.{Json, Overview}
  alias Vdr.Web.{Assets, Keys, Server}

  @typedoc "`host` and `site` are headers, `nil` where somebody else judges them. `base` is where the page is mounted."
  @type request :: %{
          method: String.t(),
          path: [String.t()],
          query: %{String.t() => String.t()},
          host: nil | String.t(),
          site: nil | String.t(),
          base: String.t()
        }
  @type config :: %{
          required(:values) => boolean,
          required(:ids) => nil | [term],
          required(:hosts) => [String.t()] | :any,
          optional(atom) => term
        }
  @type response :: {status :: pos_integer, headers :: [{String.t(), String.t()}], body :: binary}

  @safe [
    {"x-content-type-options", "nosniff"},
    {"referrer-policy", "no-referrer"},
    {"cache-control", "no-store"},
    {"cross-origin-resource-policy", "same-origin"},
    {"content-security-policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " <>
       "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
  ]

  @doc "`server` answers the process that takes the overviews."
  @spec respond(request, config, (... -> pid)) :: response
  def respond(%{method: method}, _config, _server) when method not in ["GET", "HEAD"],
    do: error(405, "only GET is allowed")

  def respond(request, config, server) do
    if foreign?(request, config),
      do: error(403, "not for this host"),
      else: route(request.path, request, config, server)
  end

  # A page of another site can make a browser ask, under a name of its own that leads to this
  # address.
  defp foreign?(_request, %{hosts: :any}), do: false
  defp foreign?(%{site: "cross-site"}, _config), do: true

  defp foreign?(%{host: host}, %{hosts: hosts}),
    do: host |> to_string() |> without_port() |> String.downcase() |> then(&(&1 not in hosts))

  defp without_port(host), do: Regex.replace(~r/:\d*$/, host, "")

  defp route([], request, _config, _server), do: ok("text/html; charset=utf-8", Assets.page(request.base))
  defp route(["app.js"], _request, _config, _server), do: ok("text/javascript; charset=utf-8", Assets.script())
  defp route(["app.css"], _request, _config, _server), do: ok("text/css; charset=utf-8", Assets.style())

  defp route(["api", "instances"], _request, config, _server) do
    json(
      {:object,
       values: config.values, instances: for(id <- ids(config), do: {:object, id: number(id), name: Overview.name(id)})}
    )
  end

  defp route(["api", "overview"], request, config, server) do
    with_instance(request, config, fn id ->
      with {:ok, overview} <- Server.overview(server.(), id) do
        {:object, fields} = Overview.json(overview)

        databases =
          for {db, keys} <- Enum.sort(overview.info.keys) |> Enum.take(1000), do: {:object, db: db, keys: keys}

        {:ok, {:object, fields ++ [databases: databases]}}
      end
    end)
  end

  defp route(["api", "keys"], request, config, _server) do
    with_instance(request, config, fn id ->
      with {:ok, db} <- integer(request.query, "db"),
           {:ok, cursor} <- integer(request.query, "cursor"),
           do: Keys.list(id, db, Map.get(request.query, "prefix", ""), cursor)
    end)
  end

  defp route(["api", "value"], request, config, _server) do
    with_instance(request, config, fn id ->
      with {:ok, db} <- integer(request.query, "db"),
           {:ok, key} <- key(request.query),
           do: Keys.value(id, db, key, config.values)
    end)
  end

  defp route(_other, _request, _config, _server), do: error(404, "there is no such page")

  # ---- parameters

  defp ids(config), do: Enum.filter(Veidrodelis.list(), &(config.ids == nil or &1 in config.ids)) |> Enum.sort()

  # An id may be any term; its number stands for it in a URL.
  defp number(id), do: id |> :erlang.phash2(4_294_967_296) |> Integer.to_string(36)

  defp with_instance(%{query: query}, config, answer) do
    case Enum.find(ids(config), &(number(&1) == query["id"])) do
      nil -> error(404, "there is no such instance")
      id -> id |> answer.() |> answer()
    end
  end

  defp answer({:ok, value}), do: json(value)
  defp answer({:error, :bad_parameter}), do: error(400, "a parameter is not valid")
  defp answer({:error, reason}), do: error(409, Exception.message(Veidrodelis.Error.exception(reason)))

  defp integer(query, name) do
    case Integer.parse(Map.get(query, name, "0")) do
      {number, ""} when number in 0..0xFFFFFFFFFFFFFFFF -> {:ok, number}
      _other -> {:error, :bad_parameter}
    end
  end

  defp key(query) do
    with {:ok, key} <- query |> Map.get("key", "") |> Base.url_decode64(padding: false),
         do: {:ok, key},
         else: (:error -> {:error, :bad_parameter})
  end

  # ---- answers

  defp ok(type, body), do: {200, [{"content-type", type} | @safe], body}
  defp json(value), do: ok("application/json; charset=utf-8", Json.encode(value))

  defp error(status, text),
    do: {status, [{"content-type", "application/json; charset=utf-8"} | @safe], Json.encode({:object, error: text})}
end
