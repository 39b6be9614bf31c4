defmodule Vdr.Overview.Sample do
  @moduledoc false
  # Estimates how keys and memory divide into types and prefixes, from a sample that grows with each
  # call: a walk in the order of hashes, which is as good as random. A value.

  # The keys of the first portion and of the others, and how many of the last are kept.
  @first 1000
  @portion 200
  @kept 10_000
  # What an element of an aggregate counts, in bytes.
  @element_bytes 40
  @rows 50

  @enforce_keys [:places, :keys]
  defstruct [:places, :keys]

  @typedoc "`places` are the cursors of databases. A key is `{type, prefix, bytes}`."
  @type t :: %__MODULE__{places: %{Veidrodelis.db() => non_neg_integer}, keys: [{atom, binary, pos_integer}]}
  @type row :: %{name: String.t(), keys: non_neg_integer, bytes: non_neg_integer}

  @spec new() :: t
  def new, do: %__MODULE__{places: %{}, keys: []}

  @doc "Goes on in each database, by its share of the keys."
  @spec extend(t, term, %{Veidrodelis.db() => non_neg_integer}) :: t
  def extend(sample, id, counts) do
    all = max(Enum.sum(Map.values(counts)), 1)
    portion = if sample.keys == [], do: @first, else: @portion
    # Ten databases have nearly all keys nearly everywhere.
    largest = counts |> Enum.sort_by(&(-elem(&1, 1))) |> Enum.take(10)

    Enum.reduce(largest, sample, fn {db, count}, sample ->
      wanted = max(div(portion * count, all), 1)

      case Veidrodelis.scan(id, db, Map.get(sample.places, db, 0), count: wanted) do
        {:ok, {next, keys}} ->
          seen = measure(id, db, Enum.take(keys, 2 * @first))
          %{sample | places: Map.put(sample.places, db, next), keys: Enum.take(seen ++ sample.keys, @kept)}

        {:error, _reason} ->
          sample
      end
    end)
  end

  defp measure(id, db, keys) do
    with {:ok, types} <- Veidrodelis.read_tx(id, db, Enum.map(keys, &{:type, &1})),
         typed = for({key, {:ok, type}} when type != nil <- Enum.zip(keys, types), do: {key, type}),
         {:ok, sizes} <- Veidrodelis.read_tx(id, db, Enum.map(typed, fn {key, type} -> size(type, key) end)) do
      for {{key, type}, {:ok, size}} <- Enum.zip(typed, sizes),
          do: {type, prefix(key), byte_size(key) + bytes(type, size)}
    else
      {:error, _reason} -> []
    end
  end

  @doc "The read of `read_tx/3` that says how large a key of this type is."
  @spec size(atom | nil, binary) :: tuple
  def size(:string, key), do: {:strlen, key}
  def size(:list, key), do: {:llen, key}
  def size(:set, key), do: {:scard, key}
  def size(:hash, key), do: {:hlen, key}
  def size(:zset, key), do: {:zcard, key}
  def size(:stream, key), do: {:xlen, key}
  def size(_other, key), do: {:exists, key}

  defp bytes(:string, size), do: size
  defp bytes(:other, _exists), do: 0
  defp bytes(_aggregate, size), do: size * @element_bytes

  @prefix_bytes 60

  # The part of a key before the first `:`, with it.
  defp prefix(key) do
    case :binary.split(key, ":") do
      [prefix, _rest] when byte_size(prefix) <= @prefix_bytes -> prefix <> ":"
      _none -> "(none)"
    end
  end

  @doc "The types and the prefixes with most keys: their shares of all keys and of the memory."
  @spec shares(t, non_neg_integer, non_neg_integer) :: {[row], [row]}
  def shares(sample, keys, memory_bytes) do
    scale =
      {max(length(sample.keys), 1), max(sample.keys |> Enum.map(&elem(&1, 2)) |> Enum.sum(), 1), keys, memory_bytes}

    {rows(sample.keys, &elem(&1, 0), scale), rows(sample.keys, &elem(&1, 1), scale)}
  end

  defp rows(sampled, by, {count, weight, keys, memory_bytes}) do
    sampled
    |> Enum.group_by(by, &elem(&1, 2))
    |> Enum.map(fn {name, sizes} ->
      %{
        name: to_string(name),
        keys: round(length(sizes) / count * keys),
        bytes: round(Enum.sum(sizes) / weight * memory_bytes)
      }
    end)
    |> Enum.sort_by(&{-&1.keys, &1.name})
    |> Enum.take(@rows)
  end
end
