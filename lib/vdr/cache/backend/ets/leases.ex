defmodule Vdr.Cache.Backend.ETS.Leases do
  @moduledoc false
  # Leases: the right to store a fetched value. Every put and delete of the key voids its lease, so
  # a slow fetch never restores an old value.
  #
  # A row is `{key, :open | :committing, ref, seq, pid}`. While a lease commits, a put or delete of
  # its key waits until the commit ends, which takes some microseconds, or until the process dies.

  @type lease :: {reference, seq :: pos_integer}

  @doc """
  Acquires a lease for a process. The function returns the number of the lease. It is called after
  the lease is in the table, so that `sweep/1` overlooks no lease.
  """
  @spec acquire(:ets.table(), key :: term, (... -> pos_integer), pid) :: lease
  def acquire(table, key, next_seq, pid) do
    void(table, key)
    ref = make_ref()
    :ets.insert(table, {key, :open, ref, 0, pid})
    seq = next_seq.()
    # Another lease of the key may have come meanwhile; it keeps its number.
    :ets.select_replace(table, [{{key, :open, ref, 0, pid}, [], [{:const, {key, :open, ref, seq, pid}}]}])
    {ref, seq}
  end

  @doc "Voids the lease of a key."
  @spec void(:ets.table(), term) :: :ok
  def void(table, key) do
    case :ets.lookup(table, key) do
      [] ->
        :ok

      [{_key, :committing, _ref, _seq, pid} = row] ->
        if pid != self() and Process.alive?(pid), do: :erlang.yield(), else: :ets.delete_object(table, row)
        void(table, key)

      [row] ->
        :ets.delete_object(table, row)
        void(table, key)
    end
  end

  @spec void_all(:ets.table()) :: :ok
  def void_all(table), do: table |> :ets.tab2list() |> Enum.each(&void(table, elem(&1, 0)))

  @doc "Calls the function if the lease is still valid. No other process changes the key meanwhile."
  @spec commit(:ets.table(), term, lease, (... -> result)) :: result | {:ok, :lost} when result: term
  def commit(table, key, {ref, seq}, fun) do
    committing = {key, :committing, ref, seq, self()}

    case :ets.select_replace(table, [{{key, :open, ref, seq, :_}, [], [{:const, committing}]}]) do
      1 ->
        try do
          fun.()
        after
          :ets.delete_object(table, committing)
        end

      0 ->
        {:ok, :lost}
    end
  end

  @spec release(:ets.table(), term, lease) :: :ok
  def release(table, key, {ref, seq}) do
    :ets.match_delete(table, {key, :open, ref, seq, :_})
    :ok
  end

  @doc "Removes the leases of dead processes. Returns the smallest number of the other leases."
  @spec sweep(:ets.table()) :: pos_integer | :infinity
  def sweep(table) do
    Enum.reduce(:ets.tab2list(table), :infinity, fn {_key, _state, _ref, seq, pid} = row, oldest ->
      if alive?(pid) do
        min(seq, oldest)
      else
        :ets.delete_object(table, row)
        oldest
      end
    end)
  end

  # A process on another node counts as alive while its node is connected. If it is dead, the next
  # `acquire/4` of the key voids its lease.
  defp alive?(pid) when node(pid) == node(), do: Process.alive?(pid)
  defp alive?(pid), do: node(pid) in Node.list()
end
