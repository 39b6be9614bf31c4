defmodule Vdr.Read do
  @moduledoc false
  # The one way from a read to the native library: finds the source, moves large calls to a dirty
  # scheduler, and turns a bad argument into an exception that says what the function takes.

  alias Vdr.{Handle, Native, Snapshot}
  alias Vdr.Mirror.Stores

  require Stores

  @spec call(Veidrodelis.source(), Veidrodelis.db(), atom, list) :: {:ok, term} | {:error, Veidrodelis.reason()}
  def call(source, db, name, args) do
    case source(source) do
      nil -> {:error, :no_instance}
      native -> read(native, db, name, args)
    end
  end

  defp read(native, db, name, args) do
    case native(native, db, name, args) do
      {:ok, _value} = answer -> answer
      :dirty -> check(Native.read_dirty(native, db, name, args), db, name, args)
      error -> check(error, db, name, args)
    end
  end

  # These reads have a native entry of their own, which is faster than the look-up by name.
  defp native(native, db, :get, [key]), do: Native.get(native, db, key)
  defp native(native, db, :hget, [key, field]), do: Native.hget(native, db, key, field)
  defp native(native, db, :sismember, [key, member]), do: Native.sismember(native, db, key, member)
  defp native(native, db, :zscore, [key, member]), do: Native.zscore(native, db, key, member)
  defp native(native, db, :lindex, [key, index]), do: Native.lindex(native, db, key, index)
  defp native(native, db, name, args), do: Native.read(native, db, name, args)

  defp check({:error, :bad_argument}, db, name, args), do: raise(ArgumentError, complaint(db, name, args))
  defp check(answer, _db, _name, _args), do: answer

  @spec transaction(Veidrodelis.source(), Veidrodelis.db(), [tuple]) ::
          {:ok, [{:ok, term} | {:error, term}]} | {:error, Veidrodelis.reason()}
  def transaction(source, db, operations) do
    with native when native != nil <- source(source),
         :dirty <- Native.read_tx(native, db, operations),
         :dirty <- Native.read_tx_dirty(native, db, operations) do
      raise "the native library refused to read"
    else
      nil -> {:error, :no_instance}
      {:error, :bad_argument} -> raise ArgumentError, transaction_complaint(db, operations)
      answer -> answer
    end
  end

  @doc "A snapshot of an instance."
  @spec snapshot(Veidrodelis.instance()) :: {:ok, Snapshot.t()} | {:error, :no_instance | :not_ready | :stale}
  def snapshot(instance) do
    with {:ok, {_id, store, _pid}} <- Handle.fetch(instance, :snapshot),
         {:ok, native} <- Native.snapshot(store),
         do: {:ok, %Snapshot{native: native}}
  end

  @doc "See `Veidrodelis.digest/1`."
  @spec digest(Veidrodelis.source()) :: {:ok, String.t()} | {:error, term}
  def digest(source) do
    case source(source) do
      nil -> {:error, :no_instance}
      native -> Native.digest(native)
    end
  end

  @doc "See `Veidrodelis.digest_value/3`."
  @spec digest_value(Veidrodelis.source(), Veidrodelis.db(), Veidrodelis.key()) :: {:ok, String.t()} | {:error, term}
  def digest_value(source, db, key) do
    with native when native != nil <- source(source),
         {:error, :bad_argument} <- Native.digest_value(native, db, key) do
      raise ArgumentError,
            "Veidrodelis.digest_value takes (source, db, key), db a number from 0, key a binary; " <>
              "got #{inspect(db)} and #{inspect(key, limit: 10, printable_limit: 100)}"
    else
      nil -> {:error, :no_instance}
      answer -> answer
    end
  end

  @doc "The value of an answer; raises where there is none."
  @spec value!({:ok, value} | {:error, Veidrodelis.Error.reason()}) :: value when value: term
  def value!({:ok, value}), do: value
  def value!({:error, reason}), do: raise(Veidrodelis.Error, reason: reason)

  @doc "The native source behind an instance or a snapshot, or `nil`."
  @spec source(Veidrodelis.source()) :: reference | nil
  def source(%Snapshot{native: native}), do: native

  def source(instance) do
    case Stores.lookup(instance) do
      {store, _pid} -> store
      nil -> Handle.store(instance)
    end
  end

  defp complaint(db, name, args) do
    takes =
      case List.keyfind(Native.commands(), name, 0) do
        {_name, names} -> Enum.map_join(names, "", &", #{argument(&1)}")
        nil -> ""
      end

    "Veidrodelis.#{name} takes (source, db#{takes}), db a number from 0; " <>
      "got db #{inspect(db)} and the arguments #{inspect(args, limit: 10, printable_limit: 100)}"
  end

  defp argument("?" <> name), do: "[#{name}]"
  defp argument(name), do: name

  defp transaction_complaint(db, operations) do
    "Veidrodelis.read_tx takes (source, db, [{name, args...}]), db a number from 0; " <>
      "got db #{inspect(db)} and #{inspect(operations, limit: 10, printable_limit: 100)}"
  end
end
