defmodule Vdr.Web.Keys do
  @moduledoc false
  # The keys of a database by prefix, and a first look at a value. An answer is bounded in keys that
  # it has, in keys that were looked at for it, and in bytes. It asks for no index of keys.

  alias Vdr.{Json, Overview}
  alias Vdr.Overview.Sample

  # Keys in an answer, keys that are looked at for it, and at once.
  @keys 100
  @looked_at 50_000
  @portion 2000

  # Elements of a value, and the bytes of each.
  @elements 100
  @bytes 200
  @string_bytes 4096

  @db_max 0xFFFFFFFF

  # Nobody types a longer prefix.
  @prefix_bytes_max 1000

  @doc "Keys that begin with `prefix`, in the order of hashes, and the cursor for more."
  @spec list(term, non_neg_integer, binary, non_neg_integer) :: {:ok, Json.value()} | {:error, term}
  def list(_id, db, prefix, _cursor) when db > @db_max or byte_size(prefix) > @prefix_bytes_max,
    do: {:error, :bad_parameter}

  def list(id, db, prefix, cursor) do
    with {:ok, keys, next} <- walk(id, db, glob(prefix), cursor, [], @looked_at),
         {:ok, facts} <- facts(id, db, keys) do
      {:ok, {:object, keys: facts, next: if(next != 0, do: to_string(next))}}
    end
  end

  defp glob(""), do: []
  defp glob(prefix), do: [match: Regex.replace(~r/[\\*?\[\]^-]/, prefix, "\\\\\\0") <> "*"]

  defp walk(id, db, match, cursor, keys, left) do
    with {:ok, {next, found}} <-
           Veidrodelis.scan(id, db, cursor, [count: if(match == [], do: @keys, else: @portion)] ++ match) do
      keys = keys ++ found

      if next == 0 or length(keys) >= @keys or left <= 0,
        do: {:ok, Enum.take(keys, 20 * @keys), next},
        else: walk(id, db, match, next, keys, left - @portion)
    end
  end

  defp facts(id, db, keys) do
    with {:ok, types} <- Veidrodelis.read_tx(id, db, Enum.map(keys, &{:type, &1})),
         {:ok, ttls} <- Veidrodelis.read_tx(id, db, Enum.map(keys, &{:pttl, &1})),
         typed = Enum.zip(keys, for({:ok, type} <- types, do: type)),
         {:ok, sizes} <- Veidrodelis.read_tx(id, db, Enum.map(typed, fn {key, type} -> Sample.size(type, key) end)) do
      {:ok,
       for {{{key, type}, ttl}, size} <- typed |> Enum.zip(ttls) |> Enum.zip(sizes) do
         {:object, key: Overview.text(key), link: link(key), type: type, ttl_ms: ttl(ttl), size: count(size)}
       end}
    end
  end

  @doc "A key as a URL has it."
  @spec link(binary) :: String.t()
  def link(key), do: Base.url_encode64(key, padding: false)

  defp ttl({:ok, ms}) when is_integer(ms), do: ms
  defp ttl(_none), do: nil

  defp count({:ok, size}) when is_integer(size), do: size
  defp count(_none), do: 0

  @doc "The type, the expiry and the size of a key, and the beginning of its value if that may be seen."
  @spec value(term, non_neg_integer, binary, boolean) :: {:ok, Json.value()} | {:error, term}
  def value(_id, db, _key, _values?) when db > @db_max, do: {:error, :bad_parameter}

  def value(id, db, key, values?) do
    with {:ok, snapshot} <- Veidrodelis.snapshot(id),
         {:ok, type} <- Veidrodelis.type(snapshot, db, key),
         {:ok, [ttl, size]} <- Veidrodelis.read_tx(snapshot, db, [{:pttl, key}, Sample.size(type, key)]) do
      {preview, cut} = if values?, do: preview(type, snapshot, db, key, count(size)), else: {nil, false}
      {:ok, {:object, type: type, ttl_ms: ttl(ttl), size: count(size), preview: preview, cut: cut}}
    end
  end

  defp preview(:string, snapshot, db, key, size) do
    text = Veidrodelis.getrange!(snapshot, db, key, 0, @string_bytes - 1)
    {[Json.text(text)], size > @string_bytes}
  end

  defp preview(type, snapshot, db, key, size) do
    lines = type |> elements(snapshot, db, key) |> Enum.map(&line/1)
    {lines, size > length(lines)}
  end

  defp elements(:list, snapshot, db, key), do: Veidrodelis.lrange!(snapshot, db, key, 0, @elements - 1)
  defp elements(:set, snapshot, db, key), do: Veidrodelis.sfirst!(snapshot, db, key, @elements)
  defp elements(:hash, snapshot, db, key), do: Veidrodelis.hfirst!(snapshot, db, key, @elements)
  defp elements(:zset, snapshot, db, key), do: Veidrodelis.zfirst!(snapshot, db, key, @elements)
  defp elements(:stream, snapshot, db, key), do: Veidrodelis.xrange!(snapshot, db, key, "-", "+", @elements)
  defp elements(_none, _snapshot, _db, _key), do: []

  defp line({id, fields}) when is_list(fields),
    do: Enum.join([id | fields |> Enum.take(@elements) |> Enum.map(&line/1)], "  ")

  defp line({one, other}), do: "#{part(one)}  #{part(other)}"
  defp line(one), do: part(one)

  defp part(score) when is_float(score) or is_atom(score), do: to_string(score)
  defp part(bytes) when byte_size(bytes) > @bytes, do: Json.text(binary_part(bytes, 0, @bytes)) <> "…"
  defp part(bytes), do: Json.text(bytes)
end
