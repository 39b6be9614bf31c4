defmodule Vdr.Cache.Topology do
  @moduledoc """
  The behaviour of a topology: a module that spreads a cache over nodes.

  A topology stands between the cache and its backend. It gets the backend of this node as a
  *store*, a pair of a module and its handle. It returns another store, whose module has the
  callbacks of `Vdr.Cache.Backend`. `Vdr.Cache.Topology.Local` returns the store that it gets.
  """

  @type store :: {module, handle :: term}

  @doc """
  Starts the topology. Runs in the supervisor of the cache. The config is that of
  `c:Vdr.Cache.Backend.start/1`, with the `:topology_opts` as `opts`.
  """
  @callback start(config :: map, store) ::
              {:ok, [:supervisor.child_spec() | {module, term} | module], store} | {:error, term}

  @doc """
  Raises `ArgumentError` if an option is wrong, or does not fit the backend. Runs in the process
  that starts the cache.
  """
  @callback check!(config :: map, backend :: module) :: :ok
  @optional_callbacks check!: 2
end
