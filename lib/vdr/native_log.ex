defmodule Vdr.NativeLog do
  @moduledoc false
  # Passes what the native library says about one instance or one handler on to the Logger.
  #
  # The lines wait in a bounded queue of the native library, which tells this process once that
  # there are some. So a Logger that is slow fills that queue, whose lines are dropped and counted,
  # and neither a mailbox nor a thread of a link waits for it.

  use GenServer

  alias Vdr.{Log, Native}

  @spec start_link({native :: reference, id :: term}) :: GenServer.on_start()
  def start_link({native, id}), do: GenServer.start_link(__MODULE__, {native, id})

  @impl GenServer
  def init({native, id}) do
    Logger.metadata(vdr: id)
    tag = make_ref()
    Native.log_listen(native, self(), tag)
    # Lines may wait since before a crash.
    send(self(), {tag, :lines})
    {:ok, %{native: native, id: id, tag: tag}}
  end

  # One portion for each message, so that the system's messages come between.
  @impl GenServer
  def handle_info({tag, :lines}, %{native: native, id: id, tag: tag} = state) do
    lines = Native.log_take(native)
    Enum.each(lines, &Log.pass_on(id, &1))
    if lines != [], do: send(self(), {tag, :lines})
    {:noreply, state}
  end

  def handle_info(_message, state), do: {:noreply, state}

  @impl GenServer
  def handle_cast(_message, state), do: {:noreply, state}

  @impl GenServer
  def handle_call(_message, _from, state), do: {:reply, {:error, :unknown_call}, state}
end
