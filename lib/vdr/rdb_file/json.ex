defmodule Vdr.RdbFile.Json do
  @moduledoc false
  # The survey of a snapshot file as JSON. Keys that are not UTF-8 are escaped as in the text.

  alias Vdr.Json
  alias Vdr.RdbFile.Report

  @spec encode(map) :: String.t()
  def encode(survey) do
    Json.encode(
      {:object,
       version: survey.version,
       file_bytes: survey.file_bytes,
       server: survey.server && {:object, Enum.to_list(survey.server)},
       total: counts(survey.total),
       types: for({db, kind, counts} <- survey.kinds, do: {:object, [db: db, type: kind] ++ fields(counts)}),
       biggest: for({db, kind, key, {elements, bytes}} <- survey.biggest, do: big(db, kind, key, elements, bytes)),
       prefixes:
         for({prefix, counts} <- survey.prefixes, do: {:object, [prefix: Report.name(prefix)] ++ fields(counts)}),
       other_prefixes: counts(survey.other_prefixes),
       expiry: for({within, keys} <- Report.expiries(survey), do: {:object, within: within, keys: keys})}
    )
  end

  defp big(db, kind, key, elements, bytes),
    do: {:object, db: db, type: kind, key: Report.name(key), elements: elements, bytes: bytes}

  defp counts(counts), do: {:object, fields(counts)}
  defp fields({keys, elements, bytes}), do: [keys: keys, elements: elements, bytes: bytes]
end
