defmodule Vdr.Link.Predecessors do
  @moduledoc false
  # The links whose place a new link takes, because their supervisor was killed: monitors and pids.
  # Such a link ends by itself, after what it is doing, which may be user code. Until then it would
  # end the new link, and announce its own end amid the events of the new one.
  #
  # The new link may be killed while it waits. So the report names every link that it waits
  # for.

  alias Vdr.Reports

  @type t :: %{reference => pid}

  @doc "Enters the caller as the link of a report, and returns the links that have not ended."
  @spec claim(Reports.key()) :: t
  def claim(key) do
    %{pid: link, predecessors: before} = Reports.read(key)
    alive = for pid <- [link | before], is_pid(pid) and pid != self() and Process.alive?(pid), do: pid
    Reports.update(key, %{pid: self(), predecessors: alive})
    Map.new(alive, &{Process.monitor(&1), &1})
  end

  @doc "Kills them. Their `:DOWN` messages follow."
  @spec kill(t) :: :ok
  def kill(predecessors), do: Enum.each(predecessors, fn {_monitor, pid} -> Process.exit(pid, :kill) end)

  @doc "Kills them, and returns when they have ended."
  @spec finish(t) :: :ok
  def finish(predecessors) do
    kill(predecessors)

    Enum.each(predecessors, fn {monitor, pid} ->
      receive do
        {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
      end
    end)
  end
end
