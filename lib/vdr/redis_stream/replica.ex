defmodule Vdr.RedisStream.Replica do
  @moduledoc """
  A replication client for handlers of your own: it attaches to a Redis or Valkey server as a replica and gives the commands of the full
  sync and of the stream to a module that implements `Vdr.RedisStream.Callback`.

      {:ok, replica} =
        Vdr.RedisStream.Replica.start_link(
          host: "localhost",
          port: 6379,
          callback_module: MyCallback,
          callback_opts: %{}
        )

  The link is the one that a mirror has (`Veidrodelis`): the same handshake, timeouts and reconnection. After a break it goes on by a
  partial resync where the server can, and by a full sync otherwise.

    * **Order.** Commands come in batches, in the server's order, each once in the life of the process.
    * **Full sync.** The data comes as commands, too: SET, RPUSH, SADD, ZADD, HSET in chunks of at most 512 elements, XADD, XSETID, XGROUP and
      XCLAIM for streams, then PEXPIREAT (HPEXPIREAT for fields). Values of modules are left out.
    * **Backpressure.** At most two batches of some 4096 commands are on their way to the callback. While it works the socket is not read
      any further and the server waits; acknowledgements go on.
    * **At least once.** The server is told of a command when `handle_commands` has returned. Who saves the position of the last batch
      (`c:Vdr.RedisStream.Callback.init/1`, `:initial`) goes on behind it after a restart.

  ## What happens to the link

  `handle_replication_start` and `handle_streaming_start` tell the handler where its commands come from. Whoever else wants to know of
  breaks, refusals and failovers subscribes to `{Vdr.RedisStream.Replica, name}`, `name` being the option `:name`, or the callback module
  when there is none:

      :ok = Veidrodelis.subscribe({Vdr.RedisStream.Replica, MyIndex})

  The messages are those of `Veidrodelis.subscribe/1`, but for `:ready`, and their details have the replica's `:pid`. A handler may
  subscribe in its `init/1`, and gets them in `handle_info/2`. The same goes to `:telemetry` and to the log.

  The guide `docs/handlers.md` has worked handlers, and tells what `:only` means for commands that read other keys.
  """

  use GenServer

  require Logger

  alias Vdr.{Cleaner, Link, Native, Options, Reports}
  alias Vdr.RedisStream.CommandFilter

  # How long the link may take to end before it is killed.
  @shutdown_ms 1000

  # How soon the process of the link is started again when it crashed.
  @restart_ms 100

  @enforce_keys [:options, :module, :callback, :tag, :native]
  defstruct [:options, :module, :callback, :tag, :native, :link, attached: false]

  @type replica_state :: Veidrodelis.replication_state()

  # What is asked for is the byte behind it, as a signed number of 64 bits.
  @offset_max 0x7FFFFFFFFFFFFFFE

  @doc """
  Starts a replica, linked to the caller, and answers once the callback's `init/1` is done; connecting goes on in the background. A wrong
  option raises `ArgumentError`.

  ## Options

  #{Options.docs(:handler)}
  """
  @spec start_link(keyword | Options.t()) :: GenServer.on_start()
  def start_link(options) do
    options = Options.validate!(options, :handler)
    GenServer.start_link(__MODULE__, options, if(options.name, do: [name: options.name], else: []))
  end

  @doc "A child specification for a supervisor; its id holds the `:name` or else the callback module."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    # Validated here, so that the specification, which supervisors print, shows no password.
    options = Options.validate!(options, :handler)
    %{id: {__MODULE__, options.id}, start: {__MODULE__, :start_link, [options]}}
  end

  @doc "Stops a replica; `c:Vdr.RedisStream.Callback.handle_destroy/1` has been called when it returns."
  @spec stop(GenServer.server()) :: :ok
  def stop(server), do: GenServer.stop(server)

  @doc """
  Asks the callback module: `{:ok, reply}`, `{:error, :not_implemented}` when it has no `handle_call/2`, `{:error, :not_connected}` before a sync
  has begun and after a link's end, or the callback's own `{:error, reason}`.
  """
  @spec call(GenServer.server(), term, timeout) :: {:ok, term} | {:error, term}
  def call(server, message, timeout \\ 5000), do: GenServer.call(server, {__MODULE__, :call, message}, timeout)

  @doc "The host and port of the server that is connected."
  @spec connected_to(GenServer.server()) :: {:ok, {String.t(), :inet.port_number()}} | {:error, :not_connected}
  def connected_to(server), do: ask(server, :connected_to)

  @doc "The callback's state; waits for the callback that is at work."
  @spec get_callback_state(GenServer.server()) :: term
  def get_callback_state(server), do: GenServer.call(server, {__MODULE__, :callback_state}, :infinity)

  @doc "The offset up to which everything is handled; 0 before the first full sync is."
  @spec get_offset(GenServer.server()) :: non_neg_integer
  def get_offset(server), do: ask(server, :offset)

  @doc "The server's replication id, `nil` as long as there was none."
  @spec get_replication_id(GenServer.server()) :: String.t() | nil
  def get_replication_id(server), do: ask(server, :replication_id)

  @doc """
  What `:initial` takes: up to where everything is handled, `nil` before the first full sync is. Within `handle_commands`, the
  position behind a command is `{command.context.replication_id, command.offset, command.db}`.
  """
  @spec get_position(GenServer.server()) :: Vdr.RedisStream.Callback.position() | nil
  def get_position(server), do: ask(server, :position)

  @doc "Where the link is. `:waiting` is between two attempts, `:stopped` when there will be no other."
  @spec get_replication_state(GenServer.server()) :: replica_state
  def get_replication_state(server), do: ask(server, :state)

  @doc false
  @spec position?(term) :: boolean
  def position?({id, offset}), do: position?({id, offset, 0})

  # An offset for which a server has no number would be refused for ever, and not answered by a full sync.
  def position?({id, offset, db}),
    do: is_binary(id) and String.valid?(id) and id != "" and offset in 0..@offset_max and db in 0..0xFFFFFFFF

  def position?(_other), do: false

  # What is not the callback's is read past the process, which may be in a callback for long.
  defp ask(server, what) do
    with pid when is_pid(pid) and node(pid) == node() <- GenServer.whereis(server),
         native when native != nil <- Reports.about({:handler, pid}) do
      answer(what, native, pid)
    else
      _gone_or_far_away -> GenServer.call(server, {__MODULE__, :ask, what})
    end
  end

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
    # So that `handle_destroy/1` is called when the supervisor shuts us down.
    Process.flag(:trap_exit, true)

    case module.init(options.callback_opts.()) do
      {:ok, callback} -> attach(options, callback, options.initial)
      {:ok, callback, initial: nil} -> attach(options, callback, nil)
      {:ok, callback, initial: position} -> attach(options, callback, checked(position, module))
      {:error, reason} -> {:stop, reason}
      other -> {:stop, {:bad_return_value, {module, :init, other}}}
    end
  end

  defp attach(options, callback, initial) do
    tag = make_ref()
    native = Native.handler_new(self(), tag, options.only, with_db(initial))
    Reports.create({:handler, self()}, native)
    Cleaner.watch(self())
    # Nothing but `init/1` needs what may hold secrets.
    options = %{options | callback_opts: nil}
    state = %__MODULE__{options: options, module: options.callback_module, callback: callback, tag: tag, native: native}
    {:ok, start_link_process(state)}
  end

  defp start_link_process(%{native: native, options: options} = state) do
    {:ok, link} = Link.start_link({native, options, {:handler, self()}})
    %{state | link: link}
  end

  defp with_db({id, offset}), do: {id, offset, 0}
  defp with_db(position), do: position

  defp checked(position, module) do
    unless position?(position),
      do: raise(ArgumentError, "#{inspect(module)}.init/1 answered a bad initial: position: #{inspect(position)}")

    position
  end

  @impl GenServer
  def handle_call({__MODULE__, :call, message}, _from, state) do
    cond do
      not state.attached -> {:reply, {:error, :not_connected}, state}
      not implements?(state, :handle_call, 2) -> {:reply, {:error, :not_implemented}, state}
      true -> called(run(state, :handle_call, [state.callback, message]), state)
    end
  end

  def handle_call({__MODULE__, :callback_state}, _from, state), do: {:reply, state.callback, state}
  def handle_call({__MODULE__, :ask, what}, _from, state), do: {:reply, answer(what, state.native, self()), state}
  def handle_call(_other, _from, state), do: {:reply, {:error, :unknown_call}, state}

  defp called({:reply, reply, callback}, state), do: {:reply, {:ok, reply}, %{state | callback: callback}}
  defp called({:error, _reason} = error, state), do: {:reply, error, state}
  defp called(other, state), do: {:stop, {:bad_return_value, {state.module, :handle_call, other}}, state}

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
    do: started(%{state | attached: true}, :handle_replication_start)

  def handle_info({tag, :streaming_start}, %{tag: tag} = state),
    do: started(%{state | attached: true}, :handle_streaming_start)

  def handle_info({tag, :link_lost}, %{tag: tag} = state), do: {:noreply, %{state | attached: false}}
  def handle_info({tag, :restart_link}, %{tag: tag} = state), do: {:noreply, start_link_process(state)}

  def handle_info({:EXIT, link, {:shutdown, {:link_ended, _reason} = ended}}, %{link: link} = state),
    do: {:stop, ended, %{state | link: nil, attached: false}}

  # The position is not in the process that crashed: the next link goes on behind it, without a full sync.
  def handle_info({:EXIT, link, _crash}, %{link: link} = state) do
    Process.send_after(self(), {state.tag, :restart_link}, @restart_ms)
    {:noreply, %{state | link: nil, attached: false}}
  end

  def handle_info(message, state) do
    cond do
      implements?(state, :handle_info, 2) -> informed(run(state, :handle_info, [state.callback, message]), state)
      abnormal_exit?(message) -> {:stop, elem(message, 2), state}
      true -> {:noreply, state}
    end
  end

  defp handle(%{options: %{command_filter: filter}} = state, commands) do
    case filtered(filter, commands) do
      [] ->
        {:noreply, state}

      commands ->
        with {:noreply, state} <-
               continued(run(state, :handle_commands, [state.callback, commands]), state, :handle_commands) do
          guard(fn -> CommandFilter.behind(filter, commands) end)
          {:noreply, state}
        end
    end
  end

  defp filtered(filter, commands), do: guard(fn -> CommandFilter.before(filter, commands) end)

  defp started(state, name) do
    if implements?(state, name, 1),
      do: continued(run(state, name, [state.callback]), state, name),
      else: {:noreply, state}
  end

  defp continued({:ok, callback}, state, _name), do: {:noreply, %{state | callback: callback}}
  defp continued({:error, reason}, state, _name), do: {:stop, reason, state}
  defp continued(other, state, name), do: {:stop, {:bad_return_value, {state.module, name, other}}, state}

  defp informed({:noreply, callback}, state), do: {:noreply, %{state | callback: callback}}
  defp informed({:error, reason}, state), do: {:stop, reason, state}
  defp informed(other, state), do: {:stop, {:bad_return_value, {state.module, :handle_info, other}}, state}

  # Without `handle_info/2` a linked process takes us along, as it would any process.
  defp abnormal_exit?({:EXIT, pid, reason}) when is_pid(pid), do: reason != :normal
  defp abnormal_exit?(_message), do: false

  @impl GenServer
  def terminate(_reason, state) do
    # The primary sends nothing more while the callback puts its things in order.
    Native.link_stop(state.native)

    if state.link, do: shut_down(state.link)
    if implements?(state, :handle_destroy, 1), do: destroy(state)
    drop_commands(state.tag)
    Link.Events.emit({:handler, self()}, state.options.id, :stopped, %{})
  end

  # The link announces its own end first. It may be in a function of the user's.
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

  # A crash report shows the messages that wait, and these hold values.
  defp drop_commands(tag) do
    receive do
      {^tag, _message} -> drop_commands(tag)
    after
      0 -> :ok
    end
  end

  # The reason for which we end is what a supervisor is to see, not what went wrong in tidying up.
  defp destroy(state) do
    state.module.handle_destroy(state.callback)
  catch
    kind, reason ->
      Logger.error("#{inspect(state.module)}.handle_destroy/1: #{Exception.format(kind, reason, __STACKTRACE__)}")
  end

  # A crash report shows no values and no secrets: neither the last message, which is a batch of commands, nor the state
  # of the callback, which was made of `:callback_opts`. `get_callback_state/1` answers that.
  # Elixir came to know this callback of OTP 25 late.
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

  # A `GenServer` takes a thrown term for a returned one. A stacktrace may hold arguments, which are values and the
  # callback's state: they are left out, since it becomes the reason of a crash report.
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
