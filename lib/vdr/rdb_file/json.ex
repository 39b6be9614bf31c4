defmodule Vdr.RdbFile.Json do
  @moduledoc false
  # The survey of a snapshot file as JSON. Keys that are not UTF-8 are escaped as in the text.

  alias Vdr.RdbFile.Report

  @spec encode(map) :: String.t()
  def encode(survey) do
    object(
      version: survey.version,
      file_bytes: survey.file_bytes,
      server: survey.server && {:object, Enum.to_list(survey.server)},
      total: counts(survey.total),
      types: for({db, kind, counts} <- survey.kinds, do: {:object, [db: db, type: kind] ++ fields(counts)}),
      biggest: for({db, kind, key, {elements, bytes}} <- survey.biggest, do: big(db, kind, key, elements, bytes)),
      prefixes:
        for({prefix, counts} <- survey.prefixes, do: {:object, [prefix: Report.name(prefix)] ++ fields(counts)}),
      other_prefixes: counts(survey.other_prefixes),
      expiry: for({within, keys} <- Report.expiries(survey), do: {:object, within: within, keys: keys})
    )
    |> IO.iodata_to_binary()
  end

  defp big(db, kind, key, elements, bytes),
    do: {:object, db: db, type: kind, key: Report.name(key), elements: elements, bytes: bytes}

  defp counts(counts), do: {:object, fields(counts)}
  defp fields({keys, elements, bytes}), do: [keys: keys, elements: elements, bytes: bytes]

  defp object(fields) do
    inner = Enum.map_intersperse(fields, ",", fn {name, value} -> [string(to_string(name)), ":", value(value)] end)
    ["{", inner, "}"]
  end

  defp value({:object, fields}), do: object(fields)
  defp value(list) when is_list(list), do: ["[", Enum.map_intersperse(list, ",", &value/1), "]"]
  defp value(nil), do: "null"
  defp value(number) when is_integer(number), do: Integer.to_string(number)
  defp value(word) when is_atom(word), do: string(Atom.to_string(word))
  defp value(text) when is_binary(text), do: string(text)

  defp string(text), do: [?", for(<<point::utf8 <- text>>, do: char(point)), ?"]

  defp char(?"), do: ~S(\")
  defp char(?\\), do: ~S(\\)
  defp char(point) when point < 32, do: ["\\u", point |> Integer.to_string(16) |> String.pad_leading(4, "0")]
  defp char(point), do: <<point::utf8>>
end
