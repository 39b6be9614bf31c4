defmodule Vdr.Cache.Topology.Local do
  @moduledoc """
  The topology of a cache on one node, and the default. Every node that starts the cache has its own
  entries. Nodes do not exchange anything.

  With `Vdr.Cache.Backend.Redis` or `Vdr.Cache.Backend.Mirror`, the entries are on the server, so
  all nodes share them. With those backends, use this topology in a cluster, too.
  """

  @behaviour Vdr.Cache.Topology

  @impl Vdr.Cache.Topology
  def start(_config, store), do: {:ok, [], store}
end
