defmodule Vdr.Cache.Topology.Members do
  @moduledoc false
  # The nodes that run a cache: the members of a group of `:pg`. A connected node that does not run
  # the cache is not a member. The name of the group contains everything that members must agree on,
  # so a node with another topology is not a member either.
  #
  # A node joins with `join/2` once its cache can be called, and leaves with `leave/2` before its
  # cache stops.

  @scope Vdr.Cache

  @type group :: {name :: atom, agreed :: non_neg_integer}

  @spec group(name :: atom, agreed :: term) :: group
  def group(name, agreed), do: {name, :erlang.phash2(agreed)}

  @doc """
  Subscribes to the group. The caller receives `{ref, :join | :leave, group, pids}` for each change.
  """
  @spec follow(group) :: {reference, [pid]}
  def follow(group) do
    # All caches of the node share one scope. It is never stopped, because another cache may still
    # use it when one ends.
    case :pg.start(@scope) do
      {:ok, _pid} -> :ok
      {:error, {:already_started, _pid}} -> :ok
    end

    :pg.monitor(@scope, group)
  end

  @spec join(group, pid) :: :ok
  def join(group, pid), do: :pg.join(@scope, group, pid)

  @spec leave(group, pid) :: :ok | :not_joined
  def leave(group, pid), do: :pg.leave(@scope, group, pid)
end
