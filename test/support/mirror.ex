defmodule Vdr.Test.Mirror do
  @moduledoc "A mirror of a test's server, and how to wait until it has caught up."

  # Costs nothing where the condition comes true.
  @timeout_ms 40_000
  # How long a message of a watch may be behind what is read.
  @event_ms 500

  @doc """
  Starts a mirror under the test's supervisor, waits for its first full sync, and returns its id.
  """
  def start!(server, opts \\ []) do
    id = Keyword.get_lazy(opts, :id, fn -> {:test, System.unique_integer([:positive])} end)

    ExUnit.Callbacks.start_supervised!(
      {Veidrodelis, [id: id, host: "127.0.0.1", port: Vdr.Test.Server.port(server)] ++ Keyword.delete(opts, :id)}
    )

    :ok = Veidrodelis.await_ready(id, @timeout_ms)
    id
  end

  @doc """
  Waits until everything that the server has taken so far is visible in the mirror: the stream is
  one sequence, so a marker written now is seen after all that went before.

  The messages of watches come after their effect is visible, in the order of the stream. So this
  waits for the message of the marker, too: all messages of what went before are then sent.
  """
  def settle(id, redis, selected \\ 0) do
    ref = make_ref()
    key = "vdr:settled"
    marker = Integer.to_string(System.unique_integer([:positive]))
    :ok = Veidrodelis.watch(id, 0, key, ref)
    [_, _, _] = Redix.pipeline!(redis, [["SELECT", 0], ["SET", key, marker], ["SELECT", selected]])

    try do
      await_value(id, key, marker, ref, System.monotonic_time(:millisecond) + @timeout_ms)
    after
      Veidrodelis.unwatch(id, 0, key)
      flush(ref)
    end
  end

  @doc """
  As `settle/2`, when the caller has just set watches: takes the `Init` that each of them may have
  got if a write became visible meanwhile.
  """
  def settle_watches(id, redis) do
    settle(id, redis)
    take_inits()
  end

  defp take_inits do
    receive do
      {_ref, %Vdr.WatchEvent.Init{}} -> take_inits()
    after
      0 -> :ok
    end
  end

  defp await_value(id, key, marker, ref, deadline) do
    # A process with a full mailbox gets no message.
    receive do
      {^ref, _event} -> :ok
    after
      @event_ms -> :ok
    end

    cond do
      Veidrodelis.get(id, 0, key) == {:ok, marker} ->
        :ok

      System.monotonic_time(:millisecond) > deadline ->
        raise ExUnit.AssertionError, message: "the mirror did not catch up: #{inspect(Veidrodelis.info(id))}"

      true ->
        await_value(id, key, marker, ref, deadline)
    end
  end

  defp flush(ref) do
    receive do
      {^ref, _event} -> flush(ref)
    after
      0 -> :ok
    end
  end

  @doc """
  Polls until the condition is true, where no event tells. Fails with the last result of `explain`.
  """
  def eventually(what, explain \\ fn -> nil end, fun) do
    deadline = System.monotonic_time(:millisecond) + @timeout_ms
    poll(what, explain, deadline, fun)
  end

  defp poll(what, explain, deadline, fun) do
    cond do
      fun.() ->
        :ok

      System.monotonic_time(:millisecond) > deadline ->
        raise ExUnit.AssertionError, message: "never came true: #{what}; #{inspect(explain.())}"

      true ->
        receive do
        after
          5 -> poll(what, explain, deadline, fun)
        end
    end
  end
end
