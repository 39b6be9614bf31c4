defmodule Vdr.Json do
  @moduledoc false
  # JSON text. An object is `{:object, keyword}`, so that its fields keep their order.

  @type value :: {:object, keyword(value)} | [value] | String.t() | number | atom

  @spec encode(value) :: String.t()
  def encode(value), do: value |> value() |> IO.iodata_to_binary()

  # Elixir counts them as printable; a terminal obeys them.
  @controls ~w(\0 \a \b \d \e \f \v)

  @doc "A key or a value as text; what is not printable is escaped."
  @spec text(binary) :: String.t()
  def text(bytes) do
    if String.printable?(bytes) and not String.contains?(bytes, @controls),
      do: bytes,
      else: inspect(bytes, binaries: :as_strings, printable_limit: :infinity)
  end

  defp value({:object, fields}), do: object(fields)
  defp value(list) when is_list(list), do: ["[", Enum.map_intersperse(list, ",", &value/1), "]"]
  defp value(nil), do: "null"
  defp value(boolean) when is_boolean(boolean), do: Atom.to_string(boolean)
  defp value(number) when is_integer(number), do: Integer.to_string(number)
  defp value(number) when is_float(number), do: Float.to_string(number)
  defp value(word) when is_atom(word), do: string(Atom.to_string(word))
  defp value(text) when is_binary(text), do: string(text)

  defp object(fields) do
    inner = Enum.map_intersperse(fields, ",", fn {name, value} -> [string(to_string(name)), ":", value(value)] end)
    ["{", inner, "}"]
  end

  defp string(text), do: [?", for(<<point::utf8 <- text>>, do: char(point)), ?"]

  defp char(?"), do: ~S(\")
  defp char(?\\), do: ~S(\\)
  defp char(point) when point < 32, do: ["\\u", point |> Integer.to_string(16) |> String.pad_leading(4, "0")]
  # For pages that hold the text inside of a script.
  defp char(point) when point in [?<, ?>, ?&, 0x2028, 0x2029],
    do: ["\\u", point |> Integer.to_string(16) |> String.pad_leading(4, "0")]

  defp char(point), do: <<point::utf8>>
end
