defmodule Vdr.Link do
  @moduledoc false
  # Decides when there is a link, to whom, and when there is another one. What a link does is the native library's: it runs
  # one to its end and tells how it went. Credentials, backoff, Sentinel and events are decided here.
  #
  #     connecting --streaming--> linked
  #         ^    \                  |
  #         |     \--ended--> waiting <--ended
  #         |                    |        (or stopped, with `reconnect: false`)
  #         \------timeout-------/
  #
  # From each of them but `stopped` a failover leads back to connecting, at once and to the new primary.
  #
  # What the link feeds, and its data, are not this process's: when it dies, the native library ends the link, and its
  # successor begins another on the same store. Who is told how the link stands is a `Vdr.Link.Owner`.

  @behaviour :gen_statem

  require Logger

  alias Vdr.{Backoff, Events, Native, Options, Sentinel}

  # A link that has held for so long was no lucky moment: the next failure starts the backoff anew.
  @stable_ms 60_000

  # Each contradiction costs the primary a full sync, however soon the options say that the next attempt may come.
  @diverged_ms 1_000

  # How often, and how soon again, a link's process is started when its name is not free.
  @tries 100
  @try_ms 10

  @enforce_keys [:store, :options, :backoff, :owner]
  defstruct [
    :store,
    :options,
    :backoff,
    :owner,
    :tag,
    :primary,
    :sentinels,
    :named,
    attempts: 0,
    links: 0,
    sync: :partial,
    ready: false,
    unknown: []
  ]

  @typedoc "What the link feeds, how, and who is told: a `Vdr.Link.Owner` with the name by which it knows the link."
  @type argument :: {reference, Options.t(), {module, term}}

  @spec child_spec(argument) :: Supervisor.child_spec()
  def child_spec(argument), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [argument]}}

  @spec start_link(argument) :: :gen_statem.start_ret()
  def start_link(argument), do: started(argument, @tries)

  # The end of a predecessor, or a new registry, may be on the way still: to the supervisor that would be crash after crash.
  defp started({_store, _options, owner} = argument, tries) do
    with {:error, {:already_started, _predecessor}} when tries > 0 <-
           :gen_statem.start_link(name(owner), __MODULE__, argument, []),
         do: again(argument, tries)
  rescue
    error in ArgumentError -> if tries > 0, do: again(argument, tries), else: reraise(error, __STACKTRACE__)
  end

  defp again(argument, tries) do
    Process.sleep(@try_ms)
    started(argument, tries - 1)
  end

  @doc "A Sentinel says that this is the primary now, to the link of this owner."
  @spec switched({module, term}, Sentinel.address()) :: :ok
  def switched(owner, address), do: :gen_statem.cast(name(owner), {:switched, address})

  defp name(owner), do: {:via, Registry, {Vdr.Registry, {__MODULE__, owner}}}

  @impl :gen_statem
  def callback_mode, do: :state_functions

  @impl :gen_statem
  def init({store, %Options{} = options, {owner, name}}) do
    Logger.metadata(vdr: options.id)
    # A predecessor that crashed left its counts behind.
    %{attempts: attempts, links: links} = owner.report(name)

    link = %__MODULE__{
      store: store,
      options: options,
      backoff: Backoff.new(options.reconnect_delay_ms, options.max_reconnect_delay_ms),
      owner: {owner, name},
      sentinels: options.sentinel && options.sentinel.sentinels,
      attempts: attempts,
      links: links,
      ready: Native.ready(store)
    }

    {:ok, :connecting, link, {:next_event, :internal, :connect}}
  end

  @doc false
  def connecting(:internal, :connect, link) do
    link = %{link | tag: make_ref(), attempts: link.attempts + 1, sync: :partial}
    report(link, %{link: :connecting, attempts: link.attempts})

    case find(link) do
      {:ok, link} -> connect(link)
      {:error, code, detail, retry} -> ended(link, code, detail, retry)
    end
  end

  def connecting(:info, {tag, {:state, :rdb_transfer}}, %{tag: tag} = link) do
    emit(link, :syncing, %{primary: link.primary})
    {:keep_state, %{link | sync: :full}}
  end

  def connecting(:info, {tag, {:state, :streaming}}, %{tag: tag} = link) do
    link = %{link | links: link.links + 1}
    report(link, %{link: :linked, links: link.links})
    refused(link, nil)
    emit(link, :streaming, %{primary: link.primary, sync: link.sync})
    {:next_state, :linked, link, {:state_timeout, @stable_ms, :stable}}
  end

  def connecting(type, event, link), do: common(type, event, link)

  @doc false
  def linked(:state_timeout, :stable, link), do: {:keep_state, %{link | backoff: Backoff.reset(link.backoff)}}
  def linked(type, event, link), do: common(type, event, link)

  @doc false
  def waiting(:state_timeout, :connect, link), do: {:next_state, :connecting, link, {:next_event, :internal, :connect}}

  # What keeps us waiting may be the server of before; the one named now is another one, or another one again.
  def waiting(:cast, {:switched, address}, %{options: %{sentinel: %{role: :primary}}, primary: before} = link)
      when address != before,
      do: switch(link, address)

  def waiting(type, event, link), do: common(type, event, link)

  @doc false
  def stopped(:cast, _message, _link), do: :keep_state_and_data
  def stopped(type, event, link), do: common(type, event, link)

  defp common(:info, {tag, :ready}, %{tag: tag, owner: {owner, name}} = link) do
    owner.ready(name)
    unless link.ready, do: emit(link, :ready, %{primary: link.primary})
    {:keep_state, %{link | ready: true}}
  end

  defp common(:info, {tag, :guard_given_up}, %{tag: tag} = link) do
    Logger.warning(
      "the guard key #{inspect(link.options.guard_key)} was set for too long, or held back too much: what it held back is shown"
    )

    :keep_state_and_data
  end

  defp common(:info, {tag, {:unknown_command, name}}, %{tag: tag} = link) do
    if name not in link.unknown do
      Logger.warning("the stream brings #{name}, which the library does not know: what it changes is missing")
    end

    {:keep_state, %{link | unknown: Enum.uniq([name | link.unknown])}}
  end

  defp common(:info, {tag, {:state, _state}}, %{tag: tag}), do: :keep_state_and_data

  defp common(:info, {tag, {:ended, code, detail, retry}}, %{tag: tag} = link), do: ended(link, code, detail, retry)

  defp common(:cast, {:switched, address}, %{options: %{sentinel: %{role: role}}} = link) do
    # A replica that becomes the primary is no replica any more; the others stay what they are.
    leave = if role == :primary, do: address != link.primary, else: address == link.primary
    if leave, do: switch(link, address), else: :keep_state_and_data
  end

  # From a link of before, or from nobody we know.
  defp common(:info, _message, _link), do: :keep_state_and_data
  defp common(:cast, _message, _link), do: :keep_state_and_data
  defp common({:call, from}, _message, _link), do: {:keep_state_and_data, {:reply, from, {:error, :unknown_call}}}

  defp connect(link) do
    report(link, %{})
    emit(link, :connecting, %{primary: link.primary, attempt: link.attempts})

    case start(link) do
      :ok -> {:keep_state, link}
      {:error, code} -> ended(link, code, "", :slowly)
    end
  end

  defp switch(link, address) do
    Native.link_stop(link.store)
    emit(link, :switched, %{primary: address, from: link.primary})
    named = if link.options.sentinel.role == :primary, do: address
    link = %{link | tag: nil, named: named, backoff: Backoff.reset(link.backoff)}
    {:next_state, :connecting, link, {:next_event, :internal, :connect}}
  end

  defp ended(link, code, detail, retry) do
    link = %{link | tag: nil}
    report(link, %{last_error: {code, detail}})

    if link.options.reconnect and retry != :never do
      {delay_ms, backoff} = delay(link.backoff, retry)
      delay_ms = if code == :diverged, do: max(delay_ms, @diverged_ms), else: delay_ms
      report(link, %{link: :waiting})
      disconnected(link, code, detail, retry, delay_ms)
      if retry == :slowly, do: refused(link, code)
      {:next_state, :waiting, %{link | backoff: backoff}, {:state_timeout, delay_ms, :connect}}
    else
      report(link, %{link: :stopped})
      disconnected(link, code, detail, retry, nil)
      refused(link, refusal(code, detail))
      {:next_state, :stopped, link}
    end
  end

  defp disconnected(link, code, detail, retry, delay_ms) do
    details = %{reason: code, detail: detail, refused: retry == :slowly, retry_in_ms: delay_ms, primary: link.primary}
    emit(link, :disconnected, details)
  end

  defp refusal(:unknown_command, name), do: {:unknown_command, name}
  defp refusal(code, _detail), do: code

  defp delay(backoff, :soon), do: Backoff.next(backoff)
  defp delay(backoff, :slowly), do: Backoff.slow(backoff)

  # Whom to attach to: asked anew at every attempt, unless a Sentinel has just said so.
  defp find(%{options: %{socket: path}} = link) when path != nil, do: {:ok, %{link | primary: {path, 0}}}
  defp find(%{options: %{sentinel: nil} = options} = link), do: {:ok, %{link | primary: {options.host, options.port}}}
  defp find(%{named: {_host, _port} = named} = link), do: {:ok, %{link | primary: named, named: nil}}

  defp find(%{options: %{sentinel: sentinel}} = link) do
    with {:ok, address, sentinels} <- Sentinel.find(sentinel, link.sentinels),
         do: {:ok, %{link | primary: address, sentinels: sentinels}}
  end

  defp start(%{store: store, options: options, tag: tag} = link) do
    with {:ok, password} <- Options.password(options) do
      Native.link_start(store, config(link, password), self(), tag)
    end
  catch
    # The arguments, password and all, must not become a stacktrace.
    _kind, _reason -> {:error, :bad_link_config}
  end

  defp config(%{options: options, primary: {host, port}}, password) do
    %{
      label: inspect(options.id, limit: 5, printable_limit: 100),
      host: host,
      port: port,
      socket: options.socket,
      tls: if(options.ssl, do: Options.Tls.config(options.ssl_opts)),
      username: options.username,
      password: password,
      role: if(options.sentinel, do: options.sentinel.role, else: :ask),
      ack: options.ack,
      connect_timeout_ms: options.timeout,
      read_timeout_ms: options.read_timeout,
      ack_interval_ms: options.ack_interval_ms,
      stop_on_unknown_command: options.on_unknown_command == :stop
    }
  end

  defp report(%{owner: {owner, name}} = link, changes),
    do: owner.report(name, Map.put(changes, :primary, link.primary))

  defp refused(%{owner: {owner, name}}, reason), do: owner.refused(name, reason)

  defp emit(%{owner: {owner, name}, options: options}, event, details) do
    {id, more} = owner.subject(name, options)
    Events.emit(id, event, Map.merge(details, more))
  end
end
