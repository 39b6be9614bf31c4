defmodule Vdr.Watch.Relay do
  @moduledoc false
  # A relay watches for a process of another node. The relay is a process of this node, which gets
  # the events and passes them on to the remote process.
  #
  # The relay passes on as many events as there is room for in the remote mailbox. Then it looks at
  # the length of that mailbox, and waits while the mailbox is more than half full. Meanwhile the
  # native library sends events to the relay's own mailbox. That mailbox is bounded like the mailbox
  # of every watching process. So twice `:max_pending` may wait for a process of another node.
  #
  # If the process acknowledges its events, the relay passes every event on at once, and looks at no
  # mailbox. The acknowledgements count for the relay. So `:max_pending` bounds the sum of the
  # events that wait in both mailboxes and on the way.
  #
  # A relay ends when the process ends, when the connection to its node breaks, when the last watch
  # is removed, and when the instance ends. The relay has no supervisor. Only the relay knows the
  # watches of the process, so no supervisor could start it again.

  alias Vdr.{Mirror, Native}

  # The relays of the node, by instance and process.
  @table __MODULE__

  @pause_ms 20
  @look_timeout_ms 5000
  # When the instance's supervisor was killed, its successor has this long to take over the store.
  @orphan_ms 6000

  @spec new_table() :: :ets.table()
  def new_table, do: :ets.new(@table, [:named_table, :public])

  @spec watch(pid, term, reference, term, Vdr.Watch.watched(), term, tuple) ::
          :ok | {:error, :already_registered | :not_found | :bad_argument}
  def watch(pid, id, store, db, watched, ref, manner) do
    case ask(relay(pid, id, store), {:watch, db, watched, ref, manner}) do
      # The relay has just ended, with its last watch.
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
        # Two callers may start a relay at the same time. The first one enters the table. The other
        # one gets no request, and ends.
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

  # Without room in the remote mailbox, the events wait in the relay's mailbox.
  defp loop(%{room: 0} = state), do: loop_without_room(state, 0)

  defp loop(state) do
    receive do
      {{__MODULE__, ref}, event} ->
        # If the connection is gone, a `:DOWN` message is on its way to the relay.
        :erlang.send(state.pid, {ref, event}, [:noconnect])
        loop(%{state | room: less(state.room)})

      message ->
        control(message, state)
    end
  end

  # The process acknowledges its events.
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

  # How many more events may be passed on: none while the remote mailbox is more than half full.
  defp room(%{pid: pid, bound: bound}) do
    case :erpc.call(node(pid), :erlang, :process_info, [pid, :message_queue_len], @look_timeout_ms) do
      {:message_queue_len, waiting} when waiting <= div(bound, 2) -> bound - waiting
      _full_or_gone -> 0
    end
  catch
    # The node is gone or busy.
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
