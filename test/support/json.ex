defmodule Vdr.Test.Json do
  @moduledoc """
  Reads JSON: the tests have no library for it. Objects are maps with strings as keys. What is no
  JSON raises.
  """

  @spec decode!(binary) :: term
  def decode!(text) do
    {value, rest} = text |> space() |> value()
    "" = space(rest)
    value
  end

  defp value("{" <> rest), do: rest |> space() |> object(%{})
  defp value("[" <> rest), do: rest |> space() |> list([])
  defp value("\"" <> rest), do: string(rest, [])
  defp value("true" <> rest), do: {true, rest}
  defp value("false" <> rest), do: {false, rest}
  defp value("null" <> rest), do: {nil, rest}

  defp value(text) do
    [number] = Regex.run(~r/^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/, text)
    rest = binary_part(text, byte_size(number), byte_size(text) - byte_size(number))
    {if(number =~ ~r/^-?\d+$/, do: String.to_integer(number), else: float(number)), rest}
  end

  defp float(text), do: text |> Float.parse() |> elem(0)

  defp object("}" <> rest, map), do: {map, rest}

  defp object("\"" <> rest, map) do
    {key, rest} = string(rest, [])
    ":" <> rest = space(rest)
    {value, rest} = rest |> space() |> value()
    rest |> space() |> more(&object(&1, Map.put(map, key, value)))
  end

  defp list("]" <> rest, values), do: {Enum.reverse(values), rest}

  defp list(text, values) do
    {value, rest} = value(text)
    rest |> space() |> more(&list(&1, [value | values]))
  end

  defp more("," <> rest, continue), do: rest |> space() |> continue.()
  defp more(rest, continue), do: continue.(rest)

  @escapes %{?" => "\"", ?\\ => "\\", ?/ => "/", ?b => "\b", ?f => "\f", ?n => "\n", ?r => "\r", ?t => "\t"}

  defp string("\"" <> rest, parts), do: {parts |> Enum.reverse() |> IO.iodata_to_binary(), rest}

  defp string(<<"\\u", high::binary-4, "\\u", low::binary-4, rest::binary>>, parts)
       when binary_part(high, 0, 2) in ~w(d8 d9 da db D8 D9 DA DB) do
    [high, low] = Enum.map([high, low], &String.to_integer(&1, 16))
    string(rest, [<<0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00::utf8>> | parts])
  end

  defp string(<<"\\u", hex::binary-4, rest::binary>>, parts) do
    point = String.to_integer(hex, 16)
    # Half of a character.
    string(rest, [if(point in 0xD800..0xDFFF, do: "?", else: <<point::utf8>>) | parts])
  end

  defp string(<<?\\, char, rest::binary>>, parts), do: string(rest, [Map.fetch!(@escapes, char) | parts])

  defp string(text, parts) do
    [plain] = Regex.run(~r/^[^"\\]+/, text)
    string(binary_part(text, byte_size(plain), byte_size(text) - byte_size(plain)), [plain | parts])
  end

  defp space(<<char, rest::binary>>) when char in [?\s, ?\n, ?\r, ?\t], do: space(rest)
  defp space(text), do: text
end
