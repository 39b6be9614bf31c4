defmodule Vdr.Bench.Plot do
  @moduledoc false
  # Line plots as SVG files. Both axes are logarithmic.

  @plots Path.expand("../../docs/plots", __DIR__)
  @width 860
  @height 480
  @left 80
  @right 250
  @top 50
  @bottom 60
  @colours ~w(#0b6e99 #d9730d #6940a5 #448361)

  @doc """
  An axis of percentiles. Each step to the right leaves a tenth of the distance to 100 %, so that
  the rare slow reads, which matter, have room.
  """
  def percentiles do
    ticks = [0, 50, 90, 99, 99.9, 99.99]
    last = List.last(ticks)
    share = fn percentile -> :math.log10(100 / (100 - min(percentile, last))) / :math.log10(100 / (100 - last)) end
    %{name: "percentile", ticks: Enum.map(ticks, &{&1, "#{&1}"}), share: share}
  end

  @doc "A logarithmic axis from the first marked value to the last."
  def powers(name, ticks, label) do
    {first, last} = {hd(ticks), List.last(ticks)}
    share = fn value -> :math.log10(value / first) / :math.log10(last / first) end
    %{name: name, ticks: Enum.map(ticks, &{&1, label.(&1)}), share: share}
  end

  @doc """
  Writes a plot to docs/plots/, if there is anything to draw. `right` is one of the two axes above.
  Each series is `%{name, group, dashed, points: [{right, up}]}`; series of one group share a
  colour.
  """
  def write(name, title, right, unit, series) do
    path = Path.join(@plots, name)
    if Enum.any?(series, &(&1.points != [])), do: File.write!(path, drawn(title, right, unit, series))
  end

  defp drawn(title, right, unit, series) do
    values = for %{points: points} <- series, {_right, value} <- points, do: max(value, 1)
    span = {floor(:math.log10(Enum.min(values))), ceil(:math.log10(Enum.max(values)))}
    groups = series |> Enum.map(& &1.group) |> Enum.uniq()
    lines = for {one, row} <- Enum.with_index(series), do: line(one, row, groups, right, span)

    [
      ~s(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{@width} #{@height}" font-family="sans-serif" font-size="13">\n),
      ~s(<rect width="100%" height="100%" fill="white"/>\n),
      text(@left, 28, title, ~s(font-size="16" font-weight="bold")),
      grid(right, span, unit),
      lines,
      "</svg>\n"
    ]
  end

  defp grid(right, {low, high} = span, unit) do
    rows =
      for power <- low..high do
        y = y(:math.pow(10, power), span)
        [rule(@left, y, @width - @right, y), text(@left - 8, y + 4, label(power, unit), ~s(text-anchor="end"))]
      end

    columns =
      for {value, label} <- right.ticks do
        x = x(value, right)
        [rule(x, @top, x, @height - @bottom), text(x, @height - @bottom + 20, label, ~s(text-anchor="middle"))]
      end

    middle = (@left + @width - @right) / 2
    [rows, columns, text(middle, @height - 15, right.name, ~s(text-anchor="middle"))]
  end

  defp line(series, row, groups, right, span) do
    colour = Enum.at(@colours, rem(Enum.find_index(groups, &(&1 == series.group)), length(@colours)))
    dash = if series.dashed, do: ~s( stroke-dasharray="6 4"), else: ""
    style = ~s(stroke="#{colour}" stroke-width="2" fill="none"#{dash})
    points = for {at, value} <- series.points, do: "#{round1(x(at, right))},#{round1(y(max(value, 1), span))} "
    {at, y} = {@width - @right + 20, @top + 10 + row * 22}

    [
      ~s(<polyline points="#{points}" #{style}/>\n),
      ~s(<line x1="#{at}" y1="#{y}" x2="#{at + 30}" y2="#{y}" #{style}/>\n),
      text(at + 38, y + 4, series.name, "")
    ]
  end

  defp x(value, right), do: @left + right.share.(value) * (@width - @right - @left)

  defp y(value, {low, high}) do
    share = (:math.log10(value) - low) / max(high - low, 1)
    @height - @bottom - share * (@height - @bottom - @top)
  end

  defp label(power, unit), do: String.trim("#{Vdr.Paint.number(round(:math.pow(10, power)))} #{unit}")

  defp rule(x1, y1, x2, y2),
    do: ~s(<line x1="#{round1(x1)}" y1="#{round1(y1)}" x2="#{round1(x2)}" y2="#{round1(y2)}" stroke="#dddddd"/>\n)

  defp text(x, y, content, attributes),
    do: ~s(<text x="#{round1(x)}" y="#{round1(y)}" #{attributes}>#{content}</text>\n)

  defp round1(number), do: Float.round(number * 1.0, 1)
end
