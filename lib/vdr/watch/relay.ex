defmodule Vdr.Watch.Relay do
  @moduledoc false
  # Watches for a process of another node: a process of this node that gets the events and passes
  # them on.
  #
  # It passes on as many as may wait for that process, looks at that process's mailbox then, and
  # waits while it is more than half full. What the native library sends meanwhile fills the mailbox
  # of the relay, which is bounded as that of every watching process. So twice `:max_pending` may
  # wait for a process of another node.
  #
  # For a process that acknowledges it passes on everything at once. The acknowledgements count for
  # the relay, so `:max_pending` bounds what is on the way as a whole, and nobody looks at a
  # mailbox.
  #
  # A relay ends with the process, with the connection to its node, with its last watch, and with
  # the instance. It has no supervisor: only the relay knows what the process watches, so none could
  # start it anew.

  alias Vdr.{Mirror, Native}

  # The relays of the node, by instance and process.
  @table __MODULE__

  @pause_ms 20
  @look_timeout_ms 5000
  # For so long another supervisor may take the store of a killed one over.
  @orphan_ms 6000

  @spec new_table() :: :ets.table()
  def new_table, do: :ets.new(@table, [:named_table, :public])

  @spec watch(pid, term, reference, term, Vdr.Watch.watched(), term, tuple) ::
          :ok | {:error, :already_registered | :not_found | :bad_argument}
  def watch(pid, id, store, db, watched, ref, manner) do
    case ask(relay(pid, id, store), {:watch, db, watched, ref, manner}) do
      # It ended a moment ago, with its last watch.
      :gone -> watch(pid, id, store, db, watched, ref, manner)
      answer -> answer
    end
  end

  @spec unwatch(pid, reference, term, Vdr.Watch.watched()) :: :ok | {:error, :not_found | :bad_argument}
  def unwatch(pid, store, db, watched) do
    with [{_key, relay}] <- :ets.lookup(@table, {store, pid}),
         answer when answer != :gone <- ask(relay, {:unwatch, db, watched}) do
      answer
    else
      _no_relay -> {:error, :not_found}
    end
  end

  @doc "The relay of a process that watches."
  @spec find(pid, reference) :: {:ok, pid} | {:error, :not_found}
  def find(pid, store) do
    case :ets.lookup(@table, {store, pid}) do
      [{_key, relay}] -> {:ok, relay}
      [] -> {:error, :not_found}
    end
  end

  defp relay(pid, id, store) do
    key = {store, pid}

    case :ets.lookup(@table, key) do
      [{_key, relay} = row] ->
        if Process.alive?(relay) do
          relay
        else
          :ets.delete_object(@table, row)
          relay(pid, id, store)
        end

      [] ->
        relay = spawn(fn -> init(pid, id, store) end)
        # The first of two wins; the other one ends, since nobody asks it anything.
        if :ets.insert_new(@table, {key, relay}), do: relay, else: relay(pid, id, store)
    end
  end

  defp ask(relay, question) do
    monitor = Process.monitor(relay)
    send(relay, {:ask, self(), monitor, question})

    receive do
      {^monitor, answer} ->
        Process.demonitor(monitor, [:flush])
        answer

      {:DOWN, ^monitor, :process, _relay, _reason} ->
        :gone
    end
  end

  # ---- the process

  defp init(pid, id, store) do
    Process.monitor(pid)
    state = %{pid: pid, id: id, store: store, watches: 0, room: 0, bound: nil, instance: monitor_instance(id, store)}

    receive do
      {:ask, _from, _monitor, _question} = ask -> control(ask, state)
    after
      @look_timeout_ms -> forget(state)
    end
  end

  defp monitor_instance(id, store) do
    case Mirror.Stores.find(id) do
      {^store, supervisor} -> Process.monitor(supervisor)
      _none -> nil
    end
  end

  # Without room, events wait in the mailbox.
  defp loop(%{room: 0} = state), do: loop_without_room(state, 0)

  defp loop(state) do
    receive do
      {{__MODULE__, ref}, event} ->
        # Without a connection the end of the process is on its way here.
        :erlang.send(state.pid, {ref, event}, [:noconnect])
        loop(%{state | room: less(state.room)})

      message ->
        control(message, state)
    end
  end

  # It acknowledges.
  defp less(:infinity), do: :infinity
  defp less(room), do: room - 1

  defp loop_without_room(state, pause_ms) do
    receive do
      {:ask, _from, _monitor, _question} = message -> control(message, state)
      {:DOWN, _monitor, :process, _pid, _reason} = message -> control(message, state)
      :check_instance -> control(:check_instance, state)
    after
      pause_ms ->
        case room(state) do
          0 -> loop_without_room(state, @pause_ms)
          room -> loop(%{state | room: room})
        end
    end
  end

  # How many more may be passed on: none while the mailbox there is more than half full.
  defp room(%{pid: pid, bound: bound}) do
    case :erpc.call(node(pid), :erlang, :process_info, [pid, :message_queue_len], @look_timeout_ms) do
      {:message_queue_len, waiting} when waiting <= div(bound, 2) -> bound - waiting
      _full_or_gone -> 0
    end
  catch
    # The node is gone, or busy.
    _kind, _reason -> 0
  end

  defp control({:ask, from, monitor, question}, state) do
    {answer, state} = answer(question, state)
    if state.watches == 0, do: forget(state)
    send(from, {monitor, answer})
    if state.watches == 0, do: :ok, else: loop(state)
  end

  defp control({:DOWN, monitor, :process, _pid, _reason}, %{instance: monitor} = state) do
    Process.send_after(self(), :check_instance, @orphan_ms)
    loop(state)
  end

  defp control({:DOWN, _monitor, :process, _pid, _reason}, state), do: forget(state)

  defp control(:check_instance, state) do
    case monitor_instance(state.id, state.store) do
      nil -> forget(state)
      monitor -> loop(%{state | instance: monitor})
    end
  end

  defp control(_other, state), do: loop(state)

  defp answer({:watch, db, watched, ref, manner}, state) do
    {_notify, max_pending, _link?, ack?} = manner

    case Native.watch(state.store, db, watched, {__MODULE__, ref}, self(), manner) do
      :ok ->
        bound = min(max_pending, state.bound || max_pending)
        room = if ack?, do: :infinity, else: state.room
        {:ok, %{state | watches: state.watches + 1, bound: bound, room: room}}

      error ->
        {error, state}
    end
  end

  defp answer({:unwatch, db, watched}, state) do
    case Native.unwatch(state.store, db, watched, self()) do
      :ok -> {:ok, %{state | watches: state.watches - 1}}
      error -> {error, state}
    end
  end

  defp forget(state), do: :ets.delete_object(@table, {{state.store, state.pid}, self()})
end
