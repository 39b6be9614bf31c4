defmodule Vdr.Link do
  @moduledoc false
  # The connection state machine of one instance or one handler. It decides when to connect, to
  # which server, and when to connect again. The native library runs each link to its end, and
  # reports the reason of the end. With Sentinel, the native library also runs a monitor, which
  # looks up the server and reports failovers. This process handles credentials, backoff and events.
  #
  #     connecting --streaming--> linked
  #         ^    \                  |
  #         |     \--ended--> waiting <--ended
  #         |                    |        (or stopped, with `reconnect: false`)
  #         \------timeout-------/
  #
  # A link whose predecessor has not ended yet begins as `preceded`, and `connecting` follows.
  #
  # A failover leads from every state but `stopped` back to `connecting`, at once and to the new
  # primary.
  #
  # This process does not own the data. When it dies, the native library ends the link, and the next
  # process starts another link on the same store. The report in `Vdr.Reports` survives, too.
  #
  # Events run in this process, and with them telemetry handlers and log backends. The callers of
  # `await_ready/2` wait for this process. So a slow handler delays this instance only. A user
  # function that returns a password or a host runs in a process of its own.
  #
  # Each event `:connecting` is followed by one `:disconnected`. If the link reached the stream,
  # there is a `:streaming` in between.

  @behaviour :gen_statem

  alias Vdr.{Backoff, Cleaner, Log, Mirror, Native, Options, Reports, Secret, Testing}
  alias Vdr.Link.{Emptied, Events, Faults, Predecessors, Spans, UserFunction, Waiters}

  # After a link has streamed for this long, the next failure starts with the first delay of the
  # backoff again.
  @stable_ms 60_000

  # If a server closes the connection this often at the same step of the handshake, it counts as a
  # refusal.
  @closings_max 3

  @first_events [{:next_event, :internal, :succeed}, {:next_event, :internal, :connect}]

  # How long a link that is ending may take until its successor kills it.
  @predecessor_ms 1_000

  # While the application is stopped, the link checks this often whether it runs again.
  @suspended_ms 1_000

  @enforce_keys [:key, :native, :options, :backoff]
  defstruct [
    :key,
    :native,
    :options,
    :backoff,
    :tag,
    :primary,
    # The Sentinel monitor, and the tag of its messages.
    :monitor,
    :monitor_tag,
    # The tag of the requests from the connections for commands: they ask for passwords and hosts.
    :client_tag,
    # The tag of the messages that announce new counts in `Native.notices_take/1`.
    :notices_tag,
    # The primary that the monitor has reported since the last attempt.
    :named,
    # When the link began to stream.
    :streaming_since,
    # `{primary}` from `:connecting` to `:disconnected`.
    :announced,
    # The reason why the server refuses the link. Then `await_ready/2` returns it at once.
    :refusal,
    # How the server sends the file of the next full sync, unless the option decides it.
    :sync_by,
    # The command of the handshake after which the server closed the last connections, and how
    # often.
    closings: {nil, 0},
    # Whether the monitor looks up the server for this attempt.
    looking_up: false,
    waiters: Waiters.new(),
    # The measurements of telemetry that have begun.
    spans: Spans.new(),
    faults: Faults.new(),
    predecessors: %{},
    # Whether a full sync may bring far fewer keys, see `Vdr.Link.Emptied`.
    emptied: nil,
    attempts: 0,
    links: 0,
    sync: :partial,
    ready: false,
    unknown: [],
    # Whether the log has the warning that the server reports no offsets.
    offsetless: false
  ]

  @typedoc "The native store or handler that the link feeds, the options, and the key of the report."
  @type argument :: {reference, Options.t(), Reports.key()}

  @spec child_spec(argument) :: Supervisor.child_spec()
  def child_spec(argument), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [argument]}}

  @spec start_link(argument) :: :gen_statem.start_ret()
  def start_link(argument), do: :gen_statem.start_link(__MODULE__, argument, [])

  @doc "Suspends the link of a report: the application stops, and has closed the link's store."
  @spec suspend(Reports.key()) :: :ok
  def suspend(key) do
    case Reports.read(key) do
      %{pid: pid} when is_pid(pid) -> :gen_statem.cast(pid, :suspend)
      _no_link_yet -> :ok
    end
  end

  @doc "Waits until the data can be read. Exits as `GenServer.call/3` does."
  @spec await_ready(pid, timeout) :: :ok | {:error, term}
  def await_ready(pid, timeout), do: :gen_statem.call(pid, {:await_ready, timeout}, timeout)

  @impl :gen_statem
  def callback_mode, do: :state_functions

  @impl :gen_statem
  def init({native, %Options{} = options, key}) do
    # `terminate/3` must run, because it announces the end.
    Process.flag(:trap_exit, true)
    Logger.metadata(vdr: options.id)

    link = %__MODULE__{
      key: key,
      native: native,
      options: options,
      backoff: Backoff.new(options.reconnect_delay_ms, options.max_reconnect_delay_ms),
      predecessors: Predecessors.claim(key)
    }

    if link.predecessors == %{},
      do: {:ok, :connecting, take_over(link), @first_events},
      else: {:ok, :preceded, link, {:state_timeout, @predecessor_ms, :kill}}
  end

  defp take_over(%{options: options, native: native} = link) do
    link = %{
      continue(link)
      | # A primary that a test simulates announces failovers, too.
        monitor_tag: if(options.played, do: make_ref()),
        ready: Native.ready(native)
    }

    link = link |> start_client() |> start_notices()
    report(link, %{})
    link
  end

  # The report has the counts of a predecessor that crashed.
  defp continue(link),
    do: struct!(link, link.key |> Reports.read() |> Map.take([:attempts, :links, :announced, :spans]))

  defp start_notices(%{key: {:handler, _pid}} = link), do: link

  # A crashed predecessor may have left counts behind, so they are read once.
  defp start_notices(%{key: {:mirror, _id}, native: store} = link) do
    tag = make_ref()
    Native.notices_to(store, self(), tag)
    send(self(), {tag, :notices})
    %{link | notices_tag: tag}
  end

  # Starts the connections for the user's commands. The first command opens them. If a test
  # simulates the primary, `Vdr.Testing.Writes` handles the commands instead.
  defp start_client(%{key: {:handler, _pid}} = link), do: link
  defp start_client(%{options: %{played: played}} = link) when played != nil, do: link

  defp start_client(%{key: {:mirror, _id}, native: store, options: options} = link) do
    tag = make_ref()

    config = %{
      access: Options.Sentinel.access(options),
      host_map: Options.Sentinel.table(options.sentinel),
      silence_ms: options.read_timeout
    }

    Native.client_start(store, config, self(), tag)
    %{link | client_tag: tag}
  end

  @doc false
  def preceded(:info, {:DOWN, monitor, :process, _pid, _reason}, %{predecessors: predecessors} = link)
      when is_map_key(predecessors, monitor) do
    link = %{link | predecessors: Map.delete(predecessors, monitor)}

    if link.predecessors == %{},
      do: {:next_state, :connecting, take_over(link), @first_events},
      else: {:keep_state, link}
  end

  def preceded(:state_timeout, :kill, link) do
    Predecessors.kill(link.predecessors)
    :keep_state_and_data
  end

  def preceded(_type, _event, _link), do: {:keep_state_and_data, :postpone}

  @doc false
  def connecting(:internal, :succeed, link), do: {:keep_state, close(link, :link_crashed, 0)}

  def connecting(:internal, :connect, link) do
    case whereabouts(link) do
      :current -> attempt(link)
      :suspended -> wait_for_application(link)
      :replaced -> finish(link, :application_restarted)
    end
  end

  def connecting(:info, {tag, {:found, primary}}, %{monitor_tag: tag, looking_up: true} = link),
    do: connect(%{link | primary: primary, looking_up: false})

  def connecting(:info, {tag, {:not_found, code, detail, retry}}, %{monitor_tag: tag, looking_up: true} = link),
    do: handle_end(%{link | looking_up: false}, code, detail, retry)

  # The result of the look-up follows, and already takes the failover into account.
  def connecting(:info, {tag, {:switched, _primary}}, %{monitor_tag: tag, looking_up: true}), do: :keep_state_and_data

  def connecting(:info, {tag, {:secrets, result}}, %{tag: tag} = link) do
    case start(link, result) do
      :ok -> :keep_state_and_data
      {:error, code} -> handle_end(link, code, "", :slowly)
    end
  end

  def connecting(:info, {tag, {:state, :rdb_transfer}}, %{tag: tag} = link) do
    {:keep_state, emit(%{link | sync: :full}, :syncing, %{primary: link.primary})}
  end

  def connecting(:info, {tag, {:state, :streaming}}, %{tag: tag} = link) do
    link = %{link | links: link.links + 1, refusal: nil, streaming_since: now_ms(), emptied: nil}
    link = %{link | sync_by: nil, closings: {nil, 0}}
    report(link, %{link: :linked, links: link.links})
    link = emit(link, :streaming, %{primary: link.primary, sync: link.sync})
    link = warn_of_no_offset(link)
    {:next_state, :linked, link, {:state_timeout, @stable_ms, :stable}}
  end

  def connecting(type, event, link), do: common(type, event, link)

  # The warning is logged once.
  defp warn_of_no_offset(%{key: {:mirror, id}, native: store, offsetless: false} = link) do
    offsetless = Native.client_state(store) == :no_offset
    if offsetless, do: Log.write(id, Log.level(store), :no_offset, %{})
    %{link | offsetless: offsetless}
  end

  defp warn_of_no_offset(link), do: link

  @doc false
  def linked(:state_timeout, :stable, link), do: {:keep_state, %{link | backoff: Backoff.reset(link.backoff)}}
  def linked(type, event, link), do: common(type, event, link)

  @doc false
  def waiting(:state_timeout, :connect, link), do: {:next_state, :connecting, link, {:next_event, :internal, :connect}}

  def waiting(:info, {ref, {:emptied, answer}}, %{emptied: {ref, _counts}} = link) do
    case note_answer(link, answer) do
      %{emptied: :accept} = link -> {:next_state, :connecting, link, {:next_event, :internal, :connect}}
      link -> {:keep_state, link}
    end
  end

  def waiting(type, event, link), do: common(type, event, link)

  @doc false
  def stopped(:info, {tag, {:switched, _primary}}, %{monitor_tag: tag}), do: :keep_state_and_data
  def stopped(type, event, link), do: common(type, event, link)

  @impl :gen_statem
  def terminate(reason, :preceded, link) do
    Predecessors.finish(link.predecessors)
    terminate(reason, :connecting, continue(link))
  end

  def terminate(reason, _state, link) do
    Native.link_stop(link.native)
    orderly = orderly?(reason)
    link = close(link, if(orderly, do: :stopped, else: :link_crashed), nil)

    if over?(link.key, orderly) do
      Reports.update(link.key, %{link: :ended})
      emit(link, :stopped, %{})
    end
  end

  defp orderly?(reason) when reason in [:normal, :shutdown], do: true
  defp orderly?({:shutdown, _reason}), do: true
  defp orderly?(_reason), do: false

  # After a crash, a supervisor starts another link. A handler announces its own end, unless it was
  # killed.
  defp over?({:mirror, _id}, orderly), do: orderly
  defp over?({:handler, pid}, _orderly), do: not Process.alive?(pid)

  # A crash report shows the state of the link, and none of its options.
  @impl :gen_statem
  def format_status(status), do: Map.replace(status, :data, summary(status[:data]))

  defp summary(%__MODULE__{} = link), do: Map.take(link, [:key, :primary, :attempts, :links, :announced, :refusal])
  defp summary(other), do: other

  defp common(:info, {tag, :ready}, %{tag: tag} = link) do
    {waiters, actions} = Waiters.reply_all(link.waiters, :ok)
    link = if link.ready, do: link, else: emit(link, :ready, %{primary: link.primary})
    {:keep_state, %{link | ready: true, waiters: waiters}, actions}
  end

  defp common(:info, {tag, :guard_given_up}, %{tag: tag} = link) do
    note(link, :guard_given_up, %{guard_key: link.options.guard_key})
    :keep_state_and_data
  end

  defp common(:info, {tag, {:unknown_command, name}}, %{tag: tag} = link) do
    unless name in link.unknown, do: note(link, :unknown_command, %{name: name})
    {:keep_state, %{link | unknown: Enum.uniq([name | link.unknown])}}
  end

  defp common(:info, {tag, :notices}, %{notices_tag: tag, key: {:mirror, id}} = link) when tag != nil do
    link.native |> Native.notices_take() |> Events.count(id, link.options)
    :keep_state_and_data
  end

  # The next attempt has begun before this answer. The attempt after it will use the answer.
  defp common(:info, {ref, {:emptied, answer}}, %{emptied: {ref, _counts}} = link),
    do: {:keep_state, note_answer(link, answer)}

  defp common(:info, {tag, {:state, _state}}, %{tag: tag}), do: :keep_state_and_data

  defp common(:info, {tag, {:ended, code, detail, retry}}, %{tag: tag} = link),
    do: handle_end(link, code, detail, retry)

  defp common(:info, {:DOWN, monitor, :process, _pid, _reason}, link), do: drop_waiter(link, monitor)
  defp common({:timeout, monitor}, :await_ready, link), do: drop_waiter(link, monitor)

  defp common(:cast, :suspend, link), do: %{link | tag: nil} |> close(:stopped, nil) |> wait_for_application()

  defp common(:info, {tag, {:switched, primary}}, %{monitor_tag: tag} = link), do: switch(link, primary)

  defp common(:info, {tag, {:ask, number, question}}, %{monitor_tag: tag} = link) do
    answer(link, number, question)
    :keep_state_and_data
  end

  defp common(:info, {tag, {:ask, number, question}}, %{client_tag: tag, native: store, options: options})
       when tag != nil do
    UserFunction.start(fn -> reveal(question, options) end, fn
      {:ok, {:ok, answer}} -> Native.client_answer(store, number, answer)
      _failed -> Native.client_answer(store, number, nil)
    end)

    :keep_state_and_data
  end

  # A message of an earlier link, or of an unknown sender.
  defp common(:info, _message, _link), do: :keep_state_and_data
  defp common(:cast, _message, _link), do: :keep_state_and_data

  defp common({:call, from}, {:await_ready, _timeout}, %{ready: true}),
    do: {:keep_state_and_data, {:reply, from, :ok}}

  defp common({:call, from}, {:await_ready, _timeout}, %{refusal: reason}) when reason != nil,
    do: {:keep_state_and_data, {:reply, from, {:error, reason}}}

  defp common({:call, from}, {:await_ready, timeout}, link) do
    {waiters, actions} = Waiters.add(link.waiters, from, timeout)
    {:keep_state, %{link | waiters: waiters}, actions}
  end

  defp common({:call, from}, _message, _link), do: {:keep_state_and_data, {:reply, from, {:error, :unknown_call}}}

  defp drop_waiter(link, monitor) do
    {waiters, actions} = Waiters.drop(link.waiters, monitor)
    {:keep_state, %{link | waiters: waiters}, actions}
  end

  # ---- connecting

  # When the application stops, it closes the stores of all instances. The processes of an instance
  # belong to the user's supervisor, and live on. When the application starts again, it does not
  # know these instances, so they end.
  defp wait_for_application(link), do: {:next_state, :waiting, link, {:state_timeout, @suspended_ms, :connect}}

  defp whereabouts(%{key: {:handler, _pid}}), do: :current

  defp whereabouts(%{key: {:mirror, id}, native: store}) do
    cond do
      match?({^store, _supervisor}, Mirror.Stores.find(id)) -> :current
      Reports.table?() -> :replaced
      true -> :suspended
    end
  end

  defp attempt(link) do
    link = %{link | tag: make_ref(), attempts: link.attempts + 1, sync: :partial}
    report(link, %{link: :connecting, attempts: link.attempts})

    find(link)
  end

  # Finds the server to connect to. The link asks Sentinel at every attempt, unless the monitor has
  # just reported a primary.
  defp find(%{options: %{played: played}} = link) when played != nil,
    do: connect(%{link | primary: Testing.Primary.address(played)})

  defp find(%{options: %{socket: path}} = link) when path != nil, do: connect(%{link | primary: {path, 0}})

  defp find(%{options: %{sentinel: nil} = options} = link),
    do: connect(%{link | primary: {options.host, options.port}})

  defp find(%{named: {_host, _port} = named} = link), do: connect(%{link | primary: named, named: nil})

  defp find(%{monitor: nil, native: native, options: options} = link) do
    tag = make_ref()

    case Native.sentinel_start(native, Options.Sentinel.config(options.sentinel, options), self(), tag) do
      {:ok, monitor} -> find(%{link | monitor: monitor, monitor_tag: tag})
      {:error, code} -> handle_end(link, code, "", :slowly)
    end
  end

  defp find(link) do
    Native.sentinel_look_up(link.monitor)
    {:keep_state, %{link | looking_up: true}}
  end

  defp connect(%{tag: tag, options: options, primary: primary} = link) do
    if link.client_tag, do: Native.client_follow(link.native, primary)
    {link, process} = {announce(link, primary), self()}
    UserFunction.start(fn -> reveal_secrets(options, primary) end, &send(process, {tag, {:secrets, &1}}))
    {:keep_state, link}
  end

  defp reveal_secrets(options, primary) do
    with {:ok, password} <- Secret.reveal(options.password),
         {:ok, psync_command} <- Secret.reveal_psync_command(options.psync_command, primary),
         do: {:ok, {password, psync_command}}
  end

  # The monitor requests a value that a user function returns.
  defp answer(%{monitor: monitor, options: options}, number, question) do
    UserFunction.start(fn -> reveal(question, options) end, fn
      {:ok, {:ok, answer}} -> Native.sentinel_answer(monitor, number, answer)
      _failed -> Native.sentinel_answer(monitor, number, nil)
    end)
  end

  defp reveal(:sentinel_password, options), do: Secret.reveal(options.sentinel.connect.password)
  defp reveal(:server_password, options), do: Secret.reveal(options.password)
  defp reveal({:host, host}, options), do: Options.Sentinel.map_host(options.sentinel, host)

  defp switch(link, primary) do
    Native.link_stop(link.native)
    from = link.primary
    link = close(link, :switched, 0)
    link = emit(link, :switched, %{primary: primary, from: from})
    named = if match?(%{role: :primary}, link.options.sentinel), do: primary
    link = %{link | tag: nil, named: named, streaming_since: nil, backoff: Backoff.reset(link.backoff)}
    link = %{link | faults: Faults.new()}
    {:next_state, :connecting, link, {:next_event, :internal, :connect}}
  end

  # `:error`: a user function took too long, or was killed.
  defp start(%{options: %{password: nil}}, :error), do: {:error, :bad_psync_command}
  defp start(_link, :error), do: {:error, :bad_password_function}
  defp start(_link, {:ok, {:error, _code} = error}), do: error

  defp start(%{options: %{played: played}} = link, {:ok, {:ok, secrets}}) when played != nil do
    attached =
      link |> Map.take([:native, :tag, :monitor_tag]) |> Map.merge(%{config: config(link, secrets), pid: self()})

    Testing.Primary.attach(played, attached)
  end

  defp start(%{native: native, tag: tag} = link, {:ok, {:ok, secrets}}) do
    Native.link_start(native, config(link, secrets), self(), tag)
  catch
    # A stacktrace would show the arguments, and among them the password.
    _kind, _reason -> {:error, :bad_link_config}
  end

  defp config(%{options: options, primary: {host, port}, emptied: emptied} = link, {password, psync_command}) do
    %{
      host: host,
      port: port,
      socket: options.socket,
      tls: if(options.ssl, do: Options.Tls.config(options.ssl_opts)),
      username: options.username,
      password: password,
      role: if(options.sentinel, do: options.sentinel.role, else: :ask),
      sync_by: link.sync_by || options.sync_by,
      psync_command: psync_command,
      ack: options.ack,
      announce_port: options.announce_port,
      connect_timeout_ms: options.timeout,
      read_timeout_ms: options.read_timeout,
      ack_interval_ms: options.ack_interval_ms,
      stop_on_unknown_command: options.on_unknown_command == :stop,
      max_string_bytes: options.max_string_bytes,
      keep_below: Emptied.keep_below(options.on_empty_primary, emptied)
    }
  end

  # ---- the end of a link

  defp handle_end(link, code, detail, retry) do
    # After a failed look-up, there is no server to announce.
    link = if link.announced, do: link, else: announce(link, nil)
    {link, retry} = link |> leave_disk(code) |> count_closing(code, detail, retry)
    {retry, faults} = Faults.note(link.faults, code, retry, streamed_ms(link))
    link = note_emptied(%{link | faults: faults}, code)
    report(%{link | tag: nil}, %{last_error: {code, detail}})
    refused = retry == :slowly

    if link.options.reconnect and retry != :never do
      {delay_ms, backoff} = delay(link, code, retry)
      delay_ms = if code == :diverged, do: max(delay_ms, faults.pause_ms), else: delay_ms
      {link, actions} = if refused, do: refuse(link, code), else: {link, []}
      report(link, %{link: :waiting})
      link = close(%{link | tag: nil, streaming_since: nil, backoff: backoff}, code, detail, refused, delay_ms)
      {:next_state, :waiting, link, [{:state_timeout, delay_ms, :connect} | actions]}
    else
      %{link | tag: nil} |> close(code, detail, refused, nil) |> finish(final(code, detail))
    end
  end

  # The server's disk may be full, or the server may not be allowed to write to it. So the next file
  # comes by the socket.
  defp leave_disk(%{options: %{sync_by: :auto}, streaming_since: nil, sync: sync} = link, code)
       when code == :bgsave_failed or sync == :full,
       do: %{link | sync_by: :socket}

  defp leave_disk(link, _code), do: link

  # A server that restarts closes connections, too, so the first times count as temporary. So does a
  # connection that is closed after PING: it may be a proxy whose server is down.
  defp count_closing(%{closings: {detail, count}} = link, :closed_in_handshake, detail, retry) do
    retry = if count + 1 >= @closings_max and detail != "after PING", do: :slowly, else: retry
    {%{link | closings: {detail, count + 1}}, retry}
  end

  defp count_closing(link, :closed_in_handshake, detail, retry), do: {%{link | closings: {detail, 1}}, retry}
  defp count_closing(link, _code, _detail, retry), do: {%{link | closings: {nil, 0}}, retry}

  defp note_emptied(link, :primary_emptied),
    do: follow_decision(link, Emptied.refused(link.native, link.primary, link.options))

  defp note_emptied(link, _code), do: link

  defp note_answer(link, answer), do: follow_decision(link, Emptied.answered(link.emptied, answer))

  defp follow_decision(link, {:asked, emptied}), do: %{link | emptied: emptied}

  defp follow_decision(link, {decision, counts}) do
    link = emit(link, :emptied, Map.put(counts, :decision, decision))
    %{link | emptied: if(decision == :accept, do: :accept)}
  end

  defp final(:unknown_command, name), do: {:unknown_command, name}
  defp final(code, _detail), do: code

  defp delay(link, _code, :slowly), do: Backoff.slow(link.backoff)

  # A link that has streamed does not count as a failed attempt, unless it ended by a contradiction.
  defp delay(%{streaming_since: since} = link, code, :soon) when since != nil and code != :diverged,
    do: Backoff.resume(link.backoff, now_ms() - since)

  defp delay(link, _code, :soon), do: Backoff.next(link.backoff)

  defp streamed_ms(%{streaming_since: nil}), do: nil
  defp streamed_ms(%{streaming_since: since}), do: now_ms() - since

  defp now_ms, do: System.monotonic_time(:millisecond)

  # No other link follows.
  defp finish(link, reason) do
    {link, actions} = refuse(link, reason)
    report(link, %{link: :stopped})

    case link do
      %{key: {:handler, _pid}} ->
        {:stop, {:shutdown, {:link_ended, reason}}, link}

      %{options: %{on_link_end: :keep}} when reason != :application_restarted ->
        {:next_state, :stopped, link, actions}

      %{key: {:mirror, _id}} ->
        stop_instance(reason)
        {:next_state, :stopped, link, actions}
    end
  end

  # The supervisor waits for this process while it stops, so another process must stop the
  # supervisor.
  defp stop_instance(reason) do
    [supervisor | _ancestors] = Process.get(:"$ancestors")
    spawn(fn -> Supervisor.stop(supervisor, {:link_ended, reason}) end)
  end

  defp refuse(link, reason) do
    {waiters, actions} = Waiters.reply_all(link.waiters, {:error, reason})
    {%{link | refusal: reason, waiters: waiters}, actions}
  end

  # ---- reports and events

  defp announce(link, primary) do
    link = %{link | announced: {primary}}
    report(link, %{})
    emit(link, :connecting, %{primary: primary, attempt: link.attempts})
  end

  defp close(link, reason, retry_in_ms), do: close(link, reason, "", false, retry_in_ms)

  defp close(%{announced: nil} = link, _reason, _detail, _refused, _retry_in_ms), do: link

  defp close(%{announced: {primary}} = link, reason, detail, refused, retry_in_ms) do
    link = %{link | announced: nil}
    Reports.update(link.key, %{announced: nil})
    details = %{reason: reason, detail: detail, refused: refused, retry_in_ms: retry_in_ms, primary: primary}
    emit(link, :disconnected, Map.put(details, :contradictions, Faults.contradictions(link.faults)))
  end

  defp report(%{key: key} = link, changes) do
    changes = Map.merge(changes, %{primary: link.primary, announced: link.announced})
    unless Reports.update(key, changes), do: report_anew(link, changes)
  end

  # The application was restarted, and its tables are empty. A handler enters its row again. An
  # instance without a row has ended.
  defp report_anew(%{key: {:handler, pid} = key, native: native}, changes) do
    if Reports.table?() do
      Reports.create(key, native)
      Cleaner.watch(pid)
      Reports.update(key, Map.put(changes, :pid, self()))
    end
  end

  defp report_anew(%{key: {:mirror, _id}}, _changes), do: :gone

  defp emit(%{key: key, native: native, options: options} = link, event, details) do
    Events.emit(key, options.id, Log.level(native), event, details)
    spans = Spans.follow(link.spans, Events.id(key, options.id), event, details, fn -> loaded(link) end)
    if spans != link.spans, do: Reports.update(key, %{spans: spans})
    %{link | spans: spans}
  end

  # A handler has no store, so it has no such counts.
  defp loaded(%{key: {:handler, _pid}}), do: %{bytes: 0, keys: 0}

  defp loaded(%{native: store}) do
    %{loading_bytes: bytes, loading_keys: keys} = Native.status(store)
    %{bytes: bytes, keys: keys}
  end

  defp note(%{key: key, native: native, options: options}, event, details),
    do: Events.note(Events.id(key, options.id), Log.level(native), event, details)
end
