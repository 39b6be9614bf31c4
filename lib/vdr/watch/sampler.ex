defmodule Vdr.Watch.Sampler do
  @moduledoc false
  # Samples the mailboxes of watching processes. The native library asks for a sample, and stops
  # sending events to a process that does not drain its mailbox.
  #
  # Each sample runs in a process of its own: the VM tells the length of a mailbox only when the
  # owner of the mailbox gets to run, which may take long. The sampling processes are linked to this
  # process. So a crash of one of them restarts this process, which then takes all open samples
  # again.

  use GenServer

  alias Vdr.Native

  # While a process lags, its mailbox is sampled repeatedly. The pauses start with `@first_ms`, and
  # grow up to `@longest_ms`.
  @first_ms 2
  @longest_ms 200
  # Each pause is longer than the previous one by this factor.
  @longer 1.3

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_options), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @impl GenServer
  def init(nil) do
    Native.watch_sampler(self())
    {:ok, nil, {:continue, :sample}}
  end

  @impl GenServer
  def handle_continue(:sample, state), do: sample(state)

  @impl GenServer
  def handle_info(:sample, state), do: sample(state)
  def handle_info(_message, state), do: {:noreply, state}

  # All instances share this process, so a wrong call must not end it.
  @impl GenServer
  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_call}, state}

  @impl GenServer
  def handle_cast(_other, state), do: {:noreply, state}

  # After a late sample, a process that keeps up seems to lag. So samples have a high priority.
  defp sample(state) do
    for {pid, number} <- Native.watch_samples(),
        do: :erlang.spawn_opt(fn -> look(pid, number, @first_ms) end, [:link, priority: :high])

    {:noreply, state}
  end

  defp look(pid, number, pause_ms) do
    # The order matters. An event that is sent between the two calls may be counted twice, but is
    # never overlooked.
    with sent when sent != nil <- Native.watch_sent(number),
         {:message_queue_len, waiting} <- Process.info(pid, :message_queue_len),
         true <- sampled(number, sent, waiting) do
      Process.sleep(trunc(pause_ms))
      look(pid, number, min(@longer * pause_ms, @longest_ms))
    end
  end

  # The lock is usually free a moment later. Waiting for a dirty scheduler may take longer.
  @tries 20

  defp sampled(number, sent, waiting, tries \\ @tries)
  defp sampled(number, sent, waiting, 0), do: Native.watch_sampled_dirty(number, sent, waiting)

  defp sampled(number, sent, waiting, tries) do
    with :dirty <- Native.watch_sampled(number, sent, waiting) do
      :erlang.yield()
      sampled(number, sent, waiting, tries - 1)
    end
  end
end
