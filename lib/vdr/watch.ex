defmodule Vdr.Watch do
  @moduledoc false
  # Watches of the calling process. The store keeps them, and ends them with the process.

  alias Vdr.{Handle, Native}

  @type watched :: {:key | :prefix, term}

  @spec add(Veidrodelis.instance(), term, watched, term) :: :ok | {:error, :no_instance | :already_registered}
  def add(instance, db, watched, ref) do
    function = function("watch", watched)

    with {:ok, {_id, store, _pid}} <- Handle.fetch(instance, function),
         do: store |> Native.watch(db, watched, ref, self()) |> check(function, ", ref", db, watched)
  end

  @spec remove(Veidrodelis.instance(), term, watched) :: :ok | {:error, :no_instance | :not_found}
  def remove(instance, db, watched) do
    function = function("unwatch", watched)

    with {:ok, {_id, store, _pid}} <- Handle.fetch(instance, function),
         do: store |> Native.unwatch(db, watched, self()) |> check(function, "", db, watched)
  end

  defp function(name, {:key, _key}), do: name
  defp function(name, {:prefix, _prefix}), do: name <> "_prefix"

  defp check({:error, :bad_argument}, function, more, db, {what, given}) do
    raise ArgumentError,
          "Veidrodelis.#{function} takes (instance, db, #{what}#{more}), db a number from 0 and #{what} a binary; " <>
            "got db #{inspect(db)} and #{what} #{inspect(given, limit: 10, printable_limit: 100)}"
  end

  defp check(answer, _function, _more, _db, _watched), do: answer
end
