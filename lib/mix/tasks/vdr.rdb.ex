defmodule Mix.Tasks.Vdr.Rdb do
  @shortdoc "Shows what is in a Redis or Valkey snapshot file"

  @moduledoc """
  Shows what is in a snapshot file (`dump.rdb`): its version, its keys by database and type, the
  biggest keys, the bytes of each key prefix, and when keys expire.

      mix vdr.rdb FILE [--json] [--top N]

    * `--json` - one JSON object instead of text
    * `--top N` - the number of keys and prefixes to list, 10 by default; it lists at most 20 keys

  The task reads the file once and keeps none of it in memory, so files of any size work. Bytes
  are those of names and contents, unpacked; a server takes more memory for them. The bytes of
  streams and modules are their size in the file. A prefix is the part of a key before the first
  `:`. A progress bar appears when standard error is a terminal.
  """

  use Mix.Task

  alias Vdr.RdbFile
  alias Vdr.RdbFile.{Json, Report}

  @switches [json: :boolean, top: :integer]
  @bar_cells 40

  @impl Mix.Task
  def run(argv) do
    {opts, path} = parse!(argv)
    Mix.Task.run("compile")

    case RdbFile.survey(path, progress()) do
      {:ok, survey} ->
        clear()
        survey = Report.top(survey, Keyword.get(opts, :top, 10))
        print = if opts[:json], do: &Json.encode/1, else: &Report.text/1
        Mix.shell().info(print.(survey))

      {:error, reason} ->
        clear()
        Mix.raise("#{path}: #{Exception.message(%Veidrodelis.Error{reason: reason})}")
    end
  end

  defp parse!(argv) do
    case OptionParser.parse(argv, strict: @switches) do
      {opts, [path], []} -> if Keyword.get(opts, :top, 10) >= 0, do: {opts, path}, else: usage!()
      _other -> usage!()
    end
  end

  @spec usage!() :: no_return
  defp usage!, do: Mix.raise("usage: mix vdr.rdb FILE [--json] [--top N]")

  defp progress, do: if(terminal?(), do: &bar/2, else: fn _done, _total -> :ok end)

  # The bar goes to standard error, so that it does not mix with output that is piped on.
  defp terminal?, do: match?({:ok, columns} when is_integer(columns), :io.columns(:standard_error))

  defp bar(done, total) do
    share = min(done / max(total, 1), 1.0)
    cells = round(share * @bar_cells)
    bar = String.duplicate("#", cells) <> String.duplicate(".", @bar_cells - cells)
    IO.write(:stderr, "\r[#{bar}] #{round(share * 100)}%")
  end

  defp clear, do: if(terminal?(), do: IO.write(:stderr, "\r" <> String.duplicate(" ", @bar_cells + 8) <> "\r"))
end
