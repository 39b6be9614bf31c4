defmodule Vdr.Cache.Topology do
  @moduledoc """
  The behaviour of what spreads a cache over nodes.

  A topology stands between the cache and its backend. It gets the backend of this node as a
  *store*, a pair of a module and its handle, and returns another store: a module with the
  callbacks of `Vdr.Cache.Backend`. `Vdr.Cache.Topology.Local` returns the store that it gets.
  """

  @type store :: {module, handle :: term}

  @doc """
  Runs in the supervisor of the cache. The config is that of `c:Vdr.Cache.Backend.start/1`, with the
  `:topology_opts` as `opts`.
  """
  @callback start(config :: map, store) ::
              {:ok, [:supervisor.child_spec() | {module, term} | module], store} | {:error, term}

  @doc """
  Raises `ArgumentError` where the options are wrong, or make no sense with the backend. Runs in the
  process that starts the cache.
  """
  @callback check!(config :: map, backend :: module) :: :ok
  @optional_callbacks check!: 2
end
