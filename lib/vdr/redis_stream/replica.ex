defmodule Vdr.RedisStream.Replica do
  @moduledoc """
  A replication client for your own handlers. It attaches to a Redis or Valkey server as a replica,
  and passes the commands of the full sync and of the stream to a module that implements
  `Vdr.RedisStream.Callback`.

      {:ok, replica} =
        Vdr.RedisStream.Replica.start_link(
          host: "localhost",
          port: 6379,
          callback_module: MyCallback,
          callback_opts: %{}
        )

  The link works like the link of a mirror (`Veidrodelis`): the handshake, the timeouts and the
  reconnection are the same. After a break, the link continues with a partial resync if the server
  allows it. Otherwise the link begins with a full sync.

    * **Order.** Commands come in batches, in the server's order. In the life of the process, each
      command comes once.
    * **Full sync.** The data comes as commands, too. Strings come as SET. Lists, sets, sorted sets
      and hashes come as RPUSH, SADD, ZADD and HSET, with at most 512 elements each. Streams come as
      XADD, XSETID, XGROUP and XCLAIM. Then come PEXPIREAT for keys, and HPEXPIREAT for fields.
      Values of modules are left out.
    * **Backpressure.** At most two batches of about 4096 commands are in flight: one that the
      callback handles, and the next one. Then the link does not read from the socket, so the server
      waits. The link still sends acknowledgements.
    * **At least once.** The replica acknowledges a command to the server when `handle_commands` has
      returned. If a handler saves the position of the last batch, it can continue after this
      position when it restarts (`c:Vdr.RedisStream.Callback.init/1`, `:initial`).

  ## What happens to the link

  `handle_replication_start` announces the commands of a full sync, and `handle_streaming_start`
  those of the stream. To follow breaks, refusals and failovers, subscribe to
  `{Vdr.RedisStream.Replica, name}`. The name is the option `:name`, or the callback module if the
  option is not set:

      :ok = Veidrodelis.subscribe({Vdr.RedisStream.Replica, MyIndex})

  The messages are those of `Veidrodelis.subscribe/1` except `:ready`. Their details have the `:pid`
  of the replica. A handler can subscribe in its `init/1` and receive the messages in
  `handle_info/2`. The same events go to `:telemetry` and to the log.

  With `reconnect: false` or `on_unknown_command: :stop`, the link may end for good. Then the
  replica stops with the reason `{:link_ended, reason}`, so that its supervisor can act. A crash of
  the link's process does not end the replica: another link continues after the last batch.

  The guide `docs/handlers.md` has complete handlers. It also explains the effect of `:only` on
  commands that read other keys.
  """

  use GenServer

  require Logger

  alias Vdr.{Cleaner, Link, Log, Native, NativeLog, Options, Reports, Telemetry}
  alias Vdr.RedisStream.CommandFilter

  # The process of the link, or of the log, may take this long to end. Then it is killed.
  @shutdown_ms 1000

  # The pause before the process of the link, or of the log, starts again after a crash.
  @restart_ms 100

  @enforce_keys [:options, :module, :callback, :tag, :native]
  defstruct [:options, :module, :callback, :tag, :native, :link, :log, attached: false]

  @type replica_state :: Veidrodelis.replication_state()

  @typedoc "See `start_link/1`."
  @type option :: unquote(Options.type(:handler))

  # The link asks the server for the byte after an offset. The number of this byte must fit into 64
  # bits with a sign.
  @offset_max 0x7FFFFFFFFFFFFFFE

  @doc """
  Starts a replica that is linked to the caller. Returns when the callback's `init/1` has returned.
  The replica connects in the background. A wrong option raises `ArgumentError`.

  ## Options

  #{Options.docs(:handler)}
  """
  @spec start_link([option] | struct) :: GenServer.on_start()
  def start_link(options) do
    options = Options.validate!(options, :handler)
    GenServer.start_link(__MODULE__, options, if(options.name, do: [name: options.name], else: []))
  end

  @doc "A child specification. Its id has the option `:name`, or the callback module without the option."
  @spec child_spec([option]) :: Supervisor.child_spec()
  def child_spec(options) do
    # Supervisors print the specification, so it must show no password. The validated options hide
    # passwords.
    options = Options.validate!(options, :handler)
    %{id: {__MODULE__, options.id}, start: {__MODULE__, :start_link, [options]}}
  end

  @doc "Stops a replica. Returns after `c:Vdr.RedisStream.Callback.handle_destroy/1`."
  @spec stop(GenServer.server()) :: :ok
  def stop(server), do: GenServer.stop(server)

  @doc """
  Calls `c:Vdr.RedisStream.Callback.handle_call/2`.

  Returns `{:ok, reply}`, or the callback's own `{:error, reason}`. If the module does not implement
  the callback, the call returns `{:error, :not_implemented}`. While no link is up, and until the
  link's sync begins, the call returns `{:error, :not_connected}` and the callback does not run.
  """
  @spec call(GenServer.server(), term, timeout) :: {:ok, term} | {:error, term}
  def call(server, message, timeout \\ 5000), do: GenServer.call(server, {__MODULE__, :call, message}, timeout)

  @doc "The host and port of the connected server."
  @spec connected_to(GenServer.server()) :: {:ok, {String.t(), :inet.port_number()}} | {:error, :not_connected}
  def connected_to(server), do: ask(server, :connected_to)

  @doc "The callback's state. The call waits while a callback runs."
  @spec get_callback_state(GenServer.server()) :: term
  def get_callback_state(server), do: GenServer.call(server, {__MODULE__, :callback_state}, :infinity)

  @doc "The offset up to which all commands are handled. It is 0 when `get_position/1` is `nil`."
  @spec get_offset(GenServer.server()) :: non_neg_integer
  def get_offset(server), do: ask(server, :offset)

  @doc "The server's replication id, or at first that of `:initial`. `nil` while no id is known."
  @spec get_replication_id(GenServer.server()) :: String.t() | nil
  def get_replication_id(server), do: ask(server, :replication_id)

  @doc """
  The position up to which all commands are handled, in the form that `:initial` takes. At first it
  is the position of `:initial`, or `nil`. It is also `nil` from the beginning of each full sync
  until the last command of the full sync is handled. Within `handle_commands`, the position after a
  command is `{command.context.replication_id, command.offset, command.db}`.
  """
  @spec get_position(GenServer.server()) :: Vdr.RedisStream.Callback.position() | nil
  def get_position(server), do: ask(server, :position)

  @doc "The state of the link. The link is `:waiting` between two attempts to connect."
  @spec get_replication_state(GenServer.server()) :: replica_state
  def get_replication_state(server), do: ask(server, :state)

  @doc "Works like `Veidrodelis.log_level/1`, for a replica."
  @spec log_level(GenServer.server()) :: Veidrodelis.log_level()
  def log_level(server), do: ask(server, :log_level)

  @doc "Works like `Veidrodelis.log_level/2`, for a replica."
  @spec log_level(GenServer.server(), Veidrodelis.log_level()) :: :ok
  def log_level(server, level) do
    Log.check_level!(level, "Vdr.RedisStream.Replica.log_level")
    ask(server, {:log_level, level})
  end

  @doc false
  @spec position?(term) :: boolean
  def position?({id, offset}), do: position?({id, offset, 0})

  # A server that gets an offset out of its range does not answer with a full sync. It refuses every
  # attempt.
  def position?({id, offset, db}),
    do: is_binary(id) and String.valid?(id) and id != "" and offset in 0..@offset_max and db in 0..0xFFFFFFFF

  def position?(_other), do: false

  # The native library and the report know everything but the callback's state. The caller asks them
  # without a message to the replica's process, because a callback may take long.
  defp ask(server, what) do
    with pid when is_pid(pid) and node(pid) == node() <- GenServer.whereis(server),
         native when native != nil <- Reports.about({:handler, pid}) do
      answer(what, native, pid)
    else
      _gone_or_far_away -> GenServer.call(server, {__MODULE__, :ask, what})
    end
  end

  defp answer(:log_level, native, _pid), do: Log.level(native)
  defp answer({:log_level, level}, native, _pid), do: Log.set_level(native, level)

  defp answer(what, native, pid) do
    {state, replication_id, position} = Native.handler_status(native)
    report = Reports.read({:handler, pid})

    case what do
      :state when report.link in [:waiting, :stopped] -> report.link
      :state -> state || :init
      :connected_to when state in [nil, :init] -> {:error, :not_connected}
      :connected_to -> {:ok, report.primary}
      :replication_id -> replication_id
      :position -> position
      :offset -> if position, do: elem(position, 1), else: 0
    end
  end

  # ---- the process

  @impl GenServer
  def init(%Options{callback_module: module} = options) do
    # `handle_destroy/1` must run when the supervisor stops this process.
    Process.flag(:trap_exit, true)

    case guard(fn -> module.init(options.callback_opts.()) end) do
      {:ok, callback} -> attach(options, callback, options.initial)
      {:ok, callback, initial: nil} -> attach(options, callback, nil)
      {:ok, callback, initial: position} -> attach(options, callback, check_position!(position, module))
      {:error, reason} -> {:stop, reason}
      other -> {:stop, {:bad_return_value, {module, :init, other}}}
    end
  end

  defp attach(options, callback, initial) do
    tag = make_ref()
    native = Native.handler_new(self(), tag, options.only, with_db(initial))
    Log.set_level(native, options.log)
    Reports.create({:handler, self()}, native)
    Cleaner.watch(self())
    # `:callback_opts` may hold secrets, and only `init/1` needs them.
    options = %{options | callback_opts: nil}
    state = %__MODULE__{options: options, module: options.callback_module, callback: callback, tag: tag, native: native}
    {:ok, state |> start_log() |> start_link_process()}
  end

  defp start_log(%{native: native, options: options} = state) do
    {:ok, log} = NativeLog.start_link({native, event_id(options)})
    %{state | log: log}
  end

  defp event_id(options), do: Link.Events.id({:handler, self()}, options.id)

  defp start_link_process(%{native: native, options: options} = state) do
    {:ok, link} = Link.start_link({native, options, {:handler, self()}})
    %{state | link: link}
  end

  defp with_db({id, offset}), do: {id, offset, 0}
  defp with_db(position), do: position

  defp check_position!(position, module) do
    unless position?(position),
      do: raise(ArgumentError, "#{inspect(module)}.init/1 answered a bad initial: position: #{inspect(position)}")

    position
  end

  @impl GenServer
  def handle_call({__MODULE__, :call, message}, _from, state) do
    cond do
      not state.attached -> {:reply, {:error, :not_connected}, state}
      not implements?(state, :handle_call, 2) -> {:reply, {:error, :not_implemented}, state}
      true -> reply(run(state, :handle_call, [state.callback, message]), state)
    end
  end

  def handle_call({__MODULE__, :callback_state}, _from, state), do: {:reply, state.callback, state}
  def handle_call({__MODULE__, :ask, what}, _from, state), do: {:reply, answer(what, state.native, self()), state}
  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_call}, state}

  defp reply({:reply, reply, callback}, state), do: {:reply, {:ok, reply}, %{state | callback: callback}}
  defp reply({:error, _reason} = error, state), do: {:reply, error, state}
  defp reply(other, state), do: {:stop, {:bad_return_value, {state.module, :handle_call, other}}, state}

  @impl GenServer
  def handle_info({tag, {:commands, number, commands}}, %{tag: tag} = state) do
    case handle(state, commands) do
      {:noreply, state} ->
        Native.handler_handled(state.native, number)
        {:noreply, state}

      stop ->
        stop
    end
  end

  def handle_info({tag, :replication_start}, %{tag: tag} = state),
    do: notify(%{state | attached: true}, :handle_replication_start)

  def handle_info({tag, :streaming_start}, %{tag: tag} = state),
    do: notify(%{state | attached: true}, :handle_streaming_start)

  def handle_info({tag, :link_lost}, %{tag: tag} = state), do: {:noreply, %{state | attached: false}}
  def handle_info({tag, :restart_link}, %{tag: tag} = state), do: {:noreply, start_link_process(state)}
  def handle_info({tag, :restart_log}, %{tag: tag} = state), do: {:noreply, start_log(state)}

  def handle_info({:EXIT, link, {:shutdown, {:link_ended, _reason} = ended}}, %{link: link} = state),
    do: {:stop, ended, %{state | link: nil, attached: false}}

  # The native library holds the position, and the process that crashed does not. So the next link
  # continues at the position, without a full sync.
  def handle_info({:EXIT, link, _crash}, %{link: link} = state) do
    Process.send_after(self(), {state.tag, :restart_link}, @restart_ms)
    {:noreply, %{state | link: nil, attached: false}}
  end

  def handle_info({:EXIT, log, _crash}, %{log: log} = state) do
    Process.send_after(self(), {state.tag, :restart_log}, @restart_ms)
    {:noreply, %{state | log: nil}}
  end

  def handle_info(message, state) do
    cond do
      implements?(state, :handle_info, 2) ->
        continue_after_info(run(state, :handle_info, [state.callback, message]), state)

      abnormal_exit?(message) ->
        {:stop, elem(message, 2), state}

      true ->
        {:noreply, state}
    end
  end

  defp handle(%{options: %{command_filter: filter}} = state, commands) do
    case filter(filter, commands) do
      [] ->
        {:noreply, state}

      commands ->
        with {:noreply, state} <- handle_batch(state, commands) do
          guard(fn -> CommandFilter.behind(filter, commands) end)
          {:noreply, state}
        end
    end
  end

  defp handle_batch(%{options: options} = state, commands) do
    metadata = %{id: event_id(options), pid: self()}

    Telemetry.span([:handler_batch], %{commands: length(commands)}, metadata, fn ->
      continued = continue(run(state, :handle_commands, [state.callback, commands]), state, :handle_commands)
      {continued, %{result: if(match?({:noreply, _state}, continued), do: :ok, else: :stop)}}
    end)
  end

  defp filter(filter, commands), do: guard(fn -> CommandFilter.before(filter, commands) end)

  defp notify(state, name) do
    if implements?(state, name, 1),
      do: continue(run(state, name, [state.callback]), state, name),
      else: {:noreply, state}
  end

  defp continue({:ok, callback}, state, _name), do: {:noreply, %{state | callback: callback}}
  defp continue({:error, reason}, state, _name), do: {:stop, reason, state}
  defp continue(other, state, name), do: {:stop, {:bad_return_value, {state.module, name, other}}, state}

  defp continue_after_info({:noreply, callback}, state), do: {:noreply, %{state | callback: callback}}
  defp continue_after_info({:error, reason}, state), do: {:stop, reason, state}
  defp continue_after_info(other, state), do: {:stop, {:bad_return_value, {state.module, :handle_info, other}}, state}

  # Without `handle_info/2`, the replica ends when a linked process fails, as any process does.
  defp abnormal_exit?({:EXIT, pid, reason}) when is_pid(pid), do: reason != :normal
  defp abnormal_exit?(_message), do: false

  @impl GenServer
  def terminate(_reason, state) do
    # The link ends first, so no more commands arrive while the callback cleans up.
    Native.link_stop(state.native)

    if state.link, do: shut_down(state.link)
    if state.log, do: shut_down(state.log)
    if implements?(state, :handle_destroy, 1), do: destroy(state)
    drop_commands(state.tag)
    Link.Events.emit({:handler, self()}, state.options.id, Log.level(state.native), :stopped, %{})
  end

  # The link announces its own end before it exits. A function of the user may run in its process,
  # and delay the exit.
  defp shut_down(pid) do
    Process.unlink(pid)
    monitor = Process.monitor(pid)
    Process.exit(pid, :shutdown)

    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    after
      @shutdown_ms -> Process.exit(pid, :kill)
    end
  end

  # A crash report shows the messages of the mailbox, and batches hold values.
  defp drop_commands(tag) do
    receive do
      {^tag, _message} -> drop_commands(tag)
    after
      0 -> :ok
    end
  end

  # A supervisor must see why the replica ends, and not a failure of the clean-up.
  defp destroy(state) do
    state.module.handle_destroy(state.callback)
  catch
    kind, reason ->
      Logger.error(
        "#{inspect(state.module)}.handle_destroy/1: #{Exception.format(kind, reason, without_arguments(__STACKTRACE__))}"
      )
  end

  # A crash report must show no values and no secrets. So it shows neither the last message, which
  # may be a batch of commands, nor the state of the callback, which was made from `:callback_opts`.
  # `get_callback_state/1` returns that state. Older versions of Elixir do not declare
  # `format_status/1`, a callback of OTP 25.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(GenServer)
  @doc false
  def format_status(status) do
    status
    |> Map.replace(:state, summary(status[:state]))
    |> Map.replace(:message, hide_batch(status[:message], status[:state]))
  end

  defp summary(%__MODULE__{} = state),
    do: %{callback_module: state.module, id: state.options.id, attached: state.attached}

  defp summary(other), do: other

  defp hide_batch({tag, {:commands, number, commands}}, %{tag: tag}),
    do: {tag, {:commands, number, "#{length(commands)} commands"}}

  defp hide_batch(message, _state), do: message

  defp implements?(state, name, arity), do: function_exported?(state.module, name, arity)

  defp run(state, name, arguments), do: guard(fn -> apply(state.module, name, arguments) end)

  # A `GenServer` treats a thrown term like a returned term. So a throw becomes an error here. The
  # stacktrace becomes a part of the crash report. It may hold arguments, which are values and the
  # callback's state, so they are left out.
  defp guard(fun) do
    fun.()
  catch
    :throw, value -> :erlang.raise(:error, {:nocatch, value}, without_arguments(__STACKTRACE__))
    kind, reason -> :erlang.raise(kind, reason, without_arguments(__STACKTRACE__))
  end

  defp without_arguments(stacktrace) do
    Enum.map(stacktrace, fn
      {module, function, arguments, location} when is_list(arguments) -> {module, function, length(arguments), location}
      {function, arguments, location} when is_list(arguments) -> {function, length(arguments), location}
      entry -> entry
    end)
  end
end
