defmodule Vdr.Cache.Backend.ETS.Leases do
  @moduledoc false
  # The right to store what a fetch brings. Every put and delete of the key takes it away, so a
  # slow fetch never puts back what was deleted or replaced meanwhile.
  #
  # A row is `{key, :open | :committing, ref, seq, pid}`. While a lease commits, a put or delete of
  # its key waits for the end of that, which is some microseconds away, or for the death of the
  # process.

  @type lease :: {reference, seq :: pos_integer}

  @doc """
  The number is taken by the function while the lease is there already, so that `sweep/1` overlooks
  none.
  """
  @spec acquire(:ets.table(), key :: term, (... -> pos_integer), pid) :: lease
  def acquire(table, key, next_seq, pid) do
    void(table, key)
    ref = make_ref()
    :ets.insert(table, {key, :open, ref, 0, pid})
    seq = next_seq.()
    # Not of another one that has come meanwhile.
    :ets.select_replace(table, [{{key, :open, ref, 0, pid}, [], [{:const, {key, :open, ref, seq, pid}}]}])
    {ref, seq}
  end

  @doc "Ends the lease of a key."
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

  @doc "Calls the function if the lease is still held; nobody else changes the key meanwhile."
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

  @doc "Removes the leases of dead processes, and returns the oldest number that a lease has."
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

  # Of a process of another node this is not known while the node is connected. The next acquire of
  # the key ends its lease.
  defp alive?(pid) when node(pid) == node(), do: Process.alive?(pid)
  defp alive?(pid), do: node(pid) in Node.list()
end
