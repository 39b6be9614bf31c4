defmodule Vdr.Telemetry.Prometheus do
  @moduledoc false
  # The numbers of all instances as Prometheus reads them: the text format, version 0.0.4.

  alias Vdr.Telemetry.Gauges

  @doc "The text. Instances that end meanwhile are left out."
  @spec text([term], memory :: boolean) :: String.t()
  def text(ids, memory?) do
    instances = for id <- ids, {:ok, numbers, _info} <- [Gauges.read(id, memory?)], do: {id, numbers}
    labelled = Enum.zip(labels(Enum.map(instances, &elem(&1, 0))), instances)
    Gauges.all() |> Enum.map(&metric(&1, labelled)) |> IO.iodata_to_binary()
  end

  defp metric({name, gauge}, instances) do
    full = if gauge.type == :counter, do: "veidrodelis_#{name}_total", else: "veidrodelis_#{name}"

    lines =
      for {label, {_id, numbers}} <- instances,
          do: [full, "{id=\"", label, "\"} ", Integer.to_string(numbers[name]), ?\n]

    ["# HELP #{full} #{help(gauge.doc)}\n# TYPE #{full} #{gauge.type}\n" | lines]
  end

  # Two ids of which so much is equal must not become one series, which Prometheus would refuse.
  defp labels(ids) do
    texts = Enum.map(ids, &inspect(&1, limit: 5, printable_limit: 100))
    many = texts |> Enum.frequencies() |> Map.filter(fn {_text, count} -> count > 1 end)

    for {id, text} <- Enum.zip(ids, texts) do
      escape(if is_map_key(many, text), do: "#{text} #{:erlang.phash2(id, 4_294_967_296)}", else: text)
    end
  end

  defp escape(text), do: String.replace(text, ["\\", "\"", "\n"], &%{"\\" => "\\\\", "\"" => "\\\"", "\n" => "\\n"}[&1])
  defp help(doc), do: String.replace(doc, "`", "")
end
