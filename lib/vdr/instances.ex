defmodule Vdr.Instances do
  @moduledoc false
  # Who owns which instance id, and who waits for it to be ready.
  #
  # A store is made here for the supervisor that claims an id, and closed here when that supervisor is gone, for whatever
  # reason: so it outlives `Vdr.Link`, and is never left behind. Readers find it in `:persistent_term` and call nobody.
  # The store of a supervisor that was killed waits a while for the next one, which takes it over with data and watches.
  # Everything that is known only here can be built again from there, so a crash of this process costs no instance.

  use GenServer

  alias Vdr.{Events, Native}
  alias Vdr.Link.Owner

  # How long a store waits for a supervisor to take it over: restarting one takes milliseconds.
  @orphan_ms 5000

  # How often, and how soon again, this process is called while it is being restarted.
  @tries 50
  @try_ms 10

  # The longest time of a timer of the VM.
  @longest_ms 4_294_967_295

  @behaviour Vdr.Link.Owner

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Makes the table of reports, which is to outlive this process."
  @spec new_table() :: :ets.table()
  def new_table, do: :ets.new(__MODULE__, [:named_table, :public, read_concurrency: true])

  @doc "Makes the caller the owner of `id`: with the store of an owner of the same identity that was killed, or a new one."
  @spec claim(term, map) :: {:ok, reference} | {:error, {:already_started, pid}}
  def claim(id, identity), do: call({:claim, id, identity, self()})

  @doc """
  Waits until the instance can be read. The timeout has been checked: a timer that cannot be set would end the process
  that all instances share.
  """
  @spec await_ready(term, timeout) :: :ok | {:error, term}
  def await_ready(id, timeout), do: call({:await_ready, id, timeout})

  @doc "Raises `ArgumentError` unless the VM can set a timer for so long."
  @spec check_timeout!(timeout) :: :ok
  def check_timeout!(timeout)
      when timeout == :infinity or (is_integer(timeout) and timeout in 0..@longest_ms),
      do: :ok

  def check_timeout!(timeout) do
    raise ArgumentError,
          "Veidrodelis.await_ready takes a timeout in ms from 0 to #{@longest_ms}, or :infinity; got: #{inspect(timeout)}"
  end

  @doc "The instance can be read: those who wait are told."
  @impl Owner
  @spec ready(term) :: :ok
  def ready(id), do: GenServer.cast(__MODULE__, {:ready, id})

  @doc "The server refuses us for a reason that trying again soon cannot help; `nil` when it no longer does."
  @impl Owner
  @spec refused(term, term) :: :ok
  def refused(id, reason), do: GenServer.cast(__MODULE__, {:refused, id, reason})

  @doc "Leaves word of how the link stands."
  @impl Owner
  @spec report(term, map) :: :ok
  def report(id, changes) do
    # Of an instance that is gone there is nothing to report.
    _ = :ets.update_element(__MODULE__, id, {2, Map.merge(report(id), changes)})
    :ok
  end

  @impl Owner
  @spec report(term) :: Owner.report()
  def report(id) do
    case :ets.lookup(__MODULE__, id) do
      [{^id, report, _identity}] -> report
      [] -> Owner.new_report()
    end
  end

  @impl Owner
  def subject(id, _options), do: {id, %{}}

  @doc "The store and the supervisor of an instance."
  @spec find(term) :: {reference, pid} | nil
  def find(id), do: :persistent_term.get({Veidrodelis, id}, nil)

  @doc "The id of the instance of a supervisor."
  @spec id_of(pid) :: {:ok, term} | :error
  def id_of(pid) do
    case :ets.lookup(__MODULE__, supervisor(pid)) do
      [{_supervisor, id}] -> {:ok, id}
      [] -> :error
    end
  rescue
    # The application does not run, so there is no table.
    ArgumentError -> :error
  end

  # The key of a supervisor's row, in a table whose other keys are ids.
  defp supervisor(pid), do: {__MODULE__, pid}

  @doc "The ids of all instances."
  @spec list() :: [term]
  def list, do: for({{Veidrodelis, id}, {_store, _pid}} <- :persistent_term.get(), do: id)

  @doc "The supervisor of an instance is gone: returns when its store is closed and its id free."
  @spec released(term, pid) :: :ok
  def released(id, pid), do: call({:released, id, pid})

  # Every question can be asked again, and a new process is there within a moment.
  defp call(question, tries \\ @tries) do
    GenServer.call(__MODULE__, question, :infinity)
  catch
    :exit, {reason, {GenServer, :call, _arguments}} when reason in [:noproc, :killed] and tries > 1 ->
      Process.sleep(@try_ms)
      call(question, tries - 1)
  end

  @impl GenServer
  def init(nil) do
    Process.flag(:trap_exit, true)

    owners =
      for {{Veidrodelis, id}, {_store, pid}} <- :persistent_term.get(), into: %{} do
        # The table is a new one when the application was stopped meanwhile: then nobody knows whose data it is.
        :ets.insert_new(__MODULE__, {id, Owner.new_report(), nil})
        :ets.insert(__MODULE__, {supervisor(pid), id})
        {Process.monitor(pid), {id, pid}}
      end

    {:ok, %{owners: owners, waiting: %{}, refusals: %{}}}
  end

  @impl GenServer
  def handle_call({:claim, id, identity, pid}, _from, state) do
    case find(id) do
      # The answer was lost.
      {store, owner} when owner == pid ->
        {:reply, {:ok, store}, state}

      {store, owner} ->
        cond do
          # Its end may be on the way to us still.
          Process.alive?(owner) -> {:reply, {:error, {:already_started, owner}}, state}
          identity == identity(id) -> owned(id, store, pid, state)
          true -> claimed(id, identity, pid, release(id, state))
        end

      nil ->
        claimed(id, identity, pid, state)
    end
  end

  def handle_call({:released, id, pid}, _from, state), do: {:reply, :ok, release_from(pid, id, state)}

  def handle_call({:await_ready, id, timeout}, from, state) do
    case find(id) do
      nil ->
        {:reply, {:error, :no_instance}, state}

      {store, _pid} ->
        cond do
          Native.ready(store) -> {:reply, :ok, state}
          is_map_key(state.refusals, id) -> {:reply, {:error, state.refusals[id]}, state}
          true -> {:noreply, wait(state, id, from, timeout)}
        end
    end
  end

  # All instances share this process: nobody's mistake shall end it.
  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_call}, state}

  @impl GenServer
  def handle_cast({:ready, id}, state), do: {:noreply, state |> forget_refusal(id) |> answer(id, :ok)}
  def handle_cast({:refused, id, nil}, state), do: {:noreply, forget_refusal(state, id)}

  def handle_cast({:refused, id, reason}, state) do
    # Data that was there before can still be read, whoever refuses us now.
    {:noreply, answer(put_in(state.refusals[id], reason), id, {:error, reason})}
  end

  def handle_cast(_other, state), do: {:noreply, state}

  @impl GenServer
  def handle_info({:DOWN, monitor, :process, _pid, reason}, state) do
    case Map.pop(state.owners, monitor) do
      # Perhaps of who waited: nobody is left to be answered.
      {nil, _owners} -> {:noreply, %{state | waiting: Map.delete(state.waiting, monitor)}}
      {{id, pid}, owners} -> {:noreply, abandoned(reason, id, pid, %{state | owners: owners})}
    end
  end

  def handle_info({:orphan_timeout, id, pid}, state), do: {:noreply, release_from(pid, id, state)}

  def handle_info({:await_timeout, monitor}, state) do
    {expired, others} = Map.split(state.waiting, [monitor])
    {:noreply, told(state, expired, others, {:error, :timeout})}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp claimed(id, identity, pid, state) do
    :ets.insert(__MODULE__, {id, Owner.new_report(), identity})
    owned(id, Native.store_new(identity.stale_ms, identity.guard_key, identity.only), pid, state)
  end

  defp owned(id, store, pid, state) do
    with {_store, predecessor} <- find(id), do: :ets.delete(__MODULE__, supervisor(predecessor))
    :ets.insert(__MODULE__, {supervisor(pid), id})
    :persistent_term.put({Veidrodelis, id}, {store, pid})
    {:reply, {:ok, store}, put_in(state.owners[Process.monitor(pid)], {id, pid})}
  end

  defp identity(id), do: :ets.lookup_element(__MODULE__, id, 3)

  # Whoever ended in order wanted the end.
  defp abandoned(reason, id, pid, state) when reason in [:normal, :shutdown], do: release_from(pid, id, state)
  defp abandoned({:shutdown, _reason}, id, pid, state), do: release_from(pid, id, state)

  defp abandoned(_killed, id, pid, state) do
    Process.send_after(self(), {:orphan_timeout, id, pid}, @orphan_ms)
    state
  end

  # The id may have gone over to another owner already.
  defp release_from(pid, id, state) do
    if match?({_store, ^pid}, find(id)), do: release(id, state), else: state
  end

  defp release(id, state) do
    with {store, pid} <- find(id) do
      :persistent_term.erase({Veidrodelis, id})
      Native.store_close(store)
      :ets.delete(__MODULE__, supervisor(pid))
      :ets.delete(__MODULE__, id)
      Events.emit(id, :stopped, %{})
    end

    state |> forget_refusal(id) |> answer(id, {:error, :no_instance})
  end

  defp wait(state, id, {pid, _tag} = from, timeout) do
    monitor = Process.monitor(pid)
    if timeout != :infinity, do: Process.send_after(self(), {:await_timeout, monitor}, timeout)
    put_in(state.waiting[monitor], {id, from})
  end

  defp answer(state, id, answer) do
    {waiting, others} = Enum.split_with(state.waiting, &match?({_monitor, {^id, _from}}, &1))
    told(state, waiting, Map.new(others), answer)
  end

  defp told(state, waiting, others, answer) do
    for {monitor, {_id, from}} <- waiting do
      Process.demonitor(monitor, [:flush])
      GenServer.reply(from, answer)
    end

    %{state | waiting: others}
  end

  defp forget_refusal(state, id), do: %{state | refusals: Map.delete(state.refusals, id)}
end
