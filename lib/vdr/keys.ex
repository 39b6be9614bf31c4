defmodule Vdr.Keys do
  @moduledoc false
  # Streams over the keys of one state. They fetch a portion at a time.

  alias Vdr.{Native, Read, Snapshot}

  @kinds [:string, :list, :set, :zset, :hash, :stream, :other]
  @options [prefix: "", match: nil, type: nil, chunk: 1000]

  @spec stream(Veidrodelis.source(), Veidrodelis.db(), keyword) :: Enumerable.t()
  def stream(source, db, opts) do
    db!(db)
    opts = options!(opts)
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

  defp options!(opts) do
    unless Keyword.keyword?(opts), do: refuse("options as a keyword list", opts)

    for {name, _value} <- opts, not Keyword.has_key?(@options, name) do
      refuse("the options :prefix, :match, :type and :chunk", name)
    end

    opts = Keyword.merge(@options, opts)
    unless is_binary(opts[:prefix]), do: refuse(":prefix as a binary", opts[:prefix])
    unless opts[:match] == nil or is_binary(opts[:match]), do: refuse(":match as a glob in a binary", opts[:match])
    unless opts[:type] in [nil | @kinds], do: refuse(":type as one of #{inspect(@kinds)}", opts[:type])
    unless opts[:chunk] in 1..100_000, do: refuse(":chunk as a number from 1 to 100000", opts[:chunk])
    opts
  end

  defp refuse(takes, got), do: raise(ArgumentError, "stream_keys takes #{takes}, got: #{inspect(got, limit: 10)}")
end
