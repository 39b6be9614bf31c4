defmodule Vdr.Web.Router do
  @moduledoc false
  # What the page answers to a request: a function of the request, of the configuration and of the
  # instances, whoever serves it. Every answer is bounded, and every name and value in it is text.

  alias Vdr.{Json, Overview}
  alias Vdr.Web.{Assets, Page}

  @typedoc "`host` and `site` are headers, `nil` where somebody else judges them. `base` is where the page is mounted."
  @type request :: %{
          method: String.t(),
          path: [String.t()],
          query: %{String.t() => String.t()},
          host: nil | String.t(),
          site: nil | String.t(),
          base: String.t()
        }
  @typedoc "The options of the page, and the hosts for which it answers."
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
    instances = for {number, name} <- Page.instances(config), do: {:object, id: number, name: name}
    json({:object, values: config.values, instances: instances})
  end

  defp route(["api", "overview"], request, config, server) do
    with {:ok, overview} <- Page.overview(config, request.query["id"], server) do
      {:object, fields} = Overview.json(overview)

      databases = for {db, keys} <- Enum.sort(overview.info.keys) |> Enum.take(1000), do: {:object, db: db, keys: keys}

      {:ok, {:object, fields ++ [databases: databases]}}
    end
    |> answer()
  end

  defp route(["api", "keys"], %{query: query}, config, _server), do: config |> Page.keys(query["id"], query) |> answer()

  defp route(["api", "value"], %{query: query}, config, _server),
    do: config |> Page.value(query["id"], query) |> answer()

  defp route(_other, _request, _config, _server), do: error(404, "there is no such page")

  # ---- answers

  defp answer({:ok, value}), do: json(value)
  defp answer({:error, :no_page}), do: error(404, Page.sentence(:no_page))
  defp answer({:error, :bad_parameter}), do: error(400, Page.sentence(:bad_parameter))
  defp answer({:error, reason}), do: error(409, Page.sentence(reason))

  defp ok(type, body), do: {200, [{"content-type", type} | @safe], body}
  defp json(value), do: ok("application/json; charset=utf-8", Json.encode(value))

  defp error(status, text),
    do: {status, [{"content-type", "application/json; charset=utf-8"} | @safe], Json.encode({:object, error: text})}
end
