defmodule Vdr.Unlinked do
  @moduledoc false
  # Instances that live under the application, and not under a supervisor of the user's. A program
  # in Gleam connects in whatever process it likes, and that process may end at once. Such an
  # instance lives until `stop/1`.
  #
  # No user code runs here.

  use Supervisor

  alias Vdr.Mirror.Stores

  @spec start_link(term) :: Supervisor.on_start()
  def start_link(_options), do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @impl Supervisor
  def init(nil), do: Supervisor.init([], strategy: :one_for_one, max_restarts: 100, max_seconds: 10)

  @doc """
  Starts an instance, and waits until it can be read. If that fails, or if the caller dies before
  the answer, nothing is left running. Raises an `ArgumentError` about wrong options.
  """
  @spec start(keyword, timeout_ms :: pos_integer) :: :ok | {:error, term}
  def start(options, timeout_ms) do
    spec = Veidrodelis.child_spec(options)
    {caller, ref} = {self(), make_ref()}
    {guard, monitor} = spawn_monitor(fn -> guard(caller, ref, spec) end)

    answer =
      receive do
        {^ref, {:ok, _pid}} -> await_ready(options[:id], timeout_ms)
        {^ref, {:error, reason}} -> {:error, start_error(reason)}
        {:DOWN, ^monitor, :process, _pid, _reason} -> {:error, :no_instance}
      end

    send(guard, {ref, :done})
    Process.demonitor(monitor, [:flush])
    answer
  end

  # A supervisor puts what it was told to start around the reason.
  defp start_error({{:shutdown, {:failed_to_start_child, _child, reason}}, _spec}), do: reason
  defp start_error({:already_started, pid}), do: {:already_started, pid}
  defp start_error({reason, _spec}), do: reason
  defp start_error(reason), do: reason

  # Starts the instance for the caller, and stops it if the caller dies before it has its answer:
  # then nobody could stop it any more.
  defp guard(caller, ref, spec) do
    monitor = Process.monitor(caller)
    answer = Supervisor.start_child(__MODULE__, spec)
    send(caller, {ref, answer})

    # Otherwise the id belongs to somebody else's instance.
    with {:ok, _pid} <- answer do
      receive do
        {^ref, :done} -> :ok
        {:DOWN, ^monitor, :process, _pid, _reason} -> stop_child(spec.id)
      end
    end
  end

  defp await_ready(id, timeout_ms) do
    with {:error, reason} <- Veidrodelis.await_ready(id, timeout_ms) do
      reason = with :timeout <- reason, do: last_error(id)
      stop(id)
      {:error, reason}
    end
  end

  # What kept it from becoming ready says more than that the time is over.
  defp last_error(id) do
    case Veidrodelis.info(id, :last_error) do
      {code, detail} when is_binary(detail) -> {code, detail}
      _none -> :timeout
    end
  end

  @doc "Stops an instance that was started here. Then its id is free, and nothing of it runs."
  @spec stop(id :: term) :: :ok | {:error, :not_found}
  def stop(id), do: stop_child({Veidrodelis, id})

  defp stop_child({Veidrodelis, id} = child) do
    found = Stores.find(id)

    with :ok <- Supervisor.terminate_child(__MODULE__, child) do
      _gone = Supervisor.delete_child(__MODULE__, child)
      with {_store, pid} <- found, do: Stores.await_release(id, pid)
      :ok
    end
  catch
    # The application is stopping, and its instances with it.
    :exit, _reason -> {:error, :not_found}
  end
end
