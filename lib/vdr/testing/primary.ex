defmodule Vdr.Testing.Primary do
  @moduledoc false
  # A simulated primary for tests. It holds the data as a snapshot, which each write replaces, and
  # the stream of its writes. The link of an instance attaches without a network: the primary hands
  # its data and its stream to the native library, and the mirror's sink treats them like the input
  # of a real link. Links of handlers attach to the port of a `Vdr.Testing.Listener`.
  #
  #     Vdr.Link --attach--> Primary --feed_*--> sink -> mirror -> readers, watches
  #                                 \--socket--> link of a handler
  #
  # The primary ends with its owner, which is the instance or the listener.

  use GenServer

  alias Vdr.{Native, Reports, Snapshot}
  alias Vdr.Testing.{History, Propagation, RdbWriter, Replies}
  alias Veidrodelis.ServerError

  @typedoc "A link that attaches: its store or handler, its configuration, its process and its tags."
  @type link :: %{native: reference, config: map, pid: pid, tag: reference, monitor_tag: reference}

  @enforce_keys [:id, :data, :history]
  # `link` is the last link that attached, and `feed` is the native resource that feeds it.
  # `waiting` is a link that attached while `online` was false. A primary with a `refusal` ends each
  # link with this code. `time_ms` is the time that the test has set, or `nil` while the clock runs.
  # `volatile` is true if keys may have an expiry.
  defstruct [
    :id,
    :data,
    :history,
    :owner,
    :link,
    :feed,
    :waiting,
    :refusal,
    :time_ms,
    # The test's function for replies.
    :reply,
    # The replication id that the link had when it began to stream.
    :fed_id,
    online: true,
    volatile: false,
    servers: 1,
    sockets: []
  ]

  @doc "Starts a primary with this data. No process is linked to the primary."
  @spec start(id :: term, Snapshot.t(), time_ms :: nil | integer, reply :: nil | fun) :: GenServer.on_start()
  def start(id, data, time_ms, reply \\ nil), do: GenServer.start(__MODULE__, {id, data, time_ms, reply})

  @doc "Makes a process the owner. The primary ends with its owner, and `find/1` finds the primary."
  @spec own(pid, pid) :: :ok
  def own(primary, owner), do: GenServer.call(primary, {:own, owner})

  @doc "The primary of an instance."
  @spec find(id :: term) :: {:ok, pid} | {:error, :no_instance}
  def find(id) do
    case Reports.about({:played, id}) do
      pid when is_pid(pid) -> {:ok, pid}
      _none -> {:error, :no_instance}
    end
  end

  @doc "The address of the current server. A failover changes it."
  @spec address(pid) :: {String.t(), pos_integer}
  def address(primary), do: GenServer.call(primary, :address)

  @doc "Attaches a link."
  @spec attach(pid, link) :: :ok
  def attach(primary, link), do: GenServer.cast(primary, {:attach, link})

  @doc "Attaches a socket that asked for the stream after a position."
  @spec attach_socket(pid, :gen_tcp.socket(), nil | {String.t(), integer}) :: :ok
  def attach_socket(primary, socket, position), do: GenServer.cast(primary, {:attach_socket, socket, position})

  @spec call(pid, term) :: term
  def call(primary, request), do: GenServer.call(primary, request, :infinity)

  @impl GenServer
  def init({id, data, time_ms, reply}) do
    {:ok, %__MODULE__{id: id, data: data, history: History.new(), time_ms: time_ms, reply: reply}}
  end

  @impl GenServer
  def handle_call({:own, owner}, _from, state) do
    Process.monitor(owner)
    Reports.create({:played, state.id}, self())
    {:reply, :ok, %{state | owner: owner}}
  end

  def handle_call(:address, _from, state), do: {:reply, address_of(state), state}

  def handle_call({:write, db, commands, multi?}, _from, state) do
    state = expire(state)

    case run(commands, db, state) do
      {:ok, data, propagated} ->
        {history, bytes} = History.append(state.history, db, propagated, multi?)
        state = %{state | data: data, history: history, volatile: state.volatile or volatile?(propagated)}
        {:reply, :ok, deliver(state, bytes)}

      {:error, _bad_command} = error ->
        {:reply, error, state}
    end
  end

  # The commands of a client, with replies. A server that is away answers no client.
  def handle_call(request, _from, %{refusal: code} = state) when code != nil and elem(request, 0) in [:ask, :position],
    do: {:reply, {:away, code}, state}

  def handle_call(request, _from, %{online: false} = state) when elem(request, 0) in [:ask, :position],
    do: {:reply, {:away, :connection_refused}, state}

  def handle_call({:position}, _from, state) do
    state = expire(state)
    {:reply, {:ok, nil, position(state)}, state}
  end

  def handle_call({:ask, db, calls, multi?}, _from, state) do
    state = expire(state)

    case answer_calls(calls, db, state) do
      {:ok, data, sent, replies} ->
        {history, bytes} = History.append(state.history, db, sent, multi?)
        state = %{state | data: data, history: history, volatile: state.volatile or volatile?(sent)}
        {:reply, {:ok, replies, position(state)}, deliver(state, bytes)}

      {:error, _reason} = error ->
        {:reply, error, state}
    end
  end

  def handle_call(:reply, _from, state), do: {:reply, state.reply, state}

  def handle_call({:stream, bytes}, _from, state) do
    {history, bytes} = History.append_raw(state.history, bytes)
    {:reply, :ok, deliver(%{state | history: history}, bytes)}
  end

  # The server now has a new history, which does not contain the old data. So links need a full
  # sync.
  def handle_call({:replace, data}, _from, state) do
    state = %{state | data: data || state.data, history: History.forget(state.history), volatile: true}
    {:reply, {:ok, state.online and state.refusal == nil}, hang_up(state)}
  end

  def handle_call({:disconnect, refusal}, _from, state),
    do: {:reply, :ok, hang_up(%{state | online: refusal != nil, refusal: refusal})}

  def handle_call(:connect, _from, state), do: {:reply, :ok, serve_waiting(%{state | online: true, refusal: nil})}

  def handle_call(:failover, _from, state) do
    state = %{state | servers: state.servers + 1, history: History.promote(state.history)}
    with %{link: %{pid: pid, monitor_tag: tag}} <- state, do: send(pid, {tag, {:switched, address_of(state)}})
    {:reply, {:ok, address_of(state)}, state}
  end

  def handle_call({:time, time_ms}, _from, state) do
    state = %{state | time_ms: time_ms}
    set_store_time(state)
    {:reply, :ok, expire(state)}
  end

  def handle_call(:time, _from, state), do: {:reply, now_ms(state), state}
  def handle_call(:data, _from, state), do: {:reply, state.data, state}

  @impl GenServer
  def handle_cast({:attach, link}, %{refusal: code} = state) when code != nil do
    send(link.pid, {link.tag, {:ended, code, "", :slowly}})
    {:noreply, %{state | link: link}}
  end

  def handle_cast({:attach, link}, %{online: false} = state), do: {:noreply, %{state | link: link, waiting: link}}
  def handle_cast({:attach, link}, state), do: {:noreply, serve(state, link)}

  def handle_cast({:attach_socket, socket, position}, %{online: online, refusal: refusal, history: history} = state) do
    answer = if online and refusal == nil, do: answer(History.since(history, position), state), else: :refuse

    if answer != :refuse and :gen_tcp.send(socket, answer) == :ok do
      # The new socket does not know the selected database, so the next command selects its own.
      {:noreply, %{state | sockets: [socket | state.sockets], history: %{history | selected: nil}}}
    else
      :gen_tcp.close(socket)
      {:noreply, state}
    end
  end

  @impl GenServer
  def handle_info({:DOWN, _monitor, :process, owner, _reason}, %{owner: owner} = state), do: {:stop, :normal, state}
  def handle_info(_other, state), do: {:noreply, state}

  @impl GenServer
  def terminate(_reason, state),
    do: if(Reports.about({:played, state.id}) == self(), do: Reports.delete({:played, state.id}))

  # A crash report must show no values. Older versions of Elixir do not declare `format_status/1`,
  # a callback of OTP 25.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(GenServer)
  @doc false
  def format_status(status), do: Map.replace(status, :state, :hidden)

  defp address_of(%{servers: number}), do: {"primary-#{number}.test", 6379}

  # ---- links

  defp serve_waiting(%{waiting: nil} = state), do: state
  defp serve_waiting(%{waiting: link} = state), do: serve(%{state | waiting: nil}, link)

  defp serve(state, link) do
    feed = Native.feed_start(link.native, link.config, link.pid, link.tag)
    state = %{state | link: link, feed: feed}
    if state.time_ms, do: set_store_time(state)

    case step(&Native.feed_attach(feed, &1)) do
      {:ok, position} -> sync(state, History.since(state.history, position))
      _ended -> %{state | feed: nil}
    end
  end

  defp sync(%{feed: feed, history: history} = state, {:ok, missing}) do
    case step(&Native.feed_continue(feed, history.id, &1)) do
      {:ok, nil} -> feed(%{state | fed_id: history.id}, missing)
      _ended -> %{state | feed: nil}
    end
  end

  defp sync(%{feed: feed, history: history} = state, :full_sync) do
    case step(&Native.feed_data(feed, {history.id, history.offset}, state.data.native, &1)) do
      {:ok, nil} -> %{state | fed_id: history.id, history: %{history | selected: nil}}
      _ended -> %{state | feed: nil}
    end
  end

  defp answer({:ok, missing}, %{history: history}), do: ["+CONTINUE ", history.id, "\r\n", missing]

  defp answer(:full_sync, %{history: history} = state) do
    case RdbWriter.write(state.data) do
      {:ok, file} ->
        ["+FULLRESYNC #{history.id} #{history.offset}\r\n$#{byte_size(file)}\r\n", file]

      {:error, {:not_writable, key}} ->
        ["-ERR the key #{inspect(key, printable_limit: 100)} is of a type that no full sync of a test has\r\n"]
    end
  end

  defp deliver(state, ""), do: state

  defp deliver(state, bytes) do
    sockets = Enum.filter(state.sockets, &(:gen_tcp.send(&1, bytes) == :ok))
    feed(%{state | sockets: sockets}, bytes)
  end

  defp feed(%{feed: nil} = state, _bytes), do: state
  defp feed(state, ""), do: state

  defp feed(%{feed: feed} = state, bytes) do
    case step(&Native.feed_stream(feed, bytes, &1)) do
      {:ok, nil} -> state
      # The link's process has the reason, and decides whether to attach again.
      _ended -> %{state | feed: nil}
    end
  end

  defp hang_up(%{feed: feed, sockets: sockets} = state) do
    Enum.each(sockets, &:gen_tcp.close/1)
    if feed, do: {:ok, nil} = step(&Native.feed_end(feed, &1))
    %{state | feed: nil, sockets: []}
  end

  # Runs one step of the native library. The step runs on a thread of a pool, which is not a thread
  # of the VM.
  defp step(start) do
    tag = make_ref()

    with :ok <- start.({self(), tag}) do
      receive do
        {^tag, answer} -> answer
      end
    end
  end

  # ---- replies

  # After a failover, the link may still stream from the old server. The offsets continue, so only
  # the replication id differs.
  defp position(%{feed: nil, history: history}), do: {history.id, history.offset}
  defp position(%{fed_id: id, history: history}), do: {id, history.offset}

  # Runs all of the calls or none. If the reply to one of them is not known, no call has an effect.
  defp answer_calls(calls, db, state) do
    result =
      Enum.reduce_while(calls, {state.data, [], []}, fn call, {data, sent, replies} ->
        case answer_call(call, db, %{state | data: data}) do
          {:ok, data, more, reply} -> {:cont, {data, [more | sent], [reply | replies]}}
          {:error, _reason} = error -> {:halt, error}
        end
      end)

    with {%Snapshot{} = data, sent, replies} <- result,
         do: {:ok, data, sent |> Enum.reverse() |> Enum.concat(), Enum.reverse(replies)}
  end

  # The test has given the reply and the commands that write.
  defp answer_call({:given, reply, commands}, db, state) do
    with {:ok, data, sent} <- run(commands, db, state), do: {:ok, data, sent, reply}
  end

  defp answer_call({:known, [name | _args] = words}, db, %{data: data} = state) do
    context = %{data: data, db: db, now_ms: now_ms(state)}

    with {:ok, {kind, find}} <- Replies.plan(words),
         {:ok, after_call, sent} <- if(kind == :read, do: {:ok, data, []}, else: apply_words(words, context)) do
      step = %{before: context, after: %{context | data: after_call}, sent: sent}
      answer(find.(step), data, after_call, sent, name)
    else
      {:error, code} -> answer_refused(Replies.error(words, code, context), data, name)
      :unknown -> {:error, {:no_reply, name}}
    end
  end

  defp answer(:unknown, _before, _after, _sent, name), do: {:error, {:no_reply, name}}
  defp answer(%ServerError{} = error, before, _after, _sent, _name), do: {:ok, before, [], error}
  defp answer(reply, _before, after_call, sent, _name), do: {:ok, after_call, sent, reply}

  defp answer_refused({:ok, reply}, data, _name), do: {:ok, data, [], reply}
  defp answer_refused(:unknown, _data, name), do: {:error, {:no_reply, name}}

  # ---- data and time

  # The commands of a client whose replies nobody reads.
  defp run(commands, db, state) do
    context = %{data: state.data, db: db, now_ms: now_ms(state)}

    result =
      commands
      |> Enum.with_index()
      |> Enum.reduce_while({context.data, []}, fn {words, index}, {data, done} ->
        case run_one(words, %{context | data: data}) do
          {:ok, data, propagated} -> {:cont, {data, [propagated | done]}}
          {:error, code} -> {:halt, {:error, {:bad_command, index, code}}}
        end
      end)

    with {%Snapshot{} = data, done} <- result, do: {:ok, data, done |> Enum.reverse() |> Enum.concat()}
  end

  # A primary does not send a command that changed nothing, so the code that applies the stream
  # refuses some of these. For the client, they are no errors.
  defp run_one(words, context) do
    with {:error, code} <- apply_words(words, context) do
      case Replies.error(words, code, context) do
        {:ok, reply} when not is_struct(reply, ServerError) -> {:ok, context.data, []}
        _refused -> {:error, code}
      end
    end
  end

  defp apply_words(words, %{data: data, db: db, now_ms: now_ms} = context) do
    with {:ok, propagated} <- Propagation.propagate(words, context),
         {:ok, native} <- Native.snapshot_apply(data.native, db, propagated, now_ms) do
      {:ok, %Snapshot{native: native}, propagated}
    else
      {:error, {_place, code}} -> {:error, code}
      {:error, code} -> {:error, code}
    end
  end

  @volatile ~w(PXAT PEXPIREAT RESTORE)

  # Whether a key may have got an expiry. One of these words may also be a key or a value. Then the
  # primary only looks for expired keys in vain.
  defp volatile?(commands),
    do: Enum.any?(commands, fn words -> Enum.any?(words, &(byte_size(&1) < 10 and String.upcase(&1) in @volatile)) end)

  # A server deletes an expired key sooner or later, and sends the deletion in the stream. The
  # primary does so at each command of a client, and when the test sets the time.
  defp expire(%{volatile: false} = state), do: state

  defp expire(state) do
    now_ms = now_ms(state)

    case Native.snapshot_expired(state.data.native, now_ms) do
      [] ->
        state

      expired ->
        expired
        |> Enum.group_by(&elem(&1, 0), fn {_db, key} -> ["DEL", key] end)
        |> Enum.reduce(state, fn {db, deletions}, state ->
          {:ok, native} = Native.snapshot_apply(state.data.native, db, deletions, now_ms)
          {history, bytes} = History.append(state.history, db, deletions, false)
          deliver(%{state | data: %Snapshot{native: native}, history: history}, bytes)
        end)
    end
  end

  defp now_ms(%{time_ms: nil}), do: System.os_time(:millisecond)
  defp now_ms(%{time_ms: time_ms}), do: time_ms

  # The store comes with the first link. Without a store, there is no time to set.
  defp set_store_time(%{link: nil}), do: :ok
  defp set_store_time(%{link: %{native: store}, time_ms: time_ms}), do: step(&Native.feed_time(store, time_ms, &1))
end
