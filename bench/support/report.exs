defmodule Vdr.Bench.Report do
  @moduledoc false
  # The figures as JSON for programs and as a table for people, with what they were measured on.

  def write(figures, dir) do
    File.mkdir_p!(dir)
    json = Path.join(dir, "latest.json")
    table = Path.join(dir, "latest.md")
    File.write!(json, [json(figures), "\n"])
    File.write!(table, markdown(figures))
    IO.puts("\n#{File.read!(table)}\nwritten to #{Path.relative_to_cwd(json)} and #{Path.relative_to_cwd(table)}")
  end

  defp markdown(figures) do
    rows =
      for figure <- figures do
        cells = [
          figure.figure,
          number(figure.ours),
          number(figure.theirs),
          figure.unit,
          "#{figure.ratio}",
          verdict(figure)
        ]

        ["| ", Enum.intersperse(cells, " | "), " |\n"]
      end

    [
      "# Benchmarks\n\n",
      for({what, value} <- circumstances(), do: "- #{what}: #{value}\n"),
      "\nThe ratio is our cost over theirs, both measured in one run; the aim is the highest ratio that will do.\n\n",
      "| figure | ours | theirs | unit | ratio | aim |\n|---|--:|--:|---|--:|---|\n",
      rows
    ]
  end

  defp verdict(%{aim: nil}), do: "none"
  defp verdict(%{aim: aim, ratio: ratio}) when ratio <= aim, do: "#{aim}: met"
  defp verdict(%{aim: aim}), do: "#{aim}: missed"

  defp number(value) when value >= 1_000, do: Vdr.Paint.number(round(value))
  defp number(value), do: "#{Float.round(value * 1.0, 2)}"

  defp circumstances do
    [
      {"date", Date.to_iso8601(Date.utc_today())},
      {"commit", output("git", ~w(describe --always --dirty))},
      {"machine", "#{cpu()}, #{System.schedulers_online()} schedulers, #{:erlang.system_info(:system_architecture)}"},
      {"Elixir, OTP", "#{System.version()}, #{System.otp_release()}"},
      {"Rust", output("rustc", ["--version"])},
      {"server", Vdr.Test.Server.any().name}
    ]
  end

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

  # ---- JSON, as much of it as there is here

  defp json(list) when is_list(list), do: ["[\n  ", list |> Enum.map(&json/1) |> Enum.intersperse(",\n  "), "\n]"]

  defp json(%{} = map) do
    fields = for key <- ~w(figure ours theirs unit ratio aim)a, do: [?", Atom.to_string(key), ~s(": ), json(map[key])]
    ["{", Enum.intersperse(fields, ", "), "}"]
  end

  defp json(nil), do: "null"
  defp json(number) when is_number(number), do: to_string(number)
  defp json(text) when is_binary(text), do: [?", String.replace(text, ["\\", "\""], &("\\" <> &1)), ?"]
end
