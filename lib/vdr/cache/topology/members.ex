defmodule Vdr.Cache.Topology.Members do
  @moduledoc false
  # The nodes that run a cache: the members of a group of `:pg`. A node that is connected and does
  # not run the cache is none. The group's name has everything that members must agree on, so a
  # node with another topology is none either.
  #
  # A member comes in with `join/1` when its cache can be asked, and leaves with `leave/1` before
  # it cannot any more.

  @scope Vdr.Cache

  @type group :: {name :: atom, agreed :: non_neg_integer}

  @spec group(name :: atom, agreed :: term) :: group
  def group(name, agreed), do: {name, :erlang.phash2(agreed)}

  @doc """
  Starts to follow the group. Joins and leaves come as messages `{ref, :join | :leave, group,
  pids}`.
  """
  @spec follow(group) :: {reference, [pid]}
  def follow(group) do
    # One for all caches of the node. It outlives them: nobody else may rely on it when the last
    # cache ends.
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
