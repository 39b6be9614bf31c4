defmodule Vdr.Cache.Flights do
  @moduledoc false
  # Single flight in a node: one process works for a key, the others wait for its answer. Rows of two tables and messages,
  # no process in the middle.
  #
  #     flights: {key, leader, ref}      waiters: {{ref, alias}}
  #
  # A waiter gets its answer by an alias, which ends with the wait: nothing that comes later reaches its mailbox.

  alias Vdr.Cache.Topology.Remote

  @portion 500

  @type t :: %{flights: :ets.table(), waiters: :ets.table()}

  @spec new() :: t
  def new do
    concurrent = [:public, read_concurrency: true, write_concurrency: true]
    %{flights: :ets.new(__MODULE__, [:set | concurrent]), waiters: :ets.new(__MODULE__, [:ordered_set | concurrent])}
  end

  @doc "Becomes the leader for a key, or learns who is."
  @spec open(t, term, pid) :: {:lead, reference} | {:follow, pid, reference}
  def open(t, key, pid \\ self()) do
    ref = make_ref()

    if :ets.insert_new(t.flights, {key, pid, ref}) do
      {:lead, ref}
    else
      case :ets.lookup(t.flights, key) do
        [{_key, leader, ref}] -> {:follow, leader, ref}
        [] -> open(t, key, pid)
      end
    end
  end

  @doc """
  Waits for the answer of the leader. `:again` means that there is none, and who asks may become the leader.

  The tables may be those of another node: then they are named by a node and a cache.
  """
  @spec follow(t | map, term, pid, reference, timeout) :: {:done, term} | :again | :timeout
  def follow(t, key, leader, ref, timeout) do
    alias = :erlang.monitor(:process, leader, alias: :explicit_unalias)
    # The leader may have told everybody before it knew of this process.
    answer = if join(t, key, leader, ref, alias), do: await(t, key, leader, ref, alias, timeout), else: :again
    :erlang.unalias(alias)
    Process.demonitor(alias, [:flush])
    leave(t, ref, alias)
    # It may have been sent just before the alias ended.
    receive do
      {^alias, late} -> late
    after
      0 -> answer
    end
  end

  defp await(t, key, leader, ref, alias, timeout) do
    receive do
      {^alias, answer} ->
        answer

      {:DOWN, ^alias, :process, _pid, _reason} ->
        abandon(t, key, leader, ref)
        :again
    after
      timeout -> :timeout
    end
  end

  @doc "Enters who waits, and answers whether the flight is still there."
  @spec join(t | map, term, pid, reference, reference) :: boolean
  def join(%{node: _node} = t, key, leader, ref, alias), do: there(t, :join_flight, [key, leader, ref, alias]) == true

  def join(t, key, leader, ref, alias) do
    :ets.insert(t.waiters, {{ref, alias}})
    :ets.lookup(t.flights, key) == [{key, leader, ref}]
  end

  @spec leave(t | map, reference, reference) :: term
  def leave(%{node: _node} = t, ref, alias), do: there(t, :leave_flight, [ref, alias])
  def leave(t, ref, alias), do: :ets.delete(t.waiters, {ref, alias})

  @doc "Ends a flight whose leader is dead."
  @spec abandon(t | map, term, pid, reference) :: term
  def abandon(%{node: _node} = t, key, leader, ref), do: there(t, :abandon_flight, [key, leader, ref])
  def abandon(t, key, leader, ref), do: :ets.delete_object(t.flights, {key, leader, ref})

  defp there(t, function, arguments),
    do: Remote.call(t.node, Vdr.Cache.Topology.Partitioned, function, [t.name | arguments], t.timeout)

  @doc "Ends a flight, and tells everybody who waits."
  @spec close(t, term, reference, {:done, term} | :again, pid) :: :ok
  def close(t, key, ref, answer, pid \\ self()) do
    :ets.delete_object(t.flights, {key, pid, ref})
    tell(t, :ets.select(t.waiters, [{{{ref, :"$1"}}, [], [:"$1"]}], @portion), ref, answer)
  end

  defp tell(_t, :"$end_of_table", _ref, _answer), do: :ok

  defp tell(t, {aliases, continuation}, ref, answer) do
    Enum.each(aliases, fn alias ->
      send(alias, {alias, answer})
      :ets.delete(t.waiters, {ref, alias})
    end)

    # The rest of the scheduler's work has its turn.
    :erlang.yield()
    tell(t, if(continuation == :"$end_of_table", do: continuation, else: :ets.select(continuation)), ref, answer)
  end

  @doc "Calls the function while no other caller has one of the keys. They are taken in one order, so nobody waits crosswise."
  @spec locked(t, [term], timeout, (... -> result)) :: result | {:error, :timeout} when result: term
  def locked(t, keys, timeout, fun) do
    # `1` and `1.0` are two keys.
    keys = keys |> Enum.uniq() |> Enum.sort_by(&:erlang.term_to_binary(&1, [:deterministic]))
    deadline = if timeout == :infinity, do: :infinity, else: :erlang.monotonic_time(:millisecond) + timeout
    lock(t, keys, deadline, fun, [])
  end

  defp lock(t, [], _deadline, fun, held) do
    fun.()
  after
    unlock(t, held)
  end

  defp lock(t, [key | keys] = all, deadline, fun, held) do
    name = {:lock, key}

    case open(t, name) do
      {:lead, ref} ->
        lock(t, keys, deadline, fun, [{name, ref} | held])

      {:follow, leader, _ref} when leader == self() ->
        unlock(t, held)
        raise ArgumentError, "this process is in a transaction of the key #{inspect(key, limit: 5)} already"

      {:follow, leader, ref} ->
        case follow(t, name, leader, ref, left(deadline)) do
          :timeout ->
            unlock(t, held)
            {:error, :timeout}

          :again ->
            lock(t, all, deadline, fun, held)
        end
    end
  end

  defp unlock(t, held), do: Enum.each(held, fn {name, ref} -> close(t, name, ref, :again) end)

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - :erlang.monotonic_time(:millisecond), 0)
end
