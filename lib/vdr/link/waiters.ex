defmodule Vdr.Link.Waiters do
  @moduledoc false
  # The processes that wait in `await_ready/2` for one link: a value in the state of `Vdr.Link`. The
  # functions return actions of `:gen_statem`, which set and cancel a timer for each process.

  @type t :: %{reference => :gen_statem.from()}

  @spec new() :: t
  def new, do: %{}

  @spec add(t, :gen_statem.from(), timeout) :: {t, [:gen_statem.action()]}
  def add(waiters, {pid, _tag} = from, timeout) do
    monitor = Process.monitor(pid)
    {Map.put(waiters, monitor, from), [{{:timeout, monitor}, timeout, :await_ready}]}
  end

  @doc "Removes a waiter whose time is over, or whose process has ended."
  @spec drop(t, reference) :: {t, [:gen_statem.action()]}
  def drop(waiters, monitor) do
    case Map.pop(waiters, monitor) do
      {nil, waiters} -> {waiters, []}
      {from, waiters} -> {waiters, finish(monitor, from, {:error, :timeout})}
    end
  end

  @spec reply_all(t, term) :: {t, [:gen_statem.action()]}
  def reply_all(waiters, answer),
    do: {new(), Enum.flat_map(waiters, fn {monitor, from} -> finish(monitor, from, answer) end)}

  defp finish(monitor, from, answer) do
    Process.demonitor(monitor, [:flush])
    [{{:timeout, monitor}, :cancel}, {:reply, from, answer}]
  end
end
