defmodule Vdr.RdbFile.Report do
  @moduledoc false
  # The survey of a snapshot file as text for people.

  @times ["past", "1 minute", "1 hour", "1 day", "1 week", "30 days", "1 year", "later"]

  @doc "Sorts the lists of a survey and cuts them to `count` rows."
  @spec top(map, non_neg_integer) :: map
  def top(survey, count) do
    by_bytes = Enum.sort_by(survey.prefixes, fn {prefix, {_keys, _elements, bytes}} -> {-bytes, prefix} end)
    {shown, rest} = Enum.split(by_bytes, count)
    other = Enum.reduce(rest, survey.other_prefixes, fn {_prefix, counts}, sum -> add(sum, counts) end)
    %{survey | prefixes: shown, other_prefixes: other, biggest: Enum.take(survey.biggest, count)}
  end

  defp add({a, b, c}, {x, y, z}), do: {a + x, b + y, c + z}

  @spec text(map) :: String.t()
  def text(survey) do
    {keys, _elements, bytes} = survey.total

    [
      ["RDB version #{survey.version}", writer(survey.server), ", #{size(survey.file_bytes)}"],
      "#{keys} keys, #{size(bytes)} of names and contents",
      section("Keys", ~w(db type keys elements bytes), Enum.map(survey.kinds, &kind/1)),
      section("Biggest keys", ~w(db type elements bytes key), Enum.map(survey.biggest, &big/1)),
      section("Prefixes", ~w(keys elements bytes prefix), prefixes(survey)),
      section("Expiry", ~w(within keys), expiries(survey))
    ]
    |> Enum.reject(&(&1 == []))
    |> Enum.intersperse("\n")
    |> IO.iodata_to_binary()
  end

  @doc "The number of keys by the time until they expire: `{label, keys}`."
  @spec expiries(map) :: [{String.t(), non_neg_integer}]
  def expiries(%{expiries: counts, total: {keys, _elements, _bytes}}),
    do: Enum.zip(@times, counts) ++ [{"never", keys - Enum.sum(counts)}]

  @doc "A key as text; a key that is not printable is escaped."
  @spec name(binary) :: String.t()
  def name(key), do: if(String.printable?(key), do: key, else: inspect(key, binaries: :as_strings))

  defp writer(nil), do: ""
  defp writer(%{name: name, version: version}), do: " of #{name} #{version}"

  defp kind({db, kind, {keys, elements, bytes}}), do: {db, kind, keys, elements, size(bytes)}
  defp big({db, kind, key, {elements, bytes}}), do: {db, kind, elements, size(bytes), name(key)}

  defp prefixes(%{prefixes: prefixes, other_prefixes: other}) do
    listed = for {prefix, counts} <- prefixes, do: prefix(if(prefix == "", do: "(none)", else: name(prefix)), counts)
    if other == {0, 0, 0}, do: listed, else: listed ++ [prefix("(others)", other)]
  end

  defp prefix(name, {keys, elements, bytes}), do: {keys, elements, size(bytes), name}

  defp section(_title, _head, []), do: []

  defp section(title, head, rows) do
    rows = [head | Enum.map(rows, fn row -> row |> Tuple.to_list() |> Enum.map(&to_string/1) end)]

    widths =
      rows |> Enum.zip_with(& &1) |> Enum.map(fn column -> column |> Enum.map(&String.length/1) |> Enum.max() end)

    ["\n", title, Enum.map(rows, &["\n  ", line(&1, widths)])]
  end

  defp line(row, widths) do
    Enum.zip(row, widths)
    |> Enum.map_join("  ", fn {cell, width} -> String.pad_trailing(cell, width) end)
    |> String.trim_trailing()
  end

  defp size(bytes) when bytes < 1024, do: "#{bytes} B"
  defp size(bytes) when bytes < 1_048_576, do: "#{Float.round(bytes / 1024, 1)} KiB"
  defp size(bytes) when bytes < 1_073_741_824, do: "#{Float.round(bytes / 1_048_576, 1)} MiB"
  defp size(bytes), do: "#{Float.round(bytes / 1_073_741_824, 1)} GiB"
end
