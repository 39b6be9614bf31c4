defmodule Vdr.Watch do
  @moduledoc false
  # Watches of the calling process. They are kept in the store and end with the process without anybody's help.

  alias Vdr.{Instances, Native}

  @type watched :: {:key | :prefix, term}

  @spec add(term, term, watched, term) :: :ok | {:error, :not_found | :already_registered}
  def add(id, db, watched, ref) do
    case Instances.find(id) do
      {store, _pid} -> store |> Native.watch(db, watched, ref, self()) |> checked("watch", ", ref", db, watched)
      nil -> {:error, :not_found}
    end
  end

  @spec remove(term, term, watched) :: :ok | {:error, :not_found}
  def remove(id, db, watched) do
    case Instances.find(id) do
      {store, _pid} -> store |> Native.unwatch(db, watched, self()) |> checked("unwatch", "", db, watched)
      nil -> {:error, :not_found}
    end
  end

  defp checked({:error, :bad_argument}, name, more, db, {what, given}) do
    suffix = if what == :prefix, do: "_prefix", else: ""

    raise ArgumentError,
          "Veidrodelis.#{name}#{suffix} takes (id, db, #{what}#{more}), db a number from 0 and #{what} a binary; " <>
            "got db #{inspect(db)} and #{what} #{inspect(given, limit: 10, printable_limit: 100)}"
  end

  defp checked(answer, _name, _more, _db, _watched), do: answer
end
