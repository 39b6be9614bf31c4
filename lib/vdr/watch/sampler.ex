defmodule Vdr.Watch.Sampler do
  @moduledoc false
  # Looks at the mailboxes of watching processes, when the native library asks for it, so that a
  # process that does not drain its mailbox is not sent more and more.
  #
  # Each look is a process of its own: the VM answers for a process only when that process gets to
  # run, which may take long. They are linked, so that a crash of one restarts this process, which
  # then takes all open looks again.

  use GenServer

  alias Vdr.Native

  # While a process lags, it is looked at again and again, ever less often.
  @first_ms 2
  @longest_ms 200
  # Each pause is so much longer than the one before.
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

  # All instances share this process, so a mistaken call must not end it.
  @impl GenServer
  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_call}, state}

  @impl GenServer
  def handle_cast(_other, state), do: {:noreply, state}

  # A look that comes late lets a process seem to lag, so it goes before other work.
  defp sample(state) do
    for {pid, number} <- Native.watch_samples(),
        do: :erlang.spawn_opt(fn -> look(pid, number, @first_ms) end, [:link, priority: :high])

    {:noreply, state}
  end

  defp look(pid, number, pause_ms) do
    # In this order: what is sent meanwhile may be counted twice, but never be overlooked.
    with sent when sent != nil <- Native.watch_sent(number),
         {:message_queue_len, waiting} <- Process.info(pid, :message_queue_len),
         true <- sampled(number, sent, waiting) do
      Process.sleep(trunc(pause_ms))
      look(pid, number, min(@longer * pause_ms, @longest_ms))
    end
  end

  # The lock is mostly free a moment later, and a dirty scheduler may take long to wake up.
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
