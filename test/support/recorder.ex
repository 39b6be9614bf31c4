defmodule Vdr.Test.Recorder do
  @moduledoc """
  A handler that reports each of its callbacks to a process. Its options are a map with `:to`. To
  make it misbehave, add functions by callback: `handle_commands: fn commands -> {:error, :no} end`
  runs first, and its result is returned unless it is `:ok`.
  """
  @behaviour Vdr.RedisStream.Callback

  @impl true
  def init(%{} = opts) do
    tell(opts, :init)

    with :ok <- misbehave(opts, :init, nil) do
      if is_map_key(opts, :initial), do: {:ok, opts, initial: opts.initial}, else: {:ok, opts}
    end
  end

  @impl true
  def handle_replication_start(opts), do: told(opts, :handle_replication_start, :replication_start)
  @impl true
  def handle_streaming_start(opts), do: told(opts, :handle_streaming_start, :streaming_start)

  @impl true
  def handle_commands(opts, commands), do: told(opts, :handle_commands, {:commands, commands}, commands)

  @impl true
  def handle_call(opts, message) do
    with :ok <- misbehave(opts, :handle_call, message), do: {:reply, {:heard, message}, Map.put(opts, :last, message)}
  end

  @impl true
  def handle_info(opts, message) do
    tell(opts, {:info, message})
    with :ok <- misbehave(opts, :handle_info, message), do: {:noreply, opts}
  end

  @impl true
  def handle_destroy(opts) do
    tell(opts, :destroy)
    misbehave(opts, :handle_destroy, nil)
  end

  defp told(opts, name, event, argument \\ nil) do
    tell(opts, event)
    with :ok <- misbehave(opts, name, argument), do: {:ok, opts}
  end

  defp tell(%{to: pid}, event), do: send(pid, {:recorded, self(), event})

  defp misbehave(opts, name, argument) do
    case opts do
      %{^name => fun} -> fun.(argument)
      _behaves -> :ok
    end
  end

  # ---- for tests

  @timeout_ms 20_000

  @doc "The next event of a replica. Fails if none comes."
  def next!(pid) do
    receive do
      {:recorded, ^pid, event} -> event
    after
      @timeout_ms -> raise ExUnit.AssertionError, message: "no event of the handler came"
    end
  end

  @doc """
  All commands up to the one with this `raw_command`, across any number of batches. Other events are
  skipped.
  """
  def commands_until(pid, words, commands \\ []) do
    case next!(pid) do
      {:commands, more} ->
        commands = commands ++ more

        if Enum.any?(more, &(&1.raw_command == {:generic, words})),
          do: commands,
          else: commands_until(pid, words, commands)

      _other ->
        commands_until(pid, words, commands)
    end
  end

  @doc "The `command` tuples of `commands_until/2`."
  def tuples_until(pid, words), do: for(command <- commands_until(pid, words), do: command.command)

  @doc "Like `await!/2`, but fails if another event comes first."
  def await_quiet!(pid, event, unwanted) do
    case next!(pid) do
      ^event -> event
      ^unwanted -> raise ExUnit.AssertionError, message: "the handler heard of #{inspect(unwanted)}"
      _other -> await_quiet!(pid, event, unwanted)
    end
  end

  @doc "Waits for an event of this kind, and drops the events before it."
  def await!(pid, event), do: if(next!(pid) != event, do: await!(pid, event), else: event)
end
