defmodule Vdr.Top.Screen do
  @moduledoc false
  # The screen of `mix vdr.top` as lines of text: a function of the overviews that were taken, and
  # of the size of the terminal. Nothing of a key reaches the terminal but printable characters.

  import Vdr.Overview.Text, only: [clock: 1, ms: 1, number: 1, size: 1, size_of: 2]

  alias Vdr.Overview
  alias Vdr.Overview.Text

  @bars ~w(▁ ▂ ▃ ▄ ▅ ▆ ▇ █)
  @ascii_bars ~w(. : - = + * # @)

  @typedoc """
  `history` is the overviews, the newest first. `plain` is for terminals without UTF-8.
  """
  @type view :: %{
          history: [Overview.t()],
          sort: :keys | :bytes | :name,
          paused: boolean,
          plain: boolean,
          rows: pos_integer,
          columns: pos_integer
        }

  @doc "The lines, each at most as wide as the terminal, and no more than it has rows."
  @spec lines(view) :: [String.t()]
  def lines(%{history: []} = view), do: fit(["no instance"], view)

  def lines(%{history: [now | _]} = view) do
    head = [
      title(now, view),
      link(now.info),
      "",
      numbers(view),
      counters(now.info),
      plot("lag ", :lag, view),
      plot("rate", :rate, view)
    ]

    head = head ++ warnings(now.info) ++ [""]
    foot = "q quit  p #{if view.paused, do: "go on", else: "pause"}  s sort (#{view.sort})  i next instance"
    body = body(now, view, view.rows - length(head) - 1)
    fit(Enum.take(head ++ body, view.rows - 1) ++ [foot], view)
  end

  defp title(now, view) do
    paused = if view.paused, do: "  PAUSED", else: ""
    server = Overview.server(now.info.server) || "a server that is not known yet"
    "#{Overview.name(now.id)}  #{server} at #{Overview.address(now.info.primary) || "?"}  #{now.info.state}#{paused}"
  end

  defp link(%{last_error: nil} = info), do: "offset #{info.offset}  id #{info.replication_id || "-"}"
  defp link(info), do: "offset #{info.offset}  last end: #{Overview.error(info.last_error)}"

  defp numbers(%{history: [now | _]} = view) do
    "keys #{keys(now)}  memory #{size(now.memory_bytes)}  lag #{size(now.info.lag_bytes)}  " <>
      "rate #{rate(view.history)}/s  last message #{ms(now.info.last_message_ms_ago)}"
  end

  defp keys(%{info: info}), do: info.keys |> Map.values() |> Enum.sum()

  defp counters(info) do
    "syncs #{info.full_syncs} full #{info.partial_syncs} partial  reconnects #{info.reconnects}  " <>
      "watches #{info.watches}  snapshots #{info.snapshots_held}  unknown #{info.unknown_commands |> Map.values() |> Enum.sum()}  " <>
      "diverged #{info.divergences}"
  end

  defp warnings(info), do: Enum.map(Text.warnings(info), &"! #{&1}")

  # ---- plots

  defp plot(label, what, view) do
    width = max(view.columns - 24, 10)
    values = view.history |> series(what) |> Enum.take(width) |> Enum.reverse()
    highest = Enum.max(values, fn -> 0 end)
    shown = if what == :lag, do: size(highest), else: "#{highest}/s"
    "#{label} #{bars(values, highest, view.plain)} max #{shown}"
  end

  @doc "The values of a plot, the newest first."
  @spec series([Overview.t()], :lag | :rate) :: [non_neg_integer]
  def series(history, :lag), do: Enum.map(history, & &1.info.lag_bytes)
  def series(history, :rate), do: history |> Enum.chunk_every(2, 1, :discard) |> Enum.map(&rate/1)

  @doc "Commands a second between the two newest overviews."
  @spec rate([Overview.t()]) :: non_neg_integer
  def rate([now, before | _]), do: Text.rate(now, before)
  def rate(_one), do: 0

  defp bars(values, highest, plain) do
    bars = if plain, do: @ascii_bars, else: @bars
    Enum.map_join(values, fn value -> Enum.at(bars, div(value * (length(bars) - 1), max(highest, 1))) end)
  end

  # ---- tables

  # Two columns; the upper half for types and prefixes, the lower one for large keys, scripts and
  # events.
  defp body(now, view, rows) when rows >= 4 do
    half = div(rows, 2)
    {left, right} = {div(view.columns, 2) - 1, view.columns - div(view.columns, 2)}

    beside(
      ["TYPE             KEYS      MEMORY" | shares(now.types, view.sort, 16)],
      ["PREFIX                KEYS      MEMORY" | shares(now.prefixes, view.sort, 21)],
      half,
      {left, right}
    ) ++
      beside(
        ["LARGEST KEYS" | large(now.large_keys)],
        ["SLOW SCRIPTS AND EVENTS" | scripts(now.scripts) ++ events(now.events)],
        rows - half,
        {left, right}
      )
  end

  defp body(_now, _view, _rows), do: []

  defp beside(left, right, rows, {left_columns, right_columns}) do
    for index <- 0..(rows - 1) do
      pad(Enum.at(left, index, ""), left_columns) <> "  " <> cut(Enum.at(right, index, ""), right_columns - 1)
    end
  end

  defp shares(rows, sort, width) do
    for row <- Enum.sort_by(rows, &order(&1, sort)) do
      pad(Overview.text(row.name), width - 6) <>
        String.pad_leading(number(row.keys), 10) <> "  " <> String.pad_leading(size(row.bytes), 10)
    end
  end

  defp order(row, :keys), do: -row.keys
  defp order(row, :bytes), do: -row.bytes
  defp order(row, :name), do: row.name

  defp large(keys) do
    for {db, key, kind, size} <- keys do
      String.pad_leading(size_of(kind, size), 10) <>
        "  #{pad(to_string(kind), 6)} #{if db > 0, do: "#{db}/"}#{Overview.text(key)}"
    end
  end

  defp scripts(scripts) do
    for %{about: {ms, source}} <- scripts, do: "#{ms} ms  #{Overview.text(source || "(a loaded script)")}"
  end

  defp events(events) do
    for %{time_ms: at, about: {event, details}} <- events, do: "#{clock(at)} #{Overview.event_text(event, details)}"
  end

  # ---- text

  defp fit(lines, view) do
    lines |> Enum.take(view.rows) |> Enum.map(&(&1 |> cut(view.columns) |> plain(view.plain)))
  end

  # A character that a terminal without UTF-8 cannot show must not shift the rest.
  defp plain(line, false), do: line
  defp plain(line, true), do: for(<<point::utf8 <- line>>, into: "", do: if(point in 32..126, do: <<point>>, else: "?"))

  defp cut(text, columns) do
    text = for <<point::utf8 <- text>>, into: "", do: if(point < 32 or point == 127, do: " ", else: <<point::utf8>>)
    if String.length(text) > columns, do: String.slice(text, 0, max(columns, 0)), else: text
  end

  defp pad(text, columns), do: text |> cut(columns) |> String.pad_trailing(columns)
end
