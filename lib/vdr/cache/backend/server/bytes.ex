defmodule Vdr.Cache.Backend.Server.Bytes do
  @moduledoc false
  # The encoding of keys and values on the server. The first byte of a value is its kind:
  #
  #   * `-` or a digit: an integer of 64 bits as text, so that INCRBY works and every language can
  #     read it
  #   * 131: a term in the external term format, without that format's compression
  #   * `V`: an envelope, which is `V1;flag;soft;fresh;tags;`, the stamps, and a value as above. The
  #     flag is `v` for a value, `n` for the error of a failed fetch, and `z` for a compressed value.
  #     `soft` and `fresh` are times in ms of Unix time, or empty. `tags` is the number of stamps. A
  #     stamp is the length of a tag, `:`, the tag, and the 16 characters of its generation
  #
  # Values that begin with another byte were not written by a cache.

  alias Vdr.Cache.{Storable, Write}

  @enforce_keys [:payload]
  defstruct [:payload, :soft, :fresh, flag: :value, stamps: [], header: ""]

  @type t :: %__MODULE__{}

  @smallest -0x8000_0000_0000_0000
  @largest 0x7FFF_FFFF_FFFF_FFFF
  @nonce_bytes 16

  @doc "Encodes a key, without the prefix: a binary as it is, any other term in the external format."
  @spec key(term) :: binary
  def key(<<131, _rest::binary>> = key), do: etf(key)
  def key(key) when is_binary(key), do: key
  def key(key), do: etf(key)

  @doc "Decodes a key."
  @spec unkey(binary) :: {:ok, term} | :error
  def unkey(<<131, _rest::binary>> = bytes), do: term(bytes)
  def unkey(bytes), do: {:ok, bytes}

  defp etf(term), do: :erlang.term_to_binary(term, [:deterministic, minor_version: 2])

  @doc "Encodes a value without an envelope. Returns its bytes, and whether they are compressed."
  @spec encode(term, map) :: {:ok, binary, :value | :compressed} | {:error, term}
  def encode(value, _codec) when is_integer(value) and value >= @smallest and value <= @largest,
    do: {:ok, Integer.to_string(value), :value}

  def encode(value, %{serializer: nil} = codec) do
    with :ok <- Storable.check(value), do: value |> :erlang.term_to_binary(minor_version: 2) |> compress(codec)
  end

  def encode(value, %{serializer: serializer} = codec) do
    case serializer.encode(value, []) do
      {:ok, bytes} when is_binary(bytes) -> compress(bytes, codec)
      {:error, reason} -> {:error, {:encode, reason}}
      other -> {:error, {:encode, other}}
    end
  end

  @doc "Encodes the value of a write, or the error of a failed fetch. Returns its bytes and its flag."
  @spec encode_write(term, Write.t(), map) :: {:ok, binary, String.t()} | {:error, term}
  def encode_write(reason, %Write{kind: :negative}, _codec) do
    with :ok <- Storable.check(reason),
         do: {:ok, :erlang.term_to_binary(reason, minor_version: 2), flag(:negative)}
  end

  def encode_write(value, _write, codec) do
    with {:ok, payload, kind} <- encode(value, codec), do: {:ok, payload, flag(kind)}
  end

  @doc "Returns the times of a write as arguments of a script."
  @spec times(Write.t()) :: [String.t()]
  def times(write), do: [ms(write.ttl), Integer.to_string(write.keep), ms(write.soft)]

  @doc "Returns a time in ms as an argument of a script; an empty string stands for no end."
  @spec ms(non_neg_integer | nil | :infinity) :: String.t()
  def ms(none) when none in [nil, :infinity], do: ""
  def ms(ms), do: Integer.to_string(ms)

  defp compress(bytes, %{compress: limit}) when is_integer(limit) and byte_size(bytes) > limit,
    do: {:ok, :zlib.compress(bytes), :compressed}

  defp compress(bytes, _codec), do: {:ok, bytes, :value}

  @doc "Returns the beginning of an envelope. The stamps and the value follow it."
  @spec header(atom, integer | nil, integer | nil, non_neg_integer) :: binary
  def header(flag, soft, fresh, tags), do: "V1;#{flag(flag)};#{soft};#{fresh};#{tags};"

  defp flag(:value), do: "v"
  defp flag(:negative), do: "n"
  defp flag(:compressed), do: "z"

  @doc "Parses an envelope."
  @spec open(binary) :: {:ok, t} | :error
  def open(<<"V1;", flag, ";", rest::binary>> = bytes) do
    with {:ok, flag} <- flag_of(flag),
         {:ok, soft, rest} <- number(rest, ?;, nil),
         {:ok, fresh, rest} <- number(rest, ?;, nil),
         {:ok, count, rest} when count in 0..100_000 <- number(rest, ?;, nil),
         {:ok, stamps, payload} <- stamps(rest, count, []) do
      header = binary_part(bytes, 0, byte_size(bytes) - byte_size(payload))
      {:ok, %__MODULE__{payload: payload, soft: soft, fresh: fresh, flag: flag, stamps: stamps, header: header}}
    else
      _damaged -> :error
    end
  end

  def open("V1;" <> _damaged), do: :error
  def open(payload), do: {:ok, %__MODULE__{payload: payload}}

  defp flag_of(?v), do: {:ok, :value}
  defp flag_of(?n), do: {:ok, :negative}
  defp flag_of(?z), do: {:ok, :compressed}
  defp flag_of(_other), do: :error

  # Parses a number from 0, up to the byte `last`. Without a digit, the number is `nil`.
  defp number(<<digit, rest::binary>>, last, number) when digit in ?0..?9 and (number == nil or number < @largest),
    do: number(rest, last, (number || 0) * 10 + digit - ?0)

  defp number(<<last, rest::binary>>, last, number), do: {:ok, number, rest}
  defp number(_damaged, _last, _number), do: :error

  defp stamps(rest, 0, stamps), do: {:ok, Enum.reverse(stamps), rest}

  defp stamps(bytes, count, stamps) do
    with {:ok, length, rest} when length != nil and length <= byte_size(rest) <- number(bytes, ?:, nil),
         {tag, <<nonce::binary-size(@nonce_bytes), rest::binary>>} <- :erlang.split_binary(rest, length),
         do: stamps(rest, count - 1, [{tag, nonce} | stamps]),
         else: (_damaged -> :error)
  end

  @doc """
  Decodes stored bytes, or returns `:envelope` for an envelope. It looks at the first bytes once,
  because each look takes a twentieth of a read from a mirror.
  """
  @spec decode_stored(binary, map) :: {:ok, term} | :envelope | :error
  def decode_stored(<<131, second, _rest::binary>> = bytes, %{serializer: nil}) when second != 80, do: safe_term(bytes)
  def decode_stored("V1;" <> _rest, _codec), do: :envelope
  def decode_stored(bytes, codec), do: decode_payload(bytes, codec)

  @doc "Decodes the value in a parsed envelope."
  @spec decode(t, map) :: {:ok, term} | :error
  def decode(%__MODULE__{flag: :compressed, payload: payload}, codec),
    do: with({:ok, bytes} <- inflate(payload, codec.max_value), do: decode_payload(bytes, codec))

  def decode(%__MODULE__{payload: payload}, codec), do: decode_payload(payload, codec)

  @doc "Decodes a value without an envelope."
  @spec decode_payload(binary, map) :: {:ok, term} | :error
  def decode_payload(<<first, _rest::binary>> = payload, codec) when first in ?0..?9 or first == ?- do
    case Integer.parse(payload) do
      {integer, ""} -> {:ok, integer}
      _text -> foreign(payload, codec)
    end
  end

  def decode_payload(payload, %{serializer: nil}), do: term(payload)
  def decode_payload(payload, codec), do: foreign(payload, codec)

  defp foreign(_payload, %{serializer: nil}), do: :error

  defp foreign(payload, %{serializer: serializer}) do
    case serializer.decode(payload, []) do
      {:ok, value} -> {:ok, value}
      _error -> :error
    end
  end

  # 131 and 80 begin a compressed term, which may declare any size.
  defp term(<<131, second, _rest::binary>> = bytes) when second != 80, do: safe_term(bytes)
  defp term(_bytes), do: :error

  defp safe_term(bytes) do
    {:ok, :erlang.binary_to_term(bytes, [:safe])}
  rescue
    ArgumentError -> :error
  end

  # Decompresses in portions, and stops at the limit.
  defp inflate(bytes, limit) do
    z = :zlib.open()

    try do
      :ok = :zlib.inflateInit(z)
      inflate(z, :zlib.safeInflate(z, bytes), [], 0, limit)
    rescue
      _damaged -> :error
    after
      :zlib.close(z)
    end
  end

  defp inflate(z, {state, output}, done, size, limit) do
    size = size + IO.iodata_length(output)

    cond do
      size > limit -> :error
      state == :finished -> {:ok, IO.iodata_to_binary([done | output])}
      true -> inflate(z, :zlib.safeInflate(z, []), [done | output], size, limit)
    end
  end
end

defmodule Vdr.Cache.Serializer do
  @moduledoc """
  The behaviour of a serializer, which encodes values as bytes. Set it as `serializer:` in the
  `:backend_opts` of `Vdr.Cache.Backend.Redis` or `Vdr.Cache.Backend.Mirror`, if programs in other
  languages read or write the values. Integers of 64 bits are decimal text with every serializer.

      defmodule MyApp.Json do
        @behaviour Vdr.Cache.Serializer

        @impl true
        def encode(value, _opts), do: Jason.encode(value)

        @impl true
        def decode(bytes, _opts), do: Jason.decode(bytes)
      end

  The bytes must not begin with `V1;`. If they are a decimal integer, the value must be that
  integer.
  """

  @callback encode(value :: term, opts :: keyword) :: {:ok, binary} | {:error, term}
  @callback decode(binary, opts :: keyword) :: {:ok, term} | {:error, term}
end
