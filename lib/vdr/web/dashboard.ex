defmodule Vdr.Web.Dashboard do
  @moduledoc false
  # The page of `Veidrodelis.LiveDashboard` as HTML: a function of what was read. Every name and
  # value in it is escaped. It has no style and no script of its own: the classes are those of the
  # dashboard (Bootstrap), and `phx-` attributes name the events of `Veidrodelis.LiveDashboard`.

  import Vdr.Overview.Text, only: [clock: 1, ms: 1, number: 1, size: 1, size_of: 2]

  alias Vdr.Overview
  alias Vdr.Overview.Text

  @typedoc """
  `instances` are numbers and names, `points` the rates and lags of the plots, the newest first.
  `keys` and `value` are what `Vdr.Web.Page` answered to `search` and to `looked_at`.
  """
  @type view :: %{
          instances: [{String.t(), String.t()}],
          chosen: nil | String.t(),
          overview: nil | Overview.t(),
          problem: nil | String.t(),
          points: [%{rate: non_neg_integer, lag: non_neg_integer}],
          values: boolean,
          search: %{db: String.t(), prefix: String.t()},
          keys: nil | {:ok, keyword} | {:error, String.t()},
          looked_at: nil | %{db: String.t(), key: String.t(), name: String.t()},
          value: nil | {:ok, keyword} | {:error, String.t()}
        }

  @points_max 300

  @doc "How many points a plot shows."
  @spec points_max() :: pos_integer
  def points_max, do: @points_max

  @spec html(view) :: iolist
  def html(view) do
    ["<div id=\"vdr\">", instances(view), state(view), if(view.overview, do: sections(view), else: []), "</div>"]
  end

  # ---- parts

  defp instances(%{instances: []}), do: "<p role=\"status\">There is no instance on this node.</p>"

  defp instances(view) do
    options =
      for {number, name} <- view.instances,
          do: tag("option", [value: number, selected: number == view.chosen], text(name))

    [
      "<form id=\"vdr-instances\" class=\"form-inline mb-3\" phx-change=\"vdr_instance\">",
      "<label for=\"vdr-instance\" class=\"mr-2\">Instance</label>",
      "<select id=\"vdr-instance\" name=\"number\" class=\"custom-select custom-select-sm\">",
      options,
      "</select></form>"
    ]
  end

  defp state(%{problem: problem}) when problem != nil,
    do: tag("p", [role: "status", class: "text-danger"], text(problem))

  defp state(%{overview: nil}), do: []

  defp state(%{overview: %{info: info}}) do
    server = if info.server, do: " (#{Overview.server(info.server)})"
    good = info.ready and not info.stale
    words = "#{info.state}, #{Overview.address(info.primary) || "no server"}#{server}"

    warnings =
      Text.warnings(info) ++
        if(not good and info.last_error != nil, do: [Overview.error(info.last_error)], else: []) ++
        for {name, count} <- Enum.sort(info.unknown_commands), do: "unknown command #{name}, #{count} times"

    [
      tag(
        "p",
        [id: "vdr-state", role: "status", class: if(good, do: "text-success", else: "text-danger")],
        text(words)
      ),
      if(warnings != [],
        do: ["<ul id=\"vdr-warnings\">", for(line <- warnings, do: tag("li", [], text(line))), "</ul>"],
        else: []
      )
    ]
  end

  defp sections(%{overview: overview} = view) do
    [
      facts(overview),
      plots(view.points),
      pair(
        shares("types", "Types", "Type", overview.types),
        shares("prefixes", "Prefixes", "Prefix", overview.prefixes)
      ),
      pair(large(overview.large_keys), scripts(overview.scripts)),
      search(view),
      events(overview.events)
    ]
  end

  defp facts(%{info: info} = overview) do
    facts = [
      {"Keys", number(info.keys |> Map.values() |> Enum.sum())},
      {"Memory", size(overview.memory_bytes)},
      {"Lag", size(info.lag_bytes)},
      {"Last message", ms(info.last_message_ms_ago)},
      {"Offset", to_string(info.offset)},
      {"Commands applied", to_string(info.commands_applied)},
      {"Full syncs", number(info.full_syncs)},
      {"Partial syncs", number(info.partial_syncs)},
      {"Reconnects", number(info.reconnects)},
      {"Watches", number(info.watches)},
      {"Snapshots held", number(info.snapshots_held)},
      {"Contradictions", number(info.divergences)}
    ]

    [
      heading("vdr-now", "Now"),
      "<dl class=\"row\" aria-labelledby=\"vdr-now\">",
      for({name, value} <- facts) do
        [
          "<div class=\"col-6 col-md-3 mb-2\">",
          tag("dt", [], text(name)),
          tag("dd", [class: "mb-0"], text(value)),
          "</div>"
        ]
      end,
      "</dl>"
    ]
  end

  defp plots(points) do
    [
      heading("vdr-plots", "Last minutes"),
      pair(
        plot("vdr-rate", points, & &1.rate, fn now, most -> "Commands per second: #{now} now, at most #{most}" end),
        plot("vdr-lag", points, & &1.lag, fn now, most -> "Lag: #{size(now)} now, at most #{size(most)}" end)
      )
    ]
  end

  defp plot(id, points, value, caption) do
    values = points |> Enum.take(@points_max) |> Enum.map(value)
    most = Enum.max(values, fn -> 0 end)

    line =
      values
      |> Enum.with_index()
      |> Enum.map(fn {value, index} -> "#{600 - index * 2},#{116 - div(value * 108, max(most, 1))}" end)

    [
      "<figure>",
      tag("figcaption", [id: id], text(caption.(List.first(values) || 0, most))),
      "<svg role=\"img\" aria-labelledby=\"#{id}\" viewBox=\"0 0 600 120\" width=\"100%\" height=\"120\" ",
      "preserveAspectRatio=\"none\"><polyline fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\" points=\"",
      Enum.intersperse(line, " "),
      "\"/></svg></figure>"
    ]
  end

  defp shares(id, title, column, rows) do
    table(
      "vdr-" <> id,
      title,
      [column, "Keys, about", "Memory, about"],
      for(row <- rows, do: [text(Overview.text(row.name)), number(row.keys), size(row.bytes)]),
      "No keys."
    )
  end

  defp large(keys) do
    rows =
      for {db, key, kind, size} <- keys,
          do: [
            key_button("large", to_string(db), Vdr.Web.Keys.link(key), Overview.text(key)),
            to_string(kind),
            size_of(kind, size)
          ]

    table("vdr-large", "Largest keys", ["Key", "Type", "Size"], rows, "No key has 4,096 elements or 64 KB.")
  end

  defp scripts(scripts) do
    rows =
      for %{time_ms: at, about: {took_ms, source}} <- scripts,
          do: [clock(at), "#{took_ms} ms", text(Overview.text(source || "(loaded)"))]

    table("vdr-scripts", "Slow scripts", ["Time (UTC)", "Took", "Source"], rows, "No script took 10 ms.")
  end

  defp events(events) do
    rows =
      for %{time_ms: at, about: {event, details}} <- events,
          do: [clock(at), text(Overview.event_text(event, details))]

    table("vdr-events", "Events", ["Time (UTC)", "Event"], rows, "No event yet.")
  end

  defp search(view) do
    [
      heading("vdr-h-keys", "Keys"),
      "<form id=\"vdr-search\" class=\"form-inline mb-2\" phx-submit=\"vdr_keys\">",
      "<label for=\"vdr-db\" class=\"mr-2\">Database</label>",
      tag("input",
        id: "vdr-db",
        name: "db",
        type: "number",
        min: "0",
        value: view.search.db,
        class: "form-control form-control-sm mr-3"
      ),
      "<label for=\"vdr-prefix\" class=\"mr-2\">Keys that begin with</label>",
      tag("input",
        id: "vdr-prefix",
        name: "prefix",
        type: "text",
        maxlength: "200",
        autocomplete: "off",
        value: view.search.prefix,
        class: "form-control form-control-sm mr-2"
      ),
      "<button type=\"submit\" class=\"btn btn-primary btn-sm\">Look</button></form>",
      found(view.keys, view.search.db),
      value(view)
    ]
  end

  defp found(nil, _db), do: []
  defp found({:error, problem}, _db), do: tag("p", [role: "status", class: "text-danger"], text(problem))

  defp found({:ok, keys: keys, next: next}, db) do
    rows =
      for {:object, key} <- keys do
        [
          key_button("keys", db, key[:link], key[:key]),
          to_string(key[:type] || ""),
          if(key[:ttl_ms], do: ms(key[:ttl_ms]), else: ""),
          size_of(key[:type], key[:size])
        ]
      end

    [
      tag("p", [role: "status"], "#{length(rows)} keys found#{if next, do: ", and there may be more"}."),
      table(
        "vdr-keys",
        "Keys found",
        ["Key", "Type", "Expires in", "Size"],
        rows,
        "No key of those that were looked at."
      ),
      if(next,
        do: tag("button", [type: "button", class: "btn btn-secondary btn-sm", "phx-click": "vdr_more"], "More keys"),
        else: []
      )
    ]
  end

  defp value(%{value: nil}), do: []

  defp value(%{looked_at: looked_at, value: value}) do
    [
      "<section id=\"vdr-value\" aria-labelledby=\"vdr-h-value\">",
      tag("h6", [id: "vdr-h-value"], text(looked_at.name)),
      case value do
        {:error, problem} -> tag("p", [role: "status", class: "text-danger"], text(problem))
        {:ok, value} -> [tag("p", [role: "status"], about(value)), tag("pre", [tabindex: "0"], preview(value))]
      end,
      "</section>"
    ]
  end

  defp about(value) do
    expiry = if value[:ttl_ms], do: "expires in #{ms(value[:ttl_ms])}", else: "no expiry"
    unit = if value[:type] == :string, do: "", else: " elements"

    if value[:type],
      do: "#{value[:type]}, #{expiry}, #{size_of(value[:type], value[:size])}#{unit}",
      else: "The key is gone."
  end

  defp preview(value) do
    case value[:preview] do
      nil -> "Values are hidden."
      lines -> [lines |> Enum.join("\n") |> text(), if(value[:cut], do: "\n…", else: "")]
    end
  end

  # ---- HTML

  defp key_button(table, db, link, name) do
    tag(
      "button",
      [
        type: "button",
        class: "btn btn-link btn-sm p-0",
        "phx-click": "vdr_value",
        "phx-value-db": db,
        "phx-value-key": link,
        "phx-value-name": name,
        # A row that moves is another element for a screen reader, too.
        id: "vdr-#{table}-#{:erlang.phash2({db, link})}"
      ],
      text(name)
    )
  end

  defp heading(id, text), do: tag("h5", [id: id, class: "card-title mt-4"], text(text))

  defp pair(left, right),
    do: ["<div class=\"row\"><div class=\"col-md-6\">", left, "</div><div class=\"col-md-6\">", right, "</div></div>"]

  # Cells are HTML.
  defp table(id, title, columns, rows, empty) do
    [
      heading(id <> "-title", title),
      "<div class=\"table-responsive\" tabindex=\"0\" role=\"group\" aria-labelledby=\"#{id}-title\">",
      "<table id=\"#{id}\" class=\"table table-sm\" aria-labelledby=\"#{id}-title\">",
      if(rows == [],
        do: tag("caption", [], text(empty)),
        else: [
          "<thead><tr>",
          for(column <- columns, do: tag("th", [scope: "col"], text(column))),
          "</tr></thead><tbody>",
          for(row <- rows, do: ["<tr>", for(cell <- row, do: tag("td", [], cell)), "</tr>"]),
          "</tbody>"
        ]
      ),
      "</table></div>"
    ]
  end

  defp tag(name, attributes), do: ["<", name, attributes(attributes), ">"]
  defp tag(name, attributes, content), do: ["<", name, attributes(attributes), ">", content, "</", name, ">"]

  defp attributes(attributes) do
    for {name, value} <- attributes, value not in [nil, false] do
      if value == true, do: [" ", to_string(name)], else: [" ", to_string(name), "=\"", text(value), "\""]
    end
  end

  @escapes %{"&" => "&amp;", "<" => "&lt;", ">" => "&gt;", "\"" => "&quot;", "'" => "&#39;"}

  # What is no UTF-8 would end the connection of the page.
  defp text(text) do
    text = to_string(text)
    text = if String.valid?(text), do: text, else: Vdr.Json.text(text)
    String.replace(text, Map.keys(@escapes), &Map.fetch!(@escapes, &1))
  end
end
