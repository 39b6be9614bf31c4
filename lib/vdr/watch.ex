defmodule Vdr.Watch do
  @moduledoc false
  # Watches of the calling process. They are kept in the store and end with the process without anybody's help.

  alias Vdr.{Instances, Native}

  @spec add(term, term, term, term) :: :ok | {:error, :not_found | :already_registered}
  def add(id, db, key, ref) do
    case Instances.find(id) do
      {store, _pid} -> store |> Native.watch(db, key, ref, self()) |> checked("watch", "(id, db, key, ref)", db, key)
      nil -> {:error, :not_found}
    end
  end

  @spec remove(term, term, term) :: :ok | {:error, :not_found}
  def remove(id, db, key) do
    case Instances.find(id) do
      {store, _pid} -> store |> Native.unwatch(db, key, self()) |> checked("unwatch", "(id, db, key)", db, key)
      nil -> {:error, :not_found}
    end
  end

  defp checked({:error, :bad_argument}, name, takes, db, key) do
    raise ArgumentError,
          "Veidrodelis.#{name} takes #{takes}, db a number from 0 and key a binary; " <>
            "got db #{inspect(db)} and key #{inspect(key, limit: 10, printable_limit: 100)}"
  end

  defp checked(answer, _name, _takes, _db, _key), do: answer
end
