defmodule Vdr.Cache.Topology.Local do
  @moduledoc """
  One node. Every node that starts the cache has entries of its own, and no node hears of another.

  With `Vdr.Cache.Backend.Redis` or `Vdr.Cache.Backend.Mirror` all nodes have the same entries, on
  the server: for those backends this is the topology of a cluster, too.
  """

  @behaviour Vdr.Cache.Topology

  @impl Vdr.Cache.Topology
  def start(_config, store), do: {:ok, [], store}
end
