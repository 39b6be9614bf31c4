defmodule Vdr.Keys do
  @moduledoc false
  # Streams over the keys of one state. They fetch a portion at a time.

  alias Vdr.{Native, Read, Schema, Snapshot}

  @kinds [:string, :list, :set, :zset, :hash, :stream, :other]
  @options [
    prefix: [type: :binary, default: "", doc: "what the keys begin with"],
    match: [type: :binary, doc: "a glob that the keys match"],
    type: [type: {:one_of, @kinds}, doc: "the type of the values, as `type/3` answers it"],
    chunk: [type: {:integer, 1..100_000}, default: 1000, doc: "how many keys one call fetches"]
  ]

  @doc "The options of `stream/3`."
  @spec options() :: Schema.t()
  def options, do: @options

  @spec stream(Veidrodelis.source(), Veidrodelis.db(), keyword) :: Enumerable.t()
  def stream(source, db, opts) do
    db!(db)
    opts = Schema.validate!(opts, @options, "Veidrodelis.stream_keys")
    filter = {opts[:prefix], opts[:match], opts[:type]}

    Stream.resource(
      fn -> {native!(source), nil} end,
      fn
        {_native, :end} = walk -> {:halt, walk}
        {native, last} -> portion(native, db, last, filter, opts[:chunk])
      end,
      fn _walk -> :ok end
    )
  end

  defp portion(native, db, last, filter, chunk) do
    case Native.walk_keys(native, db, last, filter, chunk) do
      {:ok, keys, nil} -> {keys, {native, :end}}
      {:ok, keys, next} -> {keys, {native, next}}
      {:error, reason} -> raise Veidrodelis.Error, reason: reason
    end
  end

  @chunk 1000

  @spec diff(Veidrodelis.source(), Veidrodelis.source(), Veidrodelis.db()) :: Enumerable.t()
  def diff(old, new, db) do
    db!(db)

    Stream.resource(
      fn -> changes!(native!(old), native!(new), db) end,
      fn changes ->
        case Native.diff_next(changes, @chunk) do
          [] -> {:halt, changes}
          portion -> {portion, changes}
        end
      end,
      fn _changes -> :ok end
    )
  end

  defp changes!(old, new, db) do
    case Native.diff_new(old, new, db) do
      {:ok, changes} -> changes
      {:error, reason} -> raise Veidrodelis.Error, reason: reason
    end
  end

  # One state for the whole stream, whatever the primary does meanwhile.
  defp native!(%Snapshot{native: native}), do: native
  defp native!(instance), do: Read.value!(Read.snapshot(instance)).native

  defp db!(db) when is_integer(db) and db in 0..0xFFFFFFFF, do: :ok
  defp db!(db), do: raise(ArgumentError, "db is a number from 0, got: #{inspect(db)}")
end
