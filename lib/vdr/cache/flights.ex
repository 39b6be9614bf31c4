defmodule Vdr.Cache.Flights do
  @moduledoc false
  # Single flight on one node: one process, the leader, works for a key, and the other processes
  # wait for its answer. There is no process in between: a flight is a row of one table, a waiter is
  # a row of another one, and the answer is a message.
  #
  #     flights: {key, leader, ref, :open | :closing}      waiters: {{ref, alias}}
  #
  # A leader that begins to store its value marks its flight as closing. A process that joins after
  # that waits for the end of the flight, and then reads again. The reason: the value of the leader
  # may be older than a write that has returned meanwhile, and a caller that asks after that write
  # must not get it.
  #
  # A waiter gets its answer through an alias, which ends with the wait. So no late message reaches
  # its mailbox.

  alias Vdr.Cache.Topology.Remote
  alias Vdr.Deadline

  @portion 500

  @type t :: %{flights: :ets.table(), waiters: :ets.table()}

  @spec new() :: t
  def new do
    concurrent = [:public, read_concurrency: true, write_concurrency: true]
    %{flights: :ets.new(__MODULE__, [:set | concurrent]), waiters: :ets.new(__MODULE__, [:ordered_set | concurrent])}
  end

  @doc "Becomes the leader for a key, or returns the current leader."
  @spec open(t, term, pid) :: {:lead, reference} | {:follow, pid, reference}
  def open(t, key, pid \\ self()) do
    ref = make_ref()

    if :ets.insert_new(t.flights, {key, pid, ref, :open}) do
      {:lead, ref}
    else
      case :ets.lookup(t.flights, key) do
        [{_key, leader, ref, _state}] -> {:follow, leader, ref}
        [] -> open(t, key, pid)
      end
    end
  end

  @doc """
  Waits for the answer of the leader. `:again` means that the leader had none, and that the caller
  may become the leader.

  The tables may be on another node. Then the first argument names the node, the cache, and the
  module to call there.
  """
  @spec follow(t | map, term, pid, reference, timeout) :: {:done, term} | :again | :timeout
  def follow(t, key, leader, ref, timeout) do
    alias = :erlang.monitor(:process, leader, alias: :explicit_unalias)
    # The leader may have sent its answer before this process was in the table.
    joined = join(t, key, leader, ref, alias)
    answer = if joined == :gone, do: :again, else: await(t, key, leader, ref, alias, timeout)
    :erlang.unalias(alias)
    Process.demonitor(alias, [:flush])
    leave(t, ref, alias)
    # The answer may have been sent just before the alias ended.
    answer =
      receive do
        {^alias, late} -> late
      after
        0 -> answer
      end

    if joined == :closing and answer != :timeout, do: :again, else: answer
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

  @doc "Adds a waiter, and returns the state of the flight."
  @spec join(t | map, term, pid, reference, reference) :: :open | :closing | :gone
  def join(%{node: _node} = t, key, leader, ref, alias) do
    case there(t, :join_flight, [key, leader, ref, alias]) do
      state when state in [:open, :closing] -> state
      _gone_or_error -> :gone
    end
  end

  def join(t, key, leader, ref, alias) do
    :ets.insert(t.waiters, {{ref, alias}})

    case :ets.lookup(t.flights, key) do
      [{_key, ^leader, ^ref, state}] -> state
      _gone -> :gone
    end
  end

  @doc """
  Marks a flight as closing: processes that join from now on do not get its answer. The leader calls
  this before it stores its value.
  """
  @spec closing(t, term, reference, pid) :: :ok
  def closing(t, key, ref, pid \\ self()) do
    with [{_key, ^pid, ^ref, :open}] <- :ets.lookup(t.flights, key),
         do: :ets.update_element(t.flights, key, {4, :closing})

    :ok
  end

  @spec leave(t | map, reference, reference) :: term
  def leave(%{node: _node} = t, ref, alias), do: there(t, :leave_flight, [ref, alias])
  def leave(t, ref, alias), do: :ets.delete(t.waiters, {ref, alias})

  @doc "Ends a flight whose leader is dead."
  @spec abandon(t | map, term, pid, reference) :: term
  def abandon(%{node: _node} = t, key, leader, ref), do: there(t, :abandon_flight, [key, leader, ref])

  def abandon(t, key, leader, ref) do
    :ets.delete_object(t.flights, {key, leader, ref, :open})
    :ets.delete_object(t.flights, {key, leader, ref, :closing})
  end

  defp there(t, function, arguments),
    do: Remote.call(t.node, t.module, function, [t.name | arguments], t.timeout)

  @doc "Ends a flight, and sends the answer to every waiter."
  @spec close(t, term, reference, {:done, term} | :again, pid) :: :ok
  def close(t, key, ref, answer, pid \\ self()) do
    abandon(t, key, pid, ref)
    tell(t, :ets.select(t.waiters, [{{{ref, :"$1"}}, [], [:"$1"]}], @portion), ref, answer)
  end

  defp tell(_t, :"$end_of_table", _ref, _answer), do: :ok

  defp tell(t, {aliases, continuation}, ref, answer) do
    Enum.each(aliases, fn alias ->
      send(alias, {alias, answer})
      :ets.delete(t.waiters, {ref, alias})
    end)

    # Lets other processes of this scheduler run.
    :erlang.yield()
    tell(t, if(continuation == :"$end_of_table", do: continuation, else: :ets.select(continuation)), ref, answer)
  end

  @doc """
  Locks the keys, calls the function, and unlocks them. All callers lock keys in the same order, so
  there is no deadlock.
  """
  @spec locked(t, [term], timeout, (... -> result)) :: result | {:error, :timeout} when result: term
  def locked(t, keys, timeout, fun) do
    # `1` and `1.0` are two keys.
    keys = keys |> Enum.uniq() |> Enum.sort_by(&:erlang.term_to_binary(&1, [:deterministic]))
    lock(t, keys, Deadline.after_timeout(timeout), fun, [])
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
        case follow(t, name, leader, ref, Deadline.left(deadline)) do
          :timeout ->
            unlock(t, held)
            {:error, :timeout}

          :again ->
            lock(t, all, deadline, fun, held)
        end
    end
  end

  defp unlock(t, held), do: Enum.each(held, fn {name, ref} -> close(t, name, ref, :again) end)
end
