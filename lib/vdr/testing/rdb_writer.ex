defmodule Vdr.Testing.RdbWriter do
  @moduledoc false
  # Writes the data of a snapshot as an RDB file, for a simulated primary. The file has the plainest
  # encodings and no checksum. The whole file is one binary, so the data must be small.

  @header "REDIS0011"
  @eof 0xFF
  @select_db 0xFE
  @expires_at_ms 0xFC

  @doc "The file. A stream or a value of a module is an error. Expiries of fields are left out."
  @spec write(Vdr.Snapshot.t()) :: {:ok, binary} | {:error, {:not_writable, key :: binary}}
  def write(snapshot) do
    dbs =
      for db <- snapshot.native |> Vdr.Native.snapshot_keys() |> Map.keys() |> Enum.sort(), do: database(snapshot, db)

    {:ok, IO.iodata_to_binary([@header, dbs, @eof, <<0::64>>])}
  catch
    {:not_writable, key} -> {:error, {:not_writable, key}}
  end

  defp database(snapshot, db) do
    entries = for key <- Veidrodelis.stream_keys(snapshot, db), do: entry(snapshot, db, key)
    [@select_db, size(db), entries]
  end

  defp entry(snapshot, db, key) do
    {type, value} = value(Veidrodelis.type!(snapshot, db, key), snapshot, db, key)
    [expiry(Veidrodelis.pexpiretime!(snapshot, db, key)), type, text(key), value]
  end

  defp expiry(:infinity), do: []
  defp expiry(at_ms), do: [@expires_at_ms, <<at_ms::little-signed-64>>]

  defp value(:string, snapshot, db, key), do: {0, text(Veidrodelis.get!(snapshot, db, key))}
  defp value(:list, snapshot, db, key), do: {1, texts(Veidrodelis.lrange!(snapshot, db, key, 0, -1))}
  defp value(:set, snapshot, db, key), do: {2, texts(Veidrodelis.smembers!(snapshot, db, key))}

  defp value(:hash, snapshot, db, key) do
    pairs = Veidrodelis.hgetall!(snapshot, db, key)
    {4, [size(length(pairs)), for({field, value} <- pairs, do: [text(field), text(value)])]}
  end

  defp value(:zset, snapshot, db, key) do
    pairs = Veidrodelis.zrange!(snapshot, db, key, 0, -1)
    {5, [size(length(pairs)), for({member, score} <- pairs, do: [text(member), score(score)])]}
  end

  defp value(_other, _snapshot, _db, key), do: throw({:not_writable, key})

  defp score(:pos_inf), do: <<0x7FF0000000000000::little-64>>
  defp score(:neg_inf), do: <<0xFFF0000000000000::little-64>>
  defp score(score), do: <<score::little-float-64>>

  defp texts(texts), do: [size(length(texts)), Enum.map(texts, &text/1)]
  defp text(text), do: [size(byte_size(text)), text]

  defp size(n) when n < 64, do: <<0::2, n::6>>
  defp size(n) when n < 16_384, do: <<1::2, n::14>>
  defp size(n), do: <<0x80, n::32>>
end
