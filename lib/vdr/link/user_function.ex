defmodule Vdr.Link.UserFunction do
  @moduledoc false
  # Functions of the user that a link needs an answer of: for a password, or for a host. Each runs
  # in a process of its own and has a time limit, so the link goes on meanwhile, and a function that
  # hangs costs one attempt.

  @limit_ms 5000

  @doc "Calls `deliver` with `{:ok, value}`, or with `:error` when the function crashes or takes too long. Returns at once."
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
