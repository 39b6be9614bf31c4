defmodule Vdr.Read do
  @moduledoc false
  # The one way from a read to the native library: finds the source, moves large calls to a dirty scheduler, and turns
  # a bad argument into an exception that says what was asked for.

  alias Vdr.{Native, Snapshot}

  @spec call(Veidrodelis.source(), Veidrodelis.db(), atom, list) :: {:ok, term} | {:error, Veidrodelis.reason()}
  def call(source, db, name, args) do
    case source(source) do
      nil -> {:error, :not_found}
      native -> read(native, db, name, args)
    end
  end

  defp read(native, db, name, args) do
    case native(native, db, name, args) do
      {:ok, _value} = answer -> answer
      :dirty -> known(Native.read_dirty(native, db, name, args), db, name, args)
      error -> known(error, db, name, args)
    end
  end

  # The reads with an entry of their own, see there.
  defp native(native, db, :get, [key]), do: Native.get(native, db, key)
  defp native(native, db, :hget, [key, field]), do: Native.hget(native, db, key, field)
  defp native(native, db, :sismember, [key, member]), do: Native.sismember(native, db, key, member)
  defp native(native, db, :zscore, [key, member]), do: Native.zscore(native, db, key, member)
  defp native(native, db, :lindex, [key, index]), do: Native.lindex(native, db, key, index)
  defp native(native, db, name, args), do: Native.read(native, db, name, args)

  defp known({:error, :bad_argument}, db, name, args), do: raise(ArgumentError, complaint(db, name, args))
  defp known(answer, _db, _name, _args), do: answer

  @spec transaction(Veidrodelis.source(), Veidrodelis.db(), [tuple]) ::
          {:ok, [{:ok, term} | {:error, term}]} | {:error, Veidrodelis.reason()}
  def transaction(source, db, operations) do
    with native when native != nil <- source(source),
         :dirty <- Native.read_tx(native, db, operations),
         :dirty <- Native.read_tx_dirty(native, db, operations) do
      raise "the native library refused to read"
    else
      nil -> {:error, :not_found}
      {:error, :bad_argument} -> raise ArgumentError, transaction_complaint(db, operations)
      answer -> answer
    end
  end

  @doc "The native source behind an instance id or a snapshot, `nil` when there is none."
  @spec source(Veidrodelis.source()) :: reference | nil
  def source(%Snapshot{native: native}), do: native

  def source(id) do
    case :persistent_term.get({Veidrodelis, id}, nil) do
      nil -> nil
      {native, _pid} -> native
    end
  end

  defp complaint(db, name, args) do
    takes =
      case List.keyfind(Native.commands(), name, 0) do
        {_name, names} -> Enum.map_join(names, "", &", #{argument(&1)}")
        nil -> ""
      end

    "Veidrodelis.#{name} takes (id_or_snapshot, db#{takes}), db a number from 0; " <>
      "got db #{inspect(db)} and the arguments #{inspect(args, limit: 10, printable_limit: 100)}"
  end

  defp argument("?" <> name), do: "[#{name}]"
  defp argument(name), do: name

  defp transaction_complaint(db, operations) do
    "Veidrodelis.read_tx takes (id_or_snapshot, db, [{name, args...}]), db a number from 0; " <>
      "got db #{inspect(db)} and #{inspect(operations, limit: 10, printable_limit: 100)}"
  end
end
