defmodule Vdr.Cache.Handle do
  @moduledoc false
  # The state that every call of a cache needs, as one persistent term: a caller reads it without a
  # process and without a copy. It is published when all processes of the cache run, and withdrawn
  # before the first of them ends.

  @enforce_keys [:name, :module, :store, :state, :options]
  defstruct [
    :name,
    :module,
    :store,
    :state,
    :options,
    :stats,
    :telemetry,
    :flights,
    :refreshes,
    :tasks,
    :started_at,
    default_ttl: :infinity,
    leases: false,
    tell_get: false,
    bypass: false
  ]

  @type t :: %__MODULE__{}

  @doc "Returns the handle of a running cache, or `nil`."
  @spec fetch(term) :: t | nil
  def fetch(name), do: :persistent_term.get({Vdr.Cache, name}, nil)

  @spec publish(t) :: :ok
  def publish(%__MODULE__{name: name} = handle), do: :persistent_term.put({Vdr.Cache, name}, handle)

  @spec withdraw(term) :: boolean
  def withdraw(name), do: :persistent_term.erase({Vdr.Cache, name})

  @doc "Returns the handle for one call with the options `:telemetry`, `:stats` and `:timeout`."
  @spec for_call(t, keyword) :: t
  def for_call(handle, opts) do
    handle = if opts[:telemetry] == false, do: %{handle | telemetry: nil, tell_get: false}, else: handle
    handle = if opts[:stats] == false, do: %{handle | stats: nil}, else: handle
    if opts[:timeout], do: with_timeout(handle, opts[:timeout]), else: handle
  end

  defp with_timeout(%{store: store, state: state} = handle, timeout) do
    if function_exported?(store, :with_timeout, 2),
      do: %{handle | state: store.with_timeout(state, timeout)},
      else: handle
  end
end
