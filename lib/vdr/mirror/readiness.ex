defmodule Vdr.Mirror.Readiness do
  @moduledoc false
  # Waits until an instance can be read. The caller calls the instance's own process, `Vdr.Link`,
  # and no shared one, so no instance delays the callers of another one. If that process is
  # restarted, the caller calls it again, within one timeout.

  alias Vdr.{Deadline, Link, Mirror, Native, Reports}

  # The pause before a process that is being restarted is called again.
  @again_ms 10

  # The longest timer of the VM.
  @longest_ms 4_294_967_295

  @doc "Raises `ArgumentError` unless the VM has a timer for this time."
  @spec check_timeout!(timeout) :: :ok
  def check_timeout!(timeout)
      when timeout == :infinity or (is_integer(timeout) and timeout in 0..@longest_ms),
      do: :ok

  def check_timeout!(timeout) do
    raise ArgumentError,
          "Veidrodelis.await_ready takes a timeout in ms from 0 to #{@longest_ms}, or :infinity; " <>
            "got: #{inspect(timeout)}"
  end

  @spec await(id :: term, timeout) :: :ok | {:error, term}
  def await(id, timeout), do: await_until(id, Deadline.after_timeout(timeout))

  defp await_until(id, deadline) do
    case Mirror.Stores.find(id) do
      nil -> {:error, :no_instance}
      {store, _supervisor} -> if Native.ready(store), do: :ok, else: ask(id, deadline)
    end
  end

  defp ask(id, deadline) do
    case Reports.read({:mirror, id}) do
      %{pid: pid} when is_pid(pid) -> Link.await_ready(pid, Deadline.left(deadline))
      _not_started_yet -> again(id, deadline)
    end
  catch
    :exit, {:timeout, _call} -> {:error, :timeout}
    # The process of the link has ended. Either its supervisor restarts it, or the instance has
    # ended.
    :exit, _gone -> again(id, deadline)
  end

  defp again(id, deadline) do
    case Deadline.left(deadline) do
      0 ->
        {:error, :timeout}

      left ->
        # `left` may be `:infinity`. In the order of terms, numbers are smaller than atoms.
        Process.sleep(min(left, @again_ms))
        await_until(id, deadline)
    end
  end
end
