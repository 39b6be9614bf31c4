defmodule Vdr.Mirror.Stores do
  @moduledoc false
  # The stores of all instances, and the supervisor that owns each id.
  #
  # This process creates a store for the supervisor that claims an id, and closes the store when
  # that supervisor has ended, for any reason. So a store outlives `Vdr.Link`, and is always closed.
  # Readers find the store in `:persistent_term`, and call no process. After a supervisor was
  # killed, its store waits for a while for the next supervisor, which takes it over with data and
  # watches. If this process crashes, its successor rebuilds the state, so no instance is lost.
  #
  # No user code runs here, because all instances share this process.

  use GenServer

  alias Vdr.{Log, Native, Reports}
  alias Vdr.Link.Events

  # How long a store waits until another supervisor takes it over. A restart takes milliseconds.
  @orphan_ms 5000

  # How often a call is tried while this process is being restarted, and the pause between two
  # tries.
  @tries 50
  @try_ms 10

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  Makes the caller the owner of `id`. Returns the store of a killed owner with the same identity, or
  a new store.
  """
  @spec claim(term, map) :: {:ok, reference} | {:error, {:already_started, pid}}
  def claim(id, identity), do: call({:claim, id, identity, self()})

  @doc """
  Returns the store and the supervisor of an instance, or `nil`. It is a macro, because a call to
  another module makes a read by id 4 % slower.
  """
  defmacro lookup(id), do: quote(do: :persistent_term.get({Veidrodelis, unquote(id)}, nil))

  @doc "Returns the store and the supervisor of an instance, or `nil`."
  @spec find(term) :: {reference, pid} | nil
  def find(id), do: lookup(id)

  @doc "Returns the id of a supervisor's instance."
  @spec id_of(pid) :: {:ok, term} | :error
  def id_of(pid) do
    case Reports.about({:supervisor, pid}) do
      {id} -> {:ok, id}
      nil -> :error
    end
  end

  @doc "Returns the ids of all instances."
  @spec list() :: [term]
  def list, do: for({{Veidrodelis, id}, {_store, _pid}} <- :persistent_term.get(), do: id)

  @doc "Returns the report of an instance's link."
  @spec report(term) :: map
  def report(id), do: {:mirror, id} |> Reports.read() |> Map.drop([:announced, :pid, :predecessors, :spans])

  @doc "Waits until the store of an ended instance is closed, and its id is free."
  @spec await_release(term, pid) :: :ok
  def await_release(id, pid), do: call({:released, id, pid})

  @doc "Closes the stores of all instances, because the application stops. Reads then find no instance."
  @spec close_all() :: :ok
  def close_all do
    for {{Veidrodelis, id}, {store, _pid}} <- :persistent_term.get() do
      :persistent_term.erase({Veidrodelis, id})
      Native.store_close(store)
    end

    :ok
  end

  # Every call can be repeated, and a restarted process is available within milliseconds.
  defp call(question, tries \\ @tries) do
    GenServer.call(__MODULE__, question, :infinity)
  catch
    :exit, {reason, {GenServer, :call, _arguments}} when reason in [:noproc, :killed] ->
      cond do
        not Reports.table?() ->
          exit(:veidrodelis_not_started)

        tries > 1 ->
          Process.sleep(@try_ms)
          call(question, tries - 1)

        true ->
          exit(reason)
      end
  end

  @impl GenServer
  def init(nil) do
    Process.flag(:trap_exit, true)

    owners =
      for {{Veidrodelis, id}, {_store, pid}} <- :persistent_term.get(), into: %{} do
        {Process.monitor(pid), {id, pid}}
      end

    {:ok, owners}
  end

  @impl GenServer
  def handle_call({:claim, id, identity, pid}, _from, owners) do
    case find(id) do
      # The caller owns the id already: the reply to an earlier call was lost.
      {store, owner} when owner == pid ->
        {:reply, {:ok, store}, owners}

      {store, owner} ->
        cond do
          # The owner may have ended, and its `:DOWN` message may not have arrived yet.
          Process.alive?(owner) ->
            {:reply, {:error, {:already_started, owner}}, owners}

          identity == Reports.about({:mirror, id}) ->
            grant(id, store, pid, owners)

          true ->
            former = {:mirror, id} |> Reports.read() |> Map.take([:pid, :predecessors, :announced, :spans])
            release(id)
            create(id, identity, former, pid, owners)
        end

      nil ->
        create(id, identity, %{}, pid, owners)
    end
  end

  def handle_call({:released, id, pid}, _from, owners) do
    release_from(pid, id)
    {:reply, :ok, owners}
  end

  # All instances share this process, so an unknown call must not end it.
  def handle_call(_other, _from, owners), do: {:reply, {:error, :unknown_call}, owners}

  @impl GenServer
  def handle_cast(_other, owners), do: {:noreply, owners}

  @impl GenServer
  def handle_info({:DOWN, monitor, :process, pid, reason}, owners) when is_map_key(owners, monitor) do
    {{id, ^pid}, owners} = Map.pop(owners, monitor)
    orphan(reason, id, pid)
    {:noreply, owners}
  end

  def handle_info({:orphan_timeout, id, pid}, owners) do
    release_from(pid, id)
    {:noreply, owners}
  end

  def handle_info(_message, owners), do: {:noreply, owners}

  # `former` is the part of a report about a link that may still run. The new link waits for the end
  # of that link, and announces it.
  defp create(id, identity, former, pid, owners) do
    Reports.create({:mirror, id}, identity)
    Reports.update({:mirror, id}, former)
    grant(id, Native.store_new(identity.stale_ms, identity.guard_key, identity.only), pid, owners)
  end

  defp grant(id, store, pid, owners) do
    with {_store, predecessor} <- find(id), do: Reports.delete({:supervisor, predecessor})
    Reports.create({:supervisor, pid}, {id})
    :persistent_term.put({Veidrodelis, id}, {store, pid})
    {:reply, {:ok, store}, Map.put(owners, Process.monitor(pid), {id, pid})}
  end

  # The store of a supervisor that was stopped is closed. If the supervisor was killed, or ended by
  # an error, another one may take its place.
  defp orphan(reason, id, pid) when reason in [:normal, :shutdown], do: release_from(pid, id)
  defp orphan({:shutdown, _reason}, id, pid), do: release_from(pid, id)
  defp orphan(_killed, id, pid), do: Process.send_after(self(), {:orphan_timeout, id, pid}, @orphan_ms)

  # The id may have another owner already.
  defp release_from(pid, id), do: if(match?({_store, ^pid}, find(id)), do: release(id))

  defp release(id) do
    {store, pid} = find(id)
    report = Reports.read({:mirror, id})
    :persistent_term.erase({Veidrodelis, id})
    Native.store_close(store)
    Reports.delete({:mirror, id})
    Reports.delete({:supervisor, pid})
    # A killed link has not announced its end. The event runs user code, so a process of its own
    # emits it.
    if report.link != :ended,
      do: spawn(fn -> Events.emit({:mirror, id}, id, Log.level(store), :stopped, %{}) end)

    :ok
  end
end
