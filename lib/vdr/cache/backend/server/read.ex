defmodule Vdr.Cache.Backend.Server.Read do
  @moduledoc false
  # Reads of a cache on a server. They ask the mirror. If there is no mirror, or it cannot be read,
  # they ask the server.
  #
  # An entry with stamps is valid if they equal the generations of its tags. A read of the server
  # gets the entry first, and then the generations. If the entry was invalidated in between, the
  # read is a miss. A read of a mirror does the same, but if the generations differ from the stamps,
  # it reads both again from one snapshot.

  alias Vdr.Cache.Backend.Server
  alias Vdr.Cache.Backend.Server.Bytes
  alias Vdr.Cache.{Entry, Telemetry, Write}

  @portion 1_000

  # The most common read gets a value without an envelope from the mirror.
  def get(h, key) do
    case read(h, Server.entry_key(h, key)) do
      {:ok, nil} -> {:error, :not_found}
      {:ok, bytes} -> decode(h, key, bytes)
      error -> no_bytes(h, key, error)
    end
  end

  defp decode(h, key, bytes) do
    case Bytes.decode_stored(bytes, h.codec) do
      {:ok, _value} = answer -> answer
      :envelope -> h |> enveloped(key, bytes) |> fresh()
      :error -> undecodable(h, key)
    end
  end

  defp fresh({:ok, %Entry{fresh: true, value: value}}), do: {:ok, value}
  defp fresh({:ok, _kept}), do: {:error, :not_found}
  defp fresh(error), do: error

  def entry(h, key) do
    case read(h, Server.entry_key(h, key)) do
      {:ok, nil} -> {:error, :not_found}
      {:ok, "V1;" <> _rest = bytes} -> enveloped(h, key, bytes)
      {:ok, bytes} -> to_entry(h, key, bytes, %Bytes{payload: bytes})
      error -> no_bytes(h, key, error)
    end
  end

  defp no_bytes(h, key, {:error, :wrong_type}), do: undecodable(h, key)
  defp no_bytes(_h, _key, error), do: error

  defp read(%{mirror: false} = h, entry), do: fetch_from_server(h, entry)

  defp read(h, entry) do
    with {:error, reason} <- Veidrodelis.get(h.id, h.db, entry),
         do: without_mirror(h, reason, fn -> fetch_from_server(h, entry) end)
  end

  defp enveloped(%{mirror: false} = h, key, bytes), do: make(h, key, bytes, nil)

  # A generation is never used twice. So if a generation that is read after the entry equals its
  # stamp, the entry was valid when it was read. If they differ, the entry may have been put again
  # between the two reads.
  defp enveloped(h, key, bytes) do
    with {:ok, opened} <- open(h, key, bytes) do
      case valid?(h, opened.stamps, h.id) do
        {:ok, true} -> to_entry(h, key, bytes, opened)
        _changed_or_error -> from_snapshot(h, key)
      end
    end
  end

  defp from_snapshot(h, key) do
    with {:ok, snapshot} <- Veidrodelis.snapshot(h.id),
         {:ok, bytes} <- Veidrodelis.get(snapshot, h.db, Server.entry_key(h, key)) do
      if bytes, do: make(h, key, bytes, snapshot), else: {:error, :not_found}
    else
      {:error, reason} ->
        answer = without_mirror(h, reason, fn -> entry(%{h | mirror: false}, key) end)
        no_bytes(h, key, answer)
    end
  end

  defp fetch_from_server(h, entry) do
    case Server.command(h, ["GET", entry], %Write{consistency: :server}) do
      {:error, {:refused, "WRONGTYPE" <> _text}} -> {:error, :wrong_type}
      answer -> answer
    end
  end

  defp without_mirror(%{on_stale: :server}, reason, ask) when reason in [:not_ready, :stale, :unknown_value], do: ask.()
  defp without_mirror(_h, reason, _ask), do: {:error, reason}

  defp make(h, key, bytes, source) do
    with {:ok, opened} <- open(h, key, bytes), {:ok, true} <- valid?(h, opened.stamps, source) do
      to_entry(h, key, bytes, opened)
    else
      {:ok, false} -> {:error, :not_found}
      error -> error
    end
  end

  defp to_entry(h, key, bytes, opened) do
    with {:ok, value} <- value(h, key, opened) do
      now = :os.system_time(:millisecond)
      kind = if opened.flag == :negative, do: :negative, else: :value
      fresh? = kind == :value and (opened.fresh == nil or now < opened.fresh)
      refresh? = opened.soft != nil and now >= opened.soft
      {:ok, %Entry{value: value, version: bytes, kind: kind, fresh: fresh?, refresh: refresh?}}
    end
  end

  defp open(h, key, bytes), do: with(:error <- Bytes.open(bytes), do: undecodable(h, key))

  @doc "Returns the value in a parsed envelope."
  @spec value(map, term, Bytes.t()) :: {:ok, term} | {:error, term}
  def value(h, key, %Bytes{flag: :negative} = opened),
    do: value(%{h | codec: %{h.codec | serializer: nil}}, key, %{opened | flag: :value})

  def value(h, key, opened), do: with(:error <- Bytes.decode(opened, h.codec), do: undecodable(h, key))

  defp undecodable(h, key) do
    h.report.(:decode_errors, 1)
    Telemetry.execute(h.telemetry, [:decode, :error], %{count: 1}, %{key: key})
    if h.on_decode_error == :miss, do: {:error, :not_found}, else: {:error, {:undecodable, key}}
  end

  # Returns whether every stamp is the current generation of its tag.
  defp valid?(_h, [], _source), do: {:ok, true}

  defp valid?(h, stamps, source) do
    with {:ok, generations} <- generations(h, Enum.map(stamps, &elem(&1, 0)), source),
         do: {:ok, Enum.map(stamps, &elem(&1, 1)) == generations}
  end

  defp generations(h, tags, source), do: mget(h, Enum.map(tags, &Server.key_of_generation(h, &1)), source)

  defp mget(h, [key], source) when source != nil,
    do: with({:ok, value} <- Veidrodelis.get(source, h.db, key), do: {:ok, [value]})

  defp mget(h, keys, nil), do: Server.command(h, ["MGET" | keys], %Write{consistency: :server})
  defp mget(h, keys, source), do: Veidrodelis.mget(source, h.db, keys)

  # ---- many

  def get_many(_h, []), do: {:ok, %{}}

  def get_many(h, keys) do
    with {:ok, source} <- source(h),
         {:ok, values} <- mget(h, Enum.map(keys, &Server.entry_key(h, &1)), source),
         {:ok, entries} <- make_all(h, keys |> Enum.zip(values) |> Enum.reject(&(elem(&1, 1) == nil)), source) do
      {:ok, for({key, %Entry{fresh: true, value: value}} <- entries, into: %{}, do: {key, value})}
    end
  end

  # Returns a snapshot of the mirror, or `nil` for the server.
  defp source(%{mirror: false}), do: {:ok, nil}

  defp source(h) do
    with {:error, reason} <- Veidrodelis.snapshot(h.id), do: without_mirror(h, reason, fn -> {:ok, nil} end)
  end

  # The generations of the tags of all entries are read in one call.
  defp make_all(h, pairs, source) do
    opened = for {key, bytes} <- pairs, {:ok, opened} <- [open(h, key, bytes)], do: {key, bytes, opened}

    tags =
      opened |> Enum.flat_map(fn {_key, _bytes, opened} -> Enum.map(opened.stamps, &elem(&1, 0)) end) |> Enum.uniq()

    with {:ok, generations} <- if(tags == [], do: {:ok, []}, else: generations(h, tags, source)) do
      present = tags |> Enum.zip(generations) |> Map.new()

      {:ok,
       for {key, bytes, opened} <- opened,
           Enum.all?(opened.stamps, fn {tag, nonce} -> present[tag] == nonce end),
           {:ok, entry} <- [to_entry(h, key, bytes, opened)] do
         {key, entry}
       end}
    end
  end

  # ---- times

  # An entry that is kept past its time to live has that time in its envelope.
  def ttl(h, key) do
    with {:ok, %Entry{fresh: true, version: bytes}} <- entry(h, key),
         {:ok, opened} <- Bytes.open(bytes),
         {:ok, ms} <- pttl(h, Server.entry_key(h, key)) do
      cond do
        opened.fresh != nil -> {:ok, max(0, opened.fresh - :os.system_time(:millisecond))}
        ms == -2 -> {:error, :not_found}
        ms == -1 -> {:ok, :infinity}
        true -> {:ok, ms}
      end
    else
      {:ok, %Entry{}} -> {:error, :not_found}
      error -> error
    end
  end

  defp pttl(%{mirror: false} = h, entry), do: Server.command(h, ["PTTL", entry], %Write{consistency: :server})

  defp pttl(h, entry) do
    with {:error, reason} <- Veidrodelis.pttl(h.id, h.db, entry),
         do: without_mirror(h, reason, fn -> pttl(%{h | mirror: false}, entry) end)
  end

  # ---- all entries

  def stream(h, what) do
    case source(h) do
      {:ok, source} -> h |> keys(source, h.prefix <> "e:") |> entries(h, source, what)
      {:error, reason} -> raise Vdr.Cache.Error, reason: reason, cache: h.id
    end
  end

  def tagged(h, tag) do
    set = h.prefix <> "t:" <> Bytes.key(tag)

    with {:ok, source} <- source(h), {:ok, members} <- members(h, set, source) do
      # The set may still have an entry that was later put without the tag.
      tag = Bytes.key(tag)
      entries(members, h, source, :keys, fn %Entry{version: bytes} -> tag in tags(bytes) end)
    else
      {:error, reason} -> raise Vdr.Cache.Error, reason: reason, cache: h.id
    end
  end

  defp tags(bytes) do
    {:ok, opened} = Bytes.open(bytes)
    Enum.map(opened.stamps, &elem(&1, 0))
  end

  defp members(h, set, nil), do: Server.command(h, ["ZRANGE", set, "0", "-1"], %Write{consistency: :server})
  defp members(h, set, snapshot), do: Veidrodelis.zrange(snapshot, h.db, set, 0, -1, with_scores: false)

  # Returns the live entries among some keys of the server.
  defp entries(stream, h, source, what, keep? \\ fn _entry -> true end) do
    stream
    |> Stream.chunk_every(@portion)
    |> Stream.flat_map(fn keys ->
      with {:ok, values} <- mget(h, keys, source),
           pairs = keys |> Enum.zip(values) |> Enum.flat_map(&unkey(h, &1)),
           {:ok, entries} <- make_all(h, pairs, source) do
        for {key, %Entry{fresh: true} = entry} <- entries,
            keep?.(entry),
            do: if(what == :keys, do: key, else: {key, entry.value})
      else
        {:error, reason} -> raise Vdr.Cache.Error, reason: reason, cache: h.id
      end
    end)
  end

  defp unkey(_h, {_key, nil}), do: []

  defp unkey(h, {key, bytes}) do
    case key |> String.replace_prefix(h.prefix <> "e:", "") |> Bytes.unkey() do
      {:ok, key} -> [{key, bytes}]
      :error -> []
    end
  end

  defp keys(h, nil, prefix) do
    Stream.resource(
      fn -> "0" end,
      fn
        :end -> {:halt, :end}
        cursor -> scan_portion(h, cursor, prefix)
      end,
      fn _cursor -> :ok end
    )
    # `SCAN` may return a key twice.
    |> Stream.uniq()
  end

  defp keys(h, snapshot, prefix), do: Veidrodelis.stream_keys(snapshot, h.db, prefix: prefix)

  defp scan_portion(h, cursor, prefix) do
    scan = ["SCAN", cursor, "MATCH", escape(prefix) <> "*", "COUNT", Integer.to_string(@portion)]

    case Server.command(h, scan, %Write{consistency: :server}) do
      {:ok, ["0", keys]} -> {keys, :end}
      {:ok, [next, keys]} -> {keys, next}
      {:error, reason} -> raise Vdr.Cache.Error, reason: reason, cache: h.id
    end
  end

  # Escapes the characters that have a meaning in a glob.
  defp escape(prefix), do: String.replace(prefix, ~r/[*?\[\]\\^-]/, "\\\\\\0")

  def size(h) do
    with {:ok, source} <- source(h), do: h |> keys(source, h.prefix <> "e:") |> Enum.count()
  rescue
    error in [Vdr.Cache.Error, Veidrodelis.Error] -> {:error, error.reason}
  end

  @doc "Returns a list of all keys with the prefix."
  @spec scan(map, binary) :: {:ok, [binary]} | {:error, term}
  def scan(h, prefix) do
    case source(h) do
      {:ok, source} -> {:ok, h |> keys(source, prefix) |> Enum.to_list()}
      {:error, _reason} = error -> error
    end
  rescue
    error in [Vdr.Cache.Error, Veidrodelis.Error] -> {:error, error.reason}
  end

  @doc "Returns a list of all keys with the prefix, and asks the server for them."
  @spec scan_server(map, binary) :: {:ok, [binary]} | {:error, term}
  def scan_server(h, prefix), do: scan(%{h | mirror: false}, prefix)
end
