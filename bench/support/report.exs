defmodule Vdr.Bench.Report do
  @moduledoc false
  # The figures as JSON for programs and as a table for people, with the circumstances of their
  # measurement.

  @results Path.expand("../results", __DIR__)
  @latest "latest.json"
  @json Path.join(@results, @latest)
  @table Path.join(@results, "latest.md")
  @readme Path.expand("../../README.md", __DIR__)
  @fields ~w(figure ours theirs unit ratio aim commit date)a
  @columns ["figure", "ours", "theirs", "unit", "ratio", "aim"]

  # The figures that README.md shows.
  @telling [
    "get, 1M keys, against :ets.lookup",
    "get, 1M keys, against GET over loopback",
    "hget of 1M fields",
    "zrange of 10 of 1M",
    "get beside 300k writes/s, p99.9 of 20 µs",
    "get at 10M keys, against 10k",
    "CPU per command: SET on 1M keys",
    "CPU per command: a mix",
    "SETs applied in a row",
    "full sync of 1M strings of 32 B, wall",
    "memory: 1M strings of 32 B",
    "memory: 100k hashes of 20 fields",
    "lag at 100k writes/s, p99"
  ]

  @doc """
  The circumstances of a run. Call it before the first measurement: written results change what
  `git` says.
  """
  def circumstances do
    [
      date: Date.to_iso8601(Date.utc_today()),
      commit: output("git", ~w(describe --always --dirty)),
      machine: "#{cpu()}, #{System.schedulers_online()} schedulers, #{:erlang.system_info(:system_architecture)}",
      "Elixir, OTP": "#{System.version()}, #{System.otp_release()}",
      Rust: output("rustc", ["--version"]),
      server: Vdr.Test.Server.any().name
    ]
  end

  @doc """
  Writes the figures of a run. The figures of a partial run replace those of the same names; the
  others stay, each with its own run.
  """
  def write(figures, names, complete?, circumstances) do
    figures = Enum.map(figures, &Map.merge(&1, run(circumstances)))
    all = if complete?, do: figures, else: merge(read(), figures)
    what = if complete?, do: "all of it", else: Enum.join(names, ", ")
    save(@latest, all)
    File.write!(@table, markdown(all, what, circumstances))
    File.write!(@readme, with_table(File.read!(@readme), all))

    IO.puts(
      "\n#{table(figures, @columns, &cells/1)}\nwritten to #{Enum.map_join([@json, @table, @readme], ", ", &Path.relative_to_cwd/1)}"
    )
  end

  @doc "Writes figures to a file among the results."
  def save(name, figures) do
    File.mkdir_p!(@results)
    File.write!(Path.join(@results, name), [json(figures), "\n"])
  end

  defp run(circumstances), do: Map.new(Keyword.take(circumstances, [:commit, :date]))

  defp merge(before, figures) do
    new = Map.new(figures, &{&1.figure, &1})
    known = MapSet.new(before, & &1.figure)
    Enum.map(before, &Map.get(new, &1.figure, &1)) ++ Enum.reject(figures, &(&1.figure in known))
  end

  @doc "The newest figures, as written."
  def read(name \\ @latest) do
    case File.read(Path.join(@results, name)) do
      {:ok, text} -> for line <- String.split(text, "\n"), "{" <> _ <- [String.trim(line)], do: figure(line)
      {:error, :enoent} -> []
    end
  end

  @doc "README.md's text, with its table replaced by the most telling of these figures."
  def with_table(readme, figures) do
    by_name = Map.new(figures, &{&1.figure, &1})
    telling = for name <- @telling, figure = by_name[name], do: figure
    table = ["<!-- bench -->\n", table(telling, @columns, &cells/1), "<!-- /bench -->"]
    Regex.replace(~r/<!-- bench -->.*<!-- \/bench -->/s, readme, IO.iodata_to_binary(table))
  end

  defp markdown(figures, what, circumstances) do
    [
      "# Benchmarks\n\n",
      for({name, value} <- [{"run", what} | circumstances], do: "- #{name}: #{value}\n"),
      "\nThe ratio is our cost divided by theirs, both measured in one run. The aim is the highest acceptable ratio.\n\n",
      table(figures, @columns ++ ["measured on"], &(cells(&1) ++ ["#{&1.commit}, #{&1.date}"]))
    ]
  end

  # Numbers are aligned to the right.
  defp table(figures, columns, cells) do
    lines = for column <- columns, do: if(column in ["ours", "theirs", "ratio"], do: "--:", else: "---")
    rows = for figure <- figures, do: line(cells.(figure), " ")
    [line(columns, " "), line(lines, "") | rows]
  end

  defp line(cells, pad), do: ["|", pad, Enum.intersperse(cells, [pad, "|", pad]), pad, "|\n"]

  defp cells(figure) do
    [figure.figure, number(figure.ours), number(figure.theirs), figure.unit, "#{figure.ratio}", verdict(figure)]
  end

  defp verdict(%{aim: nil}), do: "none"
  defp verdict(%{aim: aim, ratio: ratio}) when ratio <= aim, do: "#{aim}: met"
  defp verdict(%{aim: aim}), do: "#{aim}: missed"

  defp number(value) when value >= 1_000, do: Vdr.Paint.number(round(value))
  defp number(value), do: "#{Float.round(value * 1.0, 2)}"

  defp cpu do
    with {:ok, text} <- File.read("/proc/cpuinfo"), [_, name] <- Regex.run(~r/model name\s*: (.*)/, text) do
      name
    else
      _ -> "unknown processor"
    end
  end

  defp output(command, arguments) do
    case System.find_executable(command) && System.cmd(command, arguments, stderr_to_stdout: true) do
      {text, 0} -> String.trim(text)
      _missing -> "unknown"
    end
  end

  # ---- JSON, as much of it as the figures need

  defp json(list) when is_list(list), do: ["[\n  ", list |> Enum.map(&json/1) |> Enum.intersperse(",\n  "), "\n]"]

  defp json(%{} = map) do
    fields = for key <- @fields, is_map_key(map, key), do: [?", Atom.to_string(key), ~s(": ), json(map[key])]
    ["{", Enum.intersperse(fields, ", "), "}"]
  end

  defp json(nil), do: "null"
  defp json(number) when is_number(number), do: to_string(number)
  defp json(text) when is_binary(text), do: [?", String.replace(text, ["\\", "\""], &("\\" <> &1)), ?"]

  # Each figure is on a line of its own. The oldest figures do not name their run.
  defp figure(line) do
    for field <- @fields, into: %{} do
      case Regex.run(~r/"#{field}": ("(?:[^"\\]|\\.)*"|[^,}]*)/, line) do
        [_, value] -> {field, value(value)}
        nil -> {field, nil}
      end
    end
  end

  defp value("null"), do: nil
  defp value("\"" <> text), do: Regex.replace(~r/\\(.)/, String.slice(text, 0..-2//1), "\\1")
  defp value(number), do: if(number =~ ".", do: String.to_float(number), else: String.to_integer(number))
end
