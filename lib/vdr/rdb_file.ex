defmodule Vdr.RdbFile do
  @moduledoc false
  # Snapshot files on a disk: read a piece at a time on dirty schedulers, so that one can tell how far it is.

  alias Vdr.{Native, Snapshot}

  @typedoc "How much is read, and how much there is."
  @type progress :: (done_bytes :: non_neg_integer, total_bytes :: non_neg_integer -> term)

  @spec load(Path.t()) :: {:ok, Snapshot.t()} | {:error, term}
  def load(path) do
    with {:ok, native} <- read(path, :load, fn _done, _total -> :ok end), do: {:ok, %Snapshot{native: native}}
  end

  @doc "Counts what is in the file without keeping any of it."
  @spec survey(Path.t(), progress) :: {:ok, map} | {:error, term}
  def survey(path, progress), do: read(path, :survey, progress)

  defp read(path, purpose, progress) do
    with {:ok, file, total} <- Native.rdb_open(checked(path), purpose), do: step(file, total, progress)
  end

  defp checked(path) when is_binary(path), do: path

  defp checked(path) do
    IO.chardata_to_string(path)
  rescue
    _no_text ->
      reraise ArgumentError, "a path of a snapshot file is a string or chardata; got: #{inspect(path)}", __STACKTRACE__
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
