defmodule Vdr.Overview.Text do
  @moduledoc false
  # Numbers and warnings as people read them, for the terminal and for pages that a server renders.

  @doc "What is wrong with an instance, a sentence each."
  @spec warnings(Veidrodelis.info()) :: [String.t()]
  def warnings(info) do
    Enum.filter(
      [
        not info.ready && "not ready: #{info.loading_keys} keys, #{size(info.loading_bytes)} of the full sync loaded",
        info.ready && info.stale && "stale for #{ms(info.stale_ms)}: no link streams",
        info.guard_window_ms && "the guard key has been holding writes back for #{ms(info.guard_window_ms)}",
        info.unknown_values > 0 && "#{info.unknown_values} keys are unknown because of unknown commands"
      ],
      & &1
    )
  end

  @doc "Bytes."
  @spec size(non_neg_integer) :: String.t()
  def size(bytes) when bytes < 1024, do: "#{bytes} B"
  def size(bytes) when bytes < 1_048_576, do: "#{Float.round(bytes / 1024, 1)} KB"
  def size(bytes) when bytes < 1_073_741_824, do: "#{Float.round(bytes / 1_048_576, 1)} MB"
  def size(bytes), do: "#{Float.round(bytes / 1_073_741_824, 1)} GB"

  @doc "A count, in ten characters at most."
  @spec number(non_neg_integer) :: String.t()
  def number(n) when n < 1_000_000, do: to_string(n)
  def number(n) when n < 1_000_000_000, do: "#{Float.round(n / 1_000_000, 1)} M"
  def number(n), do: "#{Float.round(n / 1_000_000_000, 1)} G"

  @doc "The size of a key: bytes of a string, elements of anything else."
  @spec size_of(atom, non_neg_integer) :: String.t()
  def size_of(:string, size), do: size(size)
  def size_of(_type, size), do: number(size)

  @doc "A duration."
  @spec ms(nil | non_neg_integer) :: String.t()
  def ms(nil), do: "never"
  def ms(ms) when ms < 10_000, do: "#{ms} ms"
  def ms(ms), do: "#{div(ms, 1000)} s"

  @doc "A time of the day, in UTC."
  @spec clock(integer) :: String.t()
  def clock(unix_ms), do: unix_ms |> DateTime.from_unix!(:millisecond) |> Calendar.strftime("%H:%M:%S")

  @doc "Commands a second between two overviews. A full sync may start the count anew."
  @spec rate(Vdr.Overview.t(), Vdr.Overview.t()) :: non_neg_integer
  def rate(now, before) do
    commands = max(now.info.commands_applied - before.info.commands_applied, 0)
    round(commands * 1000 / max(now.at_ms - before.at_ms, 1))
  end
end
