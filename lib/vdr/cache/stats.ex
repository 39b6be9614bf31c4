defmodule Vdr.Cache.Stats do
  @moduledoc false
  # The counters of a cache. Each scheduler counts in a counter of its own, so no process waits for
  # another one.

  @names ~w(hits misses writes deletes evictions errors expirations fetches fetch_errors waits stale_served
            lease_waits lease_lost degraded near_hits decode_errors)a
  @index @names |> Enum.with_index(1) |> Map.new()

  @type t :: :counters.counters_ref() | nil

  @spec new(enabled :: boolean) :: t
  def new(true), do: :counters.new(length(@names), [:write_concurrency])
  def new(false), do: nil

  @doc "Adds to a counter. Does nothing if the stats are disabled."
  @spec add(t, atom, integer) :: :ok
  for {name, index} <- @index do
    def add(nil, unquote(name), _n), do: :ok
    def add(counters, unquote(name), n), do: :counters.add(counters, unquote(index), n)
  end

  @doc "Returns all counters. Each is exact, but they are not of one moment."
  @spec read(t) :: %{atom => non_neg_integer}
  def read(nil), do: Map.new(@names, &{&1, 0})
  def read(counters), do: Map.new(@index, fn {name, index} -> {name, :counters.get(counters, index)} end)

  @spec reset(t) :: :ok
  def reset(nil), do: :ok
  def reset(counters), do: Enum.each(@index, fn {_name, index} -> :counters.put(counters, index, 0) end)
end
