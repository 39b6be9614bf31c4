defmodule Vdr.Test.Mirror do
  @moduledoc "A mirror of a test's server, and how to wait until it has caught up."

  @timeout_ms 20_000

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

  defp await_value(id, key, marker, ref, deadline) do
    if Veidrodelis.get(id, 0, key) == {:ok, marker} do
      :ok
    else
      receive do
        {^ref, _event} -> await_value(id, key, marker, ref, deadline)
      after
        max(0, deadline - System.monotonic_time(:millisecond)) ->
          raise ExUnit.AssertionError, message: "the mirror did not catch up: #{inspect(Veidrodelis.info(id))}"
      end
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
