defmodule Vdr.Link.UserFunction do
  @moduledoc false
  # User functions that a link calls: for a password, or for a host. Each runs in a process of its
  # own, with a time limit. So the link continues meanwhile, and a function that hangs costs one
  # attempt.

  @limit_ms 5000

  @doc """
  Runs the function, and returns at once. Later calls `deliver` with `{:ok, value}`, or with
  `:error` if the function crashed or took too long.
  """
  @spec start((... -> value), ({:ok, value} | :error -> term)) :: :ok when value: term
  def start(fun, deliver) do
    _pid = spawn(fn -> deliver.(run(fun)) end)
    :ok
  end

  defp run(fun) do
    {pid, monitor} = spawn_monitor(fn -> exit({:shutdown, {__MODULE__, fun.()}}) end)

    receive do
      {:DOWN, ^monitor, :process, _pid, {:shutdown, {__MODULE__, value}}} -> {:ok, value}
      {:DOWN, ^monitor, :process, _pid, _crash} -> :error
    after
      @limit_ms ->
        Process.exit(pid, :kill)
        :error
    end
  end
end
