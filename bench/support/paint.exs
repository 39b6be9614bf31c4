defmodule Vdr.Paint do
  @moduledoc false
  # Text for a terminal and for a pipe. A terminal (`DEMO_COLUMNS` is set) gets colours and a moving
  # bar. A pipe gets the same lines without colours, and the bar as a line per quarter.

  def terminal?, do: System.get_env("DEMO_COLUMNS") != nil and System.get_env("NO_COLOR") == nil
  def columns, do: String.to_integer(System.get_env("DEMO_COLUMNS") || "80")

  def title(text),
    do: IO.puts([?\n, paint(text, [:bright]), ?\n, paint(String.duplicate("─", min(columns(), 64)), [:faint])])

  def line(label, text), do: IO.puts(["  ", paint(pad(label), [:cyan]), text])
  def note(text), do: IO.puts(["  ", paint(text, [:faint])])

  @doc "A progress bar that a terminal redraws in place; in a pipe, a line for every quarter."
  def bar(label, done, total, text) do
    width = min(40, max(10, columns() - 60))
    filled = if total > 0, do: min(width, div(done * width, total)), else: 0
    quarter = if total > 0, do: div(done * 4, total), else: 0

    cond do
      terminal?() ->
        blocks = [String.duplicate("█", filled), String.duplicate("░", width - filled)]
        IO.write(["\r  ", paint(pad(label), [:cyan]), blocks, " ", text, "\e[K"])

      Process.get({__MODULE__, label}) != quarter ->
        Process.put({__MODULE__, label}, quarter)
        line(label, text)

      true ->
        :ok
    end
  end

  def end_bar, do: if(terminal?(), do: IO.write("\r\e[K"))

  def number(n) when is_integer(n) do
    n |> Integer.to_string() |> String.reverse() |> String.replace(~r/\d{3}(?=\d)/, "\\0,") |> String.reverse()
  end

  @doc "Nanoseconds in the unit that reads best."
  def time(ns) when ns < 10_000, do: "#{round(ns)} ns"
  def time(ns) when ns < 10_000_000, do: "#{Float.round(ns / 1_000, 1)} µs"
  def time(ns) when ns < 10_000_000_000, do: "#{round(ns / 1_000_000)} ms"
  def time(ns), do: "#{Float.round(ns / 1_000_000_000, 1)} s"

  def bytes(n) when n < 10_000, do: "#{n} B"
  def bytes(n) when n < 10_000_000, do: "#{Float.round(n / 1_000, 1)} kB"
  def bytes(n), do: "#{Float.round(n / 1_000_000, 1)} MB"

  defp pad(label), do: String.pad_trailing(label, 26) <> if(String.length(label) < 26, do: "", else: "  ")

  defp paint(text, styles) do
    if terminal?(), do: IO.ANSI.format([styles, text], true), else: text
  end
end
