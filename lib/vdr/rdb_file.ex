defmodule Vdr.RdbFile do
  @moduledoc false
  # Snapshot files on disk. They are read a piece at a time on dirty schedulers, and each piece
  # reports progress.

  alias Vdr.{Native, Snapshot}

  @typedoc "A function that gets the bytes read so far and the size of the file."
  @type progress :: (done_bytes :: non_neg_integer, total_bytes :: non_neg_integer -> term)

  @doc "See `Veidrodelis.load_rdb/1`."
  @spec load(Path.t()) :: {:ok, Snapshot.t()} | {:error, Veidrodelis.Error.reason()}
  def load(path) do
    with {:ok, native} <- read(path, :load, fn _done, _total -> :ok end), do: {:ok, %Snapshot{native: native}}
  end

  @doc "Counts what is in a file. It keeps none of it in memory."
  @spec survey(Path.t(), progress) :: {:ok, map} | {:error, Veidrodelis.Error.reason()}
  def survey(path, progress), do: read(path, :survey, progress)

  defp read(path, purpose, progress) do
    with {:ok, file, total} <- Native.rdb_open(path!(path), purpose), do: step(file, total, progress)
  end

  defp path!(path) when is_binary(path), do: path

  defp path!(path) do
    IO.chardata_to_string(path)
  rescue
    _not_chardata ->
      reraise ArgumentError,
              "the path of a snapshot file is a string or chardata, got: #{inspect(path)}",
              __STACKTRACE__
  end

  defp step(file, total, progress) do
    case Native.rdb_step(file) do
      {:more, done} ->
        progress.(done, total)
        step(file, total, progress)

      done ->
        done
    end
  end
end
